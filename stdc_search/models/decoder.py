"""Decoder and heads of STDC-Seg: BiSeNet's context path and feature fusion (Fan et al. 2021, section 3.2, Figure 4).

Original code: MichaelFan01/STDC-Seg. Up-sampling between levels is nearest, as there. Its norms are activated
batch norms, which scale by |weight| + 1e-5; here they are plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.models.layers import ConvX


class AttentionRefinement(nn.Module):
    """3x3 convolution whose channels are weighted by attention over the whole map (ARM)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvX(in_channels, out_channels)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.attention(x)


class ContextPath(nn.Module):
    """Refines the deep stages from the global average upwards.

    Args:
        in_channels: channels of every stage but the first, shallow to deep.
        width: channels of each level that it gives.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvX(in_channels[-1], width, kernel_size=1))
        self.refine = nn.ModuleList(AttentionRefinement(channels, width) for channels in in_channels)
        self.smooth = nn.ModuleList(ConvX(width, width) for _ in in_channels)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """All stages' maps, shallow to deep, to levels of the sizes of all but the deepest."""
        *_, deepest = features
        context = _nearest(self.average(deepest), deepest)
        levels: list[Tensor] = []
        for i in reversed(range(len(self.refine))):
            context = context + self.refine[i](features[i + 1])
            context = self.smooth[i](_nearest(context, features[i]))
            levels.insert(0, context)
        return tuple(levels)


class FeatureFusion(nn.Module):
    """Concatenates the shallow stage and the context, and weighs channels by attention (FFM)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvX(in_channels, out_channels, kernel_size=1)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels // 4, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels // 4, out_channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, shallow: Tensor, context: Tensor) -> Tensor:
        x = self.conv(torch.cat([shallow, context], dim=1))
        return x + x * self.attention(x)


class Head(nn.Sequential):
    """3x3 convolution, then 1x1 to the outputs; no dropout, no bias, as released."""

    def __init__(self, in_channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvX(in_channels, width)
        self.out = nn.Conv2d(width, outputs, 1, bias=False)


def _nearest(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")
