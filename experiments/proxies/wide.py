"""The same question for networks of STDC1-Seg's size, from trainings that others kept -> wide.csv, .md and .tex.

python -m experiments.proxies.wide
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from experiments.proxies.measure import HERE
from stdc_search.report.tables import print_table, save_table

KEPT = {
    "STDC1-Seg": "camvid_search/runs/stdc1_12_epochs",
    "hand_1": "camvid_search/runs/hand_1_12_epochs",
    "53": "camvid_search/runs/network_53_12_epochs",
    "13": "camvid_search/runs/network_13_12_epochs",
    "STDC1-Seg, 2 blocks": "paper_figure7_accuracy/runs/2_blocks",
    "STDC1-Seg, 3 blocks": "paper_figure7_accuracy/runs/3_blocks",
    "STDC1-Seg, 5 blocks": "paper_figure7_accuracy/runs/5_blocks",
    "STDC1-Seg, 6 blocks": "paper_figure7_accuracy/runs/6_blocks",
    "STDC2-Seg": "baselines/runs/stdc2",
}
"""Trainings of 12 epochs with three seeds under the small protocol."""


def curves(run: Path) -> list[pd.DataFrame]:
    return [pd.read_csv(file) for file in sorted((run / "networks" / "0000").rglob("curve.csv"))]


def main() -> None:
    rows = []
    for name, run in KEPT.items():
        its = curves(HERE.parent / run)
        scores = [curve["score"].iloc[-1] for curve in its]
        row = {"network": name, "seeds": len(its), "mIoU %": np.mean(scores), "± %": np.std(scores, ddof=1)}
        for epochs in (4, 12):
            losses = [curve["loss"][epochs // 2 : epochs].mean() for curve in its]
            row |= {f"loss after {epochs}": np.mean(losses), f"± after {epochs}": np.std(losses, ddof=1)}
        rows.append(row)
    frame = pd.DataFrame(rows).sort_values("loss after 12", ignore_index=True)
    several = frame[frame["network"] != "STDC2-Seg"]
    ranks = ", ".join(
        f"after {epochs} epochs {-kendalltau(several[f'loss after {epochs}'], several['mIoU %']).statistic:.2f}"
        for epochs in (4, 12)
    )
    caption = f"Kendall's tau of loss and mIoU without STDC2-Seg, which is far behind: {ranks}"
    save_table(frame, HERE / "wide", caption=caption)
    print_table(frame, caption)


if __name__ == "__main__":
    main()
