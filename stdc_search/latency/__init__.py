"""Modules, image size, runtime -> Latency: times of one image, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

from stdc_search.latency.loop import Clock, interleave, p95
from stdc_search.latency.machine import describe_machine, note_machine, physical_cores
from stdc_search.latency.runtimes import MismatchError, Prepared, prepare
from stdc_search.records import Latency
from stdc_search.spec.measurement import LatencySpec, RuntimeSpec

__all__ = ["Entry", "MismatchError", "describe_machine", "measure", "measure_network", "note_machine"]


class Entry(NamedTuple):
    """What is timed. Weights do not matter: an untrained network takes as long as a trained one."""

    module: nn.Module
    image_size: tuple[int, int]
    """(height, width)."""
    runtime: RuntimeSpec


def measure(
    entries: Sequence[Entry], *, warmup: int = 5, repeats: int = 30, clock: Clock = time.perf_counter_ns
) -> list[Latency]:
    """Time networks side by side, at batch 1, in fp32 and eval mode.

    What each gives is first compared with eager PyTorch. Then they take turns, so that figures of one call
    can be compared whatever else the machine does. Modules, threads and settings are left as they were.

    Args:
        entries: what is timed.
        warmup: runs of each before the first that counts.
        repeats: runs of each that count.
        clock: gives nanoseconds.

    Returns:
        The latency of each entry, in their order.

    Raises:
        MismatchError: a runtime gives another result than eager PyTorch.
    """
    with _settings():
        prepared = [_prepare(entry) for entry in entries]
        runs = [one.run for one in prepared]
        samples = interleave(runs, warmup=warmup, repeats=repeats, clock=clock)
    return [_latency(*parts) for parts in zip(entries, prepared, samples, strict=True)]


def measure_network(
    module: nn.Module, image_size: tuple[int, int], spec: LatencySpec
) -> tuple[Latency, tuple[Latency, ...]]:
    """Time one network as a spec says: on its own runtime, and on those of `also`."""
    entries = [Entry(module, image_size, runtime) for runtime in (spec, *spec.also)]
    first, *others = measure(entries, warmup=spec.warmup, repeats=spec.repeats)
    return first, tuple(others)


def _prepare(entry: Entry) -> Prepared:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *entry.image_size, generator=generator)
    return prepare(entry.runtime, entry.module, image, _threads(entry))


def _latency(entry: Entry, prepared: Prepared, samples: list[float]) -> Latency:
    median_ms = median(samples)
    return Latency(
        runtime=entry.runtime.runtime,
        output=entry.runtime.output,
        image_size=entry.image_size,
        threads=_threads(entry),
        device=prepared.device,
        median_ms=median_ms,
        p95_ms=p95(samples),
        fps=1000 / median_ms,
        samples=len(samples),
    )


def _threads(entry: Entry) -> int:
    return entry.runtime.threads or physical_cores()


@contextmanager
def _settings() -> Iterator[None]:
    """Real fp32 on a GPU, and torch's number of threads restored at the end."""
    threads = torch.get_num_threads()
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)
