"""Whether a finished candidate of an earlier run is one that this run would train, and what its record is here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from stdc_search.doubt import doubts
from stdc_search.records import Latency, Record, TakenFrom
from stdc_search.run_folder import CURVE, SPEC, WEIGHTS, candidate_folder, seed_folder
from stdc_search.search.space import values_in_space
from stdc_search.spec.base import replace, value_at
from stdc_search.spec.compare import differences
from stdc_search.spec.measurement import ELSEWHERE, LatencySpec
from stdc_search.spec.problems import SpecError, shown
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.start import StartSpec
from stdc_search.training.precision import precision_here
from stdc_search.trial.limits import Limits, undecided
from stdc_search.trial.trial import examine

NOT_OF_A_TIME = {"warmup", "repeats", "table", "also"}
"""Fields of `latency` that do not change what a time means."""


class Misfit(Exception):
    """A candidate is not taken over.

    Args:
        reason: why; candidates with the same reason are told together.
        detail: what is special about this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Fit:
    """A candidate of an earlier run that is legal in this one."""

    record: Record
    """Its record here, but with its number there; without a time if it has to be measured."""
    spec: RunSpec
    """Its run."""
    base: RunSpec
    """The same with the seeds of this run, from which those of repeats follow."""
    limits: Limits


def fit(
    record: Record,
    folder: Path,
    earlier: RunSpec,
    spec: RunSpec,
    predict: Callable[[RunSpec], Latency | None],
    here: Collection[str],
) -> Fit:
    """A finished candidate as one of this run.

    Args:
        record: of the candidate.
        folder: the earlier run's.
        earlier: the earlier run.
        spec: this run.
        predict: gives the time of a network, or None if it has to be measured.
        here: ids of this machine and of the devices whose times this run takes.

    Raises:
        Misfit: this run would not train it, or not like this.
    """
    place = candidate_folder(folder, record.number)
    if not (place / SPEC).is_file() or not (place / WEIGHTS).is_file():
        raise Misfit(f"have no `{SPEC}` or `{WEIGHTS}` in their folder any more")
    try:
        theirs = load(place / SPEC)
    except SpecError as error:
        raise Misfit("have a spec that is not legal any more", error.brief) from None
    start = None if record.repeats is not None else _start(spec, record)
    values = _values(spec, theirs)
    if values is not None:
        base = spec.candidate(values)
    elif start is not None:
        base = spec.start_candidate(start)
    else:
        raise _misfit_of(theirs, spec)
    mine = base
    if record.repeats is not None and theirs.training is not None:
        mine = replace(base, {"training.seeds": theirs.training.seeds})
    if mine.identity != record.identity:
        raise _misfit_of(theirs, mine)
    check_precision(record, spec)
    for name in spec.required_search.objectives:
        if name.startswith("score.") and record.figure(name) is None:
            raise Misfit(f"have no {name}")
    limits: Limits = spec.required_search.limits if values is not None else {}
    kept = record.latency if _time_holds(record, theirs.latency, mine.latency, limits, here) else None
    halving = spec.required_search.halving
    draft = record.model_copy(
        update={
            "origin": "sampler" if start is None else "start" if values is not None else "reference",
            "name": start and start.name,
            "values": values or {},
            "sampler_notes": {},
            "latency": kept and kept.model_copy(update={"beside": None}),  # not measured beside networks of this run
            "latency_also": record.latency_also if kept else (),
            "rungs": {epochs: score for epochs, score in record.rungs.items() if halving and epochs in halving.rungs},
            "training_loss": _losses(record, place, theirs, earlier, spec),
            "taken_from": TakenFrom(run=folder.as_posix(), number=record.number),
        }
    )
    found = examine(mine, draft, limits, predict)
    if found.state == "rejected":
        raise Misfit("are above a limit", found.reason or "")
    return Fit(found.model_copy(update={"seconds": record.seconds}), mine, base, limits)


def _start(spec: RunSpec, record: Record) -> StartSpec | None:
    """The start network of a run that a record is of."""
    same = (one for one in spec.required_search.networks if spec.start_candidate(one).identity == record.identity)
    return next(same, None)


def _values(spec: RunSpec, theirs: RunSpec) -> dict | None:
    try:
        return values_in_space(spec, theirs)
    except SpecError:  # it lacks a path that varies
        return None


def _misfit_of(theirs: RunSpec, mine: RunSpec) -> Misfit:
    """Why a candidate is not one of this run: what differs besides the varied paths, else its values."""
    varied = [path for name in mine.search.vary for path in mine.search.paths(name)] if mine.search else []
    different = [
        line
        for path, line in differences(theirs.content, mine.content)
        if not any(f"{path}.".startswith(f"{one}.") or f"{one}.".startswith(f"{path}.") for one in varied)
    ]
    if different:
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        return Misfit(f"differ from this run in {different[0]}{more}")
    if mine.search is None:  # their weights to start from, for example, are other ones now
        return Misfit("do not belong to the spec in their folder")
    return Misfit("are outside of the space", _outside(theirs, mine))


def _outside(theirs: RunSpec, spec: RunSpec) -> str:
    """The first value that this run's ranges do not have."""
    for name, vary in spec.required_search.vary.items():
        path = spec.required_search.paths(name)[0]
        try:
            value = value_at(theirs, path)
        except SpecError:
            return f"it has no {path}"
        if not isinstance(value, dict) and not vary.contains(value):
            return f"{path} {shown(value)}"
    return ""


def check_precision(record: Record, spec: RunSpec) -> None:
    """Raise Misfit if a record was trained in another precision than a run trains in here."""
    if record.precision is None or spec.training is None:
        return
    if record.precision != (here := precision_here(spec.training.precision)):
        raise Misfit(f"were trained in {record.precision}, and this run trains in {here}")


def _time_holds(
    record: Record, theirs: LatencySpec | None, mine: LatencySpec | None, limits: Limits, here: Collection[str]
) -> bool:
    """Whether a time was measured as this run measures, on the same machine, and is sure enough for its limits."""
    time = record.latency
    if time is None or time.source != "measured" or theirs is None or mine is None or mine.on == ELSEWHERE:
        return False
    if _conditions(theirs) != _conditions(mine) or (time.machine or record.machine) not in here:
        return False
    return not (doubts(time) and undecided(limits, time))


def _conditions(latency: LatencySpec) -> list[dict]:
    return [one.model_dump(exclude=NOT_OF_A_TIME) for one in (latency, *latency.also)]


def _losses(record: Record, place: Path, theirs: RunSpec, earlier: RunSpec, spec: RunSpec) -> tuple[float, ...] | None:
    """Training losses over the epochs that this run looks at, which early stopping bounds; None if they are unknown."""
    looked_at = [run.search.halving.rungs[0] if run.search and run.search.halving else None for run in (earlier, spec)]
    if record.training_loss is None or theirs.training is None or looked_at[0] == looked_at[1]:
        return record.training_loss
    losses = []
    for seed in (seeds := theirs.training.seeds):
        try:
            with (seed_folder(place, seed, seeds[0]) / CURVE).open(encoding="utf-8", newline="") as file:
                curve = [float(row["loss"]) for row in csv.DictReader(file)][: looked_at[1]]
        except (OSError, KeyError, ValueError):
            return None
        losses.append(fmean(curve[len(curve) // 2 :]))
    return tuple(losses)
