"""SFNet's decoder: deeper maps are warped along learned flows before they are added.

Papers: Li et al. 2020, "Semantic Flow for Fast and Accurate Scene Parsing"; Li et al. 2023, "SFNet: Faster and Accurate
Semantic Segmentation via Semantic Flow" (Lite). The structure follows lxtGH/SFSegNets (no licence), of which only facts
were taken. Parameters that its released classes have and never use are not here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.context import Pyramid
from stdc_search.network.models.layers import ConvNorm, resize


def warped(x: Tensor, flow: Tensor) -> Tensor:
    """A map sampled where the flow N, 2, h, w points to, in pixels of the flow's size: N, C, h, w."""
    height, width = flow.shape[2:]
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device).view(-1, 1)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
    # Divided by numbers: a tensor of both would be copied to a GPU in each step, which waits for it.
    grid = torch.stack([columns + flow[:, 0] / width, rows + flow[:, 1] / height], dim=3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


class FlowAlignment(nn.Module):
    """The deep map, warped to where the shallow one has the same things (FAM)."""

    def __init__(self, width: int, flows: int = 1) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(width, width // 2, 1, bias=False)
        self.deep = nn.Conv2d(width, width // 2, 1, bias=False)
        self.flow = nn.Conv2d(width, 2 * flows, 3, padding=1, bias=False)

    def both(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Half of the channels of each map, at the size of the shallow one."""
        shallow = self.shallow(shallow)
        return torch.cat([resize(self.deep(deep), shallow, align_corners=True), shallow], dim=1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return warped(deep, self.flow(self.both(shallow, deep)))


class GatedAlignment(FlowAlignment):
    """Both maps, each warped along a flow of its own and weighed by a gate (GD-FAM)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, flows=2)
        self.gate = nn.Conv2d(width, 1, 3, padding=1, bias=False)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        both = self.both(shallow, deep)
        down, across = self.flow(both).chunk(2, dim=1)
        gate = self.gate(both).sigmoid()
        return warped(deep, down) * gate + warped(shallow, across) * (1 - gate)


class FlowDecoder(nn.Module):
    """Aligns each stage with the one above it, from the deepest upwards, and concatenates all maps.

    Args:
        in_channels: channels of every stage, shallow to deep.
        width: channels of all maps.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.context = Pyramid(in_channels[-1], width)
        self.lateral = nn.ModuleList(ConvNorm(channels, width, 1, bias=True) for channels in in_channels[:-1])
        self.align = nn.ModuleList(FlowAlignment(width) for _ in self.lateral)
        self.smooth = nn.ModuleList(ConvNorm(width, width) for _ in self.lateral)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turn the maps of all stages, shallow to deep, into one of the shallowest size, and one a deeper stage."""
        x = self.context(features[-1])
        levels = [x]
        for i in reversed(range(len(self.lateral))):
            lateral = self.lateral[i](features[i])
            x = lateral + self.align[i](lateral, x)
            levels.insert(0, self.smooth[i](x))
        fused = torch.cat([resize(one, levels[0], align_corners=True) for one in levels], dim=1)
        return (fused, *levels[1:])


class FlowDecoderLite(nn.Module):
    """Aligns the deepest stage with the shallowest one, and concatenates those between.

    Args:
        in_channels: channels of every stage, shallow to deep.
        width: channels of all maps.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.context = Pyramid(in_channels[-1], width)
        self.lateral = nn.ModuleList(ConvNorm(channels, width, 1, bias=True) for channels in in_channels[:-1])
        self.align = GatedAlignment(width)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turn the maps of all stages, shallow to deep, into one of the shallowest size, and one a deeper stage."""
        deepest = self.context(features[-1])
        shallow, *between = (conv(one) for conv, one in zip(self.lateral, features, strict=False))
        aligned = self.align(shallow, deepest)
        fused = torch.cat([aligned, *(resize(one, aligned, align_corners=True) for one in between)], dim=1)
        return (fused, *between, deepest)
