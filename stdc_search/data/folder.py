"""People's own data: images and masks in two folders, paired by relative path without its ending, or in a list."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import assert_never

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    BinaryMasks,
    ColourMasks,
    IdMasks,
    LabelledFiles,
    Masks,
    Sample,
    check_disjoint,
    check_unique,
    hint,
    keep_paired,
    read_list,
    resolve_root,
    several,
)
from stdc_search.errors import alike
from stdc_search.spec.data import (
    BinarySpec,
    ColoursSpec,
    FolderSpec,
    IdsSpec,
    SplitByColumn,
    SplitByList,
    SplitByShare,
)


def open_folder(
    spec: FolderSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """One split. A mask without an image is a warning; an image of either split without its mask is an error."""
    root = resolve_root(spec.root, data_root)
    source = root / (spec.pairs or spec.images)
    if spec.pairs is not None:
        pairs, listed = _pairs(source, root, isinstance(spec.split, SplitByColumn), problems)
        images, masks = {name: pair.image for name, pair in pairs.items()}, {}
    else:
        pairs, listed = {}, {}
        images = _files(root / spec.images, IMAGE_ENDINGS, without=root / spec.masks)
        masks = _files(root / spec.masks, (".png",), without=root / spec.images)
    match spec.split:
        case SplitByList():
            lists = {"train": root / spec.split.train, "val": root / spec.split.val}
            names = {part: _listed(path, images, problems) for part, path in lists.items()}
            check_disjoint(names["train"], names["val"], root)
        case SplitByShare():
            if listed:
                raise DataError(f"{source}: has a column `split`; use it by `split: {{kind: column}}`")
            names = split_by_share(sorted(images), spec.split.val, spec.split.seed, source)
        case SplitByColumn():
            names = {part: [name for name in pairs if listed.get(name) == part] for part in ("train", "val")}
            if empty := [part for part, its in names.items() if not its]:
                raise DataError(f"{source}: no line says {empty[0]} in its column `split`")
        case _:
            assert_never(spec.split)
    if spec.pairs is None:
        orphans = sorted(masks.keys() - images.keys())
        if problems is not None:
            problems += [f"{masks[name]}: has no image in {root / spec.images}" for name in orphans]
            masks = {name: root / spec.masks / f"{name}.png" for name in images} | masks
        _all_masked([*names["train"], *names["val"]], masks, root / spec.masks)
        if orphans and problems is None:
            warnings.warn(f"{root / spec.masks}: {len(orphans)} masks have no image: {several(orphans)}", stacklevel=2)
        pairs = {name: Sample(name, images[name], masks[name]) for name in names[split]}
    samples = [pairs[name] for name in names[split]]
    if problems is not None:
        samples = keep_paired(samples, problems)
    return LabelledFiles(samples, spec.class_names, _masks(spec))


def _masks(spec: FolderSpec) -> Masks:
    match spec.encoding:
        case IdsSpec(ignore=ignore):
            return IdMasks.plain(spec.class_names, ignore)
        case ColoursSpec(colours=colours, ignore=ignored):
            return ColourMasks({**{c: i for i, c in enumerate(colours)}, **dict.fromkeys(ignored)})
        case BinarySpec():
            return BinaryMasks()
    assert_never(spec.encoding)


def _pairs(
    path: Path, root: Path, by_column: bool, problems: list[str] | None
) -> tuple[dict[str, Sample], dict[str, str]]:
    """Samples of a CSV file by name, and the split of each where it says so."""
    read_list(path, "it is given relative to `data.root`")  # missing, no text, or empty
    reader = csv.DictReader(path.read_text("utf-8-sig").splitlines(), skipinitialspace=True)
    columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    wanted = ["image", "mask", *(["split"] if by_column else [])]
    if missing := [name for name in wanted if columns.count(name) != 1]:
        remedy = "cells are parted by commas" if len(columns) == 1 else f"write `{','.join(wanted)}` there"
        has = f"its first line has {', '.join(columns)}"
        raise DataError(f"{path}: has no column {' and no column '.join(missing)}, or several; {has}; {remedy}")
    samples: dict[str, Sample] = {}
    splits: dict[str, str] = {}
    for line in reader:
        where = f"{path}:{reader.line_num}"
        if None in line or None in line.values():
            raise DataError(f"{where}: has more or fewer cells than the first line, which has {len(columns)}")
        if not line["image"].strip() or not line["mask"].strip():
            raise DataError(f"{where}: names no image or no mask; a line has both")
        cells = (line[column].strip().replace("\\", "/") for column in ("image", "mask"))
        image, mask = (os.path.relpath(root / cell, root) for cell in cells)
        name = Path(image).with_suffix("").as_posix()
        if name in samples:
            raise DataError(f"{where}: {image} has the name of {samples[name].image}; an image counts once")
        samples[name] = Sample(name, root / image, root / mask)
        if "split" in columns:
            splits[name] = line["split"].strip()
            if splits[name] not in ("train", "val", "test"):
                raise DataError(f"{where}: split {splits[name]!r}; legal are train, val and test")
    if not samples:
        raise DataError(f"{path}: has no line after its first")
    if problems is not None:
        keep_paired(samples.values(), problems)  # of all lines, test's too; what is left out is the split's to say
    elif lost := [str(file) for _, *pair in samples.values() for file in pair if not file.is_file()]:
        raise DataError(f"{path}: {len(lost)} files of it do not exist: {several(lost)}{hint(Path(lost[0]))}")
    return samples, splits


def split_by_share(names: Sequence[str], share: float, seed: int, folder: Path) -> dict[Split, list[str]]:
    """The images whose hashed names come first are scored, at least one on each side.

    So the split depends on names and seed alone, and a new image moves at most one other across.
    """
    if len(names) < 2:
        raise DataError(f"{folder}: has {len(names)} image; a split into train and val needs at least 2")
    held_back = min(max(round(share * len(names)), 1), len(names) - 1)
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    return {"train": sorted(drawn[held_back:]), "val": sorted(drawn[:held_back])}


def _files(folder: Path, endings: Collection[str], without: Path) -> dict[str, Path]:
    """Files of a folder and its sub-folders by relative path without ending."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{hint(folder)}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        elsewhere = folder in without.parents and without in path.parents
        if hidden or elsewhere or path.suffix.lower() not in endings or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{folder}: {found[name].name} and {path.name} have one name; which one is `{name}`?")
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no file that ends in {' or '.join(endings)}")
    return found


def _listed(path: Path, images: dict[str, Path], problems: list[str] | None) -> list[str]:
    """Names of a list, which may have an image's ending."""
    names = []
    for line in read_list(path, "lists are given relative to `data.root`"):
        plain = Path(line.replace("\\", "/"))
        written = plain.as_posix()
        names.append(plain.with_suffix("").as_posix() if plain.suffix.lower() in IMAGE_ENDINGS else written)
    unknown = [name for name in names if name not in images]
    if problems is not None:
        problems += [f"{path}: `{name}` has no image" for name in unknown]
        names = [name for name in names if name in images]
    elif unknown:
        meant = alike(unknown[0], images)
        raise DataError(
            f"{path}: {len(unknown)} of {len(names)} names have no image: {several(unknown)}; "
            + (f"did you mean `{meant}`?" if meant else f"images are named like `{next(iter(images))}`")
        )
    check_unique(names, path)
    return names


def _all_masked(names: Sequence[str], masks: dict[str, Path], folder: Path) -> None:
    missing = [name for name in names if name not in masks]
    if missing:
        like = alike(missing[0], masks) or next(iter(masks))
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images have no mask: "
            f"{several([f'{name}.png' for name in missing])}; masks there are named like {like}.png"
        )
