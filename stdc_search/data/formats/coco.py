"""COCO: one JSON file with the annotations of many images, which CVAT, Roboflow, Label Studio and others export.

An annotation is a list of polygons `[x, y, x, y, ...]`, or a run-length encoding (RLE). Crowd regions are drawn first,
then the annotations in the order of the file, as in the API of COCO-Stuff. CVAT exports annotations in this order, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks
from stdc_search.data.drawing import Drawing, Shape, drawn
from stdc_search.data.files import LabelledFiles, check_disjoint, hint, nfc, resolve_root
from stdc_search.data.formats.annotations import FromTool, image_at, read_json
from stdc_search.data.formats.coco_masks import mask_of
from stdc_search.data.formats.names import classes_by_name, index_of, section
from stdc_search.data.formats.pairing import names_of
from stdc_search.data.splits import part_of, usual_split
from stdc_search.errors import several
from stdc_search.spec.formats import CocoSpec, SplitByFiles

MOST_BYTES = 2**30
KINDS = ("instances", "stuff", "", "person_keypoints", "captions", "image_info")
"""Starts of the names of COCO's own files; those with pixels come first."""
WORDS = re.compile("[A-Za-z]+")
LOOKED_AT = 2**16
"""Bytes at the start of a file that tell whether it is COCO's."""


class Rle(FromTool):
    size: tuple[PositiveInt, PositiveInt]
    """Height and width."""
    counts: str | list[Annotated[int, Field(ge=0)]]


class CocoImage(FromTool):
    id: int | str
    file_name: str
    height: PositiveInt
    width: PositiveInt


class Annotation(FromTool):
    id: int | str = "without id"
    image_id: int | str
    category_id: int
    segmentation: list[list[float]] | Rle | None = []
    iscrowd: int = 0


class Category(FromTool):
    id: int
    name: str


class CocoFile(FromTool):
    images: list[CocoImage]
    annotations: list[Annotation]
    categories: list[Category]


def open_coco(spec: CocoSpec, split: Split, data_root: Path | None, problems: list[str] | None = None) -> LabelledFiles:
    """Open one split. An image without annotations is all background."""
    root = resolve_root(spec.root, data_root)
    if isinstance(spec.split, SplitByFiles):
        file = root / (spec.split.train if split == "train" else spec.split.val)
    else:
        assert spec.annotations is not None
        file = root / spec.annotations
    drawings = {drawing.name: drawing for drawing in _drawings(spec, file, root)}
    if isinstance(spec.split, SplitByFiles):
        _check_apart(spec, spec.split, root)
    wanted = drawings if isinstance(spec.split, SplitByFiles) else names_of(spec.split, split, drawings, root, file)
    samples = drawn([drawings[name] for name in wanted], problems)
    return LabelledFiles(samples, spec.class_names, IdMasks.plain(spec.class_names, 255))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    places = ("_annotations.coco.json", "*/_annotations.coco.json", "annotations/*.json", "*.json")
    found = [path for place in places for path in sorted(folder.glob(place)) if _looks_like_coco(path)]
    if not found:
        return None
    found.sort(key=lambda path: KINDS.index(_kind(path)))
    content = read_json(found[0], CocoFile, "COCO", MOST_BYTES)
    names = [category.name for category in content.categories]
    if not names:
        raise DataError(f"{found[0]}: has no categories; export with labels")
    kind = _kind(found[0])
    parts: dict[str | None, list[str]] = {}
    for path in (path.relative_to(folder).as_posix() for path in found if _kind(path) == kind):
        parts.setdefault(part_of(f"{'/'.join(WORDS.findall(path))}/image"), []).append(path)
    train, val = parts.get("train", []), parts.get("val") or parts.get("test") or []
    where: dict[str, Any]
    if len(train) == len(val) == 1:
        where = {"split": {"kind": "files", "train": train[0], "val": val[0]}}
    elif len(every := [path for paths in parts.values() for path in paths]) == 1:
        places = _image_folders(None, found[0], folder)
        images = [image_at(image.file_name, places, folder, found[0]) for image in content.images]
        where = {"annotations": every[0], **usual_split([path.relative_to(folder).as_posix() for path in images])}
    else:
        raise DataError(
            f"{folder}: has {len(every)} files of annotations ({several(every)}), and their names do not say which one "
            "is for training and which one for validation: name them `instances_train.json` and `instances_val.json`, "
            "merge them, or move the others elsewhere"
        )
    return section("coco", names, shapes=True) | where


