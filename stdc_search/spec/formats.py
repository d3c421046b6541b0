"""Data of your own as labelling tools write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stdc_search.spec.base import FilePath
from stdc_search.spec.encodings import Encoding, IdsSpec, misfits_of_encoding
from stdc_search.spec.own import NamedSpec, OwnSpec, ShapesSpec
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule
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
    """File of names and colours, relative to `root`. If it does not exist, the colours are Pascal VOC's. The names are
    those of LabelMe's `class_names.txt` beside it, else Pascal VOC's, too."""
    split: BySplit = SplitByList(kind="list", train=LISTS / "train.txt", val=LISTS / "val.txt")
    """How images are split into training and validation."""


class RoboflowSpec(NamedSpec):
    """What Roboflow exports as `Semantic Segmentation Masks`: `a.jpg` beside `a_mask.png`, and `_classes.csv`."""

    kind: Literal["roboflow"]
    split: BySplit = SplitByFolders(kind="folders")
    """How images are split into training and validation."""


class SplitByFiles(Spec):
    """A file of annotations for each split."""

    kind: Literal["files"]
    train: FilePath
    """Annotations of the training images, relative to `root`."""
    val: FilePath
    """Annotations of the validation images, relative to `root`."""

    @rule
    def _files_differ(self) -> Iterator[Problem]:
        if self.train == self.val:
            yield Problem("val", f"{self.val} is also `train`; give another file, or split one by share or group")


class CocoSpec(ShapesSpec):
    """COCO: a JSON file with polygons or run-length encodings, as most tools export it."""

    kind: Literal["coco"]
    annotations: FilePath | None = None
    """The JSON file of all images, relative to `root`; it goes with all splits but `files`."""
    images: FilePath | None = None
    """Folder that the file names in the JSON start from, relative to `root`. By default, images are searched beside the
    JSON file, in `root`, in `images`, and in folders that are named as the JSON file."""
    split: Annotated[
        SplitByFiles | SplitByShare | SplitByGroup | SplitByFolders | SplitByList, Field(discriminator="kind")
    ] = SplitByShare(kind="share")
    """How images are split into training and validation."""

    @rule
    def _annotations_are_in_one_file_or_two(self) -> Iterator[Problem]:
        by_files = isinstance(self.split, SplitByFiles)
        if self.annotations is None and not by_files:
            yield Problem("annotations", "is missing; name the JSON file, or write `split: {kind: files, ...}` for two")
        if self.annotations is not None and by_files:
            yield Problem("annotations", "has no effect beside `split: {kind: files}`; give one or the other")


class LabelmeSpec(ShapesSpec):
    """LabelMe: a JSON file with shapes beside each image. Images without one are not labelled yet, and not used."""

    kind: Literal["labelme"]
    split: BySplit = SplitByShare(kind="share")
    """How images are split into training and validation."""


class SplitByTool(Spec):
    """The tool's own file names the images of each split."""

    kind: Literal["given"]


class YoloSpec(ShapesSpec):
    """YOLO segmentation, as Ultralytics, CVAT, Roboflow and Label Studio write it: polygons in text files."""

    kind: Literal["yolo"]
    file: FilePath = Path("data.yaml")
    """File that names classes and folders, relative to `root`. Label Studio's is `classes.txt`: a class a line; images
    lie in `images`."""
    split: Annotated[
        SplitByTool | SplitByShare | SplitByGroup | SplitByFolders | SplitByList, Field(discriminator="kind")
    ] = SplitByTool(kind="given")
    """How images are split into training and validation."""


class SuperviselySpec(ShapesSpec):
    """A Supervisely project: `meta.json`, and for each data set the folders `img` and `ann`."""

    kind: Literal["supervisely"]
    split: BySplit = SplitByShare(kind="share")
    """How images are split into training and validation. The names of folders are those of data sets."""


class HubSpec(OwnSpec):
    """A data set of the Hugging Face hub on the disk: Parquet files (extra `hub`), or an `imagefolder`."""

    kind: Literal["hub"]
    image: str = "image"
    """Column of the images."""
    label: str = "label"
    """Column of the masks; in the table of an `imagefolder` its name ends in `_file_name`."""
    encoding: Encoding = IdsSpec()
    """How masks encode classes."""
    split: BySplit = SplitByFolders(kind="folders")
    """How images are split into training and validation. The start of a Parquet file's name counts as a folder."""

    @rule
    def _encoding_fits_the_classes(self) -> Iterator[Problem]:
        yield from misfits_of_encoding(self.encoding, self.class_names)
