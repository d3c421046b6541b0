"""Decoders: how the features of a backbone become one map."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag

from stdc_search.spec.backbone import ConvSpec
from stdc_search.spec.base import default_kind
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

_Several = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Widths = Annotated[
    Annotated[PositiveInt, Tag("one")] | Annotated[_Several, Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
"""One width for all levels, or one per level."""

Taps = Annotated[tuple[NonNegativeInt, ...], Field(min_length=2, json_schema_extra=ONCE)] | None

Context = Literal["pool", "none", "sppm", "ppm", "dappm", "sppf", "linear_attention"]
"""What summarises the deepest stage: its global average; nothing; a pyramid of averages, whose maps are added (`sppm`,
PP-LiteSeg), concatenated (`ppm`, PSPNet) or refined one after another (`dappm`, DDRNet); maxima of growing fields
(`sppf`, YOLO); or attention of each pixel to all (`linear_attention`, EfficientViT)."""
HEAD = 16
"""Channels of a head of `linear_attention`."""


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

    kind: Literal["bisenet"] = "bisenet"
    taps: Taps = None
    """Indices of the stages that are fused, shallow to deep; null for all."""
    width: Widths = 128
    """Channels of the context path: attention refinement, global context and the convolutions after each sum. A list
    has one width for each tapped stage but the first."""
    context: Context = "pool"
    """What the context path adds to the deepest stage."""
    refinement: Literal["attention", "plain"] = "attention"
    """`attention`: attention refinement modules; `plain`: their 3x3 convolutions alone."""
    fusion: Literal["attention", "add", "uafm_spatial", "uafm_channel", "gated"] = "attention"
    """`attention`: BiSeNet's feature fusion module; `add`: a 1x1 convolution of each, then their sum; `uafm_...`:
    PP-LiteSeg's attention, which weighs the two maps against each other; `gated`: the shallow map at boundaries and the
    context elsewhere, as in PIDNet. `detail` then trains the gate instead of a separate head."""
    fusion_width: Annotated[int, Field(ge=4, multiple_of=4)] = 256
    """Channels of the fused map."""
    fusion_squeeze: Literal[1, 2, 4] = 4
    """Factor by which the attention of `fusion: attention` reduces its channels; BiSeNetV1 has 1."""
    spatial: SpatialSpec | None = None
    """A spatial path in place of the first tapped stage's features; null for none."""

    @rule
    def _taps_deepen(self) -> Iterator[Problem]:
        yield from _unless_deepening(self.taps)

    @rule
    def _heads_divide_the_width(self) -> Iterator[Problem]:
        deepest = self.width[-1] if isinstance(self.width, tuple) else self.width
        yield from _unless_divided(self.context, deepest)

    def context_widths(self, taps: int) -> tuple[int, ...]:
        """Channels of each level of the context path, shallow to deep, given the number of tapped stages."""
        return self.width if isinstance(self.width, tuple) else (self.width,) * (taps - 1)

    def misfits(self, taps: int) -> Iterator[Problem]:
        """Problems with this number of tapped stages."""
        if (given := len(self.context_widths(taps))) != taps - 1:
            yield Problem(
                "width",
                f"`decoder.width` has {given} widths for {taps} tapped stages; give {taps - 1}, one for each but the "
                "first, or one number for all",
            )

    @rule
    def _something_to_squeeze(self) -> Iterator[Problem]:
        if self.fusion != "attention" and self.fusion_squeeze != 4:
            yield Problem("fusion_squeeze", f"has no effect with `fusion: {self.fusion}`; remove it")


class LiteDecoderSpec(Spec):
    """PP-LiteSeg's decoder (Peng et al. 2022): a context module, then attention that weighs each stage against it."""

    kind: Literal["lite"]
    taps: Taps = None
    """Indices of the stages that are fused, shallow to deep; null for all."""
    context: Context = "sppm"
    """What the deepest stage becomes before the first attention."""
    width: PositiveInt = 128
    """Channels of the context."""
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (32, 64, 128)
    """Output channels of each fusion, one for each tapped stage, shallow to deep. PP-LiteSeg-B has 64, 96, 128."""
    attention: Literal["spatial", "channel"] = "spatial"
    """Whether the attention has a weight for each pixel or for each channel."""

    @rule
    def _taps_deepen(self) -> Iterator[Problem]:
        yield from _unless_deepening(self.taps)

    def misfits(self, taps: int) -> Iterator[Problem]:
        """Problems with this number of tapped stages."""
        if len(self.widths) != taps:
            message = f"`decoder.widths` has {len(self.widths)} widths for {taps} tapped stages; give one for each"
            yield Problem("widths", message)

    @rule
    def _heads_divide_the_width(self) -> Iterator[Problem]:
        yield from _unless_divided(self.context, self.width)

    @rule
    def _the_context_is_something(self) -> Iterator[Problem]:
        if self.context == "none":
            yield Problem("context", "`none` leaves nothing to fuse with; use sppm, ppm, dappm or pool")


class FlowDecoderSpec(Spec):
    """SFNet's decoder (Li et al. 2020): each deeper map is warped along a learned flow before it is added."""

    kind: Literal["flow"]
    taps: Taps = None
    """Indices of the stages that are aligned, shallow to deep; null for all."""
    width: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Channels of all maps of the decoder."""
    lite: bool = False
    """Whether only the deepest map is aligned with the shallowest one, as in SFNet-Lite (Li et al. 2023). It takes two
    flows and a gate."""

    @rule
    def _taps_deepen(self) -> Iterator[Problem]:
        yield from _unless_deepening(self.taps)

    def misfits(self, taps: int) -> Iterator[Problem]:
        """Problems with this number of tapped stages: there are none."""
        return iter(())


def _unless_divided(context: Context, width: int) -> Iterator[Problem]:
    if context == "linear_attention" and width % HEAD:
        below = width // HEAD * HEAD
        nearest = f"{below} or {below + HEAD}" if below else HEAD
        yield Problem("width", f"`context: {context}` needs a multiple of {HEAD}, not {width}; nearest: {nearest}")


def _unless_deepening(taps: tuple[int, ...] | None) -> Iterator[Problem]:
    if taps and list(taps) != sorted(set(taps)):
        yield Problem("taps", f"`taps` {list(taps)} must increase; write {sorted(set(taps))}")


Decoder = Annotated[
    Annotated[DecoderSpec, Tag("bisenet")]
    | Annotated[LiteDecoderSpec, Tag("lite")]
    | Annotated[FlowDecoderSpec, Tag("flow")],
    Discriminator(default_kind("bisenet")),
]
"""`kind` is `bisenet` where it is not written."""
