"""Costs of Table 3's backbones under STDC's decoder: `python experiments/paper_table3/make.py`."""

from pathlib import Path

import pandas as pd

from stdc_search.network.cost import count
from stdc_search.report.tables import save_table
from stdc_search.spec.run import load

ROWS = {
    "GhostNet": ("ghostnet_seg50", 67.8, 135.0, 71.3, 60.9),
    "MobileNetV3-Large": ("mobilenetv3_seg50", 70.1, 148.3, 73.0, 70.4),
    "EfficientNet-B0": ("efficientnet_b0_seg50", 72.2, 99.9, 73.9, 45.9),
    "STDC2": ("stdc2_seg50", 74.2, 188.6, 77.0, 97.0),
    "STDC1": ("stdc1_seg50", 72.2, 250.4, 74.5, 126.7),
    "ResNet-18": ("resnet18_seg50", None, None, None, None),
}
"""Spec, and the paper's mIoU and FPS at 512x1024 and 768x1536 on a GTX 1080 Ti (STDC1's from Table 6)."""


def main(folder: Path = Path(__file__).parent) -> None:
    rows = []
    for backbone, (name, miou_50, fps_50, miou_75, fps_75) in ROWS.items():
        network = load(f"specs/{name}.yaml").network
        small, large = count(network, (512, 1024)), count(network, (768, 1536))
        rows.append(
            {
                "backbone": backbone,
                "params M": small.parameters / 1e6,
                "512x1024 GMACs": small.macs / 1e9,
                "768x1536 GMACs": large.macs / 1e9,
                "paper's mIoU50 %": miou_50,
                "paper's FPS50": fps_50,
                "paper's mIoU75 %": miou_75,
                "paper's FPS75": fps_75,
            }
        )
    caption = "Backbones under STDC's decoder; mIoU and FPS are the paper's, of a GTX 1080 Ti with TensorRT"
    save_table(pd.DataFrame(rows), folder / "table", caption=caption)


if __name__ == "__main__":
    main()
