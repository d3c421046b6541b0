"""The data: where images and labels come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PlainSerializer, PositiveInt, model_validator

from stdc_search.spec.base import Spec, at

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""CamVid's 11 classes in the order of their ids; 11 is void."""

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Cityscapes' 19 classes in the order of their train ids."""

FilePath = Annotated[
    Path,
    BeforeValidator(lambda path: Path(path) if isinstance(path, str) else path),
    PlainSerializer(Path.as_posix, when_used="json"),
]


class ScenesSpec(Spec):
    """Street scenes drawn by a program: no download, any size, any count, the same for the same seed."""

    kind: Literal["scenes"]
    size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = (360, 480)
    """[height, width] of the images."""
    train: PositiveInt = 240
    """Number of training images."""
    val: PositiveInt = 60
    """Number of validation images."""
    seed: NonNegativeInt = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        return CAMVID_CLASSES


class CamvidSpec(Spec):
    """CamVid in the public 480 x 360 layout: `train.txt`, `train/`, `trainannot/`, `val.txt`, ..."""

    kind: Literal["camvid"]
    root: FilePath = Path(".")
    """Folder that holds `train.txt`; a relative one starts from `--data-root`, else from $STDC_SEARCH_DATA, else
    from the working folder."""
    train: Literal["train", "trainval"] = "train"
    """Split that is trained on."""
    val: Literal["val", "test"] = "val"
    """Split that is scored."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return CAMVID_CLASSES

    @model_validator(mode="after")
    def _scored_images_are_not_trained_on(self) -> CamvidSpec:
        if self.train == "trainval" and self.val == "val":
            raise at("val", "`train: trainval` trains on the images of `val: val`; score `test`")
        return self


class CityscapesSpec(Spec):
    """Cityscapes as it is distributed: `leftImg8bit/` and `gtFine/` with label ids, of which 19 are classes."""

    kind: Literal["cityscapes"]
    root: FilePath = Path(".")
    """Folder that holds `leftImg8bit` and `gtFine`; a relative one starts from `--data-root`, else from
    $STDC_SEARCH_DATA, else from the working folder."""
    train: Literal["train", "trainval"] = "train"
    """Split that is trained on; the paper's test results are of `trainval`, whose scores on val say nothing."""
    val: Literal["val"] = "val"
    """Split that is scored; the labels of the test split are not public."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return CITYSCAPES_CLASSES


class SplitByList(Spec):
    """Two text files, one name a line."""

    kind: Literal["list"]
    train: FilePath = Path("train.txt")
    """List of the training images, relative to `root`."""
    val: FilePath = Path("val.txt")
    """List of the validation images, relative to `root`."""


class SplitByShare(Spec):
    """A share of the images, drawn by seed, is held back for validation."""

    kind: Literal["share"]
    val: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images that is scored and never trained on."""
    seed: NonNegativeInt = 0


class FolderSpec(Spec):
    """Your own data: a folder of images and a folder of masks, paired by name without its ending."""

    kind: Literal["folder"]
    root: FilePath = Path(".")
    """Folder that holds `images` and `masks`; a relative one starts from `--data-root`, else from
    $STDC_SEARCH_DATA, else from the working folder."""
    images: FilePath = Path("images")
    """Folder of images, relative to `root`."""
    masks: FilePath = Path("masks")
    """Folder of one-channel PNG masks that hold class ids, relative to `root`."""
    class_names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2, max_length=255)]
    """Names of the classes; the first is id 0."""
    ignore: Annotated[int, Field(ge=0, le=255)] = 255
    """Id of pixels that are neither trained on nor scored."""
    split: Annotated[SplitByList | SplitByShare, Field(discriminator="kind")] = SplitByShare(kind="share")

    @model_validator(mode="after")
    def _names_and_ignored_id(self) -> FolderSpec:
        twice = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
        if twice:
            raise at("class_names", f"`class_names` has {', '.join(twice)} twice; each class needs its own name")
        if self.ignore < len(self.class_names):
            raise at(
                "ignore",
                f"`ignore` {self.ignore} is the id of class {self.class_names[self.ignore]!r}; "
                f"use {len(self.class_names)} or more, 255 as a rule",
            )
        return self


DataSpec = Annotated[ScenesSpec | CamvidSpec | CityscapesSpec | FolderSpec, Field(discriminator="kind")]
