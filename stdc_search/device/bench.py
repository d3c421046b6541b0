"""Networks that take turns to be timed on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from stdc_search.device.alone import alone, pinned
from stdc_search.device.disturbance import ReferenceTime, cpu_time, kind_of, load_of_others, reference_time, work_of_cpu
from stdc_search.device.hardware import throttlings
from stdc_search.device.loop import Clock, Run, interleave, warm
from stdc_search.device.runtimes import Nodes, Runner


class Turns(NamedTuple):
    """What a bench measured; lists have one item a network."""

    samples: list[list[float]]
    """Milliseconds, in the order in which they were taken."""
    steady: list[bool]
    """Whether warming up ended."""
    devices: list[str]
    load: float | None
    """Share of the cores' time that other processes took."""
    references: dict[str, ReferenceTime]
    """Time of the fixed work, by the kind of device."""
    throttled: bool | None
    """Whether heat slowed the CPU down meanwhile, if the system says so."""
    alone: bool
    """Whether no other process measured or trained with this package."""


class AnyBench(Protocol):
    """A bench here or on another device."""

    def add(self, runner: Runner, images: np.ndarray) -> None: ...

    def measure(self, *, least: int, most: int, repeats: int) -> Turns: ...

    def nodes(self) -> list[list[Nodes] | None]: ...


class Bench:
    """Times networks side by side, on cores of its own: other measurements on this machine wait, and trainings pause.

    Args:
        cores: CPU cores that the process keeps to.
        fixed: makers of the fixed work by the kind of device: `cpu` or `gpu`.
    """

    def __init__(self, cores: int, fixed: Mapping[str, Callable[[], Run]] | None = None) -> None:
        self.cores, self.fixed = cores, {"cpu": work_of_cpu} if fixed is None else fixed
        self.runs: list[Run] = []
        self.runners: list[Runner] = []

    def __enter__(self) -> Bench:
        with ExitStack() as stack:
            self.alone = stack.enter_context(alone())
            stack.enter_context(pinned(self.cores))
            self._leave = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._leave.close()

    def add(self, runner: Runner, images: np.ndarray) -> None:
        """Add a network, with the images that it sees."""
        self.runners.append(runner)
        self.runs.append(partial(runner.run, runner.load(images)))

    def measure(self, *, least: int, most: int, repeats: int, clock: Clock = time.perf_counter_ns) -> Turns:
        """Let all networks take turns.

        Fixed work takes turns with them, and the CPU time of other processes is noted: both reveal a busy machine.

        Args:
            least: runs of each before the first that counts, at least.
            most: the same, at most; between the two, runs go on until they stop getting faster.
            repeats: runs of each that count.
            clock: gives nanoseconds.
        """
        devices = [runner.device for runner in self.runners]
        fixed = {kind: self.fixed[kind]() for kind in sorted({*map(kind_of, devices)} & self.fixed.keys())}
        for work in fixed.values():
            work()
        before, heat = cpu_time(), throttlings()
        steady = warm(self.runs, least=least, most=most, clock=clock)
        samples = interleave([*self.runs, *fixed.values()], repeats=repeats, clock=clock)
        load, hotter = load_of_others(before, cpu_time()), throttlings()
        mine, works = samples[: len(self.runs)], samples[len(self.runs) :]
        return Turns(
            mine,
            steady,
            devices,
            load,
            {kind: reference_time(kind, one) for kind, one in zip(fixed, works)},
            None if heat is None or hotter is None else hotter > heat,
            self.alone,
        )

    def nodes(self) -> list[list[Nodes] | None]:
        """The nodes of each run of each network that is profiled."""
        return [None if runner.nodes is None else runner.nodes() for runner in self.runners]
