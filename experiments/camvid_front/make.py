"""The finals beside the search, with intervals and measured times: `python -m experiments.camvid_front.make`."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from statistics import fmean, variance

import pandas as pd
from scipy.stats import t

from stdc_search.ranking import rank_correlation
from stdc_search.records import Record, Score, read
from stdc_search.report.tables import save_table
from stdc_search.run_folder import FINALS, RESULTS

HERE = Path(__file__).parent
COMPARISON = HERE.parent / "trained_comparison"
RUNTIMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


def main(folder: Path = HERE) -> None:
    search = {record.number: record for record in read(HERE / "run" / RESULTS)}
    finals = [record for record in read(HERE / "run" / FINALS / RESULTS) if record.state == "complete"]
    times = pd.read_csv(COMPARISON / "times_camvid.csv", index_col="network")
    scores = {record.number: seeds(record) for record in finals}
    freedom = sum(len(several) - 1 for several in scores.values())
    pooled = sum(variance(several) * (len(several) - 1) for several in scores.values()) / freedom
    own = next(record for record in finals if record.name == "stdc1")
    rows = []
    for record in sorted(finals, key=lambda record: -fmean(scores[record.number])):
        several, first, cost = scores[record.number], scores[own.number], record.cost
        assert cost is not None
        name = record.name or f"network {record.number}"
        error = sqrt(pooled / len(several) + pooled / len(first))
        row = {
            "network": name,
            "mIoU %": fmean(several),
            "seeds": ", ".join(f"{score:.1f}" for score in several),
            "minus STDC1 %": fmean(several) - fmean(first) if record is not own else None,
            "± %": float(t.ppf(0.975, freedom)) * error if record is not own else None,
            "search mIoU %": fmean(seeds(search[record.number])),
            "GMACs": cost.macs / 1e9,
        }
        for column, title in RUNTIMES.items():
            measured = times[f"{column} ms"]
            row |= {f"{title} ms": measured[name], f"{title}, times as fast": measured["stdc1"] / measured[name]}
        rows.append(row)
    frame = pd.DataFrame(rows)
    correlation = rank_correlation(frame["mIoU %"].tolist(), frame["search mIoU %"].tolist())
    caption = (
        f"Finals on CamVid val; rank correlation with the search {correlation:.2f}; 95 % intervals, pooled variance"
    )
    save_table(frame, folder / "table", caption=caption)


def seeds(record: Record) -> tuple[float, ...]:
    """The mIoU of each seed."""
    assert isinstance(record.score, Score)
    return record.score.seed_miou


if __name__ == "__main__":
    main()
