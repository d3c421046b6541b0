"""The cost half of Figure 7, blocks a module: `python -m experiments.paper_figure7_cost.make`."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stdc_search.network.cost import count
from stdc_search.report.plots import encode
from stdc_search.report.tables import save_table
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load
from stdc_search.storage import write_atomically

HERE = Path(__file__).parent
TIMES = "times.csv"
BLOCKS = range(2, 8)
FLOPS, TIME = "paper's FLOPs M", "ONNX Runtime ms"


def networks() -> dict[tuple[str, int], RunSpec]:
    """Runs of both classifiers with each number of blocks."""
    specs = {name: load(f"specs/{name}.yaml") for name in ("stdc1", "stdc2")}
    return {
        (name.upper(), blocks): replace(spec, {f"network.backbone.stages.{stage}.blocks": blocks for stage in range(3)})
        for name, spec in specs.items()
        for blocks in BLOCKS
    }


def main(folder: Path = HERE) -> None:
    times = pd.read_csv(HERE / TIMES).set_index(["runtime", "network", "blocks"])["ms"]
    rows = []
    for (name, blocks), spec in networks().items():
        cost = count(spec.network, spec.image_size)
        rows.append(
            {
                "network": name,
                "blocks n": blocks,
                "params M": cost.parameters / 1e6,
                "MACs M": cost.macs / 1e6,
                FLOPS: cost.paper_flops / 1e6,
                TIME: times["onnxruntime", name, blocks],
                "OpenVINO ms": times["openvino", name, blocks],
            }
        )
    frame = pd.DataFrame(rows)
    save_table(frame, folder / "table", caption="STDC classifiers at 224 x 224 by the number of blocks in a module")
    for path in (folder / "figure.png", folder / "figure.svg"):
        write_atomically(path, encode(draw(frame), path.suffix))


def draw(frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    panel(left, frame, FLOPS, "FLOPs by the paper's rule, millions", "What more blocks save, at 224 x 224")
    panel(right, frame, TIME, "ms, ONNX Runtime on 2 cores", "What they take")
    return figure


def panel(axes: Axes, frame: pd.DataFrame, column: str, label: str, title: str) -> None:
    for (name, rows), colour in zip(frame.groupby("network"), ("#c2410c", "#0b6e99"), strict=True):
        axes.plot(rows["blocks n"], rows[column], "o-", color=colour)
        last = rows.iloc[-1]
        axes.annotate(
            str(name),
            (last["blocks n"], last[column]),
            (0, 8),
            textcoords="offset points",
            color=colour,
            weight="bold",
            ha="center",
        )
    axes.set_ylim(0)
    axes.set_xticks(list(BLOCKS))
    axes.set_xlabel("blocks n in an STDC module")
    axes.set_ylabel(label)
    axes.set_title(title, loc="left", weight="bold")
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
