"""Image, truth and prediction side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.records import IGNORED, Score
from stdc_search.report.plots import INK, SMALL_PT, TEXT_PT, TITLE_PT, literal
from stdc_search.run_folder import SAMPLE_PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = 0.6
"""Opacity of the class colour over the image."""
WIDTH = 12
"""Width of the picture, in inches."""

CAMVID_COLOURS = {
    "sky": (125, 185, 232),
    "building": (160, 30, 30),
    "pole": (225, 225, 150),
    "road": (128, 64, 128),
    "pavement": (60, 50, 225),
    "tree": (110, 150, 20),
    "sign": (245, 150, 160),
    "fence": (85, 90, 150),
    "car": (95, 10, 175),
    "pedestrian": (250, 160, 0),
    "bicyclist": (0, 170, 215),
}
"""Red, green, blue: near the data set's own, brighter where those look alike over a dark image."""

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Overlay:
    """All that the picture shows."""

    title: str
    panels: tuple[tuple[str, Rgb], ...]
    """Titles and [height, width, 3] images."""
    legend: tuple[tuple[str, Colour], ...]
    """The classes in the picture with their colours."""
    legend_title: str


def colours(names: Sequence[str]) -> Rgb:
    """Colours of classes, [classes, 3]: CamVid's where it has the name, else far from all others."""
    levels = np.arange(0, 256, 51)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = [CAMVID_COLOURS[name] for name in names if name in CAMVID_COLOURS]
    far = np.full(len(grid), np.inf)
    for used in [(0, 0, 0), (255, 255, 255), *chosen]:
        far = np.minimum(far, np.linalg.norm(grid - used, axis=1))
    result = []
    for name in names:
        colour = CAMVID_COLOURS.get(name)
        if colour is None:
            colour = _colour(grid[far.argmax()])
            far = np.minimum(far, np.linalg.norm(grid - colour, axis=1))
        result.append(colour)
    return np.array(result, dtype=np.uint8)


def overlay(sample: Path, class_names: Sequence[str], score: Score, name: str) -> Overlay:
    """What the picture shows.

    Args:
        sample: Folder with `image.png` (RGB), `truth.png` and `prediction.png` (class ids, 255 ignored), of one size.
        score: Over all validation images; the legend tells each class's.
        name: Of the network.
    """
    from PIL import Image

    files = (sample / f"{part}.png" for part in SAMPLE_PARTS)
    image, truth, prediction = (np.asarray(Image.open(file)) for file in files)
    palette = colours(class_names)
    entries = [_entry(name, score) for name in class_names]
    seeds = len(score.seed_miou)
    shown = f" over {seeds} seeds; prediction of the first" if seeds > 1 else ""
    return Overlay(
        title=f"{name}: mIoU {score.miou:.1f} %{shown}",
        panels=(
            ("image", image),
            ("truth", blend(image, truth, palette)),
            ("prediction", blend(image, prediction, palette)),
        ),
        legend=class_legend(np.union1d(truth, prediction).tolist(), entries, palette),
        legend_title=f"classes in this image, with their IoU in % over all {score.images}",
    )


def class_legend(seen: Iterable[int], entries: Sequence[str], palette: Rgb) -> tuple[tuple[str, Colour], ...]:
    """The entries of the classes that are seen with their colours, and that of pixels without a class, if any."""
    seen = sorted(seen)
    legend = [(entries[i], _colour(palette[i])) for i in seen if i != IGNORED]
    return (*legend, ("ignored", (0, 0, 0))) if IGNORED in seen else tuple(legend)


def _colour(rgb: NDArray[Any]) -> Colour:
    red, green, blue = rgb.tolist()
    return red, green, blue


def _entry(name: str, score: Score) -> str:
    value = score.iou.get(name)
    return name if value is None else f"{name} {value:.1f}"


def blend(image: Rgb, labels: NDArray[np.uint8], palette: Rgb) -> Rgb:
    """Class colours over an image; ignored pixels are darkened instead."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    return (SHARE * table[labels] + (1 - SHARE) * image).round().astype(np.uint8)


def draw_overlay(picture: Overlay) -> Figure:
    """The picture: three panels in a row, the classes below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = picture.panels[0][1].shape[:2]
    below = legend_height(picture.legend, WIDTH)
    figure = Figure(figsize=(WIDTH, WIDTH / 3 * height / width + 0.43 + below), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(literal(picture.title), x=0.005, ha="left", size=TITLE_PT, weight="bold", color=INK)
    for axes, (title, image) in zip(figure.subplots(1, 3), picture.panels, strict=True):
        axes.imshow(image)
        axes.set_title(title, size=TEXT_PT, color=INK)
        axes.set_axis_off()
    draw_legend(figure, picture.legend, WIDTH, picture.legend_title)
    return figure


def legend_height(legend: Sequence[tuple[str, Colour]], width: float) -> float:
    """Inches that a legend with its title takes below a figure of a width in inches."""
    return 0.35 + 0.2 * math.ceil(len(legend) / _columns(legend, width))


def draw_legend(figure: Figure, legend: Sequence[tuple[str, Colour]], width: float, title: str) -> None:
    """Names and their colours below a figure of a width in inches."""
    from matplotlib.patches import Patch

    drawn = figure.legend(
        handles=[Patch(color=f"#{bytes(colour).hex()}", label=literal(name)) for name, colour in legend],
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


def _columns(legend: Sequence[tuple[str, Colour]], width: float) -> int:
    longest = max(len(name) for name, _ in legend)
    return max(1, min(len(legend), int(width / (0.45 + 0.075 * longest))))
