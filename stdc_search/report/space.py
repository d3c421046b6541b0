"""A table of a whole space as quantiles, a sentence and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stdc_search.records import INSIDE, LEGAL, METRICS
from stdc_search.report.plots import GIVEN, INK, PALE, QUIET, SMALL_PT, TEXT_PT, TITLE_PT, encode, literal
from stdc_search.report.tables import print_table, save_table
from stdc_search.report.words import title_of
from stdc_search.spec.search import Limited, LimitSpec, SearchSpec
from stdc_search.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MACS, PARAMETERS = METRICS["cost.macs"], METRICS["cost.parameters"]
QUANTILES = {
    "smallest": 0.0,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "largest": 1.0,
}


def show_space(
    table: pd.DataFrame, landmarks: Mapping[str, tuple[int, ...]], search: SearchSpec, folder: Path, title: str
) -> None:
    """Print and save the quantiles of a space, and save all its networks and a picture."""
    note = space_note(table, search.size, search.limits)
    frame = quantile_frame(table, landmarks)
    paths = [*save_table(frame, folder / "quantiles", caption=f"{title}: {note}"), folder / "networks.csv"]
    write_atomically(paths[-1], table.to_csv(index=False, lineterminator="\n"))
    if np.asarray(table[LEGAL]).any():
        figure = draw_space(table, landmarks, search.limits, title)
        for path in (folder / "space.png", folder / "space.svg"):
            write_atomically(path, encode(figure, path.suffix))
            paths.append(path)
    print_table(frame, title, [note, *(f"saved: {path}" for path in paths)])


def quantile_frame(table: pd.DataFrame, landmarks: Mapping[str, tuple[int, ...]]) -> pd.DataFrame:
    """Quantiles of the legal networks' costs, then the landmarks, with the share of networks that cost less.

    Args:
        table: from `search.space.tabulate`.
        landmarks: parameters, macs, fvcore_flops and paper_flops by name.
    """
    macs, parameters = _legal(table, "cost.macs"), _legal(table, "cost.parameters")
    rows = [
        {
            "network": name,
            MACS.title: _at(macs, share) / MACS.scale,
            PARAMETERS.title: _at(parameters, share) / PARAMETERS.scale,
        }
        for name, share in QUANTILES.items()
    ]
    for name, costs in landmarks.items():
        rows.append(
            {
                "network": title_of(name),
                MACS.title: costs[1] / MACS.scale,
                PARAMETERS.title: costs[0] / PARAMETERS.scale,
                "fewer GMACs %": _share(macs < costs[1]),
                "fewer params %": _share(parameters < costs[0]),
            }
        )
    return pd.DataFrame(rows)


def space_note(table: pd.DataFrame, size: float, limits: Mapping[Limited, LimitSpec]) -> str:
    """How many combinations there are, how many are legal, and how many lie inside the limits."""
    whole = f"all {len(table):,}" if len(table) == size else f"a sample of {len(table):,}"
    of = f" of {size:,.0f}" if len(table) != size and np.isfinite(size) else ""
    legal, inside = (int(np.sum(np.asarray(table[name]))) for name in (LEGAL, INSIDE))
    parts = [f"{whole} combinations{of}: {legal:,} are legal networks"]
    costs = [name for name in limits if name.startswith("cost.")]
    if costs:
        parts.append(f"{inside:,} ({100 * inside / max(legal, 1):.1f} %) are within the limits on {', '.join(costs)}")
    if timed := [name for name in limits if name.startswith("latency.")]:
        parts.append(f"{', '.join(timed)} is not counted")
    return "; ".join(parts)


def draw_space(
    table: pd.DataFrame,
    landmarks: Mapping[str, tuple[int, ...]],
    limits: Mapping[Limited, LimitSpec],
    title: str,
) -> Figure:
    """The density of the networks, with multiply-adds along x and parameters along y, both on logarithmic scales."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(7.6, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(literal(title), loc="left", size=TITLE_PT, weight="bold", color=INK)
    macs, parameters = _legal(table, "cost.macs") / MACS.scale, _legal(table, "cost.parameters") / PARAMETERS.scale
    colours = LinearSegmentedColormap.from_list("networks", ["#dfe6ee", "#0b6e99", "#083d56"])
    cells = axes.hexbin(macs, parameters, xscale="log", yscale="log", gridsize=60, mincnt=1, cmap=colours, bins="log")
    bar = figure.colorbar(cells, ax=axes, pad=0.01)
    bar.set_label("networks a cell", color=INK, size=TEXT_PT)
    bar.ax.tick_params(labelcolor=INK, labelsize=SMALL_PT, color=PALE)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    small: Any = {"textcoords": "offset points", "fontsize": SMALL_PT, "color": QUIET}
    dashed: Any = {"color": QUIET, "linewidth": 1, "linestyle": (0, (5, 4))}
    if limit := limits.get("cost.macs"):
        axes.axvline(limit.bound / MACS.scale, **dashed)
        axes.annotate(
            "limit",
            (limit.bound / MACS.scale, 1),
            (-3, -3),
            xycoords=axes.get_xaxis_transform(),
            ha="right",
            va="top",
            **small,
        )
    if limit := limits.get("cost.parameters"):
        axes.axhline(limit.bound / PARAMETERS.scale, **dashed)
        axes.annotate(
            "limit", (0, limit.bound / PARAMETERS.scale), (3, 3), xycoords=axes.get_yaxis_transform(), **small
        )
    for name, costs in landmarks.items():
        place = (costs[1] / MACS.scale, costs[0] / PARAMETERS.scale)
        axes.plot(*place, "*", color=GIVEN, markersize=13, markeredgecolor="white")
        text = axes.annotate(literal(title_of(name)), place, (8, -3), **{**small, "fontsize": TEXT_PT, "color": GIVEN})
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.set_xlabel(MACS.axis, color=INK, size=TEXT_PT)
    axes.set_ylabel(PARAMETERS.axis, color=INK, size=TEXT_PT)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(which="both", labelcolor=INK, labelsize=SMALL_PT + 0.5, color=PALE)
    for edge in (axes.xaxis, axes.yaxis):
        edge.set_major_formatter(lambda value, _: f"{value:g}")
        edge.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    return figure


def _legal(table: pd.DataFrame, column: str) -> NDArray[Any]:
    return np.asarray(table[column])[np.asarray(table[LEGAL])]


def _share(true: NDArray[Any]) -> float:
    return 100 * float(true.mean()) if len(true) else float("nan")


def _at(values: NDArray[Any], share: float) -> float:
    return float("nan") if not len(values) else float(np.quantile(values, share, method="nearest"))
