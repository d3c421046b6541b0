"""How images are split into training and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from stdc_search.spec.base import FilePath
from stdc_search.spec.rules import Spec


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
    val: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images that is used for validation only."""
    seed: NonNegativeInt = 0
    """Which images are held back: the same for the same seed."""


class SplitByColumn(Spec):
    """The column `split` of the list of pairs says train or val."""

    kind: Literal["column"]
