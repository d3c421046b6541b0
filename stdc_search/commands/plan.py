"""What a run will do, and about how long it will take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from stdc_search.latency import this_machine
from stdc_search.records import Record
from stdc_search.report.words import duration
from stdc_search.spec.executor import ProcessesSpec, RaySpec
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import TrainingSpec
from stdc_search.training.batches import length
from stdc_search.trial.estimate import estimate_seconds
from stdc_search.trial.training import Datasets


def plan(
    spec: RunSpec,
    records: Sequence[Record],
    datasets: Datasets | None,
    candidates: int,
    slots: int = 1,
    finals: Sequence[Record] = (),
) -> Iterator[str]:
    """Lines on the space, on the candidates and finals done and left, and on the minutes that they need.

    Args:
        spec: the run.
        records: of candidates that are done.
        datasets: where networks are trained.
        candidates: that are still to be trained, at most.
        slots: how many at a time.
        finals: complete records of the finals.
    """
    if spec.search is not None:
        size = spec.search.size
        space = f"{size:,} combinations" if size != float("inf") else "infinitely many combinations"
        yield f"Space: {space} of {len(spec.search.vary)} varied parameters, before limits."
    if spec.training is None or datasets is None:
        if spec.data is not None and not spec.uses_data:
            yield "`data` is not used for training, because the section `training` is missing."
        return
    done = sum(record.state != "rejected" for record in records)
    if taken := _seconds(spec, records):
        seconds, basis = mean(taken), "the mean so far"
    else:
        seconds = estimate_seconds(spec, spec.training, datasets, threads_of(spec))
        basis = "as for the file's own network" + "; smaller networks are faster" * (spec.search is not None)
    if candidates <= 0:
        yield f"Candidates: {done} trained, none left."
    else:
        yield (
            f"Candidates: {done} trained, up to {candidates} left, "
            f"about {duration(seconds * candidates / max(slots, 1))} in all "
            f"({duration(seconds)} each{f', {slots} at a time' if slots > 1 else ''}, {basis})."
        )
    search = spec.search
    if search is not None and search.finals is not None and search.finals.networks:
        how = spec.finals_run.training or spec.training
        most, seeds = search.finals.networks + len(search.networks), len(how.seeds)
        left = most if candidates > 0 else max(most - len(finals), 0)  # new candidates may be better than old finalists
        images = len(datasets.train)
        longer = images_seen(how, images) / images_seen(spec.training, images)
        each = seeds * mean(_seconds(spec, finals, each_training=True) or [seconds * longer / seeds])
        lacking = [lack for one in finals if (lack := seeds - one.trainings) > 0]
        more = [f"{len(lacking)} of them get more seeds"] * bool(lacking) + [f"up to {left} left"] * bool(left)
        if more:
            more.append(f"about {duration(each * (left + sum(lacking) / seeds) / max(slots, 1))} more")
        yield f"Finals: {len(finals)} networks trained, {', '.join(more or ['none left'])}."


def _seconds(spec: RunSpec, records: Sequence[Record], *, each_training: bool = False) -> list[float]:
    """Of each complete record, or of each training. Those of another machine say nothing about this one; a cluster has
    several."""
    several = spec.search is not None and isinstance(spec.search.executor, RaySpec)
    here = this_machine().id
    ours = (one for one in records if one.state == "complete" and (several or one.machine == here))
    return [sum(one.seconds.values()) / (max(one.trainings, 1) if each_training else 1) for one in ours]


def threads_of(spec: RunSpec) -> int | None:
    """CPU threads of each training; None for all."""
    match spec.search and spec.search.executor:
        case ProcessesSpec(threads=threads):
            return threads
        case RaySpec(cpus_per_trial=cpus):
            return max(int(cpus), 1)
    return None


def images_seen(training: TrainingSpec, images: int) -> int:
    """Images that are processed to train a network, over all seeds."""
    steps, _ = length(training, images)
    return steps * training.batch * len(training.seeds)