def _kind(file: Path) -> str:
    """What a file's name says beside its split, such as `instances`."""
    return next((kind for kind in KINDS if kind and file.stem.startswith(kind)), "")


def _looks_like_coco(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(LOOKED_AT).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith(b"{") or b'"dm_format_version"' in head or b'"segments_info"' in head:
        return False  # of Label Studio, of Datumaro, or panoptic
    lists = {*re.findall(rb'"(images|annotations|categories)"\s*:\s*\[\s*[{\]]', head)}
    return len(lists) >= (1 if path.stat().st_size > LOOKED_AT else 2)  # the other lists of a large file come later


def _drawings(spec: CocoSpec, file: Path, root: Path) -> list[Drawing]:
    if not file.is_file():
        raise DataError(f"{file}: no such file{hint(file)}; it is relative to `data.root`")
    coco = read_json(file, CocoFile, "COCO", MOST_BYTES)
    names = {category.id: category.name for category in coco.categories}
    _check_references(coco, names, file)
    used = dict.fromkeys(names[annotation.category_id] for annotation in coco.annotations)
    classes = classes_by_name(spec, used, file, known=names.values())
    shapes: dict[int | str, list[Shape]] = {image.id: [] for image in coco.images}
    for one in sorted(coco.annotations, key=lambda one: not one.iscrowd):  # stable: else in the order of the file
        name = names[one.category_id]
        geometry = one.segmentation.model_dump() if isinstance(one.segmentation, Rle) else one.segmentation or []
        shapes[one.image_id].append(Shape(f"annotation {one.id} ({name})", classes[name], geometry))
    folders = _image_folders(spec.images, file, root)
    drawings = []
    for image in coco.images:
        path = image_at(image.file_name, folders, root, file)
        name = nfc(path.relative_to(root).with_suffix("").as_posix())
        size, background = (image.height, image.width), index_of(spec, spec.background)
        drawings.append(Drawing(name, path, file, size, background, shapes[image.id], mask_of))
    _check_different("image", [drawing.name for drawing in drawings], file)
    _NAMES[_stamp(file)] = {drawing.name for drawing in drawings}
    return drawings


_NAMES: dict[tuple[Path, int, int], set[str]] = {}
"""Names of the images in files that were read, so that none is read again for them alone."""


def _check_apart(spec: CocoSpec, split: SplitByFiles, root: Path) -> None:
    """Raise if an image is in the files of both splits."""
    files = [file for name in (split.train, split.val) if (file := root / name).is_file()]
    for file in files:
        if _stamp(file) not in _NAMES:
            with suppress(DataError):  # it is told when that split is opened
                _drawings(spec, file, root)
    names = [_NAMES[stamp] for file in files if (stamp := _stamp(file)) in _NAMES]
    if len(names) == 2:
        check_disjoint(names[0], names[1], root)


def _stamp(file: Path) -> tuple[Path, int, int]:
    status = file.stat()
    return file, status.st_mtime_ns, status.st_size


def _image_folders(given: Path | None, file: Path, root: Path) -> list[Path]:
    """Where images may be: in the given folder, else where tools put them."""
    if given is not None:
        return [root / given]
    words = file.stem.split("_")  # instances_train, stuff_train
    subsets = ["_".join(words[start:]) for start in range(len(words))]
    below = [place for subset in subsets for place in (root / "images" / subset, root / subset)]
    return [file.parent, root, root / "images", *below]


def _check_references(coco: CocoFile, names: Mapping[int, str], file: Path) -> None:
    _check_different("image id", [image.id for image in coco.images], file)
    _check_different("image", [image.file_name for image in coco.images], file)
    _check_different("category id", [category.id for category in coco.categories], file)
    known = {image.id for image in coco.images}
    for one in coco.annotations:
        if one.image_id not in known:
            raise DataError(f"{file}: annotation {one.id} is of image {one.image_id}, which `images` lacks")
        if one.category_id not in names:
            legal = several([f"{id} ({name})" for id, name in names.items()], 9)
            raise DataError(f"{file}: annotation {one.id} has category {one.category_id}; `categories` has {legal}")


def _check_different(what: str, items: Sequence[object], file: Path) -> None:
    if twice := [item for item, count in Counter(items).items() if count > 1]:
        why = "; were they labelled by several people? Export one annotation for each" if what == "image" else ""
        raise DataError(f"{file}: has the {what} {several(twice)} more than once{why}")
