"""Figure 1, and the same systems by our counts and times: `python -m experiments.paper_figure1.make`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.paper_tables.make import FASTEST, costs, published, times
from stdc_search.ranking import front
from stdc_search.records import Direction
from stdc_search.report.plots import encode
from stdc_search.report.tables import save_table
from stdc_search.storage import write_atomically

SCORE, SPEED, MEASURED = "published test mIoU %", "published FPS", "measured FPS"
OURS, OTHERS = "#c2410c", "#0b6e99"
BELOW = {"BiSeNetV2-L", "BiSeNetV1 ResNet18", "FasterSeg", "DFANet A'"}
"""Systems whose names would hide others above their points."""


def main(folder: Path = Path(__file__).parent) -> None:
    """Write the table and the figure."""
    rows, specs = published("6")
    ours = {"GMACs": costs(rows, specs)["GMACs"], MEASURED: times("6", rows)[FASTEST]}
    frame = rows[["system", SCORE, SPEED]].assign(**ours).reset_index(drop=True)
    frame["front by published FPS"] = marks(frame, SPEED, "maximize")
    frame["front by GMACs"] = marks(frame, "GMACs", "minimize")
    frame["front by measured FPS"] = marks(frame, MEASURED, "maximize")
    save_table(frame, folder / "table", caption="Table 6 on Cityscapes test; published figures are not ours")
    for path in (folder / "figure.png", folder / "figure.svg"):
        write_atomically(path, encode(draw(frame), path.suffix))


def marks(frame: pd.DataFrame, cost: str, direction: Direction) -> list[str]:
    """Marks of the systems on the front of score and cost."""
    chosen = front(frame[[SCORE, cost]].to_numpy(float), ("maximize", direction))
    return ["yes" if one else "" for one in chosen]


def draw(frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    panel(left, frame, SPEED, "As in the paper's Figure 1: published speeds")
    panel(middle, frame.dropna(subset="GMACs"), "GMACs", "By multiply-adds, counted here")
    panel(right, frame.dropna(subset=MEASURED), MEASURED, "By speed on 2 CPU cores, measured here")
    middle.invert_xaxis()  # cheaper is further to the right in all
    for axes in (middle, right):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    left.set_ylabel("published mIoU on Cityscapes test, %")
    return figure


def panel(axes: Axes, frame: pd.DataFrame, column: str, title: str) -> None:
    for _, row in frame.iterrows():
        system = str(row["system"])
        colour = OURS if system.startswith("STDC") else OTHERS
        axes.plot(row[column], row[SCORE], "o", color=colour, markersize=5)
        axes.annotate(
            system,
            (row[column], row[SCORE]),
            (0, -11 if system in BELOW else 5),
            textcoords="offset points",
            color=colour,
            fontsize=6.5,
            ha="center",
        )
    axes.set_xlabel(column)
    axes.set_title(title, loc="left", weight="bold", fontsize=10)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
