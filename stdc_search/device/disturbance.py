"""Signs that other work disturbed a measurement.

Samples that agree prove nothing on a machine that is busy all the time. Three signs do not depend on the samples: the
CPU time of other processes, the time of fixed work that takes turns with the networks, and how often heat slowed the
CPU down.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from stdc_search.device.hardware import read, usable_cpus
from stdc_search.device.loop import Run

SHORTEST = 0.5
"""Seconds that CPU times are compared over, at least: the system counts them in steps of 10 ms."""
BUSY = 0.1
"""Share of the CPU that other processes may use before a time is doubted."""
TOLERANCE = 0.1
"""Share of the CPU by which the system may have counted less than this process used, before it is not believed."""


class CpuTime(NamedTuple):
    """Readings of three clocks, in seconds."""

    wall: float
    busy: float
    """All processes (and other virtual machines) on the cores that this process may use."""
    own: float
    """All threads of this process."""
    cores: int


def cpu_time() -> CpuTime | None:
    """Read the clocks; None where the system does not report the load of others (all but Linux)."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = {_siblings(cpu) for cpu in usable_cpus()}  # what runs on a core's other hardware thread slows this one
    busy = _busy(read("/proc/stat"), set().union(*cores))
    return None if busy is None else CpuTime(time.perf_counter(), busy, time.process_time(), len(cores))


def load_of_others(start: CpuTime | None, end: CpuTime | None) -> float | None:
    """The share of the cores' time that other processes took between two readings; None if it is unknown."""
    if start is None or end is None or (wall := end.wall - start.wall) < SHORTEST:
        return None
    share = ((end.busy - start.busy) - (end.own - start.own)) / (wall * end.cores)
    return None if share < -TOLERANCE else min(max(share, 0.0), 1.0)


def _busy(stat: str, cpus: set[int]) -> float | None:
    """Seconds since the system started that CPUs were not idle, by `/proc/stat`; none if one is missing there."""
    lines = {int(number): fields.split() for number, fields in re.findall(r"^cpu(\d+) (.+)$", stat, re.MULTILINE)}
    if not cpus <= lines.keys():
        return None
    ticks = 0
    for cpu in cpus:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, lines[cpu][:8])
        ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _siblings(cpu: int) -> frozenset[int]:
    """The hardware threads of a CPU's core, from a list like `0,64` or `0-1`."""
    text = read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)
    ends = [part.split("-") for part in text.strip().split(",")]
    return frozenset(one for first, *last in ends for one in range(int(first), int(last[0] if last else first) + 1))


class ReferenceTime(NamedTuple):
    """How long fixed work took, in milliseconds."""

    mean: float
    """The mean and not the median, because a busy machine interrupts only some of these short calls."""
    fastest: float
    """The shortest call in this process; even on a busy machine some calls are not interrupted."""


_fastest: dict[str, float] = {}
"""By the kind of device."""


def reference_time(device: str, samples: Sequence[float]) -> ReferenceTime:
    """What milliseconds of the fixed work say, next to all that this process has seen."""
    _fastest[device] = min(samples) if device not in _fastest else min(_fastest[device], *samples)
    return ReferenceTime(fmean(samples), _fastest[device])


def kind_of(device: str) -> str:
    return "cpu" if device == "cpu" else "gpu"


def work_of_cpu() -> Run:
    """Fixed work of a few milliseconds: arithmetic, then memory traffic, in plain NumPy.

    It has one thread, so it leaves no pool of spinning threads behind for the network timed next. It allocates nothing:
    page faults would cost more than the work, and whether there are any depends on what was freed before.
    """
    angles, sines = np.linspace(0, 100, 1 << 17), np.zeros(1 << 17)
    source, target = np.ones(1 << 20), np.zeros(1 << 20)

    def run() -> None:
        np.sin(angles, out=sines)
        np.copyto(target, source)

    return run
