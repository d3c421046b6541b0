"""Names of images -> those to train on and those to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stdc_search.data import DataError
from stdc_search.data.splits import divided
from stdc_search.spec.splits import SplitByFolders, SplitByGroup, SplitByShare

HERE = Path("data")
VIDEOS = [f"{video}_{frame:03}" for video in "abcde" for frame in range(5)]


def by_group(names: list[str], **how: Any) -> dict[str, list[str]]:
    return {**divided(names, SplitByGroup(kind="group", **how), HERE)}


def by_folders(names: list[str], **how: Any) -> dict[str, list[str]]:
    return {**divided(names, SplitByFolders(kind="folders", **how), HERE)}


def test_a_group_is_on_one_side() -> None:
    sides = by_group(VIDEOS, pattern="(.+)_", val=0.4)
    train, val = ({name[0] for name in sides[side]} for side in ("train", "val"))
    assert len(train) == 3 and len(val) == 2 and not train & val
    assert sorted(sides["train"] + sides["val"]) == VIDEOS


def test_a_group_is_a_folder_if_no_pattern_is_given() -> None:
    assert by_group(["x/1", "x/2", "y/1"], val=0.5) in (
        {"train": ["x/1", "x/2"], "val": ["y/1"]},
        {"train": ["y/1"], "val": ["x/1", "x/2"]},
    )


def test_other_seeds_hold_back_other_groups() -> None:
    assert len({tuple(by_group(VIDEOS, pattern="(.)", seed=seed)["val"]) for seed in range(8)}) > 1


def test_a_name_without_a_group_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'\(\.\+\)_' finds no group in 1 of 26 names: other; its first parentheses"):
        by_group([*VIDEOS, "other"], pattern="(.+)_")


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"has 1 group of images \(a\); a split into train and val needs at least 2"):
        by_group(["a_1", "a_2"], pattern="(.+)_")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_the_usual_names_of_validation_folders_are_known(name: str) -> None:
    assert by_folders(["train/a", f"{name}/b", "test/c"]) == {"train": ["train/a"], "val": [f"{name}/b"]}


def test_a_folder_that_is_named_counts() -> None:
    assert by_folders(["day/a", "test/b"], train=("day",), val=("test",)) == {"train": ["day/a"], "val": ["test/b"]}


def test_an_image_in_no_folder_of_a_split_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data: 1 of 3 images lie in no folder of a split: extra/c; folders of"):
        by_folders(["train/a", "val/b", "extra/c"])


def test_a_split_without_a_folder_is_an_error_that_lists_the_folders() -> None:
    with pytest.raises(DataError, match=r"named val or valid or validation; folders there: test, train"):
        by_folders(["train/a", "test/b"])


def test_a_share_does_not_mix_folders_of_splits_in_silence() -> None:
    names = ["images/train/a", "images/train/b", "images/val/c"]
    with pytest.raises(DataError, match=r"has the folders train, val, which .* write `split: \{kind: folders\}`"):
        divided(names, SplitByShare(kind="share"), HERE)
    assert len(by_group(names, pattern="(.+)")["val"]) == 1, "the way to mix them that the message names"


def test_a_share_of_training_folders_alone_is_a_split() -> None:
    assert len(divided(["train/a", "train/b"], SplitByShare(kind="share"), HERE)["val"]) == 1
