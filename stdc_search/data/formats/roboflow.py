"""What Roboflow exports as `Semantic Segmentation Masks`.

Layout: `train/`, `valid/` and `test/`, each with `a.jpg`, `a_mask.png` and `_classes.csv`, whose lines are `id, name`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    LabelledFiles,
    check_readable,
    files_below,
    named_files,
    read_text,
    resolve_root,
)
from stdc_search.data.formats.names import classes_by_name, section
from stdc_search.data.formats.pairing import Files, names_of, paired
from stdc_search.data.splits import usual_split
from stdc_search.spec.formats import RoboflowSpec

SUFFIX, CLASSES = "_mask", "_classes.csv"


def open_roboflow(
    spec: RoboflowSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """Open one split."""
    root = resolve_root(spec.root, data_root)
    source, ids = _classes(root)
    classes = classes_by_name(spec, [*ids.values()], source)
    every = named_files(root, IMAGE_ENDINGS)
    images = {name: path for name, path in every.items() if not name.endswith(SUFFIX)}
    masks = {name.removesuffix(SUFFIX): path for name, path in every.items() if name.endswith(SUFFIX)}
    check_readable(root, images, problems)
    if not images or not masks:
        raise DataError(f"{root}: has no pair such as a.jpg and a{SUFFIX}.png; export `Semantic Segmentation Masks`")
    names = names_of(spec.split, split, images.keys() | masks.keys(), root, root)
    decoder = IdMasks(spec.class_names, {id: classes[name] for id, name in ids.items()})
    samples = paired(names, Files(root, images), Files(root, masks), problems)
    return LabelledFiles(samples, spec.class_names, decoder)


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format."""
    if not [*folder.glob(f"*/*{SUFFIX}.png"), *folder.glob(f"*{SUFFIX}.png")] or not _tables(folder):
        return None
    split = usual_split([*named_files(folder, IMAGE_ENDINGS)]) or {"split": {"kind": "share"}}
    return section("roboflow", [*_classes(folder)[1].values()]) | split


def _tables(root: Path) -> list[Path]:
    return [path for path in files_below(root, (".csv",)) if path.name == CLASSES]


def _classes(root: Path) -> tuple[Path, Mapping[int, str]]:
    """The names of ids, which must be the same in all folders, and the file that says them."""
    tables = _tables(root)
    if not tables:
        raise DataError(
            f"{root}: has no {CLASSES}; export `Semantic Segmentation Masks`. For masks without it, use "
            "`kind: folder` with `images` and `masks` both `.`"
        )
    first, *others = [(path, _read_classes(path)) for path in tables]
    for path, ids in others:
        if ids != first[1]:
            raise DataError(f"{path}: has other classes than {first[0]}; export all splits together")
    return first


def _read_classes(path: Path) -> dict[int, str]:
    ids: dict[int, str] = {}
    for line, cells in enumerate(csv.reader(read_text(path).splitlines(), skipinitialspace=True), start=1):
        id, name = (*(cell.strip() for cell in cells), "", "")[:2]
        if line == 1 and not id.isdecimal():  # `Pixel Value, Class`
            continue
        if not id.isdecimal() or int(id) > 255 or not name or int(id) in ids or name in ids.values():
            written = ", ".join(cells)
            raise DataError(
                f"{path}:{line}: {written!r} must be `id, name`, with an id up to 255 and a name of its own"
            )
        ids[int(id)] = name
    if not ids:
        raise DataError(f"{path}: names no class; a line is `id, name`")
    return ids
