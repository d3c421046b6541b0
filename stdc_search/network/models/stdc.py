"""STDC: short-term dense concatenate backbone.

Paper: Fan et al. 2021, "Rethinking BiSeNet For Real-time Semantic Segmentation", section 3.1, Figure 3, Table 2.
Original code: MichaelFan01/STDC-Seg, whose published weights this structure fits by default. Where code and paper
differ, the default follows the code: a strided module halves its map with a depthwise convolution before Block2, not
within it, and its average pool includes the padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvX


class DepthwiseDown(nn.Sequential):
    """Halves a map with a depthwise 3x3 convolution and batch norm, without ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        )


class AverageDown(nn.AvgPool2d):
    """Halves a map with a 3x3 average pool that includes the padding."""

    def __init__(self, channels: int) -> None:
        super().__init__(3, stride=2, padding=1)


class Shortcut(nn.Sequential):
    """Brings a module's input into the shape of its output, to add both; in the released code, but not used there.

    A depthwise 3x3 convolution if the map is halved, then a 1x1 convolution if the shape changes; each has a batch norm
    and no ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if stride == 2:
            self.extend(DepthwiseDown(in_channels))
        if stride == 2 or in_channels != out_channels:
            self.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.append(nn.BatchNorm2d(out_channels))


Down = Callable[[int], nn.Module]
"""Channels -> module that halves a map."""


class StdcModule(nn.Module):
    """Blocks of shrinking width, concatenated (Figure 3b; 3c with stride 2).

    Args:
        in_channels: M of the paper.
        out_channels: N; a multiple of 2^(blocks - 1).
        blocks: n; block i has N / 2^i channels, and the last one has as many as the one before.
        stride: 1 or 2.
        down: with stride 2, halves Block1's output before Block2; None: Block2 has the stride.
        skip: with stride 2, halves Block1's output for the concatenation; None: use the output of `down`.
        shortcut: in channels, out channels, stride -> module that reshapes the input to be added; None: no addition.
        conv: in channels, out channels, kernel size, stride -> 3x3 convolution with norm and ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int = 4,
        stride: int = 1,
        down: Down | None = DepthwiseDown,
        skip: Down | None = AverageDown,
        shortcut: Callable[[int, int, int], nn.Module] | None = None,
        conv: Callable[[int, int, int, int], nn.Module] = ConvX,
    ) -> None:
        super().__init__()
        widths = [out_channels >> i for i in range(1, blocks)]
        widths.append(widths[-1])
        self.blocks = nn.ModuleList([ConvX(in_channels, widths[0], kernel_size=1)])
        self.blocks.extend(conv(a, b, 3, 1) for a, b in itertools.pairwise(widths))
        self.down: nn.Module = nn.Identity()
        self.skip: nn.Module = nn.Identity()
        self.shares_down = skip is None
        self.shortcut = None if shortcut is None else shortcut(in_channels, out_channels, stride)
        if stride == 2:
            if down is None:
                self.blocks[1] = conv(widths[0], widths[1], 3, 2)
            else:
                self.down = down(widths[0])
            if skip is not None:
                self.skip = skip(widths[0])

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.blocks
        wide = first(x)
        below = self.down(wide)
        parts = [below if self.shares_down else self.skip(wide)]
        for block in others:
            below = block(below)
            parts.append(below)
        fused = torch.cat(parts, dim=1)  # N/2 + N/4 + ... = N channels
        return fused if self.shortcut is None else fused + self.shortcut(x)


class Backbone(nn.Module):
    """Stem, then stages of modules; returns the output of every stage.

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
