"""LPS-Net: plain convolutions in parallel paths that see the image at different scales.

Paper: Zhang, Yao, Qiu and Mei 2023, "Lightweight and Progressively-Scalable Networks for Semantic Segmentation".
Reference code: YihengZhang-CV/LPS-Net (Apache-2.0), used for facts only; no code is carried over. Default: LPS-Net-S.
LPS-Net-M: `scales=(1, 0.25)`. LPS-Net-L: the same scales and `widths=(8, 24, 64, 160, 160)`.

Convolutions, parameters and MACs equal the reference for S, M and L. Differences: the published networks have two
paths, here any number of them exchange maps. The last up-sampling to the image's size is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize

STRIDES = (2, 2, 2, 2, 1)


class PlainStage(nn.Sequential):
    """3x3 convolutions of one width; the first one has the stride."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, stride: int) -> None:
        super().__init__(
            *(ConvNorm(out_channels if i else in_channels, out_channels, 3, 1 if i else stride) for i in range(depth))
        )


class ParallelStage(nn.Module):
    """The same stage in every path, with separate weights."""

    def __init__(self, paths: int, in_channels: int, out_channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(PlainStage(in_channels, out_channels, depth, stride) for _ in range(paths))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [path(x) for path, x in zip(self.paths, maps, strict=True)]


class Lpsnet(nn.Module):
    """LPS-Net-S by default.

    Args:
        classes: number of classes.
        depths: convolutions of the five stages.
        widths: channels of the five stages.
        scales: of the image, one per path; the scores have the size of the first path's map.
    """

    def __init__(
        self,
        classes: int,
        depths: tuple[int, ...] = (1, 3, 3, 10, 10),
        widths: tuple[int, ...] = (8, 24, 48, 96, 96),
        scales: tuple[float, ...] = (0.75, 0.25),
    ) -> None:
        super().__init__()
        self.scales = scales
        paths, in_channels = len(scales), (3, *widths[:-1])
        stages = (ParallelStage(paths, *stage) for stage in zip(in_channels, widths, depths, STRIDES, strict=True))
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = stages
        self.classifier = nn.Conv2d(paths * widths[-1], classes, 1)
        self.levels = (widths[2], widths[3])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores, then the first path's maps after both exchanges."""
        maps = [scaled(image, scale) for scale in self.scales]
        maps = self.stage2(self.stage1(maps))  # 1/4 of each path's image
        eighth = exchange(self.stage3(maps))  # 1/8
        sixteenth = exchange(self.stage4(eighth))  # 1/16
        maps = self.stage5(sixteenth)
        fused = torch.cat([resize(x, maps[0], align_corners=True) for x in maps], dim=1)
        return self.classifier(fused), eighth[0], sixteenth[0]


def scaled(image: Tensor, scale: float) -> Tensor:
    """The image at a scale, with its height and width rounded down."""
    if scale == 1:
        return image
    size = int(image.shape[2] * scale), int(image.shape[3] * scale)
    return F.interpolate(image, size=size, mode="bilinear", align_corners=True)


def exchange(maps: Sequence[Tensor]) -> list[Tensor]:
    """Add the maps of all other paths to each path's map."""
    # Every sum reads the maps from before the exchange, so the order of the paths does not matter.
    return [sum((resize(x, own, align_corners=True) for x in maps if x is not own), start=own) for own in maps]
