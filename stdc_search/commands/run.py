"""One run from its file to its folder: goes on where it stopped, tries candidates, reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from stdc_search.data.contents import Contents, differences, look
from stdc_search.data.dataset import Split
from stdc_search.data.survey import SPLITS, faults, remarks
from stdc_search.latency import note_machine
from stdc_search.latency.forecast import Forecast
from stdc_search.ranking import front
from stdc_search.records import ImageScore, Machine, Record, Score, append, read
from stdc_search.report import Report, write_report
from stdc_search.report.survey import summary
from stdc_search.report.words import doubts
from stdc_search.run_folder import (
    CHECKPOINT,
    CONTENTS,
    ERROR,
    MACHINES,
    RESULTS,
    SPEC,
    candidate_folder,
    candidate_folders,
    locked,
    remove_temporary,
    running,
)
from stdc_search.search.driver import Driver
from stdc_search.search.executors import make_executor
from stdc_search.search.mirror import Mirror
from stdc_search.search.study import Proposal, Study
from stdc_search.spec.base import dump, located
from stdc_search.spec.data import DataSpec
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.training import MEANS
from stdc_search.storage import write_atomically
from stdc_search.training.batches import length
from stdc_search.training.loop import check
from stdc_search.training.parallel import announce, leads, state
from stdc_search.trial.estimate import estimate_seconds
from stdc_search.trial.trial import Datasets, Progress, TrialJob, begin, examine, follow, run_trial

REJECTIONS = 1000
"""Candidates rejected in a row after which a search gives up."""
FREE = ("search.trials", "search.executor", "search.storage", "data.root", *(f"training.{name}" for name in MEANS))
"""What may differ from the spec that began a run folder."""


def run(
    spec: RunSpec | str | Path,
    out: str | Path | None = None,
    *,
    data_root: str | Path | None = None,
    console: Console | None = None,
) -> Report:
    """Do all that a spec says, in a folder that keeps every result; an existing folder goes on where it stopped.

    Of several processes (`parallel.py`) the first one does it, and the others take part in its trainings.

    Args:
        spec: a spec, or its file.
        out: the run's folder; default: `runs/` and the file's stem.
        data_root: where a relative `data.root` starts.
        console: where plan, progress and report are printed; default: nowhere.

    Raises:
        SpecError: the file is wrong, or the folder began with another spec.
        FolderInUseError: another process runs in the folder.
        DataError: the data is missing or broken.
    """
    source = None
    if not isinstance(spec, RunSpec):
        source = Path(spec)
        out = out or Path("runs") / Path(spec).stem
        spec = load(Path(spec))
    if out is None:
        raise ValueError("`out` is missing: a spec that is no file needs a folder for its run")
    root = Path(data_root).absolute() if data_root is not None else None
    datasets = None
    if spec.data is not None and spec.training is not None:
        datasets = Datasets.open(spec.data, spec.training.cache_gb, root)
    if spec.search is not None and spec.search.executor.kind != "in_process" and state().num_processes > 1:
        message = "starts processes of its own, and these were started by another program; start one, or use in_process"
        raise SpecError(Problem("search.executor.kind", message))
    if spec.training is not None:
        teacher = getattr(spec.training.loss, "distillation", None)
        files = {"start_from": spec.training.start_from, "loss.distillation.weights": teacher and teacher.weights}
        for name, file in files.items():
            if file is not None and not file.is_file():
                raise SpecError(Problem(f"training.{name}", f"{file} does not exist; give a file of weights"))
    if datasets is not None and spec.training is not None:
        check(spec.training)
        # Mistakes of a person come before a folder.
        steps, epoch_steps = length(spec.training, len(datasets.train))
        halving = spec.search and spec.search.halving
        if halving and halving.rungs[-1] >= (epochs := ceil(steps / epoch_steps)):
            message = f"a rung after {halving.rungs[-1]} epochs is no stop: `training.steps` makes {epochs}; use fewer"
            raise SpecError(Problem("search.halving.rungs", message))
    forecast = Forecast(spec.latency) if spec.latency is not None and spec.latency.table is not None else None
    if not leads():
        follow(datasets)
        return write_report(Path(out))
    console = console or Console(quiet=True)
    try:
        contents = None
        if spec.data is not None and datasets is not None:
            contents = _look(spec.data, datasets, Path(out), root, console)
            if problems := faults(spec.data, contents.labels):
                raise located(problems, source)
        with locked(Path(out)) as folder:
            return _Run(spec, folder, datasets, root, forecast, console, contents).run()
    finally:
        announce(None)


def _look(spec: DataSpec, datasets: Datasets, folder: Path, data_root: Path | None, console: Console) -> Contents:
    """Look at all of the data, with a progress bar; a run that goes on reads the labels again only if they changed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {split: bars.add_task(f"labels of {split}", total=None) for split in SPLITS}
        return look(
            spec,
            {"train": datasets.train.data, "val": datasets.val.data},
            data_root,
            Contents.read(folder / CONTENTS),
            lambda split, done, total: bars.update(tasks[split], completed=done, total=total),
        )


