"""BiSeNetV2: a wide detail branch and a deep, narrow semantic branch that gate each other.

Paper: Yu et al. 2021, "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation".
The authors released no code. Reference: CoinCheung/BiSeNet (MIT); parameters and MACs equal its inference graph.
What differs: `forward` ends at 1/8, no dropout in the head, the booster heads are outside the module.

BiSeNetV2-L is an interpretation, as the paper only gives factors (width 2, depth 3): `detail_widths=(128, 128, 256),
semantic_widths=(32, 64, 128, 256), repeats=(5, 5, 11), head_width=2048`. It has 105.7 GMACs at 512x1024.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize


class Stem(nn.Module):
    """Halves the image, then halves it again in two ways: convolutions and a max pool (Figure 4a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(3, channels, stride=2)
        self.convs = nn.Sequential(ConvNorm(channels, channels // 2, 1), ConvNorm(channels // 2, channels, stride=2))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvNorm(2 * channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)  # 1/2
        return self.fuse(torch.cat([self.convs(x), self.pool(x)], dim=1))  # 1/4


class GatherExpand(nn.Module):
    """Residual layer: 3x3, depthwise 3x3 that also widens, 1x1 back (Figure 5b)."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        expand = ConvNorm(channels, wide, groups=channels)
        project = ConvNorm(wide, channels, 1, activation=None)
        self.branch = nn.Sequential(ConvNorm(channels, channels), expand, project)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class GatherExpandDown(nn.Module):
    """Gather-and-expansion layer that halves the map (Figure 5c)."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.branch = nn.Sequential(
            ConvNorm(in_channels, in_channels),
            ConvNorm(in_channels, wide, stride=2, groups=in_channels, activation=None),
            ConvNorm(wide, wide, groups=wide),
            ConvNorm(wide, out_channels, 1, activation=None),
        )
        halve = ConvNorm(in_channels, in_channels, stride=2, groups=in_channels, activation=None)
        self.shortcut = nn.Sequential(halve, ConvNorm(in_channels, out_channels, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))


class ContextEmbedding(nn.Module):
    """Adds the global average to every pixel (Figure 4b); training needs two images a batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(channels), ConvNorm(channels, channels, 1))
        self.conv = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x + self.average(x))


def keep(in_channels: int, out_channels: int) -> nn.Module:
    """Depthwise 3x3 with batch norm, then 1x1 without."""
    depthwise = ConvNorm(in_channels, in_channels, groups=in_channels, activation=None)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False))


class GuidedAggregation(nn.Module):
    """Each branch gates the other, at both resolutions (Figure 6)."""

    def __init__(self, detail: int, semantic: int) -> None:
        super().__init__()
        halve = ConvNorm(detail, detail, stride=2, activation=None)
        self.detail_keep = keep(detail, detail)
        self.detail_down = nn.Sequential(halve, nn.AvgPool2d(3, stride=2, padding=1))
        self.semantic_up = ConvNorm(semantic, detail, activation=None)
        self.semantic_keep = keep(semantic, detail)
        self.fuse = ConvNorm(detail, detail)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        gate = torch.sigmoid(resize(self.semantic_up(semantic), detail, "nearest"))
        fine = self.detail_keep(detail) * gate  # 1/8
        coarse = self.detail_down(detail) * torch.sigmoid(self.semantic_keep(semantic))  # 1/32
        return self.fuse(fine + resize(coarse, detail, "nearest"))


class Bisenetv2(nn.Module):
    """Image to scores at 1/8, and the semantic branch at 1/16 and 1/32.

    Args:
        classes: number of scores.
        detail_widths: of the detail branch at 1/2, 1/4, 1/8.
        detail_depths: convolutions of each of its stages.
        semantic_widths: of the semantic branch at 1/4, 1/8, 1/16, 1/32; the first one is even.
        repeats: gather-and-expansion layers after the one that halves, at 1/8, 1/16, 1/32.
        expansion: how much wider such a layer is inside than at its input.
        head_width: of the 3x3 convolution before the classifier.
    """

    def __init__(
        self,
        classes: int,
        detail_widths: tuple[int, int, int] = (64, 64, 128),
        detail_depths: tuple[int, int, int] = (2, 3, 3),
        semantic_widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        repeats: tuple[int, int, int] = (1, 1, 3),
        expansion: int = 6,
        head_width: int = 1024,
    ) -> None:
        super().__init__()
        self.detail = nn.Sequential()
        for before, width, depth in zip((3, *detail_widths), detail_widths, detail_depths, strict=False):
            self.detail.append(ConvNorm(before, width, stride=2))
            self.detail.extend(ConvNorm(width, width) for _ in range(depth - 1))
        *stages, self.deep = (
            nn.Sequential(GatherExpandDown(a, b, expansion), *(GatherExpand(b, expansion) for _ in range(count)))
            for (a, b), count in zip(itertools.pairwise(semantic_widths), repeats, strict=True)
        )
        self.shallow = nn.Sequential(Stem(semantic_widths[0]), *stages)
        self.context = ContextEmbedding(semantic_widths[-1])
        self.aggregate = GuidedAggregation(detail_widths[-1], semantic_widths[-1])
        self.head = nn.Sequential(ConvNorm(detail_widths[-1], head_width), nn.Conv2d(head_width, classes, 1))
        self.levels: tuple[int, ...] = semantic_widths[-2:]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        shallow = self.shallow(image)  # 1/16
        deep = self.deep(shallow)  # 1/32
        fused = self.aggregate(self.detail(image), self.context(deep))  # 1/8
        return self.head(fused), shallow, deep
