"""Table 4, detail guidance: none, a spatial path, or guidance by one to three strides, with STDC1-Seg on CamVid.

OMP_NUM_THREADS=1 python -m experiments.paper_table4.run --data-root FOLDER_OF_CAMVID

With the released weights 0.6, 0.3, 0.1 the map of stride 4 decides no pixel, so that row trains on the targets of
1x + 2x; equal weights let it decide.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.baselines.run import SEEDS
from experiments.study import main

THIRDS = (1 / 3, 1 / 3, 1 / 3)


def with_detail(detail: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**SEEDS, "network.detail": detail}


VARIANTS = {
    "none": with_detail(None),
    "spatial_path": {**with_detail(None), "network.decoder.spatial": {}},
    "4x": with_detail({"strides": (4,)}),
    "2x": with_detail({"strides": (2,)}),
    "1x": with_detail({"strides": (1,)}),
    "1x_2x": with_detail({"strides": (1, 2)}),
    "1x_2x_4x_as_released": with_detail({"strides": (1, 2, 4)}),
    "1x_2x_4x_alike": with_detail({"strides": (1, 2, 4), "weights": THIRDS}),
}

if __name__ == "__main__":
    main(Path(__file__).parent, VARIANTS, "Detail guidance with STDC1-Seg on CamVid val under specs/camvid_small.yaml")
