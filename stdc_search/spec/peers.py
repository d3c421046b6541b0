"""Segmenters of other authors that do not consist of a backbone and a decoder. Defaults are the published values.

After the common fields, the fields of a spec are the arguments of its module in `network/models/peers/`, in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from stdc_search.spec.backbone import Stride
from stdc_search.spec.heads import Classes, GuidanceSpec, HeadSpec
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule
from stdc_search.spec.whole import WholeSpec


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"must be odd, not {value}; nearest: {value - 1} or {value + 1}")
    return value


Odd = Annotated[PositiveInt, AfterValidator(_odd), Field(json_schema_extra={"not": {"multipleOf": 2}})]
Even = Annotated[int, Field(ge=2, multiple_of=2)]
Quarters = Annotated[int, Field(ge=4, multiple_of=4)]
Three = tuple[PositiveInt, PositiveInt, PositiveInt]
Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
Five = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
Several = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class PeerSpec(WholeSpec):
    """The fields that segmenters of other authors share."""

    classes: Classes = 19
    """Number of classes, without the ignored one."""
    auxiliary: HeadSpec | None = HeadSpec(width=64)
    """Heads on the maps where the authors have theirs, used in training only; null for none."""


class DdrnetSpec(PeerSpec):
    """DDRNet (Hong et al. 2021): two branches of different resolution. The default is DDRNet-23-slim."""

    kind: Literal["ddrnet"]
    width: PositiveInt = 32
    """Channels of the stem; 64 is DDRNet-23."""
    depths: Four = (2, 2, 2, 2)
    """Residual blocks of the stages from 1/4 to 1/32."""
    high_depth: PositiveInt = 2
    """Residual blocks of the branch at 1/8 before each exchange."""
    pyramid_width: PositiveInt = 128
    """Channels of each scale of the pyramid."""


class PidnetSpec(PeerSpec):
    """PIDNet (Xu et al. 2023): branches for detail, context and boundaries. The default is PIDNet-S."""

    kind: Literal["pidnet"]
    width: PositiveInt = 32
    """Channels of the stem; M and L have 64."""
    depths: Four = (2, 2, 3, 3)
    """Residual blocks of the stages from 1/4 to 1/32; L has 3, 3, 4, 4."""
    detail_depth: PositiveInt = 2
    """Residual blocks of the detail branch before each exchange; L has 3."""
    pyramid_width: PositiveInt = 96
    """Channels of each scale of the pyramid; L has 112."""
    head_width: PositiveInt = 128
    """Channels within the head; L has 256."""
    light: bool = True
    """Whether boundary branch, pyramid and fusion are the lighter ones of S and M, or those of L."""
    detail: GuidanceSpec | None = GuidanceSpec(strides=(1,))
    """The boundary head, used in training only; null for none. Its target is that of STDC's detail guidance with one
    stride. The authors use dilated boundaries."""


class SctnetSpec(PeerSpec):
    """SCTNet (Xu et al. 2024): one branch with attention made of convolutions. The default is SCTNet-S. The authors
    train it with the help of a transformer, which this package does not have."""

    kind: Literal["sctnet"]
    width: PositiveInt = 32
    """Channels of the stem; B has 64."""
    depths: Three = (2, 2, 2)
    """Residual blocks of the stages from 1/4 to 1/16."""
    attention_depths: tuple[PositiveInt, PositiveInt] = (1, 2)
    """Attention blocks at 1/16 and at 1/32."""
    heads: PositiveInt = 8
    """Groups in which the attention is normalised."""
    head_channels: PositiveInt = 8
    """Attention channels of a head."""
    kernel_size: Odd = 7
    """Length of the attention's kernels."""


