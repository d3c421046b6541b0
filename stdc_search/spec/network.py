"""The network: STDC backbone, decoder, heads (Fan et al. 2021, sections 3.1 and 3.2)."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from stdc_search.spec.base import Spec, at

Stride = Literal[1, 2]


class StemSpec(Spec):
    """One 3x3 convolution of the stem (ConvX1 and ConvX2 in the paper's Table 2)."""

    width: PositiveInt
    """Output channels."""
    stride: Stride = 2
    """2 halves the height and width."""


class StageSpec(Spec):
    """A stage of STDC modules; `stages.0` is the paper's Stage 3."""

    width: PositiveInt
    """Output channels N of each module; a multiple of 2^(blocks - 1)."""
    depth: PositiveInt = 2
    """STDC modules in the stage, the strided one included (STDC1: 2, 2, 2; STDC2: 4, 5, 3)."""
    stride: Stride = 2
    """Stride of the stage's first module."""
    blocks: Annotated[int, Field(ge=2, le=7)] = 4
    """Blocks n of an STDC module; block i has N / 2^i channels, the last one as many as the one before."""

    @model_validator(mode="after")
    def _width_divides_among_the_blocks(self) -> StageSpec:
        unit = 2 ** (self.blocks - 1)
        if self.width % unit:
            below = self.width // unit * unit
            nearest = f"{below} or {below + unit}" if below else f"{unit}"
            raise at(
                "width",
                f"`width` {self.width} is no multiple of {unit}, which `blocks` {self.blocks} needs "
                f"(2^(blocks - 1)); the nearest that work: {nearest}",
            )
        return self


class StdcSpec(Spec):
    """The STDC backbone (paper, Table 2)."""

    kind: Literal["stdc"] = "stdc"
    stem: Annotated[tuple[StemSpec, ...], Field(min_length=1)] = (
        StemSpec(width=32),
        StemSpec(width=64),
    )
    """3x3 convolutions before the first stage."""
    stages: tuple[StageSpec, ...] = (
        StageSpec(width=256),
        StageSpec(width=512),
        StageSpec(width=1024),
    )
    """Stages of STDC modules; the default is STDC1."""

    @property
    def reductions(self) -> tuple[int, ...]:
        """Image size over feature size after each stage: (8, 16, 32) in the paper."""
        stem = prod(conv.stride for conv in self.stem)
        strides = [stage.stride for stage in self.stages]
        return tuple(stem * prod(strides[: i + 1]) for i in range(len(strides)))


class DecoderSpec(Spec):
    """BiSeNet's context path and feature fusion, as in the paper's Figure 4."""

    width: PositiveInt = 128
    """Channels of the context path: attention refinement, global context and the convolutions after each sum."""
    fusion_width: Annotated[int, Field(ge=4, multiple_of=4)] = 256
    """Channels of the feature fusion module; its attention squeezes them to a quarter."""


class HeadSpec(Spec):
    """A head: 3x3 convolution to `width` channels, then 1x1 to its outputs."""

    width: PositiveInt = 256
    """Channels of the 3x3 convolution."""


class DetailSpec(Spec):
    """Detail guidance (paper, section 3.2.2): a head on an early stage, used in training only."""

    strides: Annotated[tuple[Literal[1, 2, 4, 8], ...], Field(min_length=1)] = (1, 2, 4)
    """Strides of the Laplacian whose maps make the detail target."""
    weights: tuple[NonNegativeFloat, ...] | None = None
    """Weight of each stride's map in the fusion. Default: 0.6, 0.3, 0.1 for strides 1, 2, 4 as released (the
    map of stride 4 then never decides a pixel), equal shares for any other strides."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """A fused value above it is detail."""
    stage: Annotated[int, Field(ge=0)] = 0
    """Index of the stage that is guided; 0 is the paper's Stage 3."""
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

    @model_validator(mode="after")
    def _one_weight_a_stride(self) -> DetailSpec:
        if len(set(self.strides)) < len(self.strides):
            raise at("strides", f"`strides` {list(self.strides)} names a stride twice; give each once")
        if self.weights is not None and len(self.weights) != len(self.strides):
            raise at(
                "weights",
                f"`weights` has {len(self.weights)} numbers and `strides` {len(self.strides)}; "
                "give one weight a stride, or leave `weights` out",
            )
        return self


class SegmenterSpec(Spec):
    """STDC-Seg: image to class scores a pixel. The default is STDC1-Seg for Cityscapes."""

    kind: Literal["segmenter"]
    classes: Annotated[int, Field(ge=2, le=255)] = 19
    """Number of classes, the ignored one not counted."""
    backbone: StdcSpec = StdcSpec()
    decoder: DecoderSpec = DecoderSpec()
    head: HeadSpec = HeadSpec()
    auxiliary: HeadSpec | None = HeadSpec(width=64)
    """Heads on each level of the context path, used in training only; null for none. The paper does not mention
    them; the released code has them."""
    detail: DetailSpec | None = DetailSpec()
    """Detail guidance, used in training only; null for none."""

    @model_validator(mode="after")
    def _stages_for_the_decoder(self) -> SegmenterSpec:
        stages = len(self.backbone.stages)
        if stages < 2:
            raise at(
                "backbone.stages",
                f"`backbone.stages` has {stages} stage(s); the decoder fuses the first with the context "
                "of the others: give at least 2",
            )
        if self.detail is not None and self.detail.stage >= stages:
            raise at(
                "detail.stage",
                f"`detail.stage` {self.detail.stage} is none of the {stages} stages; the last is {stages - 1}",
            )
        return self


class ClassifierSpec(Spec):
    """STDC for classification (paper, Table 2, ConvX6 to FC2)."""

    kind: Literal["classifier"]
    classes: Annotated[int, Field(ge=2)] = 1000
    backbone: StdcSpec = StdcSpec()
    width: PositiveInt = 1024
    """Channels of ConvX6, whose squares are averaged over the image, as released."""
    hidden: PositiveInt = 1024
    """Outputs of FC1."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of FC1's outputs that is dropped in training."""


NetworkSpec = Annotated[SegmenterSpec | ClassifierSpec, Field(discriminator="kind")]
