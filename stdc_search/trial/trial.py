"""RunSpec -> Record: count, time, train and score one network. The cheap steps come first, so a broken limit ends it
early.

A trial has two halves: `examine` does what needs no network, and `run_trial` does the rest, perhaps in another process.
What a trial finds before its training is kept in its folder until it ends.
"""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from stdc_search.data import DataError, Dataset
from stdc_search.deploy.quantize import calibration_images
from stdc_search.errors import UserError
from stdc_search.latency import UnavailableError, beside, measure_network, this_machine
from stdc_search.latency.again import measure_until_sure
from stdc_search.network.cost import count, warn_of_trunk
from stdc_search.network.weights import WeightsError
from stdc_search.records import Latency, Record
from stdc_search.run_folder import ERROR, SPEC, note_running, running
from stdc_search.spec.base import dump
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.whole import OnnxFileSpec
from stdc_search.storage import write_atomically
from stdc_search.tasks import task_of
from stdc_search.training.loop import TrainingDiverged
from stdc_search.training.parallel import state
from stdc_search.training.precision import precision_here
from stdc_search.trial.limits import Limits, Rejected, check_limits, undecided
from stdc_search.trial.stopwatch import Progress, Stopwatch, silent
from stdc_search.trial.training import Datasets, Training, initial


@dataclass(frozen=True)
class TrialJob:
    """A trial that is to be run, in this process or another."""

    spec: RunSpec
    """The network's own run; its search, if any, is not counted."""
    folder: Path
    """Gets `spec.yaml`, weights, curve and a sample; an interrupted training in it resumes."""
    draft: Record
    """What `examine` gave."""
    limits: Limits = field(default_factory=dict)
    """Bounds by metric (`SearchSpec.limits`), looked at before training."""
    data_root: Path | None = None
    """Where a relative `data.root` starts, for a process that opens data sets of its own."""
    until: int | None = None
    """Epochs after which the training waits at a rung; default: none."""
    looked_at: int | None = None
    """The first epochs, whose losses are recorded; default: all."""
    first: int = 0
    """The first of `training.seeds` that is trained, by its place. An earlier record has those before it."""


def examine(spec: RunSpec, draft: Record, limits: Limits, predict: Callable[[RunSpec], Latency | None]) -> Record:
    """The record of a network with its cost, and its time where it need not be measured.

    Args:
        spec: the network's own run.
        draft: its record so far.
        limits: bounds by metric.
        predict: gives the time, or nothing.

    Returns:
        A running record, or one that is rejected by a limit or because the values are illegal together.
    """
    started = time.perf_counter()
    found: dict[str, Any] = {}
    try:
        found["cost"] = count(spec.network, spec.image_size)
        warn_of_trunk(spec.network)
        check_limits(limits, "cost", found)
        found["latency"] = draft.latency or predict(spec)
        check_limits(limits, "latency", found)
    except (Rejected, UserError) as rejection:
        found |= {"state": "rejected", "reason": str(rejection)}
    return draft.model_copy(update={**found, "seconds": {"count": round(time.perf_counter() - started, 3)}})


def begin(job: TrialJob) -> None:
    """Make a trial's folder with everything needed to resume it; files of another candidate are removed."""
    path = job.folder / SPEC
    if job.folder.exists() and not (job.first or (path.exists() and load(path).identity == job.spec.identity)):
        shutil.rmtree(job.folder)
    job.folder.mkdir(parents=True, exist_ok=True)
    dump(job.spec.without_search(), path)
    if running(job.folder) is None:
        note_running(job.folder, job.draft)


def run_trial(job: TrialJob, datasets: Datasets | None, progress: Progress = silent) -> Record:
    """Run one network as far as its spec says.

    Args:
        job: the trial.
        datasets: needed with `training`.
        progress: called with the progress.

    Returns:
        The record: complete, running if it waits at a rung, rejected by a limit or because its values are illegal
        together, or failed with its error. Nothing is raised but for a person's interrupt and for what would break
        every other trial too: broken data or weights, a runtime that is not here.
    """
    trial = _Trial(job, progress)
    try:
        trial.run(datasets)
        return trial.record("complete" if job.until is None else "running")
    except (DataError, WeightsError, UnavailableError, OSError):
        raise
    except (Rejected, UserError) as rejection:
        return trial.record("rejected", str(rejection))
    except TrainingDiverged as error:
        return trial.record("failed", str(error))
    except Exception as error:
        if state().num_processes > 1:  # the others wait for this one
            raise
        job.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(job.folder / ERROR, traceback.format_exc())
        return trial.record("failed", f"{type(error).__name__}: {error}")
    finally:
        gc.collect()


