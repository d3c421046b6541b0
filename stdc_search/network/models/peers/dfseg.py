"""DF-Seg: residual stages, averages over fields of several sizes, and a narrow decoder.

Paper: Li et al. 2019, "Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search".
Reference: prototxt files of lixincn2015/Partial-Order-Pruning (no licence), used for facts only. Default: DF1-Seg.
DF2-Seg1: stages of DF2 and `widths=(19, 19, 32)`; DF2-Seg2: the same stages and `widths=(19, 256, 512)`.

What differs: the original doubles maps by frozen transposed convolutions with bilinear weights. Here they are plain
bilinear up-sampling, which has no parameters (5,680 in DF1-Seg) and no multiply-adds. Fields at the border of a map are
smaller if their size does not divide that of the map, and a field is never larger than the map.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize
from stdc_search.network.models.residual import ResidualBlock

Stage = tuple[int, int, int]
"""Width, residual blocks, stride of the first one."""

DF1: tuple[tuple[Stage, ...], ...] = (((64, 3, 2),), ((128, 3, 2),), ((256, 3, 2), (512, 1, 1)))
FIELDS = (32, 16, 8, 4)


class Fields(nn.Module):
    """The map, and its averages over square fields of several sizes, fused."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(ConvNorm(channels, width, 1) for _ in FIELDS)
        self.fuse = ConvNorm(channels + len(FIELDS) * width, channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for side, reduce in zip(FIELDS, self.reduce, strict=True):
            field = min(side, x.shape[2]), min(side, x.shape[3])
            maps.append(resize(reduce(F.avg_pool2d(x, field, ceil_mode=True)), x))
        return self.fuse(torch.cat(maps, dim=1))


class Node(nn.Module):
    """A deeper map at the width and size of a shallower one, fused with it."""

    def __init__(self, deep: int, shallow: int, width: int) -> None:
        super().__init__()
        self.deep = ConvNorm(deep, width, 1)
        self.shallow = ConvNorm(shallow, width, 1)
        self.fuse = ConvNorm(2 * width, width)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        shallow = self.shallow(shallow)
        return self.fuse(torch.cat([resize(self.deep(deep), shallow), shallow], dim=1))


class Dfseg(nn.Module):
    """Image to scores at 1/8, and the decoder's maps at 1/16 and 1/32.

    Args:
        classes: number of scores.
        stem: channels at 1/2 and 1/4.
        stages: parts of the stages at 1/8, 1/16 and 1/32, each with width, blocks and stride.
        fields_width: channels of each average.
        widths: of the decoder at 1/8, 1/16 and 1/32.
    """

    def __init__(
        self,
        classes: int,
        stem: tuple[int, int] = (32, 64),
        stages: tuple[tuple[Stage, ...], ...] = DF1,
        fields_width: int = 128,
        widths: tuple[int, int, int] = (19, 32, 128),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, stem[0], stride=2), ConvNorm(stem[0], stem[1], stride=2))
        self.stages = nn.ModuleList()
        channels = [stem[1]]
        for parts in stages:
            stage, width = nn.Sequential(), channels[-1]
            for out, depth, stride in parts:
                for i in range(depth):
                    stage.append(ResidualBlock(width, out, 1 if i else stride))
                    width = out
            self.stages.append(stage)
            channels.append(width)
        self.fields = nn.Sequential(Fields(channels[-1], fields_width), ConvNorm(channels[-1], widths[-1], 1))
        pairs = zip(itertools.pairwise(widths), channels[1:], strict=False)
        self.nodes = nn.ModuleList(Node(deep, shallow, width) for (width, deep), shallow in pairs)
        self.score = ConvNorm(widths[0], classes, activation=None)
        self.levels: tuple[int, ...] = widths[1:]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x, features = self.stem(image), []  # 1/4
        for stage in self.stages:
            x = stage(x)
            features.append(x)  # 1/8, 1/16, 1/32
        levels = [self.fields(x)]
        for node, feature in zip(reversed(self.nodes), reversed(features[:-1]), strict=True):
            levels.insert(0, node(levels[0], feature))
        return self.score(levels[0]), *levels[1:]
