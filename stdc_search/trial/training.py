"""The training of a candidate and its score. Several processes may do it together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from stdc_search.data import open_splits
from stdc_search.data.cache import Cached
from stdc_search.data.transforms import TrainingSamples
from stdc_search.network.builder import build
from stdc_search.network.weights import load_library_weights, load_weights, save_weights
from stdc_search.records import ImageScore, Score, StartedFrom
from stdc_search.run_folder import WEIGHTS, seed_folder
from stdc_search.spec.data import DataSpec
from stdc_search.spec.run import RunSpec
from stdc_search.tasks import task_of
from stdc_search.tasks.task import Counts
from stdc_search.training.batches import length
from stdc_search.training.loop import TrainingDiverged, train
from stdc_search.training.parallel import Job, add_up, announce, announced, leads, share
from stdc_search.trial.stopwatch import Stopwatch


@dataclass(frozen=True)
class Datasets:
    """The data for training and for validation."""

    train: Cached
    val: Cached

    @classmethod
    def open(cls, data: DataSpec, cache_gb: float, data_root: Path | None) -> Datasets:
        """Open data sets that are checked to be complete and keep up to `cache_gb` of decoded images."""
        opened = open_splits(data, data_root)
        share = cache_gb * 1e9 / sum(map(len, opened.values()))
        return cls(**{split: Cached(data, share * len(data)) for split, data in opened.items()})


class Trained(NamedTuple):
    """One training."""

    counts: Counts
    """What the network got right, in the form of its task."""
    losses: list[float]
    """Of each epoch so far."""


class Initial(NamedTuple):
    """A network before its training."""

    module: nn.Module
    started_from: StartedFrom | None
    """Where weights of a file were loaded."""


def initial(spec: RunSpec, seed: int) -> Initial:
    """The network with the initial weights of a seed, and over them those of `training.start_from`."""
    torch.manual_seed(seed)
    module = build(spec.network)
    if spec.training is None or (file := spec.training.start_from) is None:
        return Initial(module, None)
    if file.library is not None:
        loaded = load_library_weights(module, file.library[1])
    else:
        loaded = load_weights(module, file.path, partial=True)
    tensors = len(loaded.taken) + len(loaded.missing) + len(loaded.misshapen)
    start = StartedFrom(
        file=file.path.name, taken=len(loaded.taken), tensors=tensors, other_shapes=len(loaded.misshapen)
    )
    return Initial(module, start)


def follow(datasets: Datasets | None) -> None:
    """Take part in each training that the first process announces."""
    for job in announced():
        training = Training(RunSpec.model_validate(job.spec), datasets)
        with suppress(TrainingDiverged):  # the first process writes the record
            module, _ = initial(training.spec, job.seed)
            training.run(job.seed, module, Path(job.folder), Stopwatch(), until=job.until)


class Training:
    """The training of one network, which may have several seeds.

    Args:
        spec: the network's run.
        datasets: its data, opened.
    """

    def __init__(self, spec: RunSpec, datasets: Datasets | None) -> None:
        if spec.training is None or datasets is None:
            raise ValueError("training needs the section `training` and open data sets")
        self.spec, self.how, self.datasets = spec, spec.training, datasets
        self.task = task_of(spec)

    def run(
        self,
        seed: int,
        module: nn.Module,
        folder: Path,
        stopwatch: Stopwatch,
        *,
        give_way: Callable[[], None] = lambda: None,
        until: int | None = None,
    ) -> Trained:
        """Train with one seed, or resume an interrupted training, and score the network.

        Args:
            seed: one of `training.seeds`.
            module: its initial network; trained in place.
            folder: the candidate's.
            stopwatch: adds up the seconds.
            give_way: called between steps; on a GPU only in those whose loss is read, since it is busy in between. Only
                the first of several processes may wait there, since the others wait for it within a step.
            until: epochs after which the training waits at a rung; default: none.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        how, train_data, val_data = self.how, self.datasets.train, self.datasets.val
        first = seed == how.seeds[0]
        its_folder = seed_folder(folder, seed, how.seeds[0])
        if leads():
            its_folder.mkdir(exist_ok=True)
            announce(Job(self.spec.model_dump(mode="json"), seed, str(folder), until))
        train_data.fill()
        val_data.fill()
        found: list[Counts] = []

        def tell(step: str, done: int, total: int) -> None:
            give_way()
            stopwatch.progress(step, done, total)

        place, (_, epoch_steps) = how.seeds.index(seed), length(how, len(train_data))
        shown: dict[str, str] = {}

        def stepped(done: int, total: int, loss: float | None) -> None:
            if loss is not None:  # between two looks at the losses a GPU still works on earlier steps
                give_way()
                shown["loss"] = f"loss {loss:.3f}"
            last = min(total, until * epoch_steps) if until else total
            seeds = [f"seed {seed}"] if len(how.seeds) > 1 else []
            epochs = f"epoch {ceil(done / epoch_steps)} of {ceil(last / epoch_steps)}"
            note = ", ".join([*seeds, epochs, *shown.values()])
            stopwatch.progress("train", place * last + done, len(how.seeds) * last, note)

        def validate(module: nn.Module, last: bool) -> float:
            with stopwatch.step("score"):
                told = partial(tell, "score")
                indices = share(range(len(val_data)))
                found.append(add_up(self.task.evaluate(module, val_data, indices, told, brief=not last)))
            score = self.task.headline(found[-1])
            shown["score"] = f"{'top-1' if self.spec.network.task == 'classification' else 'mIoU'} {score:.1f} %"
            return score

        curve = train(
            module,
            TrainingSamples(train_data, crop=how.crop, augmentation=how.augmentation, seed=seed),
            self.task.loss(how.loss, train_data),
            how,
            seed=seed,
            folder=its_folder,
            evaluate=validate,
            progress=stepped,
            until=until,
        )
        stopwatch.add("train", sum(point.seconds for point in curve))
        if not found:  # cut after the last epoch
            validate(module, last=True)
        if leads():
            save_weights(module, its_folder / WEIGHTS)
        if first and leads():
            self.task.save_sample(module, val_data, found[-1], folder)
        return Trained(found[-1], [point.loss for point in curve])

    def score(self, counts: list[Counts]) -> Score | ImageScore:
        """The score of all seeds."""
        return self.task.score(counts, self.datasets.val)
