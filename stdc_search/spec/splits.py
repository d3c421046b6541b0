"""How images are split into training and validation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stdc_search.spec.base import FilePath
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Seed, Spec, rule

Share = Annotated[float, Field(gt=0, lt=1)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class SplitByList(Spec):
    """Two text files with one image per line: its name, or its path from `images` or `root`, with or without the
    extension. A line may also name the path of the mask."""

    kind: Literal["list"]
    train: FilePath = Path("train.txt")
    """List of the training images, relative to `root`."""
    val: FilePath = Path("val.txt")
    """List of the validation images, relative to `root`."""


class SplitByShare(Spec):
    """A share of the images, drawn by seed, is held back for validation."""

    kind: Literal["share"]
    val: Share = 0.2
    """Share of the images that is used for validation only."""
    seed: Seed = 0
    """Which images are held back: the same for the same seed."""


class SplitByColumn(Spec):
    """The column `split` of the list of pairs says train or val."""

    kind: Literal["column"]


class SplitByFolders(Spec):
    """Images lie in folders that say their split, such as `images/train/` and `images/valid/`, at any depth."""

    kind: Literal["folders"]
    train: Names = ("train", "training")
    """Names of folders of training images, in any case."""
    val: Names = ("val", "valid", "validation")
    """Names of folders of validation images, in any case. A folder `test` is used only if it is named."""

    @rule
    def _each_folder_is_of_one_split(self) -> Iterator[Problem]:
        train, val = ({name.lower() for name in names} for names in (self.train, self.val))
        if both := sorted(train & val):
            yield Problem("val", f"{', '.join(both)} is also in `train`; a folder belongs to one split")


def _has_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if not groups:
        raise ValueError(f"{pattern!r} has no group; put what names the video into parentheses: `(.+)_[0-9]+$`")
    return pattern


class SplitByGroup(Spec):
    """A share of the groups is held back. A group is what should not be in both splits: the frames of one video."""

    kind: Literal["group"]
    pattern: Annotated[
        str, AfterValidator(_has_a_group), Field(json_schema_extra={"format": "regex", "pattern": r"\("})
    ] = "(.+)/"
    """Regular expression that is searched for in the name of each image: its path without the ending. What is in its
    first parentheses names the group. By default, that is the folder; `(.+)_[0-9]+$` is all before a frame's number."""
    val: Share = 0.2
    """Share of the groups that is used for validation only."""
    seed: Seed = 0
    """Which groups are held back: the same for the same seed."""
