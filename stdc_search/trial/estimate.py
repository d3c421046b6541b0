"""Estimates the seconds that a candidate takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import torch
from torch import nn
from torch.utils.data import default_collate

from stdc_search.data.transforms import TrainingSamples
from stdc_search.network.builder import build
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import TrainingSpec
from stdc_search.tasks import task_of
from stdc_search.training.batches import length
from stdc_search.training.precision import precision_here
from stdc_search.trial.training import Datasets

SPEEDUP = 0.8
"""Share of the cores that a training uses, on average."""


def estimate_seconds(spec: RunSpec, training: TrainingSpec, datasets: Datasets, threads: int | None = None) -> float:
    """About how long a candidate takes: the file's own network, from a few short steps and one image.

    On a CPU this is the CPU time of one thread over the number of cores, which other programs hardly change. Wall-clock
    time does not serve: it grows with every other program.

    Args:
        spec: the run.
        training: how its network is trained.
        datasets: its data.
        threads: of a training; default: one per core.
    """
    steps, epoch_steps = length(training, len(datasets.train))
    task = task_of(spec)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    module = build(spec.network).train().to(device).to(memory_format=torch.channels_last)
    samples = TrainingSamples(datasets.train, crop=training.crop, augmentation=training.augmentation, seed=0)
    loss = task.loss(training.loss, datasets.train)
    if isinstance(loss, nn.Module):
        loss.to(device)
    few = min(training.batch, 4, len(samples))
    images, targets = default_collate([samples[0, index] for index in range(few)])
    images, targets = images.to(device, memory_format=torch.channels_last), targets.to(device)
    bf16 = precision_here(training.precision) == "bf16"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            value = loss(module, images, targets)
        value.backward()
        if device.type != "cpu":
            torch.accelerator.synchronize()

    def load_images() -> None:
        for index in range(few):
            samples[0, index]

    def score() -> None:
        task.evaluate(module, datasets.val, [0])

    with _one_thread(device, threads) as (clock, cores):
        here = 0 if training.workers or (training.workers is None and device.type != "cpu") else 1
        a_step = (_least(step, clock) / cores + here * _least(load_images, clock)) * training.batch / few
        an_image = _least(score, clock) / cores
    scorings = 1 + (ceil(steps / epoch_steps) - 1) // training.score_every if training.score_every else 1
    timed = (spec.latency.warmup + spec.latency.repeats) * (1 + len(spec.latency.also)) if spec.latency else 0
    return (steps * a_step + scorings * len(datasets.val) * an_image) * len(training.seeds) + timed * an_image


@contextmanager
def _one_thread(device: torch.device, wanted: int | None) -> Iterator[tuple[Callable[[], float], float]]:
    """A clock in seconds, and the number of cores that a training uses of those whose work it counts."""
    if device.type != "cpu":
        yield time.perf_counter, 1
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield time.process_time, max(SPEEDUP * (wanted or threads), 1)
    finally:
        torch.set_num_threads(threads)


def estimate_memory(spec: RunSpec, training: TrainingSpec, datasets: Datasets) -> float:
    """Bytes that a process has when it trains the file's own network: the most so far, after one step here.

    On a GPU these are the bytes of the GPU.
    """
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    module = build(spec.network).train().to(device).to(memory_format=torch.channels_last)
    samples = TrainingSamples(datasets.train, crop=training.crop, augmentation=training.augmentation, seed=0)
    image, target = samples[0, 0]
    images = image.expand(training.batch, *image.shape).to(device, memory_format=torch.channels_last)
    loss = task_of(spec).loss(training.loss, datasets.train)
    if isinstance(loss, nn.Module):
        loss.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision_here(training.precision) == "bf16"):
        value = loss(module, images, target.expand(training.batch, *target.shape).to(device))
    value.backward()
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _least(run: Callable[[], None], clock: Callable[[], float], repeats: int = 3) -> float:
    """The least of a few times, since the first runs are slower."""
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)
