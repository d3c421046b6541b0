"""The samples of each step: order and batches of every epoch, and the loader that makes them.

Everything is a function of seed and epoch, so a resumed training sees the same samples as an uninterrupted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from stdc_search.data import DataError
from stdc_search.data.transforms import Drawn, Finish
from stdc_search.spec.problems import at
from stdc_search.spec.training import TrainingSpec


class Samples(Protocol):
    """Training samples by (epoch, index); a sample depends only on these and a seed."""

    crop: tuple[int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int], /) -> tuple[Tensor, Tensor]:
        """Image float32 3, h, w, normalised, and its target.

        Raises:
            DataError: the files are broken.
        """
        ...

    def drawn(self, key: tuple[int, int], /) -> Drawn:
        """The same sample, whose pixels are computed on the device.

        Raises:
            DataError: the files are broken.
        """
        ...


def length(spec: TrainingSpec, images: int) -> tuple[int, int]:
    """Number of optimiser steps in total and per epoch; the last epoch may have fewer.

    Raises:
        SpecError: there are fewer images than one batch, or the warm-up is not shorter than the training.
    """
    epoch_steps = images // spec.batch  # an incomplete batch is dropped
    if epoch_steps == 0:
        raise at(
            "training.batch",
            f"{spec.batch} is more than the {images} training images, and incomplete batches are skipped; "
            f"use {images} or fewer",
        )
    steps = spec.steps if spec.steps is not None else (spec.epochs or 0) * epoch_steps
    if spec.schedule.warmup_steps(steps) >= steps:
        raise at(
            "training.schedule.warmup",
            f"{spec.schedule.warmup} steps are not fewer than the {steps} of the training ({epoch_steps} per epoch); "
            f"write a share of all steps, `schedule: {{warmup: 0.05}}`, or train longer",
        )
    return steps, epoch_steps


def batches(
    samples: Samples, spec: TrainingSpec, seed: int, *, first_epoch: int, accelerator: Accelerator
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of all batches from an epoch to the last, on the device.

    One loader serves all epochs, so that no epoch waits for workers to start. Copies to a GPU start from pinned memory,
    so the training does not wait for them.
    """
    device = accelerator.device
    on_gpu = device.type == "cuda"
    workers = spec.workers if spec.workers is not None else on_gpu * _loaders(accelerator)
    keys = _keys(len(samples), spec, seed, first_epoch)
    finish = Finish(samples.crop, device) if spec.augment_on == "device" else None
    loader = DataLoader(
        _Told(samples, finish is not None),
        batch_sampler=(batch[accelerator.process_index :: accelerator.num_processes] for batch in keys),  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_stacked if finish is None else _listed,
        pin_memory=on_gpu,
        # Otherwise the loader draws from the global generator at its start, which a resume shifts to another epoch.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        if finish is not None:
            batch = (torch.stack(parts) for parts in zip(*map(finish, batch), strict=True))
        images, targets = batch
        yield (
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            targets.to(device, non_blocking=True),
        )


def _loaders(accelerator: Accelerator) -> int:
    """How many processes load images by default: no more than the training has CPU threads, since others train, too."""
    together = accelerator.num_processes  # torchrun gives each of them one thread, however many cores there are
    threads = torch.get_num_threads() if together == 1 else (os.cpu_count() or 1) // together
    return max(min(8, threads), 1)


class _Told(Dataset[Any]):
    """Returns an error in place of a sample; raised in a worker, it would carry that process's traceback.

    Args:
        samples: the samples.
        drawn: whether their pixels are computed elsewhere.
    """

    def __init__(self, samples: Samples, drawn: bool) -> None:
        self.samples, self.drawn = samples, drawn

    def __getitem__(self, key: tuple[int, int]) -> Any:
        try:
            return self.samples.drawn(key).copied() if self.drawn else self.samples[key]
        except DataError as error:
            return error


def _listed(samples: list[Any]) -> Any:
    """The samples, or the first error among them."""
    return next((sample for sample in samples if isinstance(sample, DataError)), samples)


def _stacked(samples: list[Any]) -> Any:
    listed = _listed(samples)
    return listed if isinstance(listed, DataError) else default_collate(listed)


def _keys(images: int, spec: TrainingSpec, seed: int, first_epoch: int) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of each image of each batch."""
    steps, epoch_steps = length(spec, images)
    for epoch in range(first_epoch, ceil(steps / epoch_steps)):
        order = np.random.default_rng(randomness(seed, epoch)).permutation(images).tolist()
        for step in range(min(epoch_steps, steps - epoch * epoch_steps)):
            yield [(epoch, index) for index in order[step * spec.batch : (step + 1) * spec.batch]]


def randomness(seed: int, epoch: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(epoch,))  # (epoch, index) is the key of an image
