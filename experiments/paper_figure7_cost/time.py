"""Times of the networks of Figure 7 on this machine, all in one interleaved run a runtime.

python -m experiments.paper_figure7_cost.time
"""

from __future__ import annotations

import pandas as pd

from experiments.paper_figure7_cost.make import HERE, TIMES, networks
from stdc_search.latency import Entry, note_machine, race
from stdc_search.network.builder import build
from stdc_search.report.words import doubts
from stdc_search.run_folder import MACHINES
from stdc_search.spec.measurement import LatencySpec, varied
from stdc_search.storage import write_atomically

ROUNDS = 60


def main() -> None:
    """Write `times.csv`."""
    note_machine(HERE / MACHINES)
    named, found = networks(), []
    for how in varied(LatencySpec(), ["onnxruntime", "openvino"], None, None):
        raced = race([Entry(build(spec.network), spec.image_size, how) for spec in named.values()], repeats=ROUNDS)
        for (name, blocks), one in zip(named, raced, strict=True):
            ms, doubt = round(one.latency.median_ms, 3), doubts(one.latency)
            found.append({"runtime": how.runtime, "network": name, "blocks": blocks, "ms": ms, "doubt": doubt})
    frame = pd.DataFrame(found)
    write_atomically(HERE / TIMES, frame.to_csv(index=False, lineterminator="\n"))
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
