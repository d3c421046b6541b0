"""Tables and pictures of the comparison: `python -m experiments.trained_comparison.make`."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, variance

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import t

from experiments.trained_comparison.networks import HERE, STARTS, finals, found
from stdc_search.records import Record, Score, read
from stdc_search.report.plots import encode
from stdc_search.report.tables import save_table
from stdc_search.run_folder import RESULTS
from stdc_search.storage import write_atomically

TITLES = {"camvid": "CamVid val, 180 x 240, 36 epochs", "facade": "LabelMeFacade val, 192 x 256, 12 epochs"}
COLOURS = {"STDC": "#c2410c", "found": "#0b6e99", "others": "#5b6470"}
UNSTEADY = {"lpsnet_s"}
"""Its seeds differ by 6 to 9 points, ten times as much as those of others, so its interval is its own. It lies far
below them, so pictures leave it out."""
MIOU, INTERVAL, TIME = "mIoU %", "± %", "OpenVINO ms"


def main(folder: Path = HERE) -> None:
    for data, title in TITLES.items():
        records = trained(data)
        if not records or not (HERE / f"times_{data}.csv").exists():
            continue
        frame = table(records, pd.read_csv(HERE / f"times_{data}.csv", index_col="network"))
        intervals = "95 % intervals from the variance of all networks but LPS-Net-S"
        caption = f"{title}, random weights, the same recipe; {intervals}"
        save_table(frame, folder / f"table_{data}", caption=caption)
        for path in (folder / f"figure_{data}.png", folder / f"figure_{data}.svg"):
            write_atomically(path, encode(draw(frame[~frame["network"].isin(UNSTEADY)], title), path.suffix))


def trained(data: str) -> dict[str, Record]:
    """A record of each network that is trained, by name."""
    own = {
        path.parent.name.replace("network_", "network ").replace("ladder_", "ladder "): record
        for path in sorted((HERE / "runs" / data).glob(f"*/{RESULTS}"))
        for record in read(path)
        if record.state == "complete"
    }
    return {**own, **(finals() if data == "camvid" else {})}


def table(records: dict[str, Record], times: pd.DataFrame) -> pd.DataFrame:
    """A row a network, the most accurate first."""
    scores = {name: record.score.seed_miou for name, record in records.items() if isinstance(record.score, Score)}
    steady = interval([several for name, several in scores.items() if name not in UNSTEADY])
    rows = []
    for name, several in scores.items():
        cost = records[name].cost
        assert cost is not None
        rows.append(
            {
                "network": name,
                "kind": "STDC" if name in STARTS else "found" if name in found() else "others",
                MIOU: fmean(several),
                INTERVAL: (interval([several]) if name in UNSTEADY else steady) / sqrt(len(several)),
                "seeds": len(several),
                "GMACs": cost.macs / 1e9,
                "params M": cost.parameters / 1e6,
                TIME: times.loc[name, "openvino ms"],
                "ONNX Runtime ms": times.loc[name, "onnxruntime ms"],
            }
        )
    return pd.DataFrame(rows).sort_values(MIOU, ascending=False, ignore_index=True)


def interval(groups: Sequence[Sequence[float]]) -> float:
    """Half of the 95 % interval of one training, from groups of trainings that share a variance."""
    freedom = sum(len(several) - 1 for several in groups)
    pooled = sum(variance(several) * (len(several) - 1) for several in groups) / freedom
    return float(t.ppf(0.975, freedom)) * sqrt(pooled)


def draw(frame: pd.DataFrame, title: str) -> Figure:
    """mIoU against time, with intervals."""
    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, rows in frame.groupby("kind"):
        colour = COLOURS[str(kind)]
        axes.errorbar(
            rows[TIME], rows[MIOU], rows[INTERVAL], fmt="o", color=colour, capsize=2, linewidth=0.8, label=kind
        )
        for _, row in rows.iterrows():
            place = (float(row[TIME]), float(row[MIOU]))
            about = {"textcoords": "offset points", "fontsize": 7, "color": colour, "rotation": 60}
            axes.annotate(str(row["network"]), place, (3, 3), **about)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("milliseconds from image to label map (OpenVINO, 1 thread)")
    axes.set_ylabel("mIoU, %")
    axes.set_title(title, loc="left", weight="bold")
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
