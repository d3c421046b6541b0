"""Pascal VOC, and what CVAT exports as `Segmentation mask 1.1`.

Layout: `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/*.txt`. CVAT adds `labelmap.txt` with a line
`name:red,green,blue:parts:actions` per class, LabelMe's `labelme2voc.py` adds `class_names.txt` with a name per class.
Masks are palette images or RGB; both are read as colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import ColourMasks
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    MASK_ENDINGS,
    LabelledFiles,
    check_readable,
    hint,
    named_files,
    read_list,
    resolve_root,
)
from stdc_search.data.formats.names import classes_by_name, section
from stdc_search.data.formats.pairing import Files, names_of, paired, tell_unlabelled
from stdc_search.data.splits import usual_split
from stdc_search.spec.formats import LISTS, VocSpec
from stdc_search.spec.splits import SplitByList

Colour = tuple[int, int, int]

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Pascal VOC's classes in the order of their ids."""
CLASS_NAMES = "class_names.txt"
TRAIN, VAL = ("train", "training", "trainval"), ("val", "valid", "validation", "test", "testing")
"""Names of lists; the first that exists counts."""
FRAME = re.compile(r"\d{4}_\d{6}")
"""Names of Pascal VOC's own frames."""
REMEDY = "add it to `labelmap.txt` (a line `NAME:red,green,blue::`) and NAME to `class_names` or `map`"
BORDER = (224, 224, 192)
"""Colour of pixels at borders, which VOC does not label: that of id 255."""


def open_voc(spec: VocSpec, split: Split, data_root: Path | None, problems: list[str] | None = None) -> LabelledFiles:
    """Open one split."""
    root = resolve_root(spec.root, data_root)
    labels, colours = _colours(root / spec.labels)
    classes = classes_by_name(spec, colours, labels)
    folder = root / spec.images
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{hint(folder)}. In CVAT, tick `Save images` when you export")
    images = Files(folder, named_files(folder, IMAGE_ENDINGS))
    masks = Files(root / spec.masks, named_files(root / spec.masks, MASK_ENDINGS))
    check_readable(folder, images.paths, problems)
    names = names_of(spec.split, split, masks.paths, root, masks.folder)
    if split == "train" and not isinstance(spec.split, SplitByList):
        tell_unlabelled(images, masks, problems)
    decoder = ColourMasks({BORDER: None, **{colour: classes[name] for name, colour in colours.items()}}, REMEDY)
    return LabelledFiles(paired(names, images, masks, problems), spec.class_names, decoder)


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    if not (folder / "SegmentationClass").is_dir():
        return None
    _, names = _colours(folder / "labelmap.txt")
    lists = {path.stem.lower(): path.relative_to(folder).as_posix() for path in (folder / LISTS).glob("*.txt")}
    train = next((lists[name] for name in TRAIN if name in lists), None)
    val = next((lists[name] for name in VAL if name in lists), None)
    if train and val:
        return section("voc", names) | {"split": {"kind": "list", "train": train, "val": val}}
    masks = named_files(folder / "SegmentationClass", MASK_ENDINGS)
    return section("voc", names) | (usual_split([*masks]) or {"split": {"kind": "share"}})


def _colours(labels: Path) -> tuple[Path, dict[str, Colour]]:
    """The file of names, and the colour of each; without any file, those of Pascal VOC."""
    if labels.is_file():
        return labels, read_labelmap(labels)
    if (file := labels.with_name(CLASS_NAMES)).is_file():
        return file, _voc_colours(read_list(file, "labelme2voc.py writes it"))
    return labels, _voc_colours(VOC_CLASSES)


def doubts(folder: Path) -> list[str]:
    """What to say if frames that are not Pascal VOC's have its names of classes."""
    source, _ = _colours(folder / "labelmap.txt")
    masks = named_files(folder / "SegmentationClass", MASK_ENDINGS)
    if source.is_file() or all(map(FRAME.fullmatch, masks)):
        return []
    return [
        "no file names the classes, so they have the names of Pascal VOC. For names of your own, write a labelmap.txt "
        "beside SegmentationClass, with a line `NAME:red,green,blue::` per class"
    ]


def read_labelmap(path: Path) -> dict[str, Colour]:
    """The colour of each name in a `labelmap.txt`.

    Raises:
        DataError: a line has another form, or two names share a colour.
    """
    colours: dict[str, Colour] = {}
    lines = [line for line in read_list(path, "CVAT writes it beside `SegmentationClass`") if not line.startswith("#")]
    fields = [line.split(":") for line in lines]
    if fields and all(len(one) == 4 and not one[1] for one in fields):  # as Datumaro writes labels without colours
        return _voc_colours(one[0] for one in fields)
    for line in lines:
        name, _, rest = line.partition(":")
        colour = rest.partition(":")[0].split(",")
        if not name or len(colour) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in colour):
            raise DataError(f"{path}: {line!r} does not have the form `name:red,green,blue:parts:actions`")
        red, green, blue = map(int, colour)
        if same := [other for other, its in colours.items() if its == (red, green, blue) or other == name]:
            raise DataError(f"{path}: {name!r} and {same[0]!r} have the same name or colour; each class needs its own")
        colours[name] = red, green, blue
    if not colours:
        raise DataError(f"{path}: names no class; a line is `name:red,green,blue:parts:actions`")
    return colours


def voc_colour(id: int) -> Colour:
    """The colour of an id of Pascal VOC: bits 0, 3 and 6 of the id are the highest bits of red, and so on."""
    red, green, blue = (sum((id >> first + 3 * place & 1) << 7 - place for place in range(3)) for first in range(3))
    return red, green, blue


def _voc_colours(names: Iterable[str]) -> dict[str, Colour]:
    return {name: voc_colour(id) for id, name in enumerate(names)}
