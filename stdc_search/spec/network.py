"""The network: backbone, decoder, heads (Fan et al. 2021, sections 3.1 and 3.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationInfo,
)

from stdc_search.spec.base import load
from stdc_search.spec.files import missing
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule

Stride = Literal[1, 2]


class ConvSpec(Spec):
    """Convolution, batch norm, ReLU: the paper's ConvX."""

    width: PositiveInt
    """Output channels."""
    stride: Stride = 2
    """2 halves the height and width."""
    kernel: Literal[1, 3, 5, 7] = 3
    """Height and width of the kernel."""


class StageSpec(Spec):
    """A stage of STDC modules; `stages.0` is the paper's Stage 3."""

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


class StdcSpec(Spec):
    """The STDC backbone (paper, Table 2)."""

    kind: Literal["stdc"] = "stdc"
    stem: Annotated[tuple[ConvSpec, ...], Field(min_length=1)] = (
        ConvSpec(width=32),
        ConvSpec(width=64),
    )
    """Convolutions before the first stage (ConvX1 and ConvX2 in Table 2)."""
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1)] = (
        StageSpec(width=256),
        StageSpec(width=512),
        StageSpec(width=1024),
    )
    """Stages of STDC modules; the default is STDC1."""

    @property
    def levels(self) -> int:
        """Number of features that a decoder can tap: one per stage."""
        return len(self.stages)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Image size over feature size after each stage: (8, 16, 32) in the paper."""
        stem = prod(conv.stride for conv in self.stem)
        strides = [stage.stride for stage in self.stages]
        return tuple(stem * prod(strides[: i + 1]) for i in range(len(strides)))


class TrunkSpec(Spec):
    """A network of a library, up to its last tap (paper, Table 3)."""

    kind: Literal["timm", "torchvision"]
    """The library; timm comes with the extra `zoo`."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name there."""
    taps: Annotated[tuple[str, ...], Field(min_length=2)]
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

