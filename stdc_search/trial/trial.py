"""RunSpec -> Record: count, time, train, score one network. Cheap things first: a broken limit ends it early.

A trial has two halves: what is known without building the network (`examine`), and all else, which may be done
elsewhere (`run_trial`). What a trial has found before its training lies in its folder until it is over.
"""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stdc_search.data import DataError, Split, open_dataset
from stdc_search.data.cache import Cached
from stdc_search.data.transforms import TrainingSamples
from stdc_search.deploy.quantize import calibration_images
from stdc_search.errors import UserError
from stdc_search.latency import UnavailableError, beside, measure_network, this_machine
from stdc_search.network.builder import build
from stdc_search.network.cost import count, warn_of_trunk
from stdc_search.network.weights import WeightsError, load_weights, save_weights
from stdc_search.records import Latency, Record, StartedFrom
from stdc_search.run_folder import ERROR, SAMPLE, SPEC, WEIGHTS, note_running, running, seed_folder
from stdc_search.spec.base import dump
from stdc_search.spec.data import DataSpec
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.storage import write_atomically
from stdc_search.tasks import task_of
from stdc_search.training.loop import TrainingDiverged, train
from stdc_search.training.parallel import Job, add_up, announce, announced, leads, share, state
from stdc_search.trial.limits import Limits, Rejected, check_limits


class Progress(Protocol):
    """Told what a trial does."""

    def __call__(self, step: str, done: int, total: int, /) -> None: ...


def silent(step: str, done: int, total: int, /) -> None:
    """A progress that tells nobody."""


@dataclass(frozen=True)
class Datasets:
    """What is trained on and what is scored."""

    train: Cached
    val: Cached

    @classmethod
    def open(cls, data: DataSpec, cache_gb: float, data_root: Path | None) -> Datasets:
        """Data sets, checked to be whole, that keep decoded images in so much memory."""
        splits: tuple[Split, Split] = ("train", "val")
        opened = [open_dataset(data, split, data_root) for split in splits]
        share = cache_gb * 1e9 / sum(map(len, opened))
        return cls(*(Cached(data, share * len(data)) for data in opened))


def follow(datasets: Datasets | None) -> None:
    """Take part in each training that the first process announces."""
    for job in announced():
        assert datasets is not None
        trial = _Trial(RunSpec.model_validate(job.spec), Path(job.folder), until=job.until)
        with suppress(TrainingDiverged):
            trial.train_and_score(job.seed, datasets)


@dataclass(frozen=True)
class TrialJob:
    """A trial that is to be run, in this process or another."""

    spec: RunSpec
    """The network's own run; its search, if any, is not looked at."""
    folder: Path
    """Gets `spec.yaml`, weights, curve and a sample; a training that was cut in it goes on."""
    draft: Record
    """What `examine` gave."""
    limits: Limits = field(default_factory=dict)
    """Bounds by metric (`SearchSpec.limits`), looked at before training."""
    data_root: Path | None = None
    """Where a relative `data.root` starts, for a process that opens data sets of its own."""
    until: int | None = None
    """Epochs after which the training waits at a rung; default: none."""


