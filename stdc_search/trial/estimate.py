"""Estimates the seconds that a candidate takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil

import torch
from torch.utils.data import default_collate

from stdc_search.data.transforms import TrainingSamples
from stdc_search.network.builder import build
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import TrainingSpec
from stdc_search.tasks import task_of
from stdc_search.training.batches import length
from stdc_search.trial.training import Datasets


def estimate_seconds(spec: RunSpec, training: TrainingSpec, datasets: Datasets) -> float:
    """About how long a candidate takes: the file's own network, from a few short steps and one image."""
    steps, epoch_steps = length(training, len(datasets.train))
    task = task_of(spec)
    module = build(spec.network).train().to(memory_format=torch.channels_last)
    samples = TrainingSamples(datasets.train, crop=training.crop, augmentation=training.augmentation, seed=0)
    loss = task.loss(training.loss, datasets.train)
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
