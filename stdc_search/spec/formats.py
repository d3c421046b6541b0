"""Data of your own as labelling tools write it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stdc_search.spec.base import FilePath
from stdc_search.spec.own import NamedSpec
from stdc_search.spec.splits import SplitByFolders, SplitByGroup, SplitByList, SplitByShare

LISTS = Path("ImageSets/Segmentation")

BySplit = Annotated[SplitByShare | SplitByGroup | SplitByFolders | SplitByList, Field(discriminator="kind")]


class VocSpec(NamedSpec):
    """Pascal VOC, and what CVAT exports as `Segmentation mask 1.1`: images and masks of colours."""

    kind: Literal["voc"]
    images: FilePath = Path("JPEGImages")
    """Folder of images, relative to `root`."""
    masks: FilePath = Path("SegmentationClass")
    """Folder of masks, relative to `root`."""
    labels: FilePath = Path("labelmap.txt")
    """File of names and colours, relative to `root`. If it does not exist, the names and colours are Pascal VOC's."""
    split: BySplit = SplitByList(kind="list", train=LISTS / "train.txt", val=LISTS / "val.txt")
    """How images are split into training and validation."""


class RoboflowSpec(NamedSpec):
    """What Roboflow exports as `Semantic Segmentation Masks`: `a.jpg` beside `a_mask.png`, and `_classes.csv`."""

    kind: Literal["roboflow"]
    split: BySplit = SplitByFolders(kind="folders")
    """How images are split into training and validation."""