class Bisenetv2Spec(PeerSpec):
    """BiSeNetV2 (Yu et al. 2021): a wide branch for details and a narrow, deep one that gate each other."""

    kind: Literal["bisenetv2"]
    detail_widths: Three = (64, 64, 128)
    """Channels of the detail branch at 1/2, 1/4 and 1/8."""
    detail_depths: Three = (2, 3, 3)
    """Number of convolutions in each of its stages."""
    semantic_widths: tuple[Even, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128)
    """Channels of the semantic branch at 1/4, 1/8, 1/16 and 1/32."""
    repeats: Three = (1, 1, 3)
    """Gather-and-expansion layers at 1/8, 1/16 and 1/32, after the one that halves the map."""
    expansion: PositiveInt = 6
    """Factor by which such a layer widens its input."""
    head_width: PositiveInt = 1024
    """Channels of the head."""


class DabnetSpec(PeerSpec):
    """DABNet (Li et al. 2019): depthwise asymmetric bottlenecks."""

    kind: Literal["dabnet"]
    stem_width: PositiveInt = 32
    """Channels of the stem."""
    widths: tuple[Even, Even] = (64, 128)
    """Channels of the two stages."""
    dilations: tuple[Several, Several] = ((2, 2, 2), (4, 4, 8, 8, 16, 16))
    """Dilation of each bottleneck of the two stages."""


class EnetSpec(PeerSpec):
    """ENet (Paszke et al. 2016): narrow bottlenecks, and a decoder that undoes max pools."""

    kind: Literal["enet"]
    widths: tuple[Quarters, Quarters, Quarters] = (16, 64, 128)
    """Channels at 1/2, 1/4 and 1/8; they must not shrink."""
    depth: PositiveInt = 4
    """Bottlenecks at 1/4."""
    dilations: Several = (2, 4, 8, 16, 2, 4, 8, 16)
    """Dilations of the bottlenecks at 1/8. Each of them follows a bottleneck without dilation."""
    decoder_depths: tuple[PositiveInt, PositiveInt] = (2, 1)
    """Bottlenecks of the decoder at 1/4 and 1/2."""

    @rule
    def _widths_grow(self) -> Iterator[Problem]:
        if list(self.widths) != sorted(self.widths):
            yield Problem("widths", f"`widths` {list(self.widths)} must not shrink; write {sorted(self.widths)}")


class IcnetSpec(PeerSpec):
    """ICNet (Zhao et al. 2018): three branches for three sizes of the image."""

    kind: Literal["icnet"]
    width: PositiveInt = 32
    """Base width of the two deep branches; all their widths are multiples of it."""
    depths: Four = (3, 4, 6, 3)
    """Bottlenecks of the stages. After the first bottleneck of the second stage, the map is halved."""
    dilations: tuple[PositiveInt, PositiveInt] = (2, 4)
    """Dilations of the last two stages."""
    bins: Several = (1, 2, 3, 6)
    """Fields along each side of the pyramid's averages."""
    fine_width: PositiveInt = 32
    """Channels of the first two convolutions of the branch of full size; the third has twice as many."""
    fusion_width: PositiveInt = 128
    """Channels of both fusions."""


class FastScnnSpec(PeerSpec):
    """Fast-SCNN (Poudel et al. 2019): one shallow start for a detailed and a deep branch."""

    kind: Literal["fast_scnn"]
    down_widths: Three = (32, 48, 64)
    """Channels of the common start at 1/2, 1/4 and 1/8."""
    widths: Three = (64, 96, 128)
    """Channels of the deep branch's stages."""
    depths: Three = (3, 3, 3)
    """Inverted bottlenecks of these stages."""
    expansion: PositiveInt = 6
    """Factor by which a bottleneck widens its input."""
    bins: Several = (1, 2, 3, 6)
    """Fields along each side of the pyramid's averages."""
    fusion_width: PositiveInt = 128
    """Channels of the fusion and the head."""


class BlocksSpec(Spec):
    """Residual blocks of one width."""

    width: PositiveInt
    """Output channels of each block."""
    depth: PositiveInt
    """Number of blocks."""
    stride: Stride = 1
    """Stride of the first block."""


