"""Networks that are counted and timed as a whole: their base class, and those of libraries and of ONNX files."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from stdc_search.spec.backbone import Library
from stdc_search.spec.base import WeightsPath
from stdc_search.spec.data import MEAN, STD
from stdc_search.spec.heads import Classes, Task
from stdc_search.spec.rules import Spec


class WholeSpec(Spec):
    """A network that is counted and timed as a whole."""

    task: ClassVar[Task] = "segmentation"
    classes: int

    @property
    def own(self) -> dict[str, Any]:
        """The fields that only this network has, by their names; specs within them are tuples of their values."""
        common = ("kind", "classes", "auxiliary", "detail")
        return {name: _values(value) for name, value in self if name not in common}


def _values(value: Any) -> Any:
    if isinstance(value, Spec):
        return tuple(its for _, its in value)
    return tuple(map(_values, value)) if isinstance(value, tuple) else value


class LibrarySegmenterSpec(WholeSpec):
    """A segmentation network of torchvision."""

    kind: Literal["library_segmenter"]
    classes: Classes = 19
    """Number of classes, without the ignored one."""
    model: Annotated[str, Field(min_length=1)]
    """Its name there, such as `lraspp_mobilenet_v3_large`."""


Channels = tuple[float, float, float]


class OnnxFileSpec(WholeSpec):
    """A network that another tool exported to ONNX. It is counted, timed and scored, but never trained. Its input is
    one float32 tensor N, 3, H, W, RGB; its output has scores N, classes, h, w or classes N, H, W."""

    kind: Literal["onnx_file"]
    classes: Classes = 19
    """Number of classes, without the ignored one."""
    path: WeightsPath
    """The file, relative to the spec's file."""
    mean: Channels = MEAN
    """Mean that is subtracted from each channel of images in [0, 1]; YOLO's is [0, 0, 0]."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = STD
    """Standard deviation by which each channel is then divided; YOLO's is [1, 1, 1]."""


class LibraryClassifierSpec(WholeSpec):
    """A classification network of timm or torchvision."""

    task: ClassVar[Task] = "classification"
    kind: Literal["library_classifier"]
    classes: Annotated[int, Field(ge=2)] = 1000
    """Number of classes."""
    library: Library
    """The library; timm comes with the extra `zoo`."""
    model: Annotated[str, Field(min_length=1)]
    """Its name there."""
