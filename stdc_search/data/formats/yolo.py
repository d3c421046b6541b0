"""YOLO segmentation: `data.yaml`, and a text file per image with lines `class x y x y ...`, in shares of its size.

Label Studio writes `classes.txt` in place of `data.yaml`: a class a line, and all images in `images`. The label of
`images/a.jpg` is `labels/a.txt`. Polygons have the pixels of OpenCV's `fillPoly`, with which Ultralytics draws, and
they are drawn from the largest to the smallest, as Ultralytics does where they overlap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks, size_of
from stdc_search.data.drawing import Drawing, Shape, Size, check_points, drawn, report
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    LabelledFiles,
    files_below,
    files_by_name,
    hint,
    nfc,
    read_list,
    read_text,
    resolve_root,
)
from stdc_search.data.formats.annotations import read_each
from stdc_search.data.formats.fill import filled
from stdc_search.data.formats.names import classes_by_name, index_of, section
from stdc_search.data.formats.pairing import names_of
from stdc_search.data.splits import usual_split
from stdc_search.spec import files as spec_files
from stdc_search.spec.formats import SplitByTool, YoloSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.splits import SplitByFolders, SplitByList

LABEL = re.compile(r"^(.*/)?images/")
NAMED_IN = ("data.yaml", "classes.txt")
"""Files of classes: that of Ultralytics, and that of Label Studio."""
Names = dict[int, str]


def open_yolo(spec: YoloSpec, split: Split, data_root: Path | None, problems: list[str] | None = None) -> LabelledFiles:
    """Open one split."""
    root = resolve_root(spec.root, data_root)
    file = root / spec.file
    content = _read(file)
    names = _names(content, file)
    classes = classes_by_name(spec, [*names.values()], file)
    sides: Sequence[str] = ("train", "val")
    if not isinstance(spec.split, SplitByTool):
        may_take_test = isinstance(spec.split, SplitByFolders | SplitByList)
        sides = [side for side in (*sides, *(("test",) if may_take_test else ())) if content.get(side)]
    images = {side: _images(content, side, file, root, problems) for side in sides}
    every = {name: path for found in images.values() for name, path in found.items()}
    if isinstance(spec.split, SplitByTool):
        wanted = sorted(images[split])
        if both := sorted(images["train"].keys() & images["val"].keys()):
            raise DataError(f"{file}: {len(both)} images are in both train and val, such as {both[0]}")
    else:
        wanted = names_of(spec.split, split, every, root, file)
    background = index_of(spec, spec.background)
    drawings = read_each(wanted, lambda name: _drawing(name, every[name], root, names, classes, background), problems)
    return LabelledFiles(drawn(drawings, problems), spec.class_names, IdMasks.plain(spec.class_names, 255))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    file = next((file for name in NAMED_IN if (file := folder / name).is_file()), None)
    if file is None:
        return None
    of_label_studio = file.name == NAMED_IN[1]
    if of_label_studio and not files_below(folder / "labels", (".txt",)):
        return None  # masks of another tool
    content = _read(file)
    if "names" not in content or not (content.get("train") or content.get("val")):
        return None
    found = section("yolo", [*_names(content, file).values()], shapes=True)
    if of_label_studio:
        found["file"] = file.name
    if content.get("val") and content.get("val") != content.get("train"):
        return found
    images = _images(content, "train" if content.get("train") else "val", file, folder, [])
    return found | (usual_split([*images]) or {"split": {"kind": "share"}})


def mask_of(geometry: Any, size: Size) -> NDArray[np.bool_]:
    """The pixels of a polygon in shares of the image's size."""
    points = np.asarray(geometry, np.float64).reshape(-1, 2) * size[::-1]
    return filled([check_points(points, size, least=3).astype(np.int64)], size)


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise DataError(f"{file}: no such file{hint(file)}; YOLO's file of classes and folders is `data.file`")
    if file.suffix == ".txt":
        return {"names": [line.strip() for line in read_text(file).rstrip().splitlines()], "train": "images"}
    try:
        return spec_files.read(file).values
    except SpecError as error:
        raise DataError(str(error)) from None


