"""The time of each network of table.yaml -> times.csv. All take turns; on a machine with nothing else it takes minutes.

python -m experiments.search_benchmark.time
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import pandas as pd

from stdc_search.latency import Entry, measure
from stdc_search.network.builder import build
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import load

HERE = Path(__file__).parent
RUNTIME = RuntimeSpec(runtime="onnxruntime", threads=1)
REPEATS = 100


def main() -> None:
    spec = load(HERE / "table.yaml")
    vary = spec.required_search.vary
    names, options = [*vary], [one.of for one in vary.values()]
    every = [dict(zip(names, values, strict=True)) for values in product(*options)]
    entries = [Entry(build(spec.candidate(values).network), spec.image_size, RUNTIME) for values in every]
    times = measure(entries, repeats=REPEATS)
    frame = pd.DataFrame(
        [{**values, "ms": round(time.median_ms, 4)} for values, time in zip(every, times, strict=True)]
    )
    frame.to_csv(HERE / "times.csv", index=False)
    print(f"{sum(not time.steady for time in times)} of {len(times)} were not steady", file=sys.stderr)


if __name__ == "__main__":
    main()
