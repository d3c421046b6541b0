"""Measures again what a busy machine has made doubtful, before anything is decided by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from stdc_search.doubt import reasons
from stdc_search.records import Latency

PAUSES = (1.0, 5.0)
"""Seconds before each further try: what disturbs a machine often ends soon."""

Times = Sequence[Sequence[Latency]]
"""Of networks that took turns, each on its own runtime and then on those of `latency.also`."""


def measure_until_sure(measure: Callable[[], Times], decides: Callable[[Times], bool] = lambda _: True) -> Times:
    """The best-founded of up to three measurements; the first that is not doubtful ends them.

    Of doubtful measurements, the one with the fewest reasons is kept, and of several such ones the shortest, because
    disturbances only lengthen times. Only each network's own runtime counts, since nothing is decided by the others.

    Args:
        measure: measures the networks once.
        decides: whether anything depends on how long they really take; if not, a doubtful measurement is good enough.
    """
    best = measure()
    for pause in PAUSES:
        if not _doubts(best) or not decides(best):
            break
        time.sleep(pause)
        best = min(best, measure(), key=lambda times: (_doubts(times), sum(own.median_ms for own, *_ in times)))
    return best


def _doubts(times: Times) -> int:
    return sum(len(reasons(own)) for own, *_ in times)
