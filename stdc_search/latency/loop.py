"""The timing loop: runs take turns, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Run = Callable[[], object]
"""Returns when its result exists."""
Clock = Callable[[], int]
"""Gives nanoseconds."""


def interleave(
    runs: Sequence[Run], *, warmup: int, repeats: int, clock: Clock = time.perf_counter_ns
) -> list[list[float]]:
    """Time several runs in one loop.

    Args:
        runs: what is timed.
        warmup: calls of each before the first that counts.
        repeats: rounds; each calls every run once, in an order drawn anew, so that none always follows the
            same other.
        clock: read before and after each call.

    Returns:
        The samples of each run in milliseconds, as they were taken.
    """
    for run in runs:
        for _ in range(warmup):
            run()
    samples: list[list[float]] = [[] for _ in runs]
    order = list(range(len(runs)))
    shuffle = random.Random(0).shuffle
    with _garbage_kept():
        for _ in range(repeats):
            shuffle(order)
            for i in order:
                samples[i].append(_time(runs[i], clock) / 1e6)
    return samples


def p95(samples: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: the smallest sample that at least 95 % of them do not exceed."""
    rank = -(-95 * len(samples) // 100)
    return sorted(samples)[rank - 1]


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
