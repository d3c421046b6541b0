"""The picture of a front: first a value that describes it, then the drawing."""

from __future__ import annotations

import io
import textwrap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stdc_search.records import IMAGE_METRICS, METRICS, PIXEL_METRICS, Direction, Record
from stdc_search.report.candidates import first
from stdc_search.report.labels import place_label
from stdc_search.spec.search import Limited, LimitSpec

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as Edge
    from matplotlib.figure import Figure

SCORES = (*PIXEL_METRICS, *IMAGE_METRICS)
INK, QUIET, PALE, SEARCHED, GIVEN, LIMIT = "#1f2933", "#6b7785", "#a9b8c9", "#0b6e99", "#c2410c", "#b4232c"
TITLE_PT, TEXT_PT, SMALL_PT = 12, 9.5, 8


class Look(NamedTuple):
    """How a kind of dot is drawn, and what the legend calls it."""

    words: str
    colour: str
    marker: str = "o"


LOOKS = {
    "dominated": Look("trained, not on the front", PALE),
    "front": Look("on the front", SEARCHED),
    "base": Look("base", "#7b2d8b", "s"),
    "start": Look("start network", GIVEN),
    "reference": Look("reference, outside the search space", GIVEN),
}
"""By kind, the lowest first."""
REJECTED = "rejected by a limit, not trained"
BEYOND = 1.5
"""How far beyond the dots a rejected candidate is still in view, in their greatest values; others are only counted."""
LINE = 80
"""Characters of the title that fit the picture's width."""
SIZES = {"o": 50, "s": 50, "*": 170, "D": 62, "P": 95, "^": 85, "v": 85, "X": 95, "<": 85, ">": 85}
"""In square points, by marker."""
GIVEN_MARKERS = tuple(SIZES)[2:]
"""Markers of start networks and references, in turn."""


class Dot(NamedTuple):
    """A trained candidate in the picture."""

    number: int
    x: float
    y: float
    third: float | None
    """The third objective, shown by colour."""
    label: str
    """Empty for none."""
    kind: str
    """A key of LOOKS."""
    on_front: bool
    interval: float | None = None
    """Half of the width of the 95 % interval of y, where y is expected."""


class Axis(NamedTuple):
    """A metric along an edge of the picture."""

    metric: str
    title: str
    direction: Direction
    log: bool
    limit: float | None = None
    """In the unit of the edge."""


@dataclass(frozen=True)
class FrontPicture:
    """All that the picture of a front shows."""

    title: str
    small_print: str
    x: Axis
    y: Axis
    third: Axis | None
    dots: tuple[Dot, ...]
    constant: float | None
    """mIoU of predicting the most common class, if mIoU runs along y."""
    rejected: tuple[float, ...] = ()
    """Places along x of the candidates that a limit rejected; they have no score."""

    @property
    def near(self) -> list[float]:
        """The rejected candidates that are in view."""
        edge = BEYOND * max(max(dot.x for dot in self.dots), self.x.limit or 0.0)
        return [x for x in self.rejected if x <= edge]

    @property
    def rejected_words(self) -> str:
        """What the legend says of rejected candidates."""
        further = len(self.rejected) - len(self.near)
        return f"{REJECTED} ({further} more to the right)" if further else REJECTED

    @property
    def line(self) -> list[tuple[float, float]]:
        """The front from left to right; empty where a third objective decides too."""
        return [] if self.third else sorted((dot.x, dot.y) for dot in self.dots if dot.on_front)

    @property
    def bars(self) -> list[tuple[Dot, float, float]]:
        """The front and the named networks, each with the ends of its interval, if there are intervals."""
        return [(dot, dot.y - dot.interval, dot.y + dot.interval) for dot in self.dots if dot.label and dot.interval]

    @property
    def constant_in_view(self) -> bool:
        """Whether a line at `constant` leaves the dots at least half of the height."""
        heights = [dot.y for dot in self.dots]
        return self.constant is not None and max(heights) - min(heights) >= min(heights) - self.constant


