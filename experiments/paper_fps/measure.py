"""The paper's FPS columns on this machine, all networks in turns: `python experiments/paper_fps/measure.py`."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stdc_search.latency import Entry, note_machine, race
from stdc_search.network.builder import build
from stdc_search.network.cost import count
from stdc_search.report.tables import print_table, save_table
from stdc_search.report.words import device, doubts
from stdc_search.run_folder import MACHINES
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import LatencySpec, varied
from stdc_search.spec.run import load

SMALL, LARGE = (512, 1024), (768, 1536)


class Row(NamedTuple):
    table: str
    network: str
    spec: str
    paper: float | None
    """The paper's FPS on a GTX 1080 Ti with TensorRT; Figure 7's are drawn, not printed."""
    changes: dict[str, Any] = {}


ROWS = [
    Row("5", "STDC1", "stdc1", 1289.0),
    Row("5", "STDC2", "stdc2", 813.6),
    *(
        Row(
            "Figure 7",
            f"STDC2, {blocks} blocks",
            "stdc2",
            None,
            {f"network.backbone.stages.{i}.blocks": blocks for i in range(3)},
        )
        for blocks in (2, 3, 5, 6, 7)
    ),
    Row("6", "STDC1-Seg50", "stdc1_seg50", 250.4),
    Row("6", "STDC2-Seg50", "stdc2_seg50", 188.6),
    Row("6", "STDC1-Seg75", "stdc1_seg75", 126.7),
    Row("6", "STDC2-Seg75", "stdc2_seg75", 97.0),
    Row("4", "STDC2-Seg50, spatial path", "stdc2_spatial_seg50", 171.6),
    Row("3", "GhostNet, 50", "ghostnet_seg50", 135.0),
    Row("3", "MobileNetV3, 50", "mobilenetv3_seg50", 148.3),
    Row("3", "EfficientNet-B0, 50", "efficientnet_b0_seg50", 99.9),
    Row("3", "GhostNet, 75", "ghostnet_seg50", 60.9, {"image_size": LARGE}),
    Row("3", "MobileNetV3, 75", "mobilenetv3_seg50", 70.4, {"image_size": LARGE}),
    Row("3", "EfficientNet-B0, 75", "efficientnet_b0_seg50", 45.9, {"image_size": LARGE}),
    Row("7", "STDC1-Seg", "stdc1_camvid", 197.6),
    Row("7", "STDC2-Seg", "stdc2_camvid", 152.2),
]
FIRST = "STDC2-Seg50"
"""What the others are compared with."""


def main(folder: Path = Path(__file__).parent) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", default="onnxruntime")
    runtime = parser.parse_args().runtime
    specs = [replace(load(f"specs/{row.spec}.yaml"), row.changes) for row in ROWS]
    (how,) = varied(LatencySpec(), [runtime], None, None)
    timings = race([Entry(build(spec.network), spec.image_size, how) for spec in specs], warmup=5, repeats=30)
    times = [timing.latency for timing in timings]
    first = next(i for i, row in enumerate(ROWS) if row.network == FIRST)
    frame = pd.DataFrame(
        {
            "in the paper": row.table,
            "network": row.network,
            "image size": "{}x{}".format(*spec.image_size),
            "GMACs": count(spec.network, spec.image_size).macs / 1e9,
            "ms": time.median_ms,
            "p95 ms": time.p95_ms,
            "FPS": time.fps,
            f"FPS / {FIRST}'s": time.fps / times[first].fps,
            "paper's FPS": row.paper,
            f"paper's / {FIRST}'s": row.paper and row.paper / (ROWS[first].paper or 1),
        }
        for row, spec, time in zip(ROWS, specs, times, strict=True)
    )
    machine = device(note_machine(folder / MACHINES))
    caption = (
        f"Image to label map or class, batch 1, {runtime}, fp32, on {machine}; the paper's FPS are of a GTX 1080 Ti"
    )
    save_table(frame, folder / runtime, caption=caption)
    print_table(frame, caption)
    for row, time in zip(ROWS, times, strict=True):
        if told := doubts(time):
            print(f"{row.network}: {told}")


if __name__ == "__main__":
    main()