def _names(content: Mapping[str, Any], file: Path) -> Names:
    match content.get("names"):
        case tuple() | list() as names if names:
            found = {id: str(name) for id, name in enumerate(names)}
        case dict() as names if all(str(id).isdecimal() for id in names):
            found = {int(id): str(name) for id, name in names.items()}
        case _:
            raise DataError(f"{file}: has no `names`, a list of the classes or a mapping from ids to names")
    first = {name: id for id, name in reversed(found.items())}
    if odd := [id for id, name in found.items() if not name or first[name] != id]:
        raise DataError(f"{file}: the name of class {odd[0]} is empty or that of another class; each needs its own")
    return found


def _images(
    content: Mapping[str, Any], side: str, file: Path, root: Path, problems: list[str] | None
) -> dict[str, Path]:
    """Images of a split by name: those of folders, or those in lists."""
    given = content.get(side)
    if given is None:
        if side == "val" and "train" in content:
            raise DataError(f"{file}: has no `val`; write `split: {{kind: share}}` to hold back a share of `train`")
        raise DataError(f"{file}: has no `{side}`, a folder of images or a list of them")
    base = file.parent / str(content.get("path") or ".")
    paths: list[Path] = []
    for written in given if isinstance(given, list | tuple) else (given,):
        place = _place(str(written), (base, file.parent, root), root, file)
        if place.is_dir():
            paths += files_below(place, IMAGE_ENDINGS)
            report(_labels_without_images(place, paths, root), problems)
        else:
            lines = read_list(place, f"{file} names it as `{side}`")
            paths += [_place(line, (base, root, place.parent), root, place) for line in lines]
    if not paths:
        raise DataError(f"{file}: `{side}` leads to no images; export them with the labels")
    return files_by_name(((nfc(path.relative_to(root).with_suffix("").as_posix()), path) for path in paths), file)


def _labels_without_images(folder: Path, images: Sequence[Path], root: Path) -> list[str]:
    labels = _label_of(folder / "any", root).parent
    if not labels.is_dir():
        return []
    known = {_label_of(image, root) for image in images}
    strays = [path for path in files_below(labels, (".txt",)) if path not in known and path.name != "classes.txt"]
    return [f"{path}: has no image in {folder}" for path in strays]


def _label_of(image: Path, root: Path) -> Path:
    relative = image.relative_to(root).with_suffix(".txt").as_posix()
    return root / LABEL.sub(lambda found: f"{found[1] or ''}labels/", relative)


def _place(written: str, bases: tuple[Path, ...], root: Path, file: Path) -> Path:
    """A path within the root: as written, without leading `..`, or its last parts if it is of another machine."""
    parts = [part for part in PurePosixPath(written.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    tails = [Path(*parts[start:]) for start in range(len(parts))]
    places = [place for tail in tails for base in bases if (place := (base / tail)).is_relative_to(root)]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(f"{file}: names {written}, which is not in {root}; correct the path, or `data.root`")
    return found


def _drawing(
    name: str, image: Path, root: Path, names: Names, classes: Mapping[str, int | None], background: int | None
) -> Drawing:
    source = _label_of(image, root)
    if not image.is_file():
        raise DataError(f"{image}: no such image{hint(image)}")
    if not source.is_file():
        raise DataError(f"{source}: no such file, but {image} needs a label{hint(source)}; it is empty without objects")
    size, shapes = size_of(image), []
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        if line.strip():
            id, points = _numbers(line, f"{source}:{number}", names)
            shapes.append(Shape(f"line {number} ({names[id]})", classes[names[id]], points))
    return Drawing(name, image, source, size, background, shapes, mask_of, largest_first=True)


def _numbers(line: str, where: str, names: Names) -> tuple[int, list[float]]:
    first, *rest = line.split()
    try:
        numbers = [float(number) for number in rest]
    except ValueError:
        raise DataError(f"{where}: {line[:40]!r} is not `class x y x y ...`") from None
    if not first.isdecimal() or int(first) not in names:
        raise DataError(f"{where}: has class {first}; `names` has {min(names)} to {max(names)}")
    if len(numbers) == 4:
        raise DataError(f"{where}: has a box; export polygons (a segmentation data set, not one for detection)")
    if len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: has {len(numbers)} numbers after the class; points have two finite numbers each")
    return int(first), numbers