def front_picture(
    frame: pd.DataFrame,
    objectives: Mapping[str, Direction],
    title: str,
    small_print: str,
    doubtful: Collection[str] = (),
    limits: Mapping[Limited, LimitSpec] | None = None,
    rejected: Sequence[Record] = (),
) -> FrontPicture:
    """What the picture of a front shows.

    A third objective is shown by colour.

    Args:
        frame: The trained candidates (`candidates.candidates`).
        doubtful: Names of networks whose times are doubtful, which a question mark shows.
        limits: Of the search; those of x and y are lines.
        rejected: Candidates that a limit rejected.
    """
    x, y, third = edges(frame, objectives)
    constant = y.replace("score.", "score.constant_")
    values = {name: expected_figures(frame, name) / METRICS[name].scale for name in (x, y, third) if name}
    intervals = frame[f"interval.{y}"].tolist() if f"interval.{y}" in frame else [None] * len(frame)
    dots = tuple(
        Dot(
            number=row["number"],
            x=float(values[x][i]),
            y=float(values[y][i]),
            third=float(values[third][i]) if third else None,
            label=_label(row) + "?" * bool(_label(row) and row["name"] in doubtful),
            kind=_kind(row),
            on_front=row["front"],
            interval=intervals[i],
        )
        for i, row in enumerate(frame.to_dict("records"))
    )
    return FrontPicture(
        title=title,
        small_print=small_print,
        x=axis_along(x, objectives, values[x], limits=limits),
        y=axis_along(y, objectives, values[y], "expected " * (f"expected.{y}" in frame), limits),
        third=axis_along(third, objectives, values[third]) if third else None,
        dots=dots,
        constant=max(frame[constant].tolist()) if constant in frame else None,
        rejected=tuple(_figures(rejected, x)),
    )


def edges(frame: pd.DataFrame, objectives: Mapping[str, Direction]) -> tuple[str, str, str | None]:
    """The metrics along x and y, and a third one if there is one.

    The first objective that is minimised (else cost) runs along x, the first that is maximised (else accuracy)
    along y; two of the same direction share the picture in their order.
    """
    x, y = first(objectives, "minimize"), first(objectives, "maximize")
    rest = [name for name in objectives if name not in (x, y)]
    x = x or (rest.pop(0) if rest else "cost.macs")
    y = y or (rest.pop(0) if rest else next(name for name in SCORES if name in frame))
    return x, y, rest[0] if rest else None


def _figures(records: Sequence[Record], metric: str) -> Iterator[float]:
    """A metric of records in the unit of an edge, as far as they have it."""
    found = (record.figure(metric) for record in records)
    return (value / METRICS[metric].scale for value in found if value is not None)


def _kind(row: Mapping[Any, Any]) -> str:
    if row["origin"] != "sampler":
        return row["origin"]
    return "front" if row["front"] else "dominated"


def _label(row: Mapping[Any, Any]) -> str:
    if row["origin"] != "sampler":
        return row["name"]
    return str(row["number"]) if row["front"] else ""


