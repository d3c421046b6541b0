"""The picture of several fronts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from stdc_search.report.plots import INK, PALE, SMALL_PT, TITLE_PT, Axis, literal, scale_edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = tuple(
    zip(
        ("#0b6e99", "#c2410c", "#7b2d8b", "#2e7d32", "#b8860b", "#b4232c", "#0f766e", "#6b7785"),
        "osD^vPX<",
        strict=True,
    )
)
"""Colour and marker of each run, in turn; a marker tells them apart without colours."""
WIDTH = 66
"""Characters of a line of the title."""
Steps = tuple[tuple[float, float], ...]
"""Corners of a step line, from left to right."""


@dataclass(frozen=True)
class Line:
    """A front."""

    name: str
    dots: tuple[tuple[float, float, float | None], ...]
    """x, y, and half of the width of the 95 % interval of y, if there is one."""


@dataclass(frozen=True)
class ComparisonPicture:
    """All that the picture of several fronts shows."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    connected: bool
    """Whether x and y alone decide what is on a front, so that a line can join it."""
    half: Steps = ()
    """What half of the runs attain; empty for few runs."""


def draw_comparison(picture: ComparisonPicture) -> Figure:
    """The picture of several fronts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(literal(textwrap.fill(picture.title, WIDTH)), loc="left", size=TITLE_PT, weight="bold", color=INK)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelcolor=INK, labelsize=SMALL_PT + 0.5, length=3, color=PALE)
    for line, (colour, marker) in zip(picture.lines, cycle(STYLES), strict=False):
        _draw_line(axes, line, colour, marker, picture)
    if picture.half:
        label = f"attained by half of the {len(picture.lines)} runs"
        _step(axes, picture.half, picture, color=INK, linewidth=2, linestyle=(0, (4, 2)), label=label)
    ends = [
        (x, end) for line in picture.lines for x, y, half in line.dots for end in (y - (half or 0), y + (half or 0))
    ]
    scale_edge(axes.xaxis, axes.set_xscale, axes.set_xlim, picture.x, [x for x, _ in ends])
    scale_edge(axes.yaxis, axes.set_yscale, axes.set_ylim, picture.y, [y for _, y in ends])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL_PT, labelcolor=INK)
    return figure


def _draw_line(axes: Axes, line: Line, colour: str, marker: str, picture: ComparisonPicture) -> None:
    x, y, _ = zip(*line.dots, strict=True)
    hidden = "\N{ZERO WIDTH SPACE}" if line.name.startswith("_") else ""  # else the legend would leave it out
    if picture.connected:
        steps = sorted((a, b) for a, b, _ in line.dots)
        _step(axes, steps, picture, color=colour, linewidth=1.3, alpha=0.8)
    bounded = [(a, b, c) for a, b, c in line.dots if c]
    axes.vlines(
        [a for a, _, _ in bounded],
        [b - c for _, b, c in bounded],
        [b + c for _, b, c in bounded],
        colors=colour,
        linewidth=1,
        alpha=0.5,
    )
    look = {"marker": marker, "color": colour, "edgecolors": "white", "linewidths": 0.7, "zorder": 3}
    axes.scatter(x, y, s=46, label=hidden + literal(line.name), **look)


def _step(axes: Axes, steps: Sequence[tuple[float, float]], picture: ComparisonPicture, **style: object) -> None:
    """A line along what is attained: up to the next dot, a front has what the last one gives."""
    x, y = zip(*steps, strict=True)
    where = "post" if picture.x.direction == "minimize" else "pre"
    axes.step(x, y, where=where, zorder=2, **style)  # pyright: ignore[reportArgumentType]
