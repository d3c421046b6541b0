"""LabelMe: a JSON file beside each image, with the shapes that were drawn.

Later shapes cover earlier ones, and the pixels are those of LabelMe's own `labelme2voc`, which draws with Pillow: a
line has 10 pixels, a point has a radius of 5. Facts from LabelMe 6.3.1; older versions write the same fields.
"""

from __future__ import annotations

import base64
import json
import math
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import PositiveInt

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks
from stdc_search.data.drawing import Drawing, Shape, Size, check_points, drawn
from stdc_search.data.files import LabelledFiles, files_below, nfc, resolve_root
from stdc_search.data.formats.annotations import FromTool, image_at, read_each, read_json
from stdc_search.data.formats.names import classes_by_name, index_of, section
from stdc_search.data.formats.pairing import names_of
from stdc_search.data.splits import usual_split
from stdc_search.spec.formats import LabelmeSpec

MOST_BYTES = 2**27
"""LabelMe also writes the image itself into the file."""
LOOKED_AT = 20
"""Files that tell whether a folder is LabelMe's."""
LINE_WIDTH, POINT_RADIUS = 10, 5
POINTS = {"polygon": 3, "oriented_rectangle": 4, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1}
"""Least number of points of each type of shape; `mask` has two, and a picture."""


class LabelmeShape(FromTool):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class LabelmeFile(FromTool):
    imagePath: str
    imageHeight: PositiveInt
    imageWidth: PositiveInt
    shapes: list[LabelmeShape]


def open_labelme(
    spec: LabelmeSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """Open one split. Images without a JSON file are not labelled yet, and not used."""
    root = resolve_root(spec.root, data_root)
    files = _read(root, problems)
    labels = dict.fromkeys(shape.label for content in files.values() for shape in content.shapes)
    classes = classes_by_name(spec, labels, root)
    by_name = {nfc(path.relative_to(root).with_suffix("").as_posix()): path for path in files}
    names = names_of(spec.split, split, by_name, root, root)
    drawings = read_each(
        names, lambda name: _drawing(spec, name, by_name[name], files[by_name[name]], classes, root), problems
    )
    by_image: dict[Path, Drawing] = {}
    for drawing in drawings:
        if (other := by_image.setdefault(drawing.image, drawing)) is not drawing:
            raise DataError(
                f"{drawing.source}: annotates {drawing.image.name}, as {other.source} does; correct its `imagePath`"
            )
    return LabelledFiles(drawn(drawings, problems), spec.class_names, IdMasks.plain(spec.class_names, 255))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    if not any(_looks_like_labelme(path) for path in islice(files_below(folder, (".json",)), LOOKED_AT)):
        return None
    labels = {shape.label for content in _read(folder, None).values() for shape in content.shapes}
    names = [path.relative_to(folder).as_posix() for path in files_below(folder, (".json",))]
    return section("labelme", sorted(labels), shapes=True) | usual_split(names)


def _looks_like_labelme(path: Path) -> bool:
    content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    return b'"imagePath"' in content and b'"shapes"' in content


def mask_of(geometry: Any, size: Size) -> NDArray[np.bool_]:
    """The pixels of a shape: its type, its points, and its picture if it is a mask."""
    kind, points, picture = geometry
    if kind == "mask":
        return _pasted(points, picture, size)
    if kind not in POINTS:
        raise ValueError(f"has the type {kind!r}; supported types are {', '.join(POINTS)} and mask")
    xy = [(float(x), float(y)) for x, y in check_points(points, size, POINTS[kind])]
    canvas = Image.new("L", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    match kind:
        case "rectangle":
            (left, top), (right, bottom) = np.min(xy, axis=0), np.max(xy, axis=0)
            draw.rectangle((left, top, right, bottom), outline=1, fill=1)
        case "circle" | "point":
            (x, y), *edge = xy
            radius = math.dist((x, y), edge[0]) if edge else POINT_RADIUS
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
        case "line" | "linestrip":
            draw.line(xy, fill=1, width=LINE_WIDTH)
        case _:
            draw.polygon(xy, outline=1, fill=1)
    return np.asarray(canvas, bool)


def _pasted(points: Any, picture: str | None, size: Size) -> NDArray[np.bool_]:
    """A mask that LabelMe's assistant has made: a PNG that covers the box between two points, both included."""
    (left, top), (right, bottom) = check_points(points, size, 2)[:2].astype(int)
    mask = np.zeros(size, bool)
    try:
        with Image.open(BytesIO(base64.b64decode(picture or "", validate=True)), formats=("PNG",)) as image:
            if image.size != (right - left + 1, bottom - top + 1) or min(left, top) < 0:
                raise ValueError(f"has a mask of {image.width} x {image.height} pixels, which does not fit its box")
            mask[top : bottom + 1, left : right + 1] = np.asarray(image, bool)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"has a mask that is not a PNG: {error}") from None
    return mask


def _read(root: Path, problems: list[str] | None) -> dict[Path, LabelmeFile]:
    """All files of annotations below the root; with `problems`, those that can be read."""
    paths = files_below(root, (".json",))
    files = {path: content for path, content in read_each(paths, _content, problems) if content is not None}
    if not files:
        raise DataError(f"{root}: has no JSON file of LabelMe; `data.root` is the folder of the images and their files")
    return files


def _content(path: Path) -> tuple[Path, LabelmeFile | None]:
    """A file of annotations; None for JSON that is something else, such as settings of a tool."""
    try:
        return path, read_json(path, LabelmeFile, "LabelMe", MOST_BYTES)
    except DataError:
        if _is_of_another(path):
            return path, None
        raise


def _is_of_another(path: Path) -> bool:
    """Whether a file is whole JSON without any key of LabelMe's."""
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= MOST_BYTES else {}
    except (ValueError, RecursionError):
        return False
    return not (isinstance(content, dict) and {*content} & {"imagePath", "shapes"})


def _drawing(
    spec: LabelmeSpec, name: str, path: Path, content: LabelmeFile, classes: dict[str, int | None], root: Path
) -> Drawing:
    image = image_at(content.imagePath, [path.parent], root, path)
    shapes = [
        Shape(f"shape {number} ({one.label})", classes[one.label], [one.shape_type or "polygon", one.points, one.mask])
        for number, one in enumerate(content.shapes)
    ]
    size = content.imageHeight, content.imageWidth
    return Drawing(name, image, path, size, index_of(spec, spec.background), shapes, mask_of)
