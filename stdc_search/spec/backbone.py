"""Backbones: stems, stages of blocks, and trunks of libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag

from stdc_search.spec.base import default_kind
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

Library = Literal["timm", "torchvision"]
Stride = Literal[1, 2]


class ConvSpec(Spec):
    """Convolution, batch norm, ReLU: the paper's ConvX."""

    width: PositiveInt
    """Output channels."""
    stride: Stride = 2
    """2 halves the height and width."""
    kernel: Literal[1, 3, 5, 7] = 3
    """Height and width of the kernel."""


Convs = Literal["plain", "reparameterised"]


class StageSpec(Spec):
    """A stage of STDC modules; `stages.0` is the paper's Stage 3."""

    kind: Literal["stdc"] = "stdc"
    width: PositiveInt
    """Output channels N of each module; a multiple of 2^(blocks - 1)."""
    depth: PositiveInt = 2
    """Number of STDC modules in the stage, the strided one included (STDC1: 2, 2, 2; STDC2: 4, 5, 3)."""
    stride: Stride = 2
    """Stride of the stage's first module."""
    blocks: Annotated[int, Field(ge=2, le=7)] = 4
    """Blocks n of an STDC module; block i has N / 2^i channels, the last one as many as the one before."""
    fusion: Literal["cat", "add"] = "cat"
    """`cat`: the blocks' outputs, concatenated; `add`: the module's input is added to them, which the released code
    supports and no released network uses."""
    down: Literal["depthwise", "strided", "average"] = "depthwise"
    """How a module of stride 2 halves its map between Block1 and Block2: a depthwise 3x3 convolution as released,
    Block2's own stride as in the paper's Figure 3c, or an average pool."""
    skip: Literal["average", "depthwise", "shared"] = "average"
    """How a module of stride 2 halves the output of Block1 that it concatenates: a 3x3 average pool as in the paper,
    a depthwise 3x3 convolution of its own, or what `down` gives, as in the released code's `add`."""
    convs: Convs = "plain"
    """`reparameterised`: 3x3 convolutions train as three branches, which become one when the network is deployed
    (RepVGG, Ding et al. 2021)."""

    @rule
    def _width_divides_among_the_blocks(self) -> Iterator[Problem]:
        unit = 2 ** (self.blocks - 1)
        if self.width % unit:
            below = self.width // unit * unit
            nearest = f"{below} or {below + unit}" if below else f"{unit}"
            yield Problem(
                "width",
                f"`width` {self.width} is not a multiple of {unit}, which `blocks` {self.blocks} needs "
                f"(2^(blocks - 1)); nearest: {nearest}",
            )

    @rule
    def _something_to_share(self) -> Iterator[Problem]:
        if self.skip == "shared" and self.down == "strided":
            yield Problem(
                "skip",
                "`skip: shared` needs the map that is halved before Block2, which `down: strided` does not have; "
                "use `skip: average` or `down: depthwise`",
            )


class ResidualStageSpec(Spec):
    """A stage of residual blocks of two 3x3 convolutions (He et al. 2016), as in ResNet-18, DF1 and DF2."""

    kind: Literal["residual"]
    width: PositiveInt
    """Output channels of each block."""
    depth: PositiveInt = 2
    """Number of blocks, the strided one included."""
    stride: Stride = 2
    """Stride of the stage's first block."""


class PlainStageSpec(Spec):
    """A stage of 3x3 convolutions, each with batch norm and ReLU, as in LPS-Net."""

    kind: Literal["plain"]
    width: PositiveInt
    """Output channels of each convolution."""
    depth: PositiveInt = 2
    """Number of convolutions, the strided one included."""
    stride: Stride = 2
    """Stride of the stage's first convolution."""
    convs: Convs = "plain"
    """`reparameterised`: as in STDC stages, which makes this a stage of RepVGG."""


class SeparableStageSpec(Spec):
    """A stage of residual blocks of three separable convolutions, as in BiSeNetV1's Xception39 (Yu et al. 2018)."""

    kind: Literal["separable"]
    width: Annotated[int, Field(ge=4, multiple_of=4)]
    """Output channels of each block. Its first two convolutions have a quarter of them."""
    depth: PositiveInt = 4
    """Number of blocks, the strided one included."""
    stride: Stride = 2
    """Stride of the stage's first block."""


Stage = Annotated[
    Annotated[StageSpec, Tag("stdc")]
    | Annotated[ResidualStageSpec, Tag("residual")]
    | Annotated[PlainStageSpec, Tag("plain")]
    | Annotated[SeparableStageSpec, Tag("separable")],
    Discriminator(default_kind("stdc")),
]
"""`kind` is `stdc` where it is not written."""


class StdcSpec(Spec):
    """Stem and stages: the STDC backbone (paper, Table 2), or stages of other blocks."""

    kind: Literal["stdc"] = "stdc"
    stem: Annotated[tuple[ConvSpec, ...], Field(min_length=1)] = (
        ConvSpec(width=32),
        ConvSpec(width=64),
    )
    """Convolutions before the first stage (ConvX1 and ConvX2 in Table 2)."""
    stem_pool: bool = False
    """Whether a 3x3 max pool of stride 2 ends the stem, as in ResNet and Xception."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (
        StageSpec(width=256),
        StageSpec(width=512),
        StageSpec(width=1024),
    )
    """Stages, shallow to deep; the default is STDC1."""

    @property
    def levels(self) -> int:
        """Number of features that a decoder can tap: one per stage."""
        return len(self.stages)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Image size over feature size after each stage: (8, 16, 32) in the paper."""
        stem = prod(conv.stride for conv in self.stem) * (2 if self.stem_pool else 1)
        strides = [stage.stride for stage in self.stages]
        return tuple(stem * prod(strides[: i + 1]) for i in range(len(strides)))


class TrunkSpec(Spec):
    """A network of a library, up to its last tap (paper, Table 3)."""

    kind: Library
    """The library; timm comes with the extra `zoo`."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name there."""
    taps: Annotated[tuple[str, ...], Field(min_length=2, json_schema_extra=ONCE)]
    """Modules of the model whose outputs are the features, shallow to deep; each the last one of its size."""
    truncated: bool = False
    """Whether convolutions after a tap at the same size may be dropped, as timm's own taps of GhostNet do."""

    @property
    def levels(self) -> int:
        """How many features a decoder can tap."""
        return len(self.taps)

    @rule
    def _each_tap_once(self) -> Iterator[Problem]:
        if len(set(self.taps)) < len(self.taps):
            yield Problem("taps", f"`taps` {list(self.taps)} names a module twice; name each once")


def _backbone_tag(value: Any) -> Any:
    kind = value.get("kind", "stdc") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return "trunk" if kind in ("timm", "torchvision") else kind


Backbone = Annotated[
    Annotated[StdcSpec, Tag("stdc")] | Annotated[TrunkSpec, Tag("trunk")], Discriminator(_backbone_tag)
]
"""`kind` is `stdc` where it is not written."""
