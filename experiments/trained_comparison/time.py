"""Time the networks of the comparison on this machine, all in one interleaved run a runtime.

python -m experiments.trained_comparison.time camvid
"""

from __future__ import annotations

import sys

import pandas as pd

from experiments.trained_comparison.networks import HERE, runs
from stdc_search.latency import Entry, note_machine, race
from stdc_search.network.builder import build
from stdc_search.report.words import doubts
from stdc_search.run_folder import MACHINES
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.storage import write_atomically


def main(data: str) -> None:
    """Write `times_DATA.csv`: milliseconds from image to label map by network and runtime."""
    note_machine(HERE / MACHINES)
    specs = runs(data)
    columns = {}
    for runtime in ("openvino", "onnxruntime"):
        how = RuntimeSpec(runtime=runtime, threads=1)
        raced = race([Entry(build(spec.network), spec.image_size, how) for spec in specs.values()], repeats=30)
        for name, one in zip(specs, raced, strict=True):
            if doubt := doubts(one.latency):
                print(f"{name}, {runtime}: {doubt}")
        columns[f"{runtime} ms"] = [round(one.latency.median_ms, 3) for one in raced]
    frame = pd.DataFrame({"network": list(specs), **columns})
    write_atomically(HERE / f"times_{data}.csv", frame.to_csv(index=False))
    print(frame.to_string())


if __name__ == "__main__":
    main(sys.argv[1])