Blocks = Annotated[tuple[BlocksSpec, ...], Field(min_length=1)]


class DfsegSpec(PeerSpec):
    """DF-Seg (Li et al. 2019): residual stages, a pyramid and a narrow decoder. The default is DF1-Seg."""

    kind: Literal["dfseg"]
    stem: tuple[PositiveInt, PositiveInt] = (32, 64)
    """Channels of the stem at 1/2 and 1/4."""
    stages: tuple[Blocks, Blocks, Blocks] = (
        (BlocksSpec(width=64, depth=3, stride=2),),
        (BlocksSpec(width=128, depth=3, stride=2),),
        (BlocksSpec(width=256, depth=3, stride=2), BlocksSpec(width=512, depth=1)),
    )
    """Blocks at 1/8, 1/16 and 1/32."""
    fields_width: PositiveInt = 128
    """Channels of each of the pyramid's averages."""
    widths: Three = (19, 32, 128)
    """Channels of the decoder at 1/8, 1/16 and 1/32; DF2-Seg1 has 19, 19, 32 and DF2-Seg2 19, 256, 512."""

    @rule
    def _stages_halve_the_map(self) -> Iterator[Problem]:
        for i, stage in enumerate(self.stages):
            if prod(blocks.stride for blocks in stage) != 2:
                yield Problem(f"stages.{i}", "must halve the map once; give exactly one of its parts `stride: 2`")


