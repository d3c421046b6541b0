"""The cost half of Figure 7, blocks a module: `python experiments/paper_figure7_cost/make.py`."""

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stdc_search.network.cost import count
from stdc_search.report.plots import encode
from stdc_search.report.tables import save_table
from stdc_search.spec.base import replace
from stdc_search.spec.run import load
from stdc_search.storage import write_atomically

BLOCKS = range(2, 8)


def main(folder: Path = Path(__file__).parent) -> None:
    rows = []
    for name in ("stdc1", "stdc2"):
        spec = load(f"specs/{name}.yaml")
        for blocks in BLOCKS:
            changes = {f"network.backbone.stages.{stage}.blocks": blocks for stage in range(3)}
            cost = count(replace(spec, changes).network, spec.image_size)
            rows.append(
                {
                    "network": name.upper(),
                    "blocks n": blocks,
                    "params M": cost.parameters / 1e6,
                    "MACs M": cost.macs / 1e6,
                    "paper's FLOPs M": cost.paper_flops / 1e6,
                }
            )
    frame = pd.DataFrame(rows)
    save_table(frame, folder / "table", caption="STDC classifiers at 224 x 224 by the number of blocks in a module")
    for path in (folder / "figure.png", folder / "figure.svg"):
        write_atomically(path, encode(draw(frame), path.suffix))


def draw(frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, rows), colour in zip(frame.groupby("network"), ("#c2410c", "#0b6e99"), strict=True):
        axes.plot(rows["blocks n"], rows["paper's FLOPs M"], "o-", color=colour)
        last = rows.iloc[-1]
        axes.annotate(
            str(name),
            (last["blocks n"], last["paper's FLOPs M"]),
            (0, 8),
            textcoords="offset points",
            color=colour,
            weight="bold",
            ha="center",
        )
    axes.set_ylim(0)
    axes.set_xticks(list(BLOCKS))
    axes.set_xlabel("blocks n in an STDC module")
    axes.set_ylabel("FLOPs by the paper's rule, millions")
    axes.set_title("What more blocks save, at 224 x 224", loc="left", weight="bold")
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
