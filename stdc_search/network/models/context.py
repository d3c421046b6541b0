"""Modules that summarise the deepest map, so that each pixel knows the whole image: in channels, width -> module.

Papers: Peng et al. 2022, "PP-LiteSeg" (simple pyramid); Zhao et al. 2017, "PSPNet" (pyramid), here with the widths of
SFNet. PP-LiteSeg follows PaddlePaddle/PaddleSeg (Apache-2.0), SFNet lxtGH/SFSegNets (no licence), of which only facts
were taken. PaddleSeg's convolutions of the simple pyramid have biases in front of norms; here they have none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, ConvX, resize
from stdc_search.network.models.peers.efficientvit import LinearAttention, Residual
from stdc_search.network.models.peers.pyramid import Dappm

HEAD = 16
"""Channels of an attention head; the width is a multiple of it."""


class DeepPyramid(Dappm):
    """DDRNet's pyramid, all of whose scales have the width of the result."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(in_channels, width, width)


class PooledMaxima(nn.Module):
    """Maxima over 5x5, 9x9 and 13x13 pixels, concatenated with the map itself (SPPF of YOLO)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(in_channels, width, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.out = ConvNorm(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))  # a pool of a pool sees a larger field
        return self.out(torch.cat(maps, dim=1))


class AttentionContext(nn.Sequential):
    """A 1x1 convolution, then EfficientViT's linear attention over all pixels, added to it."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(ConvNorm(in_channels, width, 1), Residual(LinearAttention(width, HEAD)))


class GlobalContext(nn.Sequential):
    """Average of the whole map, then a 1x1 convolution: N, width, 1, 1."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), ConvX(in_channels, width, kernel_size=1))


class SimplePyramid(nn.Module):
    """Averages over 1, 4 and 16 fields, each after a 1x1 convolution, added."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvNorm(in_channels, width, 1)) for bins in (1, 2, 4)
        )
        self.out = ConvNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.stack([resize(pool(x), x) for pool in self.pools]).sum(0))


class Pyramid(nn.Module):
    """Averages over 1, 4, 9 and 36 fields, each after a 1x1 convolution, concatenated with the map itself."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvNorm(in_channels, width, 1, activation=None))
            for bins in (1, 2, 3, 6)
        )
        self.out = ConvNorm(in_channels + 4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [resize(pool(x), x, align_corners=True) for pool in self.pools]
        return self.out(torch.cat([*pooled, x], dim=1))
