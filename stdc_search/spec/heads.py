"""Heads: what turns maps into scores, in the end or in training only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

Task = Literal["segmentation", "classification"]
Classes = Annotated[int, Field(ge=2, le=255)]
"""Number of classes, without the ignored one."""


class HeadSpec(Spec):
    """A head: 3x3 convolutions of `width` channels, then 1x1 to its outputs."""

    width: PositiveInt = 256
    """Channels of the 3x3 convolutions."""
    depth: PositiveInt = 1
    """Number of 3x3 convolutions."""
    bias: bool = False
    """Whether the 1x1 convolution has a bias: none as released, one in mmsegmentation's weights."""


class GuidanceSpec(Spec):
    """Detail guidance (paper, section 3.2.2): a head that finds edges, used in training only."""

    strides: Annotated[tuple[Literal[1, 2, 4, 8], ...], Field(min_length=1, json_schema_extra=ONCE)] = (1, 2, 4)
    """Strides of the Laplacian whose maps make the detail target."""
    weights: tuple[NonNegativeFloat, ...] | None = None
    """Weight of each stride's map in the fusion. Default: 0.6, 0.3, 0.1 for strides 1, 2, 4 as released (the
    map of stride 4 then never decides a pixel), equal shares for any other strides."""
    kernel: Literal["constant", "decayed", "trained"] = "constant"
    """Whether training changes `weights`: constant; decayed, as in the released code, whose threshold passes no
    gradient, so that only weight decay acts; or trained through a soft threshold, as the paper says."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fused values above it are detail."""
    width: PositiveInt = 64
    """Channels of the detail head's 3x3 convolution."""

    @property
    def fusion_weights(self) -> tuple[float, ...]:
        """The weights in use, one a stride."""
        if self.weights is not None:
            return self.weights
        if self.strides == (1, 2, 4):
            return (0.6, 0.3, 0.1)
        return (1 / len(self.strides),) * len(self.strides)

    @rule
    def _each_stride_once(self) -> Iterator[Problem]:
        if len(set(self.strides)) < len(self.strides):
            yield Problem("strides", f"`strides` {list(self.strides)} names a stride twice; name each once")

    @rule
    def _one_weight_a_stride(self) -> Iterator[Problem]:
        if self.weights is not None and len(self.weights) != len(self.strides):
            yield Problem(
                "weights",
                f"`weights` has {len(self.weights)} numbers and `strides` {len(self.strides)}; "
                "give one weight per stride, or remove `weights`",
            )

    @rule
    def _some_pixels_are_detail(self) -> Iterator[Problem]:
        most = sum(self.fusion_weights)
        if self.kernel != "trained" and most <= self.threshold:
            yield Problem(
                "weights",
                f"`weights` add up to {most:g}, which is not above `threshold` {self.threshold:g}, so no pixel is "
                "detail; make `weights` larger, or `threshold` smaller",
            )


class DetailSpec(GuidanceSpec):
    """Detail guidance of an early stage."""

    stage: NonNegativeInt = 0
    """Index of the guided stage; 0 is the paper's Stage 3."""
