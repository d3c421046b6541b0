"""RunSpec -> Record: count, time, train, score one network. Cheap things first: a broken limit ends it early."""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.data import default_collate

from stdc_search.batches import length
from stdc_search.builder import build
from stdc_search.cost import count, count_with_fvcore
from stdc_search.data import DataError, Split, open_dataset
from stdc_search.data.cache import Cached
from stdc_search.data.transforms import TrainingSamples
from stdc_search.latency import UnavailableError, measure_network
from stdc_search.parallel import Job, add_up, announce, announced, leads, share, state
from stdc_search.quantize import calibration_images
from stdc_search.records import Latency, Record, StartedFrom
from stdc_search.spec.base import UserError, dump, write_atomically
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import LimitMetric, LimitSpec
from stdc_search.tasks import task_of
from stdc_search.train import TrainingDiverged, train
from stdc_search.weights import WeightsError, load_weights, save_weights

BEGUN = "begun.json"
"""What a candidate was found to be before its training, for one that was cut in it."""


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
    def open(cls, spec: RunSpec, data_root: Path | None) -> Datasets | None:
        """The run's data sets, checked to be whole; none without a training."""
        if spec.data is None or spec.training is None:
            return None
        splits: tuple[Split, Split] = ("train", "val")
        opened = [open_dataset(spec.data, split, data_root) for split in splits]
        share = spec.training.cache_gb * 1e9 / sum(map(len, opened))
        return cls(*(Cached(data, share * len(data)) for data in opened))


def follow(datasets: Datasets | None) -> None:
    """Take part in each training that the first process announces."""
    for job in announced():
        assert datasets is not None
        trial = _Trial(RunSpec.model_validate(job.spec), Path(job.folder), {}, silent)
        with suppress(TrainingDiverged):
            trial.train_and_score(job.seed, datasets)


class _Rejected(Exception):
    """A limit is broken."""


def run_trial(
    spec: RunSpec,
    folder: Path,
    draft: Record,
    datasets: Datasets | None,
    *,
    limits: Mapping[LimitMetric, LimitSpec] | None = None,
    predict: Callable[[RunSpec], Latency | None] = lambda spec: None,
    progress: Progress = silent,
) -> Record:
    """Run one network as far as its spec says.

    Args:
        spec: the network's own run; its search, if any, is not looked at.
        folder: gets `spec.yaml`, weights, curve and a sample; a training that was cut in it goes on.
        draft: the record, but for what this finds out.
        datasets: needed with `training`.
        limits: bounds by metric (`SearchSpec.limits`), looked at before training.
        predict: gives the time of a network that need not be measured.
        progress: told what happens.

    Returns:
        The record: complete, rejected by a limit or because its values are illegal together, or failed with its
        error. Nothing is raised but for a person's interrupt and for what would break every other trial too: broken
        data or weights, a runtime that is not here.
    """
    trial = _Trial(spec, folder, limits or {}, progress, draft)
    try:
        trial.run(datasets, predict)
        return trial.record("complete")
    except (DataError, WeightsError, UnavailableError, OSError):
        raise
    except (_Rejected, UserError) as rejection:
        return trial.record("rejected", str(rejection))
    except TrainingDiverged as error:
        return trial.record("failed", str(error))
    except Exception as error:
        if state().num_processes > 1:  # the others wait for this one
            raise
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "error.txt", traceback.format_exc())
        return trial.record("failed", f"{type(error).__name__}: {error}")
    finally:
        gc.collect()


