"""Annotations -> labels, which are drawn once and kept as PNG files of class ids.

A file is named by a hash of all that its label depends on, so it never becomes stale: an annotation that changes leads
to another file. Processes that draw the same label at the same time write the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stdc_search.data.dataset import DataError
from stdc_search.data.decoding import size_of
from stdc_search.data.files import Sample, hint
from stdc_search.data.threads import readers
from stdc_search.errors import first_of
from stdc_search.records import IGNORED
from stdc_search.storage import write_atomically

Size = tuple[int, int]
"""(height, width)."""

VERSION = 1
"""Increased when the same annotations are drawn otherwise."""
MARGIN = 2
"""Points may lie this many pixels outside the image: tools round, and place points on the border."""


class Shape(NamedTuple):
    """One annotation."""

    what: str
    """Its number and class, for messages."""
    index: int | None
    """Its class; None for pixels without one."""
    geometry: Any
    """Plain values, as the tool writes them."""


@dataclass(frozen=True)
class Drawing:
    """A label that is to be drawn: later shapes cover earlier ones, or smaller shapes larger ones."""

    name: str
    image: Path
    source: Path
    """The annotation file, for messages."""
    size: Size
    """That of the image, as the annotations have it."""
    background: int | None
    """Class of the pixels in no shape; None for pixels without a class."""
    shapes: Sequence[Shape]
    mask_of: Callable[[Any, Size], NDArray[np.bool_]]
    """The pixels of a geometry. It raises a ValueError if the geometry is broken."""
    largest_first: bool = False
    """Whether shapes are drawn by their numbers of pixels, not in their order."""

    @property
    def file(self) -> str:
        """Name of the label's file; another image under the same name, which has another length, is checked again."""
        tool = f"{self.mask_of.__module__}.{self.mask_of.__name__}"
        shapes = [(shape.index, shape.geometry) for shape in self.shapes]
        image = self.name, self.image.stat().st_size
        order = ["largest first"] if self.largest_first else []
        content = json.dumps([VERSION, tool, image, self.size, self.background, shapes, *order])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest() + ".png"

    def label(self) -> NDArray[np.uint8]:
        """The label, H, W.

        Raises:
            DataError: a shape is broken, or the image has another size.
        """
        if (size := size_of(self.image)) != self.size:
            there, here = (f"{height} x {width}" for height, width in (size, self.size))
            raise DataError(
                f"{self.source}: annotates {self.image} as {here} (height x width), but the image is {there}; annotate "
                "the image as it is now, or restore it"
            )
        label = np.full(self.size, _id(self.background), np.uint8)
        shapes = self.shapes
        if self.largest_first:
            shapes = sorted(shapes, key=lambda shape: -np.count_nonzero(self._mask(shape)))
        for shape in shapes:
            label[self._mask(shape)] = _id(shape.index)
        return label

    def _mask(self, shape: Shape) -> NDArray[np.bool_]:
        try:
            return self.mask_of(shape.geometry, self.size)
        except ValueError as error:
            raise DataError(f"{self.source}: {shape.what} of {self.image.name} {error}") from None


def drawn(drawings: Sequence[Drawing], problems: list[str] | None) -> list[Sample]:
    """Samples with the files of their labels, which are drawn unless they exist.

    Args:
        drawings: the labels.
        problems: if given, collects the drawings that are broken, and these samples are skipped.

    Raises:
        DataError: a drawing is broken; the message names the first ones.
    """
    folder = labels_folder()
    faults = {i: _without_image(drawing) for i, drawing in enumerate(drawings)}
    files = {i: folder / drawings[i].file for i, fault in faults.items() if fault is None}
    missing = {file: i for i, file in files.items() if not file.is_file()}
    with readers() as pool:
        kept = pool.map(lambda i: _keep(drawings[i], files[i]), missing.values())
        faults |= dict(zip(missing.values(), kept, strict=True))
    report([str(fault) for fault in faults.values() if fault is not None], problems)
    whole = [i for i, fault in faults.items() if fault is None]
    return [Sample(drawings[i].name, drawings[i].image, files[i]) for i in whole]


def report(faults: list[str], problems: list[str] | None) -> None:
    """Collect faults in `problems`, or raise the first ones."""
    if problems is not None:
        problems += faults
    elif faults:
        raise DataError(first_of(faults))


def labels_folder() -> Path:
    """Where drawn labels are kept: $STDC_SEARCH_CACHE, else `runs/labels` in the working folder, beside the runs."""
    given = os.environ.get("STDC_SEARCH_CACHE")
    return Path(os.path.expanduser(given or "runs/labels")).absolute()


def check_points(points: Any, size: Size, least: int) -> NDArray[np.float64]:
    """Points (x, y) of a shape as N, 2.

    Raises:
        ValueError: there are too few, or one lies outside the image.
    """
    array = np.asarray(points, np.float64).reshape(-1, 2)
    if len(array) < least:
        raise ValueError(f"has {len(array)} points, but needs at least {least}; delete it, or draw it again")
    height, width = size
    outside = ((array < -MARGIN) | (array > (width + MARGIN, height + MARGIN))).any(1)
    if outside.any():
        point = ", ".join(f"{value:g}" for value in array[outside][0])
        raise ValueError(f"has the point ({point}), outside the image of {width} x {height} (width x height)")
    return array


def _id(index: int | None) -> int:
    return IGNORED if index is None else index


def _without_image(drawing: Drawing) -> DataError | None:
    if drawing.image.is_file():
        return None
    image = drawing.image
    return DataError(f"{image}: no such image, but {drawing.source} has annotations of it{hint(image)}")


def _keep(drawing: Drawing, file: Path) -> DataError | None:
    """Draw a label into its file; the error if it is broken."""
    try:
        content = BytesIO()
        Image.fromarray(drawing.label()).save(content, "PNG")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content.getvalue())
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{file}: cannot be written: {error.strerror}; set $STDC_SEARCH_CACHE to another folder")
    return None