class LpsnetSpec(PeerSpec):
    """LPS-Net (Zhang et al. 2023): plain convolutions in paths that see an image at several sizes. The default is S."""

    kind: Literal["lpsnet"]
    depths: Five = (1, 3, 3, 10, 10)
    """Number of convolutions in the five stages."""
    widths: Five = (8, 24, 48, 96, 96)
    """Channels of the five stages; L has 8, 24, 64, 160, 160."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.75, 0.25)
    """Scale of the image in each path; M and L have 1, 0.25."""


class RegsegSpec(PeerSpec):
    """RegSeg (Gao 2021): grouped and dilated convolutions. The default is the released exp48."""

    kind: Literal["regseg"]
    widths: Five = (32, 48, 128, 256, 320)
    """Channels of the stem, at 1/4, 1/8 and 1/16, and of the last block; exp53 has 32, 48, 120, 336, 384."""
    depths: tuple[PositiveInt, PositiveInt] = (1, 3)
    """Blocks at 1/4 and 1/8; exp53 has 2, 6."""
    dilations: Several = (1, 2, 4, 4, 4, 4, 14, 14, 14, 14, 14, 14, 14)
    """Dilation of the second half of the groups of each block at 1/16; the first half has none."""
    group_width: PositiveInt = 16
    """Channels of a group; exp53 has 24."""
    decoder_widths: Three = (8, 64, 128)
    """Channels of the decoder at 1/4, 1/8 and 1/16; exp53 has 16, 128, 256."""

    @rule
    def _groups_divide_the_widths(self) -> Iterator[Problem]:
        for i, width in enumerate(self.widths):
            # Blocks with two dilations split their groups into halves.
            unit = self.group_width * (2 if i > 2 and max(self.dilations) > 1 else 1)
            if i and width % unit:
                below = width // unit * unit
                nearest = f"{below} or {below + unit}" if below else unit
                message = f"{width} is not a multiple of {unit}, which `group_width` {self.group_width} needs"
                yield Problem(f"widths.{i}", f"{message}; nearest: {nearest}")


class EfficientvitSpec(PeerSpec):
    """EfficientViT-Seg (Cai et al. 2023): linear attention in the deep stages. The default is B0."""

    kind: Literal["efficientvit"]
    widths: Five = (8, 16, 32, 64, 128)
    """Channels at 1/2 to 1/32; B1 has 16, 32, 64, 128, 256."""
    depths: Five = (1, 2, 2, 2, 2)
    """Blocks at 1/2 to 1/32; B1 has 1, 2, 3, 3, 4."""
    head_dim: PositiveInt = 16
    """Channels of an attention head."""
    decoder_width: PositiveInt = 32
    """Channels of the decoder; B1 has 64."""
    decoder_depth: PositiveInt = 1
    """Inverted bottlenecks of the decoder; B1 has 3."""

    @rule
    def _heads_divide_the_widths(self) -> Iterator[Problem]:
        for i in (3, 4):
            if (width := self.widths[i]) % self.head_dim:
                below = width // self.head_dim * self.head_dim
                nearest = f"{below} or {below + self.head_dim}" if below else self.head_dim
                message = f"{width} is not a multiple of `head_dim` {self.head_dim}; nearest: {nearest}"
                yield Problem(f"widths.{i}", message)


class CellSpec(Spec):
    """A cell of FasterSeg."""

    convs: Literal[1, 2] = 2
    """Number of 3x3 convolutions."""
    zoom: bool = False
    """Whether the convolutions run on a halved map."""
    width: PositiveInt
    """Output channels."""
    stride: Stride = 1
    """2 halves the map."""


Cells = Annotated[tuple[CellSpec, ...], Field(min_length=1)]


class FastersegSpec(PeerSpec):
    """FasterSeg (Chen et al. 2020): branches of searched cells. The default is the published student."""

    kind: Literal["fasterseg"]
    stem: Three = (32, 64, 64)
    """Channels at 1/2, 1/4 and 1/8."""
    shared: tuple[CellSpec, ...] = (CellSpec(width=32), CellSpec(width=32), CellSpec(zoom=True, width=32))
    """Cells in front of the branches."""
    branches: Annotated[tuple[Cells, ...], Field(min_length=1)] = (
        (
            CellSpec(convs=1, zoom=True, width=128, stride=2),
            *(CellSpec(zoom=True, width=64),) * 3,
            CellSpec(zoom=True, width=128, stride=2),
            CellSpec(zoom=True, width=128),
            CellSpec(zoom=True, width=256),
        ),
        (
            CellSpec(zoom=True, width=32),
            CellSpec(width=32),
            CellSpec(width=64, stride=2),
            CellSpec(zoom=True, width=64),
            CellSpec(zoom=True, width=192),
            CellSpec(zoom=True, width=128),
        ),
    )
    """Cells of each branch."""
    branch_width: PositiveInt = 64
    """Channels of a branch's decoder at 1/8."""

    @rule
    def _some_branch_goes_down(self) -> Iterator[Problem]:
        if not any(cell.stride == 2 for cells in self.branches for cell in cells):
            yield Problem("branches", "no cell has `stride: 2`, so the network sees little of the image; give one")


class DfanetSpec(PeerSpec):
    """DFANet (Li et al. 2019): three trunks, each of which refines the features of the one before. The default is A."""

    kind: Literal["dfanet"]
    widths: tuple[Quarters, Quarters, Quarters] = (48, 96, 192)
    """Channels of the stages; B has 32, 64, 128."""
    depths: Three = (4, 6, 4)
    """Blocks of the stages."""
    trunks: Annotated[int, Field(ge=2)] = 3
    """Number of trunks; each one has its own weights."""
    attention_width: PositiveInt = 1000
    """Outputs of the attention's linear layer; 1000, as in the authors' ImageNet classifier."""
    decoder_width: PositiveInt = 32
    """Channels of the decoder; the paper does not state them."""


AnyPeer = (
    Bisenetv2Spec
    | DabnetSpec
    | DdrnetSpec
    | DfanetSpec
    | DfsegSpec
    | EfficientvitSpec
    | EnetSpec
    | FastersegSpec
    | FastScnnSpec
    | IcnetSpec
    | LpsnetSpec
    | PidnetSpec
    | RegsegSpec
    | SctnetSpec
)
