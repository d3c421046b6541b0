"""PIDNet: branches for detail (P), context (I) and boundaries (D).

Paper: Xu et al. 2023, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers".
Original code: XuJiacong/PIDNet (MIT); facts only, no code is carried over. The default is PIDNet-S; the others are:
- M: `width=64`
- L: `width=64, depths=(3, 3, 4, 4), detail_depth=3, pyramid_width=112, head_width=256, light=False`
All three execute the same operations as the released networks. The authors' semantic and boundary heads on the two
levels are left to training.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize
from stdc_search.network.models.peers.pyramid import Dappm, Pappm
from stdc_search.network.models.peers.residual import (
    BasicBlock,
    Bottleneck,
    Head,
    NormConv,
    Stem,
    basic_blocks,
    chain,
)


class PixelAttention(nn.Module):
    """Blends context into detail where both agree (Pag).

    Args:
        channels: channels of both maps.
        width: channels in which they are compared.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.detail = ConvNorm(channels, width, 1, activation=None)
        self.context = ConvNorm(channels, width, 1, activation=None)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        product = self.detail(detail) * resize(self.context(context), detail)
        agreement = product.sum(dim=1, keepdim=True).sigmoid()  # 1 channel
        return (1 - agreement) * detail + agreement * resize(context, detail)


class Bag(nn.Module):
    """Takes detail at boundaries and context elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = NormConv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        edge = boundary.sigmoid()
        return self.conv(edge * detail + (1 - edge) * context)


class LightBag(nn.Module):
    """Bag with two 1x1 convolutions in place of the 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = ConvNorm(channels, channels, 1, activation=None)
        self.context = ConvNorm(channels, channels, 1, activation=None)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        edge = boundary.sigmoid()
        return self.detail((1 - edge) * context + detail) + self.context(context + edge * detail)


class Pidnet(nn.Module):
    """Image N, 3, H, W -> scores of 1/8, and P and D at 1/8 for a semantic and a boundary head.

    Args:
        classes: outputs.
        width: channels of the stem, C below.
        depths: basic blocks of the stages from 1/4 to 1/32.
        detail_depth: basic blocks of P before each exchange.
        pyramid_width: channels of every scale of the pyramid.
        head_width: channels inside the head.
        light: whether D, pyramid and fusion are the lighter parts of S and M, or those of L.
    """

    def __init__(
        self,
        classes: int,
        width: int = 32,
        depths: tuple[int, int, int, int] = (2, 2, 3, 3),
        detail_depth: int = 2,
        pyramid_width: int = 96,
        head_width: int = 128,
        light: bool = True,
    ) -> None:
        super().__init__()
        c2, c4, c8, c16 = (width * factor for factor in (2, 4, 8, 16))
        narrow = width if light else c2  # D until its second exchange
        self.stem = Stem(width)
        self.stage1 = chain(basic_blocks(width, width, depths[0]))
        self.stage2 = chain(basic_blocks(width, c2, depths[1], stride=2))
        self.context3 = chain(basic_blocks(c2, c4, depths[2], stride=2))
        self.context4 = chain(basic_blocks(c4, c8, depths[3], stride=2))
        # No ReLU between these two, as released.
        self.context5 = nn.Sequential(Bottleneck(c8, c16, stride=2), Bottleneck(c16, c16))
        self.detail3 = chain(basic_blocks(c2, c2, detail_depth))
        self.detail4 = chain(basic_blocks(c2, c2, detail_depth))
        self.detail5 = Bottleneck(c2, c4)
        self.boundary3 = BasicBlock(c2, narrow)
        self.boundary4 = Bottleneck(narrow, c2) if light else BasicBlock(narrow, c2)
        self.boundary5 = Bottleneck(c2, c4)
        self.compress3 = ConvNorm(c4, c2, 1, activation=None)
        self.compress4 = ConvNorm(c8, c2, 1, activation=None)
        self.attend3 = PixelAttention(c2, width)
        self.attend4 = PixelAttention(c2, width)
        self.difference3 = ConvNorm(c4, narrow, activation=None)
        self.difference4 = ConvNorm(c8, c2, activation=None)
        self.pyramid = (Pappm if light else Dappm)(c16, pyramid_width, c4)
        self.fusion = (LightBag if light else Bag)(c4)
        self.head = Head(c4, head_width, classes)
        self.levels = (c2, c2)  # the last one is of the boundary head

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stage1(self.stem(image)))  # C, 1/4
        x = F.relu(self.stage2(x))  # 2C, 1/8
        context = F.relu(self.context3(x))  # 4C, 1/16
        detail = self.attend3(self.detail3(x), self.compress3(context))
        boundary = self.boundary3(x)  # C or 2C, 1/8
        boundary = boundary + resize(self.difference3(context), boundary)
        semantic_level = detail

        context = F.relu(self.context4(context))  # 8C, 1/32
        detail = self.attend4(self.detail4(F.relu(detail)), self.compress4(context))
        boundary = self.boundary4(F.relu(boundary))  # 2C, 1/8
        boundary = boundary + resize(self.difference4(context), boundary)
        boundary_level = boundary

        detail = self.detail5(F.relu(detail))  # 4C, 1/8
        boundary = self.boundary5(F.relu(boundary))
        context = resize(self.pyramid(self.context5(context)), detail)  # 4C, from 1/64
        return self.head(self.fusion(detail, context, boundary)), semantic_level, boundary_level
