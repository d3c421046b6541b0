"""The screen during a run: lines of text, and how far everything is.

On a terminal, bars show progress, and a search shows its front so far. In a log file, a line now and then tells both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stdc_search.doubt import doubts
from stdc_search.errors import inert
from stdc_search.records import METRICS, Record, Score
from stdc_search.report.bounds import amount
from stdc_search.report.tables import MARK, rich_table
from stdc_search.report.words import duration
from stdc_search.report.writing import Report
from stdc_search.run_folder import ERROR, candidate_folder, progress
from stdc_search.trial.stopwatch import Progress as Steps
from stdc_search.trial.trial import TrialJob

CALM = 60.0
"""Seconds without a line after which a log file gets one on the progress."""
BLINK = 0.1
"""Seconds between two updates of a bar."""
ROWS = 10
"""Networks of a front that are shown during its search, at most."""
SHARE = 0.02
"""Share of the time that the front so far may take."""

Clock = Callable[[], float]
"""Gives the time in seconds."""


class Bars(Progress):
    """Bars, below a table if there is one."""

    board: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.board is not None:
            yield self.board
        yield from super().get_renderables()


class Row:
    """Something that is being done: a bar on a terminal, which disappears at its end.

    Args:
        screen: where it is shown.
        title: what is done.
    """

    def __init__(self, screen: Screen, title: str) -> None:
        self.screen, self.title, self.note, self.shown = screen, title, "", -BLINK
        self.first: tuple[float, float] | None = None
        """Time and share of the first call: a resumed training does not begin at 0."""
        self.task = screen.bars.add_task(title, total=None, note="")

    def show(self, done: float, total: int, what: str = "", share: float | None = None) -> None:
        """Show how far it is.

        Args:
            done: units that are done, of the total.
            total: units in all.
            what: more on it.
            share: done of all work, for the time that is left; default: the share of the units.
        """
        now, share = self.screen.clock(), done / max(total, 1) if share is None else share
        self.first = self.first or (now, share)
        if now - self.shown < BLINK and done < total:
            return
        self.shown = now
        began, before = self.first
        left = [f"{duration((now - began) * (1 - share) / (share - before))} left"] if before < share < 1 else []
        self.note = ", ".join([*filter(None, [what]), *left])
        self.screen.bars.update(self.task, description=inert(self.title), completed=done, total=total, note=self.note)

    def __str__(self) -> str:
        task = next(task for task in self.screen.bars.tasks if task.id == self.task)
        return ", ".join(filter(None, [f"{self.title} {int(task.completed):,} of {int(task.total or 0):,}", self.note]))


class Screen:
    """Prints to a console.

    Args:
        console: a terminal or a file.
        clock: gives the time in seconds.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console, self.clock, self.said = console, clock, clock()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self.bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.whole: Row | None = None
        """The search or its finals, while they run."""
        self.earlier = self.done = self.total = 0
        """Candidates of the whole: done by an earlier start, done, and all."""
        self.running: dict[int, float] = {}
        """Shares that are done of the candidates that are being tried, by number."""
        self.followed: dict[int, tuple[Steps, ExitStack]] = {}
        """Bars of candidates that other processes try, by number."""
        self.next_board = 0.0

    def say(self, text: str) -> None:
        """Print plain text; brackets are not markup."""
        self.said = self.clock()
        self.console.print(inert(text), markup=False, highlight=False, soft_wrap=True)

    def paragraph(self, text: str) -> None:
        """The same, wrapped between words."""
        self.console.print(inert(text), markup=False, highlight=False)

    @contextmanager
    def row(self, title: str) -> Iterator[Row]:
        """A bar, until its end."""
        row = Row(self, title)
        self.bars.start()
        try:
            yield row
        finally:
            self.bars.remove_task(row.task)
            if not self.bars.tasks and self.console.is_terminal:
                self.bars.stop()

    @contextmanager
    def counter(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for things that are counted, until its end."""
        with self.row(title) as row:

            def told(done: int, total: int) -> None:
                row.show(done, total)
                self._line_if_due(row)

            yield told

    @contextmanager
    def search(self, title: str, left: int, done: int = 0) -> Iterator[None]:
        """Show a bar for the candidates of a search or of its finals.

        Args:
            title: what it is.
            left: candidates to train.
            done: those that an earlier start has trained.
        """
        with self.row(title) as self.whole:
            self.done = self.earlier = done
            self.total = done + left
            self.whole.show(done, self.total)
            try:
                yield
            finally:
                self.follow(())
                self.whole = self.bars.board = None

    @contextmanager
    def bar(self, job: TrialJob) -> Iterator[Steps]:
        """A bar that shows how far a trial is, until the trial ends."""
        title, share, trains = _title(job.draft), 0.0, False
        with self.row(title) as row, self._runs(job.draft.number):

            def told(step: str, done: int, total: int, note: str = "") -> None:
                nonlocal share, trains
                if step == "train":
                    row.first = row.first if trains else None  # what came before tells nothing of the time left
                    share, trains = done / total, True
                row.title = f"{title}: {step}"
                row.show(done, total, note, share)
                self.running[job.draft.number] = share
                self._show_whole()
                self._line_if_due(row)

            yield told

    @contextmanager
    def _runs(self, number: int) -> Iterator[None]:
        """A candidate is being tried."""
        try:
            yield
        finally:
            self.running.pop(number, None)

    def follow(self, jobs: Collection[TrialJob]) -> None:
        """Show how far the candidates are that other processes try, by what these note in the candidates' folders."""
        for number in self.followed.keys() - {job.draft.number for job in jobs}:
            self.followed.pop(number)[1].close()
        for job in jobs:
            if (noted := progress(job.folder)) is None:
                continue
            if job.draft.number not in self.followed:
                stack = ExitStack()
                self.followed[job.draft.number] = stack.enter_context(self.bar(job)), stack
            self.followed[job.draft.number][0](*noted)

    def front(self, table: Callable[[], tuple[pd.DataFrame, str]]) -> None:
        """Show a front above the bars of a terminal, unless making it would take a notable share of the time.

        Args:
            table: gives its networks, as drawn, and a title.
        """
        if not self.console.is_terminal or (began := self.clock()) < self.next_board:
            return
        frame, title = table()
        self.bars.board = rich_table(frame.loc[frame["front"] == MARK].head(ROWS), title) if len(frame) else None
        self.next_board = self.clock() + (self.clock() - began) / SHARE

    def report(self, report: Report) -> None:
        """Print a report."""
        report.print(self.console)

    def finished(self, record: Record, run: Path, top: Path | None = None) -> None:
        """Print a line on a finished candidate, in a log file with the time that is left."""
        text = line(record, run, top)
        if self.whole is not None:
            self.done += record.state != "rejected"
            self.total = max(self.total, self.done)
            self._show_whole()
            text += "" if self.console.is_terminal else f"; {self.whole}"
        self.say(text)

    def _show_whole(self) -> None:
        """Show how far the whole is."""
        if self.whole is not None:
            # The time left is not known before the first candidate: its beginning also loads and measures.
            done = self.done + sum(self.running.values())
            first = self.done == self.earlier
            self.whole.show(done, self.total, share=self.done / max(self.total, 1) if first else None)

    def _line_if_due(self, row: Row) -> None:
        """In a log file, print how far a row and the whole are, unless another line was printed lately."""
        if not self.console.is_terminal and self.clock() - self.said >= CALM:
            self.say("; ".join(map(str, filter(None, (row, self.whole)))))


class JsonLines(Screen):
    """Prints an object a line, each with its `event`: note, progress, candidate or report."""

    def say(self, text: str) -> None:
        self._tell("note", text=text)

    def paragraph(self, text: str) -> None:
        self.say(text)

    def finished(self, record: Record, run: Path, top: Path | None = None) -> None:
        if self.whole is not None:
            self.done += record.state != "rejected"
            self.total = max(self.total, self.done)
            self._show_whole()
        content = record.model_dump(mode="json", exclude_none=True, exclude={"sampler_notes"})
        self._tell("candidate", part="search" if top is None else "finals", record=content)

    def report(self, report: Report) -> None:
        found = {"best": report.best, "spec": report.best_spec, "files": report.paths, "notes": report.notes}
        tables = {"search": report.shown, "finals": report.finals.shown if report.finals else pd.DataFrame()}
        rows = {name: json.loads(table.to_json(orient="records") or "[]") for name, table in tables.items()}
        self._tell("report", **found, **rows)

    def _line_if_due(self, row: Row) -> None:
        if self.clock() - self.said >= CALM:
            self._tell("progress", parts=[str(one) for one in (row, self.whole) if one is not None])

    def _tell(self, event: str, **content: Any) -> None:
        self.said = self.clock()
        text = json.dumps({"event": event, **content}, default=str, ensure_ascii=False)
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def line(record: Record, run: Path, top: Path | None = None) -> str:
    """One line on a finished candidate of a run; paths start from `top`, by default from the run's folder."""
    figures = []
    if record.score:
        name = "score.miou" if isinstance(record.score, Score) else "score.top1"
        title, unit = METRICS[name].title.split()
        figures.append(f"{title} {record.metric(name):.1f} {unit}")
    if record.latency:
        told = "doubtful" if doubts(record.latency) else ""  # the report says why
        told = "predicted" if record.latency.source == "predicted" else told
        figures.append(f"{record.latency.median_ms:.1f} ms" + (f" ({told})" if told else ""))
    if record.cost:
        figures.append(amount("cost.macs", record.cost.macs))
    if record.started_from:
        start = record.started_from
        others = f" ({start.other_shapes} have another shape there and are new)" if start.other_shapes else ""
        figures.append(f"{start.taken} of {start.tensors} tensors from {start.file}{others}")
    if record.reason:
        figures.append(f"{record.state}: {record.reason}")
    if record.state == "failed" and (file := candidate_folder(run, record.number) / ERROR).exists():
        figures.append(f"see {file.relative_to(top or run)}")
    if record.seconds:
        figures.append(f"{sum(record.seconds.values()):.0f} s")
    return f"{_title(record)}: " + ", ".join(figures)


def _title(record: Record) -> str:
    name = f"({record.repeats:04d} again)" if record.repeats is not None else record.name or ""
    return f"{record.number:04d} {name}".strip()