def examine(spec: RunSpec, draft: Record, limits: Limits, predict: Callable[[RunSpec], Latency | None]) -> Record:
    """The record of a network with its cost, and its time where it need not be measured.

    Args:
        spec: the network's own run.
        draft: what is known of it.
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
        found["latency"] = predict(spec)
        check_limits(limits, "latency", found)
    except (Rejected, UserError) as rejection:
        found |= {"state": "rejected", "reason": str(rejection)}
    return draft.model_copy(update={**found, "seconds": {"count": round(time.perf_counter() - started, 3)}})


def begin(job: TrialJob) -> None:
    """Make a trial's folder, with all that it takes to go on with it; files of another candidate are removed."""
    path = job.folder / SPEC
    if job.folder.exists() and not (path.exists() and load(path).identity == job.spec.identity):
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
        progress: told what happens.

    Returns:
        The record: complete, running if it waits at a rung, rejected by a limit or because its values are illegal
        together, or failed with its error. Nothing is raised but for a person's interrupt and for what would break
        every other trial too: broken data or weights, a runtime that is not here.
    """
    trial = _Trial(job.spec, job.folder, job.draft, job.limits, progress, job.until)
    folder = job.folder
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
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ERROR, traceback.format_exc())
        return trial.record("failed", f"{type(error).__name__}: {error}")
    finally:
        gc.collect()


class _Trial:
    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        draft: Record | None = None,
        limits: Limits | None = None,
        progress: Progress = silent,
        until: int | None = None,
    ) -> None:
        self.spec = spec
        self.until = until
        self.task = task_of(spec)
        self.folder = folder
        self.draft = draft
        self.limits = limits or {}
        self.progress = progress
        self.give_way: Callable[[], None] = lambda: None
        self.found: dict[str, Any] = {}
        self.seconds = dict(draft.seconds) if draft else {}

    def record(self, state: str, reason: str | None = None) -> Record:
        assert self.draft is not None
        found = {**self.found, "seconds": self.seconds, "state": state, "reason": reason}
        return Record(**{**dict(self.draft), **found})

    def run(self, datasets: Datasets | None) -> None:
        spec = self.spec
        assert self.draft is not None
        self.found["machine"] = this_machine().id
        if spec.latency is not None and self.draft.latency is None:
            if not self.take_over_time():
                module = self.module(spec.training.seeds[0] if spec.training else 0)
                with self.step("time"):
                    latency, also = measure_network(
                        module, spec.image_size, spec.latency, self.calibration(spec.latency, datasets)
                    )
                self.found |= {"latency": latency, "latency_also": also}
            check_limits(self.limits, "latency", self.found)
            note_running(self.folder, self.record("running"))
        if spec.training is not None:
            assert datasets is not None
            self.seconds.pop("train", None)  # its curve has those before a pause, too
            with beside() as self.give_way:
                found = [self.train_and_score(seed, datasets) for seed in spec.training.seeds]
            self.found["score"] = score = self.task.score(found, datasets.val)
            if self.until is not None:
                self.found["rungs"] = {**self.draft.rungs, self.until: score}
                note_running(self.folder, self.record("running"))

    def calibration(self, latency: LatencySpec, datasets: Datasets | None) -> Tensor | None:
        """Images for int8, where there is any."""
        if datasets is None or all(timed.precision != "int8" for timed in (latency, *latency.also)):
            return None
        return calibration_images(datasets.train, self.spec.image_size)

    def train_and_score(self, seed: int, datasets: Datasets) -> Any:
        """What the network of one seed got right after its training. The first one's files lie in the folder itself."""
        training = self.spec.training
        assert training is not None
        first = seed == training.seeds[0]
        folder = seed_folder(self.folder, seed, training.seeds[0])
        if leads():
            folder.mkdir(exist_ok=True)
            announce(Job(self.spec.model_dump(mode="json"), seed, str(self.folder), self.until))
        datasets.train.fill()
        datasets.val.fill()
        module = self.module(seed)
        found: list[Any] = []

        def tell(step: str, done: int, total: int) -> None:
            self.give_way()
            self.progress(step, done, total)

        def validate(module: nn.Module, last: bool) -> float:
            with self.step("score"):
                told = partial(tell, "score")
                indices = share(range(len(datasets.val)))
                found.append(add_up(self.task.evaluate(module, datasets.val, indices, told, brief=not last)))
            return self.task.headline(found[-1])

        curve = train(
            module,
            TrainingSamples(datasets.train, crop=training.crop, augmentation=training.augmentation, seed=seed),
            self.task.loss(datasets.train),
            training,
            seed=seed,
            folder=folder,
            evaluate=validate,
            progress=lambda done, total, _loss: tell("train", done, total),
            until=self.until,
        )
        self.spend("train", sum(point.seconds for point in curve))
        if not found:  # cut after the last epoch
            validate(module, last=True)
        if leads():
            save_weights(module, folder / WEIGHTS)
        if first and leads():
            self.task.save_sample(module, datasets.val, folder / SAMPLE)
        return found[-1]

    def module(self, seed: int) -> nn.Module:
        """The network with the initial weights of a seed, and over them those that the training starts from."""
        torch.manual_seed(seed)
        module = build(self.spec.network)
        if self.spec.training is not None and (file := self.spec.training.start_from) is not None:
            loaded = load_weights(module, file, partial=True)
            tensors = len(loaded.taken) + len(loaded.missing) + len(loaded.misshapen)
            self.found["started_from"] = StartedFrom(file=file.name, taken=len(loaded.taken), tensors=tensors)
        return module

    def take_over_time(self) -> bool:
        """Take over what was measured in this folder, on this machine, before a training was cut."""
        found = running(self.folder)
        if found is None or found.latency is None or found.machine != self.found["machine"]:
            return False
        self.found |= {"latency": found.latency, "latency_also": found.latency_also}
        self.seconds = dict(found.seconds)
        return True

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 1)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spend(name, time.perf_counter() - start)

    def spend(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
