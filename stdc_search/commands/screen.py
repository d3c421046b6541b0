"""The screen during a run: lines of text, and a progress bar for the trial in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from stdc_search.doubt import doubts
from stdc_search.records import METRICS, Record, Score
from stdc_search.run_folder import ERROR, candidate_folder
from stdc_search.trial.stopwatch import Progress
from stdc_search.trial.trial import TrialJob


class Screen:
    """Prints to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print plain text; brackets are not markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def paragraph(self, text: str) -> None:
        """The same, wrapped between words."""
        self.console.print(text, markup=False, highlight=False)

    def bars(self) -> Bars:
        """Progress bars, which disappear at their end; none if the console is not a terminal."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        return Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    @contextmanager
    def bar(self, job: TrialJob) -> Iterator[Progress]:
        """A bar that shows how far a trial is, until the trial ends."""
        with self.bars() as bars:
            task, title = bars.add_task(""), _title(job.draft)
            yield lambda step, done, total: bars.update(
                task, description=f"{title} {step}", completed=done, total=total
            )


def line(record: Record, run: Path, top: Path | None = None) -> str:
    """One line on a finished candidate of a run; paths start from `top`, by default from the run's folder."""
    figures = []
    if record.score:
        name = "score.miou" if isinstance(record.score, Score) else "score.top1"
        title, unit = METRICS[name].title.split()
        figures.append(f"{title} {record.metric(name):.1f} {unit}")
    if record.latency:
        told = f"doubtful: {why}" if (why := doubts(record.latency)) else ""
        told = "predicted" if record.latency.source == "predicted" else told
        figures.append(f"{record.latency.median_ms:.1f} ms" + (f" ({told})" if told else ""))
    if record.cost:
        figures.append(f"{record.cost.macs / 1e9:.2f} GMACs")
    if record.started_from:
        figures.append("{taken} of {tensors} tensors from {file}".format(**record.started_from.model_dump()))
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
