"""ICNet: the image at three scales; only the smallest one runs through the deep network.

Paper: Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images".
Reference: the network definition of hszhao/ICNet (no licence: facts only), with half of PSPNet50's channels. Parameters
and MACs equal those of an earlier rebuild from facts: 29.8 GMACs at 1025x2049. The authors publish 28.3 at 1024x2048.
What differs: `forward` ends at 1/4, each map is resized to the size of the map it joins, and pooling bins are adaptive.
All interpolation is bilinear with corners aligned.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize


def halve(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    size = ((height + 1) // 2, (width + 1) // 2)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class Bottleneck(nn.Module):
    """ResNet's bottleneck; the output has four times `width`.

    A stride is that of the first 1x1 convolution, and the shortcut is a convolution only where the shape changes.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out_channels = 4 * width
        self.branch = nn.Sequential(
            ConvNorm(in_channels, width, 1, stride),
            ConvNorm(width, width, dilation=dilation),
            ConvNorm(width, out_channels, 1, activation=None),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))


class Stage(nn.Sequential):
    """Bottlenecks of one width, none of them strided."""

    def __init__(self, in_channels: int, width: int, depth: int, dilation: int = 1) -> None:
        super().__init__()
        for index in range(depth):
            self.append(Bottleneck(4 * width if index else in_channels, width, dilation=dilation))


class PyramidPooling(nn.Module):
    """Adds the averages over grids to the map; no convolutions."""

    def __init__(self, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in bins)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for pool in self.pools:
            out = out + resize(pool(x), x, align_corners=True)
        return out


class CascadeFusion(nn.Module):
    """Adds a deep map, already up-sampled, and the map of a finer scale."""

    def __init__(self, deep_channels: int, fine_channels: int, out_channels: int) -> None:
        super().__init__()
        self.deep = ConvNorm(deep_channels, out_channels, dilation=2, activation=None)
        self.fine = ConvNorm(fine_channels, out_channels, 1, activation=None)

    def forward(self, deep: Tensor, fine: Tensor) -> Tensor:
        return F.relu(self.deep(deep) + self.fine(fine))


class Icnet(nn.Module):
    """Image to scores at 1/4, and the up-sampled deep maps at 1/16 and 1/8 that the authors' extra losses use.

    Args:
        classes: number of scores.
        width: of the first bottlenecks and the stem; later stages have 2, 4 and 8 times as much.
        depths: bottlenecks of the four stages; the second stage's first one runs at the middle scale.
        dilations: of the last two stages.
        bins: grid sizes of the pyramid pooling.
        fine_width: of the branch at full scale; its last convolution has twice as much.
        fusion_width: of the fused maps.
    """

    def __init__(
        self,
        classes: int,
        width: int = 32,
        depths: tuple[int, int, int, int] = (3, 4, 6, 3),
        dilations: tuple[int, int] = (2, 4),
        bins: tuple[int, ...] = (1, 2, 3, 6),
        fine_width: int = 32,
        fusion_width: int = 128,
    ) -> None:
        super().__init__()
        self.fine = nn.Sequential(ConvNorm(3, fine_width, stride=2), ConvNorm(fine_width, fine_width, stride=2))
        self.fine_down = ConvNorm(fine_width, 2 * fine_width, stride=2)
        self.middle = nn.Sequential(
            ConvNorm(3, width, stride=2),
            ConvNorm(width, width),
            ConvNorm(width, 2 * width),
            nn.MaxPool2d(3, stride=2, padding=1),
            Stage(2 * width, width, depths[0]),
            Bottleneck(4 * width, 2 * width, stride=2),
        )
        self.deep = nn.Sequential(
            Stage(8 * width, 2 * width, depths[1] - 1),
            Stage(8 * width, 4 * width, depths[2], dilations[0]),
            Stage(16 * width, 8 * width, depths[3], dilations[1]),
            PyramidPooling(bins),
            ConvNorm(32 * width, 8 * width, 1),
        )
        self.fuse_middle = CascadeFusion(8 * width, 8 * width, fusion_width)
        self.fuse_fine = CascadeFusion(fusion_width, 2 * fine_width, fusion_width)
        self.classifier = nn.Conv2d(fusion_width, classes, 1)
        self.levels: tuple[int, ...] = (8 * width, fusion_width)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        quarter = self.fine(image)
        eighth = self.fine_down(quarter)
        middle = self.middle(halve(image))  # 1/16
        deep = self.deep(halve(middle))  # 1/32
        deep = resize(deep, middle, align_corners=True)  # 1/16
        fused = resize(self.fuse_middle(deep, middle), eighth, align_corners=True)  # 1/8
        out = resize(self.fuse_fine(fused, eighth), quarter, align_corners=True)  # 1/4
        return self.classifier(out), deep, fused
