"""A page of samples, each beside its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stdc_search.palette import Palette, Rgb
from stdc_search.report.overlay import Legend, draw_legend, legend_height
from stdc_search.report.plots import INK, SMALL_PT, TITLE_PT, encode, literal
from stdc_search.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
NAME = 40
"""Most characters of a sample's name; longer ones lose their beginning, so that they stay below their image."""
WIDTH = 12
"""Width of the page, in inches."""


@dataclass(frozen=True, eq=False)
class SamplePage:
    """All that the page shows."""

    title: str
    cells: tuple[tuple[str, Rgb], ...]
    """What stands under each image, and the images, [height, width, 3], all of one size; labels follow their image."""
    legend: Legend
    """The classes in the images with their colours; empty if each image has one class."""


def sample_page(
    title: str, names: Sequence[str], samples: Sequence[tuple[Rgb, NDArray[np.uint8] | int]], palette: Palette
) -> SamplePage:
    """What the page shows.

    Args:
        title: Of the page.
        names: Of the samples.
        samples: Images [height, width, 3] with the class of each pixel, 255 for none, or of the whole image.
        palette: Of the classes.
    """
    cells, seen = [], set()
    for name, (image, label) in zip(names, samples, strict=True):
        if isinstance(label, int):
            cells.append((palette.names[label], image))
        else:
            cells += [(name, image), ("", palette.blend(image, label))]
            seen |= set(np.unique(label).tolist())
    return SamplePage(title, tuple(cells), palette.legend(seen))


def save_samples(page: SamplePage, path: Path) -> Path:
    """Draw the page into a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode(draw_samples(page), ".png"))
    return path


def draw_samples(page: SamplePage) -> Figure:
    """The page: rows of four images, the classes below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = page.cells[0][1].shape[:2]
    rows = math.ceil(len(page.cells) / COLUMNS)
    below = legend_height(page.legend, WIDTH) if page.legend else 0.0
    figure = Figure(
        figsize=(WIDTH, rows * (WIDTH / COLUMNS * height / width + 0.25) + 0.5 + below), layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(literal(page.title), x=0.005, ha="left", size=TITLE_PT, weight="bold", color=INK)
    places = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (name, image) in zip(places, page.cells, strict=False):
        axes.imshow(image)
        axes.text(
            0.5, -0.02, literal(_short(name)), transform=axes.transAxes, ha="center", va="top", size=SMALL_PT, color=INK
        )
    if page.legend:
        draw_legend(figure, page.legend, WIDTH, "classes in these images")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"...{name[3 - NAME :]}"
