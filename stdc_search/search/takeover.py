"""Takes over finished trainings of earlier runs, so that a relaxed limit or range does not cost them.

A candidate fits if this run would train it exactly like the earlier one: the same network, data, training, evaluation
and image size, within the space and the limits. Its files are linked or copied first and its record is appended last,
so a start that was killed in between is completed by the next one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stdc_search.data.contents import Contents, differences
from stdc_search.errors import UserError, several
from stdc_search.latency import this_machine
from stdc_search.network.builder import build
from stdc_search.records import Latency, Machine, Record, TakenFrom, read, read_machines
from stdc_search.run_folder import (
    CHECKPOINT,
    CONTENTS,
    ERROR,
    FINALS,
    MACHINES,
    RESULTS,
    RUNNING,
    SPEC,
    TRIES,
    candidate_folder,
)
from stdc_search.search.candidates import Candidates
from stdc_search.search.finals import Finals
from stdc_search.search.fits import Fit, Misfit, check_precision, fit
from stdc_search.search.study import with_other_seeds
from stdc_search.spec.base import dump
from stdc_search.spec.run import RunSpec, load
from stdc_search.storage import UNFINISHED
from stdc_search.trial.limits import Rejected, check_limits
from stdc_search.trial.training import Datasets
from stdc_search.trial.trial import time_network

EXAMPLES = 3
"""Candidates that a message names for each reason."""


@dataclass(frozen=True)
class Earlier:
    """An earlier run."""

    folder: Path
    spec: RunSpec
    contents: Contents | None
    """Its data, unless it is older than this note."""

    @classmethod
    def open(cls, folder: Path, out: Path) -> Earlier:
        """Open the folder of an earlier run.

        Args:
            folder: the earlier run's.
            out: this run's, which need not exist.

        Raises:
            UserError: it is not a run folder, or the one of this run.
        """
        if not ((folder / SPEC).is_file() and (folder / RESULTS).is_file()):
            raise UserError(f"--from {folder}: is not a run folder with results; give one such as runs/quickstart")
        if folder.resolve() == out.resolve():
            another = out.with_name(f"{out.resolve().name}_2")
            raise UserError(
                f"--from {folder}: is the folder of this run itself; add a new one, such as --out {another}"
            )
        return cls(folder, load(folder / SPEC), Contents.read(folder / CONTENTS))

    @property
    def complete(self) -> list[Record]:
        """Its finished candidates, in the order of their numbers."""
        return _complete(self.folder)

    def check_data(self, contents: Contents | None) -> None:
        """Raise UserError if its images or labels are not those of this run."""
        if contents and self.contents and (lines := differences(self.contents.files, contents.files)):
            raise UserError(f"--from {self.folder}: its data differ, so no training fits:\n  " + "\n  ".join(lines))


class TakeOver:
    """What of an earlier run is taken over, and why the rest is not.

    Args:
        earlier: the earlier run.
        spec: this run.
        contents: its data.
        predict: gives the time of a network, or None if it has to be measured.
        devices: that times are taken on, besides this machine.

    Raises:
        UserError: nothing fits.
    """

    def __init__(
        self,
        earlier: Earlier,
        spec: RunSpec,
        contents: Contents | None = None,
        predict: Callable[[RunSpec], Latency | None] | None = None,
        devices: Collection[Machine] = (),
    ) -> None:
        self.earlier = earlier
        self.fits: list[Fit] = []
        self.misfits: dict[str, list[str]] = {}
        earlier.check_data(contents)
        here = {this_machine().id, *(device.id for device in devices)}
        for record in earlier.complete:
            try:
                self.fits.append(fit(record, earlier.folder, earlier.spec, spec, predict or (lambda _: None), here))
            except Misfit as misfit:
                self.note(record, misfit)
        if not self.fits:
            why = self.left or "\n  it has no finished training"
            raise UserError(f"--from {earlier.folder}: nothing can be taken over:{why}")

    def note(self, record: Record, misfit: Misfit) -> None:
        """Note why a candidate is not taken over."""
        example = f"{record.number:04d}" + (f": {misfit.detail}" if misfit.detail else "")
        self.misfits.setdefault(misfit.reason, []).append(example)

    @property
    def left(self) -> str:
        """A line for each reason why candidates are not taken over."""
        return "".join(
            f"\n  {len(found)} {reason} ({several(found, EXAMPLES)})" for reason, found in self.misfits.items()
        )

    def do(self, candidates: Candidates, datasets: Datasets | None, say: Callable[[str], None]) -> None:
        """Bring what fits into the folder of this run, except what is there already."""
        taken: list[Record] = []
        timed = 0
        numbers = {one.number: one.identity for one in self.earlier.complete}
        unfinished = candidates.unfinished()  # they keep their numbers and are trained on
        for one in self.fits:
            known = [*candidates.records, *unfinished]
            if one.record.identity in {record.identity for record in known}:
                continue
            number = 1 + max((record.number for record in known), default=-1)
            try:
                record = self._of_this_run(one, number, candidates.records, numbers)
                if record.latency is None and one.spec.latency is not None:
                    record = _timed(record, one, datasets)
                    timed += 1
            except Misfit as misfit:
                self.note(one.record, misfit)
                continue
            taken.append(_bring(record, one.spec, self.earlier.folder, one.record.number, candidates))
        if taken:
            again = f"; {timed} of them were timed again, since their times do not hold here" if timed else ""
            say(f"Taken over from {self.earlier.folder}: {len(taken)} trainings, which count as trials{again}.")
        if self.misfits:
            say(f"Not taken over from {self.earlier.folder}:{self.left}")

    def _of_this_run(
        self, one: Fit, number: int, records: Sequence[Record], numbers: Mapping[int, str | None]
    ) -> Record:
        """The record with its number in this run, and with that of the candidate that it repeats."""
        if one.record.repeats is None:
            return one.record.model_copy(update={"number": number})
        first = next((it for it in records if it.identity == numbers.get(one.record.repeats)), None)
        if first is None:
            raise Misfit("repeat candidates that are not taken over")
        before = 1 + sum(it.repeats == first.number for it in records)
        if with_other_seeds(one.base, before).identity != one.record.identity:
            raise Misfit("have other seeds than this run gives its next repeat")
        return one.record.model_copy(update={"number": number, "repeats": first.number})


def take_over_finals(several: Sequence[Earlier], study: Finals, finals: Candidates, say: Callable[[str], None]) -> None:
    """Bring finished finals of earlier runs into the finals of this one, for networks that are finalists here, too."""
    for earlier in several:
        done = {one.identity: one for one in _complete(earlier.folder / FINALS)}
        taken = []
        for number, finalist in study.finalists.items():
            run = study.run_of(finalist)
            if number in study.begun or (old := done.get(run.identity)) is None:
                continue
            try:
                check_precision(old, run)
            except Misfit:
                continue
            changes = {name: getattr(finalist, name) for name in ("number", "origin", "name", "values", "latency_also")}
            changes |= {"latency": finalist.latency, "machine": finalist.machine, "repeats": None}
            origin = TakenFrom(run=(earlier.folder / FINALS).as_posix(), number=old.number)
            record = old.model_copy(update={**changes, "taken_from": origin})
            taken.append(_bring(record, run, earlier.folder / FINALS, old.number, finals))
            study.begun.add(number)
            study.records[number] = record
        if taken:
            say(f"Finals taken over from {earlier.folder}: {', '.join(f'{one.number:04d}' for one in taken)}.")


def _complete(folder: Path) -> list[Record]:
    found = [record for record in read(folder / RESULTS) if record.state == "complete"]
    return sorted(found, key=lambda record: record.number)


def _timed(record: Record, one: Fit, datasets: Datasets | None) -> Record:
    """The record with a time that is measured now.

    Raises:
        Misfit: the time is above a limit.
    """
    assert one.spec.latency is not None
    found = time_network(build(one.spec.network), one.spec.image_size, one.spec.latency, one.limits, datasets)
    try:
        check_limits(one.limits, "latency", found)
    except Rejected as rejection:
        raise Misfit("are above a limit", str(rejection)) from None
    return record.model_copy(update={**found, "machine": this_machine().id})


def _bring(record: Record, spec: RunSpec, earlier: Path, number: int, candidates: Candidates) -> Record:
    """Put the files of an earlier run's candidate into the folder of this run, and then its record."""
    target = candidate_folder(candidates.folder, record.number)
    if target.exists():  # a start was killed before it kept the record
        shutil.rmtree(target)
    unwanted = shutil.ignore_patterns(SPEC, CHECKPOINT, RUNNING, TRIES, ERROR, f".*{UNFINISHED}")
    shutil.copytree(candidate_folder(earlier, number), target, ignore=unwanted, copy_function=_link_or_copy)
    dump(spec, target / SPEC)
    machines = read_machines(earlier / MACHINES)
    for machine in {record.machine, record.latency and record.latency.machine} & machines.keys():
        candidates.met(machines[machine])
    candidates.keep(record)
    return record


def _link_or_copy(source: str, target: str) -> None:
    """Files of a finished training never change, so both runs may share them."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
        with open(target, "rb+") as file:
            os.fsync(file.fileno())
