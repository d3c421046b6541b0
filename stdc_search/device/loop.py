"""The timing loop: runs take turns, so disturbances affect all of them equally."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

Run = Callable[[], object]
"""Returns when its result exists."""
Clock = Callable[[], int]
"""Gives nanoseconds."""

WINDOW = 5
"""Calls whose median is compared with that of as many before them."""
GAIN = 0.02
"""A run is steady when its window's median is at most this share below the one before."""
MOST = 60
"""Calls after which an unsteady run is timed anyway and marked as unsteady."""


def warm(runs: Sequence[Run], *, least: int = 0, most: int = MOST, clock: Clock = time.perf_counter_ns) -> list[bool]:
    """Call several runs in turns until none becomes faster any more.

    Args:
        runs: the functions to time.
        least: calls of each in any case.
        most: calls of each at most.
        clock: read before and after each call.

    Returns:
        Whether each run became steady.
    """
    samples: list[list[float]] = [[] for _ in runs]
    with _garbage_kept():
        for done, _ in enumerate(_rounds(runs, samples, clock), start=1):
            steady = [_steady(one) for one in samples]
            if done >= most or (done >= least and all(steady)):
                return steady
    return []


def interleave(runs: Sequence[Run], *, repeats: int, clock: Clock = time.perf_counter_ns) -> list[list[float]]:
    """Time several runs in one loop.

    Args:
        runs: the functions to time.
        repeats: rounds; each calls every run once, in a new random order, so that none always follows the
            same other.
        clock: read before and after each call.

    Returns:
        The samples of each run in milliseconds, as they were taken.
    """
    samples: list[list[float]] = [[] for _ in runs]
    with _garbage_kept():
        for _ in zip(range(repeats), _rounds(runs, samples, clock)):
            pass
    return samples


def _rounds(runs: Sequence[Run], samples: Sequence[list[float]], clock: Clock) -> Iterator[None]:
    """Endless rounds, each of which adds a sample of every run."""
    order = list(range(len(runs)))
    shuffle = random.Random(0).shuffle
    while True:
        shuffle(order)
        for i in order:
            samples[i].append(_time(runs[i], clock) / 1e6)
        yield


def _steady(samples: Sequence[float]) -> bool:
    if len(samples) < 2 * WINDOW:
        return False
    return median(samples[-WINDOW:]) >= (1 - GAIN) * median(samples[-2 * WINDOW : -WINDOW])


def _time(run: Run, clock: Clock) -> int:
    start = clock()
    _result = run()  # held, so that it is freed after the clock is read
    return clock() - start


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Keep Python's collector, which can take 100 ms after an export, out of the samples."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
