"""Modules, image size, runtime -> Latency: times measured on this machine or on another device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stdc_search.device.alone import beside
from stdc_search.device.bench import Turns
from stdc_search.device.disturbance import kind_of
from stdc_search.device.hardware import physical_cores
from stdc_search.device.loop import MOST, Clock
from stdc_search.device.runtimes import UnavailableError
from stdc_search.latency.devices import Here, Place
from stdc_search.latency.machine import describe_machine, note_machine, this_machine
from stdc_search.latency.remote import Remote, patiently
from stdc_search.latency.runtimes import MismatchError, prepare
from stdc_search.latency.statistics import ranks, summarise
from stdc_search.latency.typical import with_regions
from stdc_search.records import Latency, Machine
from stdc_search.spec.measurement import ELSEWHERE, LatencySpec, RuntimeSpec

__all__ = [
    "Entry",
    "MismatchError",
    "Timing",
    "UnavailableError",
    "beside",
    "describe_machine",
    "measure",
    "measure_network",
    "note_machine",
    "predicted",
    "race",
    "this_machine",
]


class Entry(NamedTuple):
    """One network to time. The weights of an untrained network do not matter: its labels get the borders of a
    street."""

    module: nn.Module
    image_size: tuple[int, int]
    """(height, width)."""
    runtime: RuntimeSpec
    image: Tensor | None = None
    """What a trained network sees: float32 3, H, W, normalised; none for an untrained one."""
    calibration: Tensor | None = None
    """For int8: float32 N, 3, H, W, normalised."""


class Timing(NamedTuple):
    """One entry among those that it was timed with."""

    latency: Latency
    place: int
    """1 for the fastest; networks with the same place do not differ significantly."""
    machine: Machine | None = None
    """The device that `on` names; None for this machine."""


def race(
    entries: Sequence[Entry],
    *,
    warmup: int = 5,
    repeats: int = 30,
    patient: bool = False,
    clock: Clock = time.perf_counter_ns,
) -> list[Timing]:
    """Time networks side by side, in eval mode.

    What each gives is first compared with eager PyTorch. Then they take turns, so that figures of one call
    can be compared whatever else the machine does. Fixed work takes turns with them, and the CPU time of other
    processes is noted: both reveal a busy machine. Modules, threads and settings are left as they were. Other
    processes that measure wait.

    Args:
        entries: the networks. Those on one device take turns; the devices come one after the other.
        warmup: least number of runs of each before the first that counts; it ends when runs stop getting faster.
        repeats: runs of each that count.
        patient: whether to wait for a device that went away, instead of raising.
        clock: gives nanoseconds; another device has its own.

    Returns:
        One per entry, in order; places are those on its device.

    Raises:
        UnavailableError: a runtime or device is not here.
        MismatchError: a runtime gives another result than eager PyTorch.
    """
    found: dict[int, Timing] = {}
    for place in dict.fromkeys(Place.of(entry.runtime) for entry in entries):
        mine = [i for i, entry in enumerate(entries) if Place.of(entry.runtime) == place]
        work = partial(_race_at, place, [entries[i] for i in mine], warmup, repeats, clock)
        timings = patiently(place.on, work) if patient and place.on else work()
        found |= dict(zip(mine, timings, strict=True))
    return [found[i] for i in range(len(entries))]


def _race_at(place: Place, entries: Sequence[Entry], warmup: int, repeats: int, clock: Clock) -> list[Timing]:
    """Time networks that are on one device."""
    with place.open() as device:
        threads = [entry.runtime.threads or device.cores for entry in entries]
        with device.bench(max(threads)) as bench, _settings():
            for entry, its in zip(entries, threads, strict=True):
                images = _images(entry)
                module = entry.module if entry.image is not None else with_regions(entry.module, images)
                runner = prepare(entry.runtime, module, images, its, entry.calibration, opener=device.open_file)
                bench.add(runner, images.numpy())
            turns = bench.measure(least=warmup, most=max(MOST, 2 * warmup), repeats=repeats, clock=clock)
        latencies = [
            _latency(entry, its, device, turns, i) for i, (entry, its) in enumerate(zip(entries, threads, strict=True))
        ]
    return [Timing(*both, device.machine) for both in zip(latencies, ranks(turns.samples), strict=True)]


def measure(
    entries: Sequence[Entry],
    *,
    warmup: int = 5,
    repeats: int = 30,
    patient: bool = False,
    clock: Clock = time.perf_counter_ns,
) -> list[Latency]:
    """The latencies alone, as `race` gives them."""
    timings = race(entries, warmup=warmup, repeats=repeats, patient=patient, clock=clock)
    return [timing.latency for timing in timings]


def measure_network(
    module: nn.Module, image_size: tuple[int, int], spec: LatencySpec, calibration: Tensor | None = None
) -> tuple[Latency, tuple[Latency, ...]]:
    """Time one network as a spec says: on its own runtime, and on those of `also`. A device that went away is waited
    for."""
    entries = [Entry(module, image_size, runtime, calibration=calibration) for runtime in (spec, *spec.also)]
    first, *others = measure(entries, warmup=spec.warmup, repeats=spec.repeats, patient=True)
    return first, tuple(others)


def devices_of(spec: LatencySpec) -> list[Machine]:
    """The devices that a spec names by an address.

    Raises:
        UnavailableError: one cannot be reached, or lacks something.
    """
    found = []
    for place in dict.fromkeys(map(Place.of, (spec, *spec.also))):
        if place.on not in (None, ELSEWHERE):
            with place.open() as device:
                assert isinstance(device, Remote)
                found.append(device.machine)
    return found


def predicted(
    spec: RuntimeSpec, image_size: tuple[int, int], device: str, milliseconds: float, machine: Machine | None = None
) -> Latency:
    """A time that was not measured, on another machine if one is given."""
    threads = spec.threads or (machine.cores if machine else physical_cores())
    return Latency(
        **_conditions(spec, image_size, device, threads, machine),
        source="predicted",
        median_ms=milliseconds,
        fps=1000 * spec.batch / milliseconds,
        samples=0,
    )


def _images(entry: Entry) -> Tensor:
    size = (entry.runtime.batch, 3, *entry.image_size)
    if entry.image is not None:
        return entry.image.expand(size).contiguous()
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def _latency(entry: Entry, threads: int, where: Here | Remote, turns: Turns, i: int) -> Latency:
    samples, device = turns.samples[i], turns.devices[i]
    found = summarise(samples)
    reference = turns.references.get(kind_of(device))
    return Latency(
        **_conditions(entry.runtime, entry.image_size, device, threads, where.machine),
        median_ms=found.median,
        p5_ms=found.p5,
        p95_ms=found.p95,
        fps=1000 * entry.runtime.batch / found.median,
        samples=len(samples),
        cv=found.cv,
        drift=found.drift,
        steady=turns.steady[i],
        other_load=turns.load if device == "cpu" else None,  # a GPU computes whatever the CPU does
        throttled=turns.throttled,
        alone=turns.alone,
        reference_ms=reference.mean if reference else None,
        reference_fastest_ms=reference.fastest if reference else None,
    )


def _conditions(
    spec: RuntimeSpec, image_size: tuple[int, int], device: str, threads: int, machine: Machine | None
) -> dict[str, Any]:
    """What a time holds for."""
    return {
        "runtime": spec.runtime,
        "output": spec.output,
        "image_size": image_size,
        "batch": spec.batch,
        "threads": threads,
        "device": device,
        "machine": machine and machine.id,
        "precision": spec.precision,
        "memory_format": spec.memory_format,
    }


@contextmanager
def _settings() -> Iterator[None]:
    """Real fp32 on a GPU, and torch's number of threads restored at the end."""
    threads = torch.get_num_threads()
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)
