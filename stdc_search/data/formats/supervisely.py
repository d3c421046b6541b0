"""Supervisely: a project with `meta.json` and, in the folder of each data set, `img/a.jpg` and `ann/a.jpg.json`.

Objects are polygons with holes, bitmaps or rectangles; later ones cover earlier ones. Supervisely's own library draws
polygons with OpenCV's `fillPoly`, and so do we.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveInt

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks
from stdc_search.data.drawing import Drawing, Shape, Size, check_points, drawn
from stdc_search.data.files import LabelledFiles, files_below, files_by_name, hint, nfc, resolve_root
from stdc_search.data.formats.annotations import FromTool, image_at, read_each, read_json
from stdc_search.data.formats.fill import Whole, filled
from stdc_search.data.formats.names import classes_by_name, index_of, section
from stdc_search.data.formats.pairing import names_of
from stdc_search.data.splits import usual_split
from stdc_search.spec.formats import SuperviselySpec

MOST_BYTES, MOST_BITMAP = 2**27, 2**28


class Points(FromTool):
    exterior: list[tuple[float, float]]
    interior: list[list[tuple[float, float]]] = []


class Bitmap(FromTool):
    data: str
    origin: tuple[int, int]


class Object(FromTool):
    classTitle: str
    geometryType: str
    points: Points | None = None
    bitmap: Bitmap | None = None


class ImageSize(FromTool):
    height: PositiveInt
    width: PositiveInt


class AnnotationFile(FromTool):
    size: ImageSize
    objects: list[Object]


class ObjectClass(FromTool):
    title: str


class MetaFile(FromTool):
    classes: list[ObjectClass]


def open_supervisely(
    spec: SuperviselySpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """Open one split."""
    root = resolve_root(spec.root, data_root)
    meta = root / "meta.json"
    titles = _titles(meta)
    paths = _annotation_files(root)
    if not paths:
        raise DataError(f"{root}: has no `ann` folder with JSON files; `data.root` is the folder of the whole project")
    names = names_of(spec.split, split, paths, root, root)
    read = dict(read_each(names, lambda name: (name, _read(paths[name])), problems))
    used = dict.fromkeys(item.classTitle for content in read.values() for item in content.objects)
    if odd := [title for title in used if title not in titles]:
        raise DataError(f"{meta}: lacks the class {odd[0]!r}, which objects have; export the project again")
    classes = classes_by_name(spec, used, meta, known=titles)
    drawings = read_each(read, lambda name: _drawing(spec, name, paths[name], read[name], classes, root), problems)
    return LabelledFiles(drawn(drawings, problems), spec.class_names, IdMasks.plain(spec.class_names, 255))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    if not (folder / "meta.json").is_file() or not (paths := _annotation_files(folder)):
        return None
    return section("supervisely", _titles(folder / "meta.json"), shapes=True) | usual_split(paths)


def mask_of(geometry: Any, size: Size) -> NDArray[np.bool_]:
    """The pixels of an object: its type, its points or its bitmap."""
    match geometry:
        case ["polygon", {"exterior": exterior, "interior": interior}, _]:
            mask = filled([_whole(exterior, size, 3)], size)
            return mask & ~filled([_whole(hole, size, 3) for hole in interior], size) if interior else mask
        case ["rectangle", {"exterior": exterior}, _]:
            corners = _whole(exterior, size, 2)
            (left, top), (right, bottom) = corners.min(0).clip(min=0), corners.max(0)
            mask = np.zeros(size, bool)
            mask[top : bottom + 1, left : right + 1] = True
            return mask
        case ["bitmap", _, {"data": data, "origin": origin}]:
            return _pasted(data, origin, size)
    legal = "polygon, rectangle and bitmap"
    raise ValueError(f"has the geometry {geometry[0]!r}; supported are {legal}. Convert the object, or delete it")


def _whole(points: Any, size: Size, least: int) -> Whole:
    return np.rint(check_points(points, size, least)).astype(np.int64)


def _pasted(data: str, origin: tuple[int, int], size: Size) -> NDArray[np.bool_]:
    """A bitmap at its place: a PNG, compressed by zlib, as text. Of a picture with alpha, alpha counts."""
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), MOST_BITMAP)
        with Image.open(BytesIO(unpacked), formats=("PNG",)) as image:
            left, top = origin
            if left < 0 or top < 0 or left + image.width > size[1] or top + image.height > size[0]:
                box = f"{image.width} x {image.height} at ({left}, {top})"
                raise ValueError(f"has a bitmap of {box}, which reaches outside the image")
            pixels = np.asarray(image.getchannel("A") if image.mode in ("LA", "RGBA") else image.convert("L"), bool)
    except (zlib.error, binascii.Error, OSError, SyntaxError) as error:
        raise ValueError(f"has a bitmap that cannot be read: {error}") from None
    mask = np.zeros(size, bool)
    mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return mask


def _titles(meta: Path) -> list[str]:
    if not meta.is_file():
        raise DataError(f"{meta}: no such file{hint(meta)}; `data.root` is the folder of the whole project")
    return [one.title for one in read_json(meta, MetaFile, "Supervisely", MOST_BYTES).classes]


def _annotation_files(root: Path) -> dict[str, Path]:
    """Files of annotations by name: `set/a` for `set/ann/a.jpg.json`."""
    files = [path for path in files_below(root, (".json",)) if path.parent.name == "ann"]
    places = {path: path.parent.parent / Path(path.stem).stem for path in files}
    return files_by_name(((nfc(place.relative_to(root).as_posix()), path) for path, place in places.items()), root)


def _read(path: Path) -> AnnotationFile:
    return read_json(path, AnnotationFile, "Supervisely", MOST_BYTES)


def _drawing(
    spec: SuperviselySpec,
    name: str,
    path: Path,
    content: AnnotationFile,
    classes: Mapping[str, int | None],
    root: Path,
) -> Drawing:
    shapes = []
    for number, item in enumerate(content.objects):
        points, bitmap = (part and part.model_dump() for part in (item.points, item.bitmap))
        what = f"object {number} ({item.classTitle})"
        shapes.append(Shape(what, classes[item.classTitle], [item.geometryType, points, bitmap]))
    image = image_at(path.stem, [path.parent.parent / "img"], root, path)
    size = content.size.height, content.size.width
    return Drawing(name, image, path, size, index_of(spec, spec.background), shapes, mask_of)
