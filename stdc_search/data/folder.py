"""People's own data: a folder of images and a folder of masks, paired by relative path without its ending."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import assert_never

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    LabelledFiles,
    Sample,
    check_disjoint,
    check_unique,
    hint,
    plain_ids,
    read_list,
    resolve_root,
    several,
)
from stdc_search.spec.data import FolderSpec, SplitByList, SplitByShare
from stdc_search.spec.problems import alike


def open_folder(spec: FolderSpec, split: Split, data_root: Path | None) -> LabelledFiles:
    """One split. A mask without an image is a warning; a listed image without its mask is an error."""
    root = resolve_root(spec.root, data_root)
    image_folder, mask_folder = root / spec.images, root / spec.masks
    images = _files(image_folder, IMAGE_ENDINGS, without=mask_folder)
    masks = _files(mask_folder, (".png",), without=image_folder)
    match spec.split:
        case SplitByList():
            names = {"train": _listed(root / spec.split.train, images), "val": _listed(root / spec.split.val, images)}
            check_disjoint(names["train"], names["val"], root)
        case SplitByShare():
            names = split_by_share(sorted(images), spec.split.val, spec.split.seed, image_folder)
        case _:
            assert_never(spec.split)
    _all_masked([*names["train"], *names["val"]], masks, mask_folder)
    if orphans := sorted(masks.keys() - images.keys()):
        warnings.warn(f"{mask_folder}: {len(orphans)} masks have no image: {several(orphans)}", stacklevel=2)
    samples = [Sample(name, images[name], masks[name]) for name in names[split]]
    return LabelledFiles(samples, spec.class_names, plain_ids(len(spec.class_names), spec.ignore))


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


def _listed(path: Path, images: dict[str, Path]) -> list[str]:
    """Names of a list, which may have an image's ending."""
    names = []
    for line in read_list(path, "lists are given relative to `data.root`"):
        plain = Path(line.replace("\\", "/"))
        written = plain.as_posix()
        names.append(plain.with_suffix("").as_posix() if plain.suffix.lower() in IMAGE_ENDINGS else written)
    unknown = [name for name in names if name not in images]
    if unknown:
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
