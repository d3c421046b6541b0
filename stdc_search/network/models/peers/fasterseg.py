"""FasterSeg: branches of searched cells that share their first cells.

Paper: Chen, Gong, Liu, Zhang, Li and Wang 2020, "FasterSeg: Searching for Faster Real-time Semantic Segmentation".
Reference code: VITA-Group/FasterSeg (MIT), used for facts only; no code is carried over. Default: the student network.

Parameters (3,421,875) and MACs (27,770,486,784 at 1024 x 2048) round to the recorded 3.42 M and 27.77 G; there is no
graph to compare with. Differences and assumptions:
- The released module also carries an attention that it never calls (0.03 M parameters); it is left out.
- Assumed: all resizing is bilinear with aligned corners, and the last convolution has a bias.
- Zooming rounds odd sizes up, as strided convolutions do. The last up-sampling to the image is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize

Cell = tuple[int, bool, int, int]
"""Convolutions, whether they run on a halved map (zoom), width, stride (1 or 2)."""

SHARED: tuple[Cell, ...] = ((2, False, 32, 1), (2, False, 32, 1), (2, True, 32, 1))
DEEP: tuple[Cell, ...] = (
    *((1, True, 128, 2), (2, True, 64, 1), (2, True, 64, 1), (2, True, 64, 1)),  # 1/16
    *((2, True, 128, 2), (2, True, 128, 1), (2, True, 256, 1)),  # 1/32
)
SHALLOW: tuple[Cell, ...] = (
    *((2, True, 32, 1), (2, False, 32, 1)),  # 1/8
    *((2, False, 64, 2), (2, True, 64, 1), (2, True, 192, 1), (2, True, 128, 1)),  # 1/16
)


class Convs(nn.Sequential):
    """3x3 convolutions of one width; the first one has the stride."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, stride: int = 1) -> None:
        first = ConvNorm(in_channels, out_channels, 3, stride)
        super().__init__(first, *(ConvNorm(out_channels, out_channels) for _ in range(depth - 1)))


class ZoomedConvs(Convs):
    """3x3 convolutions on a halved map, then up-sampling; with stride 2 the map stays halved."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, depth)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
        y = super().forward(F.interpolate(x, size=size, mode="bilinear", align_corners=True))
        return y if self.stride == 2 else resize(y, x, align_corners=True)


class Merge(nn.Module):
    """Brings a deep map to the size of a shallower one and fuses both."""

    def __init__(self, deep: int, shallow: int, width: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(deep, width, 1)
        self.fuse = ConvNorm(width + shallow, width)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        deep = resize(self.reduce(deep), shallow, align_corners=True)
        return self.fuse(torch.cat([deep, shallow], dim=1))


class Branch(nn.Module):
    """Cells in a row, then a decoder back to the size of the input."""

    def __init__(self, in_channels: int, cells: Sequence[Cell], width: int) -> None:
        super().__init__()
        stages = [nn.Sequential()]  # the cells at each size
        self.widths = [in_channels]  # of the last map at each size
        for (*_, out_channels, stride), module in zip(cells, chain(in_channels, cells), strict=True):
            if stride == 2:
                stages.append(nn.Sequential())
                self.widths.append(out_channels)
            stages[-1].append(module)
            self.widths[-1] = out_channels
        self.stages, self.merges = nn.ModuleList(stages), nn.ModuleList()
        self.out_channels = self.widths[-1]  # of the decoder's map
        for i in reversed(range(len(self.widths) - 1)):
            # The decoder has twice as many channels at each smaller size.
            self.merges.append(Merge(self.out_channels, self.widths[i], width * 2**i))
            self.out_channels = width * 2**i

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The decoder's map, and the last map of the cells at each size, shallow to deep."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for merge, shallow in zip(self.merges, reversed(maps[:-1]), strict=True):
            x = merge(x, shallow)
        return x, maps


class Fasterseg(nn.Module):
    """The published student by default.

    Args:
        classes: number of classes.
        stem: channels at 1/2, 1/4 and 1/8.
        shared: cells before the branches.
        branches: cells of each branch; at least one of them has stride 2.
        branch_width: channels of a branch's decoder at the size of the scores.
    """

    def __init__(
        self,
        classes: int,
        stem: tuple[int, int, int] = (32, 64, 64),
        shared: tuple[Cell, ...] = SHARED,
        branches: tuple[tuple[Cell, ...], ...] = (DEEP, SHALLOW),
        branch_width: int = 64,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convs(3, stem[0], 1, 2), Convs(stem[0], stem[1], 2, 2), Convs(stem[1], stem[2], 2, 2))
        self.shared = nn.Sequential(*chain(stem[2], shared))
        channels = shared[-1][2] if shared else stem[2]
        self.branches = nn.ModuleList(made := [Branch(channels, cells, branch_width) for cells in branches])
        fused = sum(branch.out_channels for branch in made)
        self.head = nn.Sequential(ConvNorm(fused, fused, 1), ConvNorm(fused, fused), nn.Conv2d(fused, classes, 1))
        self.levels = tuple(map(sum, columns([branch.widths for branch in made])[1:]))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores at 1/8, then the branches' last maps at 1/16, concatenated, and those at 1/32."""
        x = self.shared(self.stem(image))  # 1/8
        fused, maps = zip(*(branch(x) for branch in self.branches), strict=True)
        deeper = columns(maps)[1:]  # 1/16, 1/32
        return self.head(torch.cat(fused, dim=1)), *(torch.cat(level, dim=1) for level in deeper)


def chain(in_channels: int, cells: Sequence[Cell]) -> nn.ModuleList:
    """The modules of cells in a row."""
    modules = nn.ModuleList()
    for depth, zoom, width, stride in cells:
        modules.append((ZoomedConvs if zoom else Convs)(in_channels, width, depth, stride))
        in_channels = width
    return modules


def columns(rows: Sequence[Sequence]) -> list[list]:
    """The first items of all rows, the second ones, and so on; short rows end early."""
    return [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]