def expected_figures(frame: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """The expected score of each network, or its own figure if there is none."""
    return np.array(frame[f"expected.{metric}" if f"expected.{metric}" in frame else metric], dtype=float)


def axis_along(
    metric: str,
    objectives: Mapping[str, Direction],
    values: NDArray[np.float64],
    words: str = "",
    limits: Mapping[Limited, LimitSpec] | None = None,
) -> Axis:
    log = not metric.startswith("score.") and values.min() > 0 and values.max() > 4 * values.min()
    direction = objectives.get(metric, METRICS[metric].direction)
    limit = (limits or {}).get(metric)
    bound = None if limit is None else limit.bound / METRICS[metric].scale
    return Axis(metric, words + METRICS[metric].axis, direction, bool(log), bound)


def draw_front(picture: FrontPicture) -> Figure:
    """The picture of a front."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_frame(axes, picture)
    handles = {LOOKS[kind].words: artist for kind, artist in _draw_dots(axes, picture).items()}
    if picture.rejected:
        handles[picture.rejected_words] = _draw_rejected(axes, picture.near)
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside lower center",
        ncols=3 if len(handles) > len(LOOKS) - 1 else len(handles),
        frameon=False,
        fontsize=SMALL_PT,
        labelcolor=INK,
        handletextpad=0.4,
    )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # labels are placed by pixels: from here on nothing may move
    _draw_labels(axes, picture)
    return figure


def encode(figure: Figure, ending: str) -> bytes:
    """A figure as a `.png` or `.svg`, the same bytes for the same figure; an SVG keeps its text as text."""
    import matplotlib

    buffer = io.BytesIO()
    undated = {"Date": None} if ending == ".svg" else None
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stdc-search"}):
        figure.savefig(buffer, format=ending[1:], dpi=180, metadata=undated)
    return buffer.getvalue()


def literal(text: str) -> str:
    """Text that matplotlib is not to read as a formula."""
    return text.replace("$", r"\$")


def _draw_frame(axes: Axes, picture: FrontPicture) -> None:
    """Titles, scales, grid, and the line of the commonest class."""
    small: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL_PT, "color": QUIET}
    lines = picture.small_print.count("\n") + 1
    axes.set_title(
        literal(textwrap.fill(picture.title, LINE)),
        loc="left",
        size=TITLE_PT,
        weight="bold",
        color=INK,
        pad=10 + 1.4 * SMALL_PT * lines,
    )
    axes.annotate(literal(picture.small_print), (0, 1), (0, 7), xycoords="axes fraction", va="bottom", **small)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelcolor=INK, labelsize=SMALL_PT + 0.5, length=3, color=PALE)

    heights, widths = [dot.y for dot in picture.dots], [dot.x for dot in picture.dots] + picture.near
    dashed: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (5, 4)), "zorder": 1}
    across: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), **small}
    along: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), **small}
    if picture.constant is not None and picture.constant_in_view:
        heights.append(picture.constant)
        axes.axhline(picture.constant, color=QUIET, **dashed)
        axes.annotate("predicting the most common class", (1, picture.constant), (-2, 3), ha="right", **across)
    if (limit := picture.y.limit) is not None:
        heights.append(limit)
        axes.axhline(limit, color=LIMIT, **dashed)
        axes.annotate(f"limit {limit:g}", (0, limit), (3, 3), **{**across, "color": LIMIT})
    if (limit := picture.x.limit) is not None and limit <= BEYOND * max(widths):
        widths.append(limit)
        axes.axvline(limit, color=LIMIT, **dashed)
        axes.annotate(f"limit {limit:g}", (limit, 1), (-3, -3), ha="right", va="top", **{**along, "color": LIMIT})
    scale_edge(axes.xaxis, axes.set_xscale, axes.set_xlim, picture.x, widths)
    heights += [end for _, low, high in picture.bars for end in (low, high)]
    scale_edge(axes.yaxis, axes.set_yscale, axes.set_ylim, picture.y, heights)


def scale_edge(
    edge: Edge, set_scale: Callable[..., Any], set_limits: Callable[..., Any], axis: Axis, values: list[float]
) -> None:
    low, high = min(values), max(values)
    if axis.log:
        set_scale("log")
        margin = (high / low) ** 0.08
        set_limits(low / margin, high * margin)
    else:
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1
        set_limits(low - margin, high + margin)
    _label_edge(edge, axis, high / low if axis.log else None)


def _label_edge(edge: Edge, axis: Axis, ratio: float | None) -> None:
    """Title and ticks; `ratio` is that of a logarithmic edge's ends."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    edge.set_label_text(literal(axis.title), size=TEXT_PT, color=INK)
    if ratio is not None:
        subs = (1, 1.5, 2, 3, 4, 5, 7) if ratio < 12 else (1, 2, 5) if ratio < 300 else (1,)
        edge.set_major_locator(LogLocator(subs=subs))
        edge.set_minor_locator(NullLocator())
    edge.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _draw_dots(axes: Axes, picture: FrontPicture) -> dict[str, Artist]:
    """The front's line and the candidates; gives one artist of each kind for the legend."""
    if len(picture.line) > 1:
        x, y = zip(*_corners(picture), strict=True)
        axes.plot(x, y, color=SEARCHED, linewidth=1.4, alpha=0.75, zorder=2)
    colour_of = _third_colours(axes, picture)
    for dot, low, high in picture.bars:
        axes.vlines(dot.x, low, high, colors=LOOKS[dot.kind].colour, linewidth=1, alpha=0.5, zorder=2)
    given = sorted((dot for dot in picture.dots if dot.kind in ("start", "reference")), key=lambda dot: dot.number)
    markers = dict(zip(given, cycle(GIVEN_MARKERS), strict=False))
    groups: dict[tuple[str, str], list[Dot]] = defaultdict(list)
    for dot in picture.dots:
        groups[dot.kind, markers.get(dot, LOOKS[dot.kind].marker)].append(dot)
    handles: dict[str, Artist] = {}
    for (kind, marker), dots in sorted(groups.items(), key=lambda item: list(LOOKS).index(item[0][0])):
        hollow, pale, colour = kind == "reference", kind == "dominated", LOOKS[kind].colour
        rimmed = hollow or (colour_of is not None and not pale)
        artist = axes.scatter(
            [dot.x for dot in dots],
            [dot.y for dot in dots],
            s=24 if pale else SIZES[marker],
            marker=marker,
            facecolors=["white" if hollow else colour_of(dot) if colour_of else colour for dot in dots],
            edgecolors=colour if rimmed else "white",
            linewidths=1.5 if rimmed else 0.7,
            zorder=3,
        )
        handles.setdefault(kind, artist)
    return handles


def _draw_rejected(axes: Axes, places: Sequence[float]) -> Artist:
    """Crosses on the lower edge."""
    return axes.scatter(
        places,
        [0] * len(places),
        marker="x",
        s=26,
        linewidths=1.2,
        color=LIMIT,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )


def _third_colours(axes: Axes, picture: FrontPicture) -> Callable[[Dot], Any] | None:
    """The third objective's colour bar, and the colour of a dot on it."""
    if picture.third is None:
        return None
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    values = [dot.third for dot in picture.dots if dot.third is not None]
    norm = (LogNorm if picture.third.log else Normalize)(min(values), max(values))
    colours = ScalarMappable(norm, "viridis")
    assert axes.figure is not None
    bar = axes.figure.colorbar(colours, ax=axes, pad=0.02, aspect=32)
    _label_edge(bar.ax.yaxis, picture.third, max(values) / min(values) if picture.third.log else None)
    bar.ax.tick_params(labelsize=SMALL_PT, labelcolor=INK, color=PALE)
    bar.outline.set_visible(False)
    return lambda dot: colours.cmap(norm(np.array(dot.third, dtype=float)))


def _draw_labels(axes: Axes, picture: FrontPicture) -> None:
    """Names and numbers beside their dots, each where it covers least; a number without room is left out."""
    assert axes.figure is not None
    point = axes.figure.dpi / 72
    centres = axes.transData.transform([(dot.x, dot.y) for dot in picture.dots])
    radii = np.array([4.5 if dot.kind in ("front", "dominated") else 5.5 for dot in picture.dots]) * point
    taken = np.concatenate([centres - radii[:, None], centres + radii[:, None]], axis=1)
    corners = axes.transData.transform(_corners(picture)) if len(picture.line) > 1 else np.empty((0, 2))
    lines = [np.r_[np.minimum(a, b) - point, np.maximum(a, b) + point] for a, b in pairwise(corners)]
    taken = np.concatenate([taken, np.reshape(lines, (-1, 4))])
    bounds = np.array(axes.get_window_extent().extents)
    better = (-1 if picture.x.direction == "minimize" else 1, 1 if picture.y.direction == "maximize" else -1)
    labelled = [i for i, dot in enumerate(picture.dots) if dot.label]
    for i in sorted(labelled, key=lambda i: (picture.dots[i].kind == "front", centres[i][0])):
        dot = picture.dots[i]
        named = dot.kind != "front"
        text = axes.annotate(
            literal(dot.label),
            (dot.x, dot.y),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            size=TEXT_PT if named else SMALL_PT,
            weight="bold" if named else "normal",
            color=LOOKS[dot.kind].colour,
            zorder=8,
        )
        extent = text.get_window_extent()
        size = np.array([extent.width + 3 * point, extent.height])
        gaps = radii[i] + np.array([1.5, 8, 16, 26] if named else [1.5, 5]) * point
        box, far, covered = place_label(centres[i], size, gaps, taken, bounds, better)
        if covered > 0.1 and not named:
            text.remove()
            continue
        taken = np.concatenate([taken, [box]])
        text.xyann = tuple(((box[:2] + box[2:]) / 2 - centres[i]) / point)
        if far:
            line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "shrinkA": 5, "shrinkB": 4}
            axes.annotate("", (dot.x, dot.y), text.xyann, textcoords="offset points", arrowprops=line, zorder=4)


def _corners(picture: FrontPicture) -> list[tuple[float, float]]:
    """The front's line with the corners of its steps."""
    corners = [picture.line[0]]
    for (x, y), (next_x, next_y) in pairwise(picture.line):
        corner = (next_x, y) if picture.x.direction == "minimize" else (x, next_y)
        corners += [corner, (next_x, next_y)]
    return corners
