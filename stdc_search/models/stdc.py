"""STDC: short-term dense concatenate backbone.

Paper: Fan et al. 2021, "Rethinking BiSeNet For Real-time Semantic Segmentation", section 3.1, Figure 3, Table 2.
Original code: MichaelFan01/STDC-Seg, whose published weights this structure fits. Where code and paper differ, the
code is followed: a strided module halves its map by a depthwise convolution before Block2, not inside of it, and
its average pool counts the padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stdc_search.models.layers import ConvX


class StdcModule(nn.Module):
    """Blocks of shrinking width, concatenated (Figure 3b; 3c with stride 2).

    Args:
        in_channels: M of the paper.
        out_channels: N; a multiple of 2^(blocks - 1).
        blocks: n; block i has N / 2^i channels, the last as many as the one before.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, out_channels: int, blocks: int = 4, stride: int = 1) -> None:
        super().__init__()
        widths = [out_channels >> i for i in range(1, blocks)]
        widths.append(widths[-1])
        self.blocks = nn.ModuleList([ConvX(in_channels, widths[0], kernel_size=1)])
        self.blocks.extend(ConvX(a, b) for a, b in itertools.pairwise(widths))
        self.down: nn.Module = nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.down = nn.Sequential(
                nn.Conv2d(widths[0], widths[0], 3, stride=2, padding=1, groups=widths[0], bias=False),
                nn.BatchNorm2d(widths[0]),
            )
            self.skip = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.blocks
        x = first(x)
        parts = [self.skip(x)]
        x = self.down(x)
        for block in others:
            x = block(x)
            parts.append(x)
        return torch.cat(parts, dim=1)  # N/2 + N/4 + ... = N channels


class Backbone(nn.Module):
    """Stem, then stages of modules; gives the output of every stage.

    Args:
        stem: modules that run first.
        stages: the modules of each stage.
    """

    def __init__(self, stem: Iterable[nn.Module], stages: Iterable[Iterable[nn.Module]]) -> None:
        super().__init__()
        self.stem = nn.Sequential(*stem)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)  # 1/4
        features = []
        for stage in self.stages:
            x = stage(x)  # 1/8, 1/16, 1/32
            features.append(x)
        return features