class _Run:
    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        datasets: Datasets | None,
        data_root: Path | None,
        forecast: Forecast | None,
        console: Console,
        contents: Contents | None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.datasets = datasets
        self.data_root = data_root
        self.forecast = forecast
        self.console = console
        self.contents = contents
        self.results = folder / RESULTS
        self.records = read(self.results)
        self.begin_folder()
        self.machine = note_machine(folder / MACHINES)

    def run(self) -> Report:
        self.tell_data()
        if self.spec.search is not None:
            self.search()
        elif not any(record.state == "complete" for record in self.records):
            self.plan(1)
            proposal = Proposal(len(self.records), {}, self.spec, "base")
            if isinstance(job := self.examine(proposal), Record):
                self.finish(job)
            else:
                with self.progress(job) as progress:
                    self.finish(run_trial(job, self.datasets, progress))
        report = write_report(self.folder)
        report.print(self.console)
        if not any(record.state == "complete" for record in self.records):
            last = self.records[-1]
            raise SpecError.of(
                f"{self.folder}: no network was completed; {last.number:04d} {last.state}: {last.reason}"
            )
        return report

    def search(self) -> None:
        assert self.spec.search is not None
        if self.forecast is not None:
            self.forecast.check(self.spec)
        study = Study(self.spec, self.records, self.forecast)
        mirror = Mirror(study, self.folder)
        most = self.spec.search.size + len(self.spec.search.networks)  # references are no combinations of the space
        executor = make_executor(self.spec.search.executor, self.datasets, self.progress)
        try:
            self.plan(int(min(self.spec.search.trials, most)) - study.trained, executor.slots)
            known = {record.number for record in self.records}
            begun = [
                record
                for number, folder in candidate_folders(self.folder).items()
                if (record := running(folder)) and record.number == number
            ]
            driver = Driver(study, executor, self, lambda: mirror.add(self.records))
            driver.run(record for record in begun if record.number not in known)
        finally:
            executor.close()
        if self.forecast is not None and self.measure_shown(self.forecast):
            mirror.rewrite(self.records)  # it has predicted times of what is measured now
        mirror.add(self.records, last=True)
        mirror.close()
        if rejected := self.rejected_in_a_row():
            self.say(
                f"The last {rejected} candidates were all rejected, the last one since {self.records[-1].reason}; "
                "to have more, widen `limits` or the ranges of `vary`."
            )
        elif study.trained < self.spec.search.trials:
            self.say(f"The space is exhausted: all of it was tried with {study.trained} trainings.")

    def measure_shown(self, forecast: Forecast) -> bool:
        """Measure the front and all that has a name, side by side, until no time among them is predicted."""
        assert self.spec.search is not None
        objectives = self.spec.search.objectives
        guessed: dict[int, float] = {}
        while True:
            complete = [record for record in self.records if record.state == "complete"]
            if not complete:
                return False
            inside = [record for record in complete if record.origin != "reference"]
            points = [[record.metric(name) for name in objectives] for record in inside]
            best = front(points, list(objectives.values())) if inside else []
            on_front = {record.number for record, its in zip(inside, best, strict=True) if its}
            chosen = [record for record in complete if record.number in on_front or record.name]
            new = {
                record.number: record.latency.median_ms
                for record in chosen
                if record.latency is not None and record.latency.source == "predicted"
            }
            if not new:
                break
            guessed |= new
            self.say(f"Measuring the {len(chosen)} networks that are shown, of which {len(new)} were predicted.")
            times = forecast.measure([load(candidate_folder(self.folder, record.number) / SPEC) for record in chosen])
            for record, (latency, *also) in zip(chosen, times, strict=True):
                self.note(record.model_copy(update={"latency": latency, "latency_also": tuple(also)}))
        found = {
            record.number: record.metric("latency.median_ms") for record in self.records if record.number in guessed
        }
        if found:
            off = mean(100 * abs(guessed[number] / found[number] - 1) for number in guessed)
            stated = forecast.table.errors.mape
            self.say(f"Their predicted times were off by {off:.1f} % on average; the table states {stated:.1f} %.")
            limit = self.spec.search.limits.get("latency.median_ms")
            if limit and (above := [number for number, time in found.items() if time > limit.at_most]):
                names = ", ".join(f"{number:04d} ({found[number]:.1f} ms)" for number in above)
                self.say(
                    f"Measured, these are above the limit of {limit.at_most:g} ms, which their predictions met: "
                    f"{names}."
                )
        return bool(found)

    def note(self, record: Record) -> None:
        """Keep a record, in the place of the one of its number if there is one."""
        append(self.results, record)
        numbers = [other.number for other in self.records]
        if record.number in numbers:
            self.records[numbers.index(record.number)] = record
        else:
            self.records.append(record)

    @property
    def gives_up(self) -> bool:
        """Whether so many candidates were rejected in a row that there will be no other."""
        return self.rejected_in_a_row() >= REJECTIONS

    def met(self, machine: Machine) -> None:
        """Note a machine that a record is of."""
        note_machine(self.folder / MACHINES, machine)

    def rejected_in_a_row(self) -> int:
        """How many of the newest records are rejections."""
        return sum(1 for _ in takewhile(lambda record: record.state == "rejected", reversed(self.records)))

    def say(self, text: str) -> None:
        """Print plain text; brackets in it are no markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def examine(self, proposal: Proposal) -> TrialJob | Record:
        """The trial of a proposal, whose folder is begun, or the record of one that is rejected."""
        spec = proposal.spec
        draft = Record(
            number=proposal.number,
            state="rejected" if spec is None else "running",
            origin=proposal.origin,
            name=proposal.name,
            identity=spec.identity if spec else None,
            values=dict(proposal.values),
            sampler_notes=dict(proposal.notes),
            image_size=(spec or self.spec).image_size,
            reason=proposal.reason,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=self.machine.id,
        )
        if spec is None:
            return draft
        limits = self.spec.search.limits if self.spec.search and proposal.trial else {}
        draft = examine(spec, draft, limits, self.forecast or (lambda spec: None))
        if draft.state == "rejected":
            return draft
        folder = candidate_folder(self.folder, proposal.number).absolute()
        job = TrialJob(spec, folder, draft, limits, self.data_root)
        begin(job)
        return job

    def finish(self, record: Record) -> Record:
        """Keep a candidate's record; only then is there nothing left to go on with."""
        self.note(record)
        folder = candidate_folder(self.folder, record.number)
        remove_temporary(folder)
        self.say(_line(record, folder))
        return record

    def begin_folder(self) -> None:
        """Write `spec.yaml` and `data.json`, or check that those that are there say the same.

        Raises:
            SpecError: the run began with another spec or other data.
        """
        path, data_path = self.folder / SPEC, self.folder / CONTENTS
        before = Contents.read(data_path)
        if path.exists() and self.begun():
            different = _differences(load(path).model_dump(mode="json"), self.spec.model_dump(mode="json"))
            different = [line for name, line in different if not name.startswith(FREE)]
            what = "another spec"
            if not different and self.contents and before:
                different = differences(before.files, self.contents.files, self.used())
                what = "other data"
            if different:
                raise SpecError.of(
                    f"{self.folder}: was begun with {what}, and its results would not be comparable:\n  "
                    + "\n  ".join(different)
                    + "\nGive --out a new folder, or change these back."
                )
        if self.contents and self.contents != before:
            write_atomically(data_path, self.contents.model_dump_json())
        if not path.exists() or load(path) != self.spec:  # a person's own file keeps its comments
            write_atomically(path, dump(self.spec))

    def begun(self) -> bool:
        """Whether there is anything that another spec would not be comparable with."""
        return bool(self.records) or any(any(folder.iterdir()) for folder in candidate_folders(self.folder).values())

    def used(self) -> tuple[Split, ...]:
        """Splits that results depend on already. A broken image may be mended before the first score or checkpoint."""
        folders = candidate_folders(self.folder).values()
        tried = [record for folder in folders if (record := running(folder))]
        if any(record.score or record.rungs for record in (*self.records, *tried)):
            return SPLITS
        return ("train",) if any(any(folder.rglob(CHECKPOINT)) for folder in folders) else ()

    def tell_data(self) -> None:
        """How many images, which classes, and what scores on them do not say."""
        if self.contents is None or self.spec.data is None:
            return
        labels = self.contents.labels
        for line in summary(labels["train"], labels["val"]):
            self.console.print(line, markup=False, highlight=False)
        for line in remarks(self.spec.data, labels):
            self.say(f"Note: {line}")

    def plan(self, trainings: int, slots: int = 1) -> None:
        """Say what is to come and about how long it takes."""
        say = self.say
        if self.spec.search is not None:
            size = self.spec.search.size
            space = f"{size:,} combinations" if size != float("inf") else "infinitely many combinations"
            say(f"Space: {space} of {len(self.spec.search.vary)} varied things, before limits.")
        if self.spec.training is None:
            if self.spec.data is not None:
                say("Nothing is trained on `data`: there is no section `training`.")
            return
        done = sum(record.state != "rejected" for record in self.records)
        if trainings <= 0:
            say(f"Candidates: {done} trained, none to do.")
            return
        taken = [sum(record.seconds.values()) for record in self.records if record.state == "complete"]
        if taken:
            seconds, basis = sum(taken) / len(taken), "the mean of those that are done"
        else:
            assert self.datasets is not None
            seconds = estimate_seconds(self.spec, self.datasets)
            basis = "by a short trial of the file's own network; larger ones take longer"
        say(
            f"Candidates: {done} trained, up to {trainings} to do, "
            f"about {seconds * trainings / max(slots, 1) / 60:.0f} minutes in all "
            f"({seconds / 60:.1f} each{f', {slots} at a time' if slots > 1 else ''}, {basis})."
        )

    @contextmanager
    def progress(self, job: TrialJob) -> Iterator[Progress]:
        """A bar that shows what a trial does; gone when it is done."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            task = bars.add_task("")
            title = f"{job.draft.number:04d} {job.draft.name or ''}".strip()
            yield lambda step, done, total: bars.update(
                task, description=f"{title} {step}", completed=done, total=total
            )


def _differences(old: Any, new: Any, path: str = "") -> list[tuple[str, str]]:
    """Dotted paths at which two dumped specs differ, each with a line that says how."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        pairs = [(key, old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [(path, f"{path}: {json.dumps(old)} there, {json.dumps(new)} here")]
    return [line for key, a, b in pairs for line in _differences(a, b, f"{path}.{key}".lstrip("."))]


def _line(record: Record, folder: Path) -> str:
    """One line on a finished candidate, whose folder may have more."""
    title = f"{record.number:04d} {record.name or ''}".strip()
    figures = []
    match record.score:
        case Score(miou=miou):
            figures.append(f"mIoU {miou:.1f} %")
        case ImageScore(top1=top1):
            figures.append(f"top-1 {top1:.1f} %")
        case None:
            pass
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
    if record.state == "failed" and (folder / ERROR).exists():
        figures.append(f"see {folder.parent.name}/{folder.name}/{ERROR}")
    if record.seconds:
        figures.append(f"{sum(record.seconds.values()):.0f} s")
    return f"{title}: " + ", ".join(figures)