def time_network(
    module: nn.Module, image_size: tuple[int, int], spec: LatencySpec, limits: Limits, datasets: Datasets | None
) -> dict[str, Any]:
    """Time an untrained network, again where a doubtful time would decide that a limit is broken.

    Returns:
        The fields of a record: `latency` and `latency_also`.
    """
    images = None
    if datasets is not None and any(timed.precision == "int8" for timed in (spec, *spec.also)):
        images = calibration_images(datasets.train, image_size)

    def measure() -> list[list[Latency]]:
        own, others = measure_network(module, image_size, spec, images)
        return [[own, *others]]

    ((own, *others),) = measure_until_sure(measure, lambda times: undecided(limits, times[0][0]))
    return {"latency": own, "latency_also": tuple(others)}


class _Trial:
    """A trial that is being run, and what it has found so far."""

    def __init__(self, job: TrialJob, progress: Progress) -> None:
        self.job, self.spec = job, job.spec
        self.found: dict[str, Any] = {"machine": this_machine().id}
        self.stopwatch = Stopwatch(progress, job.draft.seconds)

    def record(self, state: str, reason: str | None = None) -> Record:
        found = {**self.found, "seconds": self.stopwatch.seconds, "state": state, "reason": reason}
        return Record(**{**dict(self.job.draft), **found})

    def run(self, datasets: Datasets | None) -> None:
        if self.spec.latency is not None and self.job.draft.latency is None:
            if not self.take_over_time():
                self.measure(self.spec.latency, datasets)
            check_limits(self.job.limits, "latency", self.found)
            self.note()
        if self.spec.training is not None:
            self.train(Training(self.spec, datasets))
        elif isinstance(self.spec.network, OnnxFileSpec) and datasets is not None:
            self.score(datasets.val)

    def score(self, data: Dataset) -> None:
        """Score a network that is not trained here."""
        task, module = task_of(self.spec), self.initial(0)
        with self.stopwatch.step("score"):
            counts = task.evaluate(module, data, None, partial(self.stopwatch.progress, "score"))
        self.found["score"] = task.score([counts], data)
        task.save_sample(module, data, counts, self.job.folder)

    def measure(self, latency: LatencySpec, datasets: Datasets | None) -> None:
        """Measure the untrained network."""
        seed = self.spec.training.seeds[0] if self.spec.training else 0
        module = self.initial(seed)
        with self.stopwatch.step("time"):
            self.found |= time_network(module, self.spec.image_size, latency, self.job.limits, datasets)

    def train(self, training: Training) -> None:
        """Train with each seed that is left, then score these together."""
        self.stopwatch.seconds.pop("train", None)  # the curve also counts the seconds before a pause
        folder, until = self.job.folder, self.job.until
        with beside() as give_way:
            trained = [
                training.run(seed, self.initial(seed), folder, self.stopwatch, give_way=give_way, until=until)
                for seed in training.how.seeds[self.job.first :]
            ]
        self.found["precision"] = precision_here(training.how.precision)
        losses = [one.losses[: self.job.looked_at] for one in trained]
        self.found["training_loss"] = tuple(fmean(its[len(its) // 2 :]) for its in losses)
        self.found["score"] = score = training.score([one.counts for one in trained])
        if until is not None:
            self.found["rungs"] = {**self.job.draft.rungs, until: score}
            self.note()

    def take_over_time(self) -> bool:
        """Take over what was measured in this folder, on this machine or another device, before a training was cut."""
        found = running(self.job.folder)
        if found is None or found.latency is None:
            return False
        if found.latency.machine is None and found.machine != self.found["machine"]:
            return False
        self.found |= {"latency": found.latency, "latency_also": found.latency_also}
        self.stopwatch.seconds = dict(found.seconds)
        return True

    def initial(self, seed: int) -> nn.Module:
        module, started_from = initial(self.spec, seed)
        if started_from is not None:
            self.found["started_from"] = started_from
        return module

    def note(self) -> None:
        """Save the results so far, for a run that is stopped and resumed."""
        note_running(self.job.folder, self.record("running"))