class _Trial:
    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        limits: Mapping[LimitMetric, LimitSpec],
        progress: Progress,
        draft: Record | None = None,
    ) -> None:
        self.spec = spec
        self.task = task_of(spec)
        self.folder = folder
        self.draft = draft
        self.limits = limits
        self.progress = progress
        self.found: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def record(self, state: str, reason: str | None = None) -> Record:
        assert self.draft is not None
        found = {**self.found, "seconds": self.seconds, "state": state, "reason": reason}
        return Record(**{**dict(self.draft), **found})

    def run(self, datasets: Datasets | None, predict: Callable[[RunSpec], Latency | None]) -> None:
        spec = self.spec
        with self.step("count"):
            self.found["cost"] = count(spec.network, spec.image_size)
        self.check_limits("cost")
        if (guess := predict(spec)) is not None:
            self.found["latency"] = guess
            self.check_limits("latency")
        self.begin_folder()
        if not self.resume():
            module = self.module(spec.training.seeds[0] if spec.training else 0)
            with self.step("count"):
                flops = count_with_fvcore(module, spec.image_size)
            cost = self.found["cost"]
            assert cost.fvcore_flops == flops, f"fvcore counts {flops} FLOPs, we {cost.fvcore_flops}"
            if spec.latency is not None and guess is None:
                with self.step("time"):
                    latency, also = measure_network(
                        module, spec.image_size, spec.latency, self.calibration(spec.latency, datasets)
                    )
                self.found |= {"latency": latency, "latency_also": also}
            write_atomically(self.folder / BEGUN, self.record("complete").model_dump_json())
        self.check_limits("latency")
        if spec.training is not None:
            assert datasets is not None
            found = [self.train_and_score(seed, datasets) for seed in spec.training.seeds]
            self.found["score"] = self.task.score(found, datasets.val)

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
        folder = self.folder if first else self.folder / f"seed-{seed}"
        if leads():
            folder.mkdir(exist_ok=True)
            announce(Job(self.spec.model_dump(mode="json"), seed, str(self.folder)))
        datasets.train.fill()
        datasets.val.fill()
        module = self.module(seed)
        found: list[Any] = []

        def validate(module: nn.Module, last: bool) -> float:
            with self.step("score"):
                told = lambda done, total: self.progress("score", done, total)  # noqa: E731
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
            progress=lambda done, total, _loss: self.progress("train", done, total),
        )
        self.spend("train", sum(point.seconds for point in curve))
        if not found:  # cut after the last epoch
            validate(module, last=True)
        if leads():
            save_weights(module, folder / "weights.safetensors")
        if first and leads():
            self.task.save_sample(module, datasets.val, folder / "sample")
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

    def begin_folder(self) -> None:
        """The folder with its spec; files of another candidate, left by a crash, are removed."""
        path = self.folder / "spec.yaml"
        if self.folder.exists() and not (path.exists() and load(path).identity == self.spec.identity):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        dump(self.spec.without_search(), path)

    def resume(self) -> bool:
        """Take over what was found in this folder, on this machine, before a training was cut."""
        path = self.folder / BEGUN
        try:
            begun = Record.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return False
        if self.draft is None or begun.machine != self.draft.machine:
            return False
        self.found |= {"latency": begun.latency, "latency_also": begun.latency_also}
        self.seconds = dict(begun.seconds)
        return True

    def check_limits(self, section: str) -> None:
        broken = []
        for name, limit in self.limits.items():
            if name.startswith(section + "."):
                value = getattr(self.found[section], name.removeprefix(section + "."))
                if value > limit.at_most:
                    broken.append(f"{name} {value:,.6g} is above {limit.at_most:,.6g}")
        if broken:
            raise _Rejected("; ".join(broken))

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


def estimate_seconds(spec: RunSpec, datasets: Datasets) -> float:
    """About how long a candidate takes: the file's own network, from a few short steps and one image."""
    assert spec.training is not None
    training = spec.training
    steps, epoch_steps = length(training, len(datasets.train))
    task = task_of(spec)
    module = build(spec.network).train().to(memory_format=torch.channels_last)
    samples = TrainingSamples(datasets.train, crop=training.crop, augmentation=training.augmentation, seed=0)
    loss = task.loss(datasets.train)
    few = min(training.batch, 4, len(samples))
    images, targets = default_collate([samples[0, index] for index in range(few)])
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        loss(module, images, targets).backward()

    def load_images() -> None:
        for index in range(few):
            samples[0, index]

    def score() -> None:
        task.evaluate(module, datasets.val, [0])

    a_step = (_least_seconds(step) + _least_seconds(load_images) * (not training.workers)) * training.batch / few
    an_image = _least_seconds(score)
    scorings = 1 + (ceil(steps / epoch_steps) - 1) // training.score_every if training.score_every else 1
    timed = (spec.latency.warmup + spec.latency.repeats) * (1 + len(spec.latency.also)) if spec.latency else 0
    return (steps * a_step + scorings * len(datasets.val) * an_image) * len(training.seeds) + timed * an_image


def _least_seconds(run: Callable[[], None], repeats: int = 3) -> float:
    """The least of a few times, since the first runs are slower."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
