"""Names of images -> those to train on and those to score."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, assert_never

from stdc_search.data.dataset import DataError, Split
from stdc_search.errors import several
from stdc_search.spec.splits import SplitByFolders, SplitByGroup, SplitByShare

Sides = dict[Split, list[str]]
"""Names of the images of each split."""
TEST = ("test", "testing")
"""Folders of images that are neither trained on nor scored, unless a split names them."""
FOLDERS = SplitByFolders(kind="folders")


def divided(names: Collection[str], split: SplitByShare | SplitByGroup | SplitByFolders, place: Path) -> Sides:
    """Names of images, which are their paths without the ending, by split; sorted.

    Args:
        names: the images.
        split: how to split them.
        place: the file or folder that they are from, for messages.

    Raises:
        DataError: a split would be empty, or an image belongs to none.
    """
    match split:
        case SplitByShare():
            _check_folders_name_no_split(names, place)
            return split_by_share(sorted(names), split.val, split.seed, place)
        case SplitByGroup():
            return _by_group(names, split, place)
        case SplitByFolders():
            return _by_folders(names, split, place)
    assert_never(split)


def split_by_share(names: Sequence[str], share: float, seed: int, place: Path, what: str = "image") -> Sides:
    """Names whose hashes come first are for validation; each split has at least one.

    So the split depends only on names and seed, and a new image moves at most one other image to the other split.
    """
    if len(names) < 2:
        raise DataError(f"{place}: has {len(names)} {what}; a split into train and val needs at least 2")
    held_back = min(max(round(share * len(names)), 1), len(names) - 1)
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    return {"train": sorted(drawn[held_back:]), "val": sorted(drawn[:held_back])}


def usual_split(names: Collection[str]) -> dict[str, Any]:
    """What a spec says of the split if folders of images have the usual names; those of test stand in for val."""
    parts = {part_of(name) for name in names}
    if parts >= {"train", "val"}:
        return {"split": {"kind": "folders"}}
    if parts >= {"train", "test"}:
        there = {folder for name in names for folder in _folders(name)}
        return {"split": {"kind": "folders", "val": [folder for folder in TEST if folder in there]}}
    return {}


def part_of(name: str) -> Literal["train", "val", "test"] | None:
    """What the folders of an image say: its split, or that it is kept for a last test; None if they say nothing."""
    return _side(name, FOLDERS) or ("test" if {*_folders(name)} & {*TEST} else None)


def _by_group(names: Collection[str], split: SplitByGroup, place: Path) -> Sides:
    groups: dict[str, list[str]] = {}
    strays: list[str] = []
    for name in sorted(names):
        if (found := re.search(split.pattern, name)) and found[1] is not None:
            groups.setdefault(found[1], []).append(name)
        else:
            strays.append(name)
    if strays:
        raise DataError(
            f"{place}: `data.split.pattern` {split.pattern!r} finds no group in {len(strays)} of {len(names)} names: "
            f"{several(strays)}; its first parentheses must match in every name"
        )
    sides = split_by_share(sorted(groups), split.val, split.seed, place, f"group of images ({several([*groups])})")
    return {side: sorted(name for group in sides[side] for name in groups[group]) for side in sides}


def _by_folders(names: Collection[str], split: SplitByFolders, place: Path) -> Sides:
    sides: Sides = {"train": [], "val": []}
    strays: list[str] = []
    for name in sorted(names):
        if side := _side(name, split):
            sides[side].append(name)
        elif not {*_folders(name)} & {*TEST}:
            strays.append(name)
    if strays:
        raise DataError(
            f"{place}: {len(strays)} of {len(names)} images lie in no folder of a split: {several(strays)}; folders of "
            f"`data.split` are {', '.join(split.train)} and {', '.join(split.val)}. Move the images, or name their "
            "folders there"
        )
    for side, found in sides.items():
        if not found:
            legal = split.train if side == "train" else split.val
            there = sorted({folder for name in names for folder in _folders(name)})
            raise DataError(
                f"{place}: no image lies in a folder named {' or '.join(legal)}; folders there: "
                f"{several(there) or 'none'}. Name the right ones in `data.split.{side}`, or split by share"
            )
    return sides


def _side(name: str, split: SplitByFolders) -> Split | None:
    """The split that the outermost of an image's folders says, if one does."""
    sides: dict[str, Split] = {folder.lower(): "val" for folder in split.val}
    sides |= {folder.lower(): "train" for folder in split.train}
    return next((sides[folder] for folder in _folders(name) if folder in sides), None)


def _folders(name: str) -> list[str]:
    return [folder.lower() for folder in name.split("/")[:-1]]


def _check_folders_name_no_split(names: Collection[str], place: Path) -> None:
    """Raise if images are in a folder of training images or in one of validation images already."""
    if {_side(name, FOLDERS) for name in names} >= {"train", "val"}:
        there = {folder for name in names for folder in _folders(name) if folder in (*FOLDERS.train, *FOLDERS.val)}
        raise DataError(
            f"{place}: has the folders {', '.join(sorted(there))}, which `{{kind: share}}` would mix; write "
            "`split: {kind: folders}` to keep them apart, or `split: {kind: group, pattern: (.+)}` to mix them"
        )
