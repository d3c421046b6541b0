"""Images, their labels and the predictions of several networks side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stdc_search.palette import Colour, Palette, Rgb
from stdc_search.records import Score
from stdc_search.report.plots import INK, PALE, SMALL_PT, TEXT_PT, TITLE_PT, literal
from stdc_search.run_folder import SAMPLE_PARTS, sample_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 12
"""Width of the picture, in inches."""
NETWORKS = 3
"""Networks of a front in the picture, at most."""

Legend = tuple[tuple[str, Colour | None], ...]
"""Names with their colours; None for what is not painted."""


class Predictor(NamedTuple):
    """A network whose predictions are shown."""

    name: str
    score: Score
    """Over all validation images."""
    folder: Path
    """That of the candidate."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """All that the picture shows."""

    title: str
    columns: tuple[str, ...]
    """What stands above the panels."""
    rows: tuple[tuple[Rgb, ...], ...]
    """A row an image: the panels, each [height, width, 3]."""
    legend: Legend
    """The classes in the picture."""
    legend_title: str


def overlay(predictors: Sequence[Predictor], palette: Palette) -> Overlay | None:
    """What the picture shows: of each image the photo, the truth, and what the networks predict.

    Args:
        predictors: the first one decides which images are shown; one that lacks their predictions is left out. So is
            an image with a damaged file.
        palette: of the classes.

    Returns:
        The picture; None if the first network has no samples, or only damaged ones.
    """
    samples = [{path.name: path for path in sample_folders(one.folder)} for one in predictors]
    with_all = [(one, its) for one, its in zip(predictors, samples, strict=True) if its.keys() >= samples[0].keys()]
    seen: set[int] = set()
    rows = []
    for name in samples[0]:
        read = [parts for _, its in with_all if (parts := read_sample(its[name])) is not None]
        if len(read) < len(with_all):
            continue
        image, truth, _ = read[0]
        labels = [truth, *(prediction for _, _, prediction in read)]
        seen |= {*np.unique(np.stack(labels)).tolist()}
        rows.append((image, *(palette.blend(image, one) for one in labels)))
    if not rows:
        return None
    shown = [one for one, _ in with_all]
    return Overlay(
        title="Validation images, their labels and predictions",
        columns=("image", "truth", *(_column(one) for one in shown)),
        rows=tuple(rows),
        legend=palette.legend(seen, [_entry(name, shown) for name in palette.names]),
        legend_title=f"classes in these images, with their IoU in % over all {shown[0].score.images} validation images"
        + ", in the order of the networks" * (len(shown) > 1),
    )


def read_sample(sample: Path) -> tuple[Rgb, Rgb, Rgb] | None:
    """Photo, truth and prediction of a sample; None if one is missing or damaged."""
    from PIL import Image

    try:
        image, truth, prediction = (np.asarray(Image.open(sample / f"{part}.png")) for part in SAMPLE_PARTS)
    except Exception:  # decoders raise whatever they like on broken files
        return None
    fits = image.ndim == 3 and image.shape[:2] == truth.shape == prediction.shape
    return (image, truth, prediction) if fits else None


def _column(one: Predictor) -> str:
    seeds = len(one.score.seed_miou)
    several = f"\nover {seeds} seeds; prediction of the first" if seeds > 1 else ""
    return f"{one.name}: mIoU {one.score.miou:.1f} %{several}"


def _entry(name: str, shown: Sequence[Predictor]) -> str:
    values = [one.score.iou.get(name) for one in shown]
    return " ".join([name, " / ".join(f"{value:.1f}" for value in values if value is not None)]).rstrip()


def draw_overlay(picture: Overlay) -> Figure:
    """The picture: a row an image, the classes below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(picture.columns)
    shapes = [row[0].shape for row in picture.rows]
    ratios = [height / width for height, width, _ in shapes]
    titles = 0.18 * (1 + max(title.count("\n") for title in picture.columns))
    height = WIDTH / columns * sum(ratios) + 0.06 * len(ratios) + 0.4 + titles + legend_height(picture.legend, WIDTH)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(literal(picture.title), x=0.005, ha="left", size=TITLE_PT, weight="bold", color=INK)
    places = figure.subplots(len(picture.rows), columns, squeeze=False, height_ratios=ratios)
    for row, panels in zip(places, picture.rows, strict=True):
        for axes, image in zip(row, panels, strict=True):
            axes.imshow(image)
            axes.set_axis_off()
    for axes, title in zip(places[0], picture.columns, strict=True):
        axes.set_title(literal(title), size=TEXT_PT, color=INK)
    draw_legend(figure, picture.legend, WIDTH, picture.legend_title)
    return figure


def legend_height(legend: Legend, width: float) -> float:
    """Inches that a legend with its title takes below a figure of a width in inches."""
    return 0.35 + 0.2 * math.ceil(len(legend) / _columns(legend, width))


def draw_legend(figure: Figure, legend: Legend, width: float, title: str) -> None:
    """Names and their colours below a figure of a width in inches; what is not painted has an empty box."""
    from matplotlib.patches import Patch

    drawn = figure.legend(
        handles=[
            Patch(facecolor="none", edgecolor=PALE, label=literal(name))
            if colour is None
            else Patch(color=f"#{bytes(colour).hex()}", label=literal(name))
            for name, colour in legend
        ],
        title=title,
        title_fontsize=SMALL_PT,
        loc="outside lower center",
        ncols=_columns(legend, width),
        frameon=False,
        fontsize=SMALL_PT + 0.5,
        labelcolor=INK,
        handlelength=1.1,
        handleheight=1.1,
    )
    drawn.get_title().set_color(INK)


def _columns(legend: Legend, width: float) -> int:
    longest = max(len(name) for name, _ in legend)
    return max(1, min(len(legend), int(width / (0.45 + 0.075 * longest))))
