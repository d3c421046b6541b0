"""Counting a network: ours against fvcore on the built network, and a whole space. `make bench-cost` runs it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.bench import report, seconds
from stdc_search.network.builder import build
from stdc_search.network.cost import count, count_with_fvcore
from stdc_search.search.space import tabulate
from stdc_search.spec.run import RunSpec, load

NETWORKS = 20


def main() -> None:
    spec = load("specs/stdc_space.yaml")
    runs = candidates(spec)
    for run in runs:  # its parts are known from here on
        count(run.network, run.image_size)
    ours, plain = [], []
    for run in runs:  # taking turns
        plain.append(seconds(lambda: count_with_fvcore(build(run.network), run.image_size)))  # noqa: B023
        ours.append(seconds(lambda: count(run.network, run.image_size)))  # noqa: B023
        assert count(run.network, run.image_size).fvcore_flops == count_with_fvcore(build(run.network), run.image_size)
    start = time.perf_counter()
    networks = len(tabulate(spec))
    whole = time.perf_counter() - start
    report(
        "cost",
        {
            "networks": NETWORKS,
            "count_median_us": 1e6 * median(ours),
            "fvcore_on_the_built_network_median_ms": 1e3 * median(plain),
            "fvcore_over_count_ratio": median(plain) / median(ours),
            "space_networks": networks,
            "space_s": whole,
            "space_us_a_network": 1e6 * whole / networks,
        },
    )


def candidates(spec: RunSpec) -> Sequence[RunSpec]:
    """Networks drawn from the space."""
    rng = random.Random(0)
    options = {name: vary.values for name, vary in spec.required_search.vary.items()}
    return [spec.candidate({name: rng.choice(values) for name, values in options.items()}) for _ in range(NETWORKS)]


if __name__ == "__main__":
    main()
