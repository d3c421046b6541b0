"""Fast-SCNN: one shallow stem feeds both a deep branch and the skip connection.

Paper: Poudel et al. 2019, "Fast-SCNN: Fast Semantic Segmentation Network", Table 1.
Reference: Tramac/Fast-SCNN-pytorch (Apache-2.0); parameters and MACs equal its inference graph, which does not pad the
first convolution.
What differs: `forward` ends at 1/8, the deep map is resized to the skip's size and not by 4, and there is no dropout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize


class Separable(nn.Sequential):
    """Depthwise 3x3, then 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            ConvNorm(in_channels, in_channels, stride=stride, groups=in_channels),
            ConvNorm(in_channels, out_channels, 1),
        )


class Down(nn.Sequential):
    """Image to 1/8 in three strided convolutions (learning to down-sample)."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        first, second, third = widths
        super().__init__(
            nn.Conv2d(3, first, 3, stride=2, bias=False),  # unpadded, as in the reference
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            Separable(first, second, stride=2),
            Separable(second, third, stride=2),
        )


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: 1x1 wider, depthwise 3x3, 1x1; added to the input if the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.adds = stride == 1 and in_channels == out_channels
        self.branch = nn.Sequential(
            ConvNorm(in_channels, wide, 1),
            ConvNorm(wide, wide, stride=stride, groups=wide),
            ConvNorm(wide, out_channels, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.adds else self.branch(x)


class PyramidPooling(nn.Module):
    """Concatenates the map and its averages over grids, then 1x1 back to the same width."""

    def __init__(self, channels: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        width = max(channels // len(bins), 1)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), ConvNorm(channels, width, 1)) for size in bins
        )
        self.fuse = ConvNorm(channels + width * len(bins), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Training needs two images a batch: a norm follows the 1x1 average.
        averages = [resize(pool(x), x, align_corners=True) for pool in self.pools]
        return self.fuse(torch.cat([x, *averages], dim=1))


class Fusion(nn.Module):
    """Adds the deep map, up-sampled, and the shallow one (Table 3)."""

    def __init__(self, shallow_channels: int, deep_channels: int, width: int) -> None:
        super().__init__()
        self.shallow = ConvNorm(shallow_channels, width, 1, bias=True, activation=None)
        self.spread = ConvNorm(deep_channels, deep_channels, groups=deep_channels)
        self.deep = ConvNorm(deep_channels, width, 1, bias=True, activation=None)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        deep = self.spread(resize(deep, shallow, align_corners=True))
        return F.relu(self.shallow(shallow) + self.deep(deep))


class FastScnn(nn.Module):
    """Image to scores at 1/8, and the two maps with the authors' extra losses: stem at 1/8, deep branch at 1/32.

    Args:
        classes: number of scores.
        down_widths: of the three strided convolutions of the stem.
        widths: of the deep branch's stages, which have strides 2, 2, 1.
        depths: bottlenecks of each stage.
        expansion: how much wider a bottleneck is inside than at its input.
        bins: grid sizes of the pyramid pooling; their number divides the last of `widths`.
        fusion_width: of the fused map and the head.
    """

    def __init__(
        self,
        classes: int,
        down_widths: tuple[int, int, int] = (32, 48, 64),
        widths: tuple[int, int, int] = (64, 96, 128),
        depths: tuple[int, int, int] = (3, 3, 3),
        expansion: int = 6,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        fusion_width: int = 128,
    ) -> None:
        super().__init__()
        self.down = Down(down_widths)
        self.deep = nn.Sequential()
        before = down_widths[-1]
        for width, depth, stride in zip(widths, depths, (2, 2, 1), strict=True):
            self.deep.append(Bottleneck(before, width, expansion, stride))
            self.deep.extend(Bottleneck(width, width, expansion) for _ in range(depth - 1))
            before = width
        self.deep.append(PyramidPooling(before, bins))
        self.fuse = Fusion(down_widths[-1], before, fusion_width)
        self.head = nn.Sequential(
            Separable(fusion_width, fusion_width),
            Separable(fusion_width, fusion_width),
            nn.Conv2d(fusion_width, classes, 1),
        )
        self.levels: tuple[int, ...] = (down_widths[-1], before)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        shallow = self.down(image)  # 1/8
        deep = self.deep(shallow)  # 1/32
        return self.head(self.fuse(shallow, deep)), shallow, deep
