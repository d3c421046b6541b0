"""Times of several networks that take turns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stdc_search.latency import Entry, measure
from stdc_search.network.builder import build
from stdc_search.records import Latency
from stdc_search.spec.measurement import LatencySpec, RuntimeSpec
from stdc_search.spec.run import RunSpec


def measure_together(
    runs: Sequence[RunSpec], latency: LatencySpec, calibration: Sequence[Tensor | None] = ()
) -> list[list[Latency]]:
    """The times of networks that take turns.

    Args:
        runs: the networks.
        latency: how they are measured.
        calibration: images for int8, per network; default: none.

    Returns:
        Per network, its times on the runtime of the spec and on those of `also`.
    """
    runtimes: list[RuntimeSpec] = [latency, *latency.also]
    entries = [
        Entry(module, run.image_size, runtime, calibration=images)
        for run, images in zip(runs, calibration or [None] * len(runs), strict=True)
        for module in [build(run.network)]
        for runtime in runtimes
    ]
    times = [
        time.model_copy(update={"beside": len(runs)})
        for time in measure(entries, warmup=latency.warmup, repeats=latency.repeats, patient=True)
    ]
    return [times[start : start + len(runtimes)] for start in range(0, len(times), len(runtimes))]
