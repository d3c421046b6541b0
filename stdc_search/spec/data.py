"""The data: where images and labels come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from stdc_search.spec.base import FilePath
from stdc_search.spec.encodings import Encoding, IdsSpec, misfits_of_encoding
from stdc_search.spec.formats import CocoSpec, HubSpec, LabelmeSpec, RoboflowSpec, SuperviselySpec, VocSpec, YoloSpec
from stdc_search.spec.own import OwnSpec
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Seed, Spec, rule
from stdc_search.spec.splits import SplitByColumn, SplitByFolders, SplitByGroup, SplitByList, SplitByShare

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""CamVid's 11 classes in the order of their ids; 11 is void."""

SIMPLE_CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "pedestrian")
"""The 7 classes of `{kind: scenes, style: simple}`, in the order of their ids."""

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Cityscapes' 19 classes in the order of their train ids."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's RGB values, scaled to [0, 1]: images are normalised by them."""


class ScenesSpec(Spec):
    """Street scenes drawn by a program: no download, any size, any count, the same for the same seed."""

    kind: Literal["scenes"]
    size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = (360, 480)
    """[height, width] of the images."""
    train: PositiveInt = 240
    """Number of training images."""
    val: PositiveInt = 60
    """Number of validation images."""
    seed: Seed = 0
    """Random seed of the drawing."""
    style: Literal["camvid", "simple"] = "camvid"
    """`camvid`: busy streets in any light, with CamVid's 11 classes. `simple`: sunny streets with 7 of these classes
    and no thin objects, which a network learns to label within a minute on a CPU."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return SIMPLE_CLASSES if self.style == "simple" else CAMVID_CLASSES

    @property
    def classes(self) -> int:
        return len(self.class_names)


class CamvidSpec(Spec):
    """CamVid, 11 classes: the 480 x 360 copy of the SegNet tutorial, or the original frames."""

    kind: Literal["camvid"]
    root: FilePath = Path(".")
    """Folder that holds `train.txt`, or `701_StillsRaw_full`; a relative one starts from `--data-root`, else from
    $STDC_SEARCH_DATA, else from the working folder."""
    layout: Literal["segnet", "original"] = "segnet"
    """segnet: 480 x 360, `train.txt`, `train/`, `trainannot/`, ...; original: `701_StillsRaw_full/` and
    `LabeledApproved_full/`, 960 x 720, whose 32 colours are mapped to the 11 classes, split as in the other."""
    train: Literal["train", "trainval"] = "train"
    """Training split."""
    val: Literal["val", "test"] = "val"
    """Validation split."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return CAMVID_CLASSES

    @property
    def classes(self) -> int:
        return len(CAMVID_CLASSES)

    @rule
    def _scored_images_are_not_trained_on(self) -> Iterator[Problem]:
        if self.train == "trainval" and self.val == "val":
            yield Problem("val", "`train: trainval` trains on the images of `val: val`; score `test`")


class CityscapesSpec(Spec):
    """Cityscapes as it is distributed: `leftImg8bit/` and `gtFine/` with label ids, of which 19 are classes."""

    kind: Literal["cityscapes"]
    root: FilePath = Path(".")
    """Folder that holds `leftImg8bit` and `gtFine`; a relative one starts from `--data-root`, else from
    $STDC_SEARCH_DATA, else from the working folder."""
    train: Literal["train", "trainval"] = "train"
    """Training split; the paper's test results use `trainval`, which includes the images of val."""
    val: Literal["val"] = "val"
    """Validation split; the labels of the test split are not public."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return CITYSCAPES_CLASSES

    @property
    def classes(self) -> int:
        return len(CITYSCAPES_CLASSES)


class FolderSpec(OwnSpec):
    """Your own data: images and masks in two folders, paired by name without its ending, or in a list of pairs."""

    kind: Literal["folder"]
    images: FilePath = Path("images")
    """Folder of images, relative to `root`."""
    masks: FilePath = Path("masks")
    """Folder of masks (PNG, BMP or lossless TIFF), relative to `root`. The name of a mask is that of its image; all
    masks may add one suffix, such as `_mask`. It may be the folder of the images if these are JPEG or WebP files, or if
    masks have a suffix."""
    pairs: FilePath | None = None
    """CSV file with the columns `image` and `mask`, and optionally `split`, in place of the two folders. Its path and
    the paths in it are absolute, or relative to `root`."""
    encoding: Encoding = IdsSpec()
    """How masks encode classes."""
    split: Annotated[
        SplitByShare | SplitByGroup | SplitByFolders | SplitByList | SplitByColumn, Field(discriminator="kind")
    ] = SplitByShare(kind="share")
    """How images are split into training and validation."""

    @rule
    def _encoding_fits_the_classes(self) -> Iterator[Problem]:
        yield from misfits_of_encoding(self.encoding, self.class_names)

    @rule
    def _split_is_of_pairs_or_folders(self) -> Iterator[Problem]:
        if self.pairs is None and isinstance(self.split, SplitByColumn):
            yield Problem("split", "`column` needs a list of pairs; give `pairs`, or use another kind of split")
        if self.pairs is not None and isinstance(self.split, SplitByList):
            yield Problem("split", "`list` goes with folders; with `pairs` use column, share, group or folders")

    @rule
    def _pairs_or_folders(self) -> Iterator[Problem]:
        if self.pairs is not None and (self.images, self.masks) != (Path("images"), Path("masks")):
            yield Problem("pairs", "replaces `images` and `masks`; give one or the other")


class ImagenetSpec(Spec):
    """Images to classify, in one folder per class, such as ImageNet's `train/n01440764/*.JPEG`."""

    kind: Literal["imagenet"]
    root: FilePath = Path(".")
    """Folder that holds the splits' folders; a relative one starts from `--data-root`, else from $STDC_SEARCH_DATA,
    else from the working folder."""
    train: FilePath = Path("train")
    """Training folder, relative to `root`, with one folder per class."""
    val: FilePath = Path("val")
    """Validation folder, with the same classes."""
    classes: Annotated[int, Field(ge=2)] = 1000
    """Number of classes; their names are those of the folders, in order."""


ToolSpec = VocSpec | RoboflowSpec | CocoSpec | LabelmeSpec | YoloSpec | SuperviselySpec | HubSpec
DataSpec = Annotated[
    ScenesSpec | CamvidSpec | CityscapesSpec | FolderSpec | ToolSpec | ImagenetSpec, Field(discriminator="kind")
]