Widths = Annotated[
    Annotated[PositiveInt, Tag("one")] | Annotated[tuple[PositiveInt, ...], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
"""One width for all levels, or one per level."""


class SpatialSpec(Spec):
    """BiSeNet's spatial path, whose features replace those of the first tapped stage (paper, Table 4)."""

    convs: Annotated[tuple[ConvSpec, ...], Field(min_length=1)] = (
        ConvSpec(width=64, kernel=7),
        ConvSpec(width=64),
        ConvSpec(width=64),
        ConvSpec(width=128, kernel=1, stride=1),
    )
    """Its convolutions, on the image."""

    @property
    def reduction(self) -> int:
        """Image size over feature size."""
        return prod(conv.stride for conv in self.convs)

    def misfit(self, stage: int, reduction: int) -> str:
        """Message for strides that do not match the stage's reduction."""
        return (
            f"strides multiply to {self.reduction}, but stage {stage}, which they replace, is at 1/{reduction}; "
            f"let them multiply to {reduction}"
        )


class DecoderSpec(Spec):
    """BiSeNet's context path and feature fusion, as in the paper's Figure 4."""

    taps: Annotated[tuple[NonNegativeInt, ...], Field(min_length=2)] | None = None
    """Indices of the stages that are fused, shallow to deep; null for all."""
    width: Widths = 128
    """Channels of the context path: attention refinement, global context and the convolutions after each sum. A list
    has one width for each tapped stage but the first."""
    context: Literal["pool", "none"] = "pool"
    """`pool`: the context path starts from the deepest stage's global average; `none`: from the stage alone."""
    refinement: Literal["attention", "plain"] = "attention"
    """`attention`: attention refinement modules; `plain`: their 3x3 convolutions alone."""
    fusion: Literal["attention", "add"] = "attention"
    """`attention`: BiSeNet's feature fusion module; `add`: a 1x1 convolution of each, then their sum."""
    fusion_width: Annotated[int, Field(ge=4, multiple_of=4)] = 256
    """Channels of the fused map; its attention squeezes them to a quarter."""
    spatial: SpatialSpec | None = None
    """A spatial path in place of the first tapped stage's features; null for none."""

    @rule
    def _taps_deepen(self) -> Iterator[Problem]:
        if self.taps and list(self.taps) != sorted(set(self.taps)):
            yield Problem("taps", f"`taps` {list(self.taps)} must increase; write {sorted(set(self.taps))}")


class HeadSpec(Spec):
    """A head: 3x3 convolutions of `width` channels, then 1x1 to its outputs."""

    width: PositiveInt = 256
    """Channels of the 3x3 convolutions."""
    depth: PositiveInt = 1
    """Number of 3x3 convolutions."""
    bias: bool = False
    """Whether the 1x1 convolution has a bias: none as released, one in mmsegmentation's weights."""


class DetailSpec(Spec):
    """Detail guidance (paper, section 3.2.2): a head on an early stage, used in training only."""

    strides: Annotated[tuple[Literal[1, 2, 4, 8], ...], Field(min_length=1)] = (1, 2, 4)
    """Strides of the Laplacian whose maps make the detail target."""
    weights: tuple[NonNegativeFloat, ...] | None = None
    """Weight of each stride's map in the fusion. Default: 0.6, 0.3, 0.1 for strides 1, 2, 4 as released (the
    map of stride 4 then never decides a pixel), equal shares for any other strides."""
    kernel: Literal["constant", "decayed", "trained"] = "constant"
    """Whether training changes `weights`: constant; decayed, as in the released code, whose threshold passes no
    gradient, so that only weight decay acts; or trained through a soft threshold, as the paper says."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fused values above it are detail."""
    stage: NonNegativeInt = 0
    """Index of the guided stage; 0 is the paper's Stage 3."""
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


class SegmenterSpec(Spec):
    """STDC-Seg: image to class scores per pixel. The default is STDC1-Seg for Cityscapes."""

    kind: Literal["segmenter"]
    classes: Annotated[int, Field(ge=2, le=255)] = 19
    """Number of classes, without the ignored one."""
    backbone: Backbone = StdcSpec()
    """Stem and stages of STDC, or a trunk of timm or torchvision."""
    decoder: DecoderSpec = DecoderSpec()
    """The context path and the fusion of its result with a shallow stage."""
    head: HeadSpec = HeadSpec()
    """The head that turns the fused features into scores."""
    auxiliary: HeadSpec | None = HeadSpec(width=64)
    """Heads on each level of the context path, used in training only; null for none. The paper does not mention
    them; the released code has them."""
    detail: DetailSpec | None = DetailSpec()
    """Detail guidance, used in training only; null for none."""

    @property
    def taps(self) -> tuple[int, ...]:
        """Indices of the stages that the decoder fuses, shallow to deep."""
        return self.decoder.taps or tuple(range(self.backbone.levels))

    @property
    def context_widths(self) -> tuple[int, ...]:
        """Channels of each level of the context path, shallow to deep."""
        width = self.decoder.width
        return width if isinstance(width, tuple) else (width,) * (len(self.taps) - 1)

    @rule
    def _stages_for_the_decoder(self) -> Iterator[Problem]:
        levels, taps = self.backbone.levels, self.taps
        if levels < 2:
            yield Problem(
                "backbone.stages",
                f"`backbone.stages` has {levels} stage(s); the decoder fuses the first with the context "
                "of the others: give at least 2",
            )
        elif taps[-1] >= levels:
            yield Problem(
                "decoder.taps", f"`decoder.taps` names {taps[-1]}, and the last of {levels} stages is {levels - 1}"
            )
        elif taps[-1] < levels - 1:
            yield Problem(
                "decoder.taps",
                f"`decoder.taps` ends with {taps[-1]}, so nothing uses the stages after it; "
                f"end with {levels - 1}, or remove those stages",
            )
        elif len(self.context_widths) != len(taps) - 1:
            yield Problem(
                "decoder.width",
                f"`decoder.width` has {len(self.context_widths)} widths for {len(taps)} tapped stages; give "
                f"{len(taps) - 1}, one for each but the first, or one number for all",
            )

    @rule
    def _detail_guides_a_stage(self) -> Iterator[Problem]:
        levels = self.backbone.levels
        if self.detail is not None and self.detail.stage >= levels:
            yield Problem(
                "detail.stage",
                f"`detail.stage` {self.detail.stage} does not exist; the last of {levels} stages is {levels - 1}",
            )

    @rule
    def _spatial_path_ends_at_the_size_of_its_stage(self) -> Iterator[Problem]:
        spatial = self.decoder.spatial
        if spatial is None or not isinstance(self.backbone, StdcSpec):  # the builder knows a trunk's strides
            return
        if self.taps[0] < self.backbone.levels:
            wanted = self.backbone.reductions[self.taps[0]]
            if spatial.reduction != wanted:
                yield Problem("decoder.spatial.convs", spatial.misfit(self.taps[0], wanted))


class ClassifierSpec(Spec):
    """STDC for classification (paper, Table 2, ConvX6 to FC2)."""

    kind: Literal["classifier"]
    classes: Annotated[int, Field(ge=2)] = 1000
    """Number of classes."""
    backbone: StdcSpec = StdcSpec()
    """Stem and stages."""
    width: PositiveInt = 1024
    """Channels of ConvX6."""
    pooling: Literal["squared", "plain"] = "squared"
    """What is averaged over the image: the squares of ConvX6's outputs, as in the released code, or the outputs, as the
    paper says."""
    hidden: PositiveInt = 1024
    """Outputs of FC1."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of FC1's outputs that is dropped in training."""


NetworkSpec = Annotated[SegmenterSpec | ClassifierSpec, Field(discriminator="kind")]


class _NetworkOf(Spec):
    """Any spec file, of which only the network is read."""

    model_config = ConfigDict(extra="ignore")

    network: NetworkSpec


def network_of(path: str, info: ValidationInfo, words: tuple[str, ...] = ()) -> tuple[str, NetworkSpec]:
    """The stem and the network of a spec's file, whose path starts from the folder of the file being read.

    Raises:
        ValueError: there is no such file; `words` are what else could have been meant.
        SpecError: it holds no network.
    """
    file = Path((info.context or {}).get("folder", "."), path)
    if not os.path.exists(file):  # Path.exists raises where the name is too long
        raise ValueError(f"{file} {missing(file, words)}")
    return file.stem, load(file, _NetworkOf).network
