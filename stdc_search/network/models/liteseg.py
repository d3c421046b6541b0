"""PP-LiteSeg's decoder: attention weighs each stage against the map from below.

Paper: Peng et al. 2022, "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model". Its structure follows
PaddlePaddle/PaddleSeg (Apache-2.0), of which only facts were taken. The paper says of channel attention that averages
and maxima of both maps are concatenated; the widths of its two convolutions are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize


class SpatialWeights(nn.Module):
    """A weight for each pixel, 0 to 1, from mean and maximum over the channels of two maps: N, 1, h, w."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNorm(4, 2), ConvNorm(2, 1, activation=nn.Sigmoid))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.convs(torch.cat([f(one) for one in (x, y) for f in (_mean, _maximum)], dim=1))


class ChannelWeights(nn.Module):
    """A weight for each channel, 0 to 1, from mean and maximum over the pixels of two maps: N, C, 1, 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvNorm(4 * channels, max(channels // 2, 1), 1),
            ConvNorm(max(channels // 2, 1), channels, 1, activation=nn.Sigmoid),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pools = F.adaptive_avg_pool2d, F.adaptive_max_pool2d
        return self.convs(torch.cat([pool(one, 1) for one in (x, y) for pool in pools], dim=1))


class UnifiedAttention(nn.Module):
    """A shallow and a deep map, weighed against each other and added (UAFM).

    Args:
        shallow_channels: of the stage.
        deep_channels: of the map from below.
        out_channels: of the result, which has the height and width of the stage.
        weights: channels -> what weighs the stage.
    """

    def __init__(
        self,
        shallow_channels: int,
        deep_channels: int,
        out_channels: int,
        weights: Callable[[int], nn.Module] = SpatialWeights,
    ) -> None:
        super().__init__()
        self.shallow = ConvNorm(shallow_channels, deep_channels)
        self.weights = weights(deep_channels)
        self.out = ConvNorm(deep_channels, out_channels)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        shallow, deep = self.shallow(shallow), resize(deep, shallow)
        share = self.weights(shallow, deep)
        return self.out(shallow * share + deep * (1 - share))


class LiteDecoder(nn.Module):
    """Fuses the stages from the deepest upwards.

    Args:
        in_channels: channels of every stage, shallow to deep.
        context: in channels, width -> what the deepest stage becomes first.
        width: channels of the context.
        widths: output channels of each fusion, shallow to deep.
        weights: channels -> what weighs a stage.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        context: Callable[[int, int], nn.Module],
        width: int,
        widths: Sequence[int],
        weights: Callable[[int], nn.Module] = SpatialWeights,
    ) -> None:
        super().__init__()
        self.context = context(in_channels[-1], width)
        below = (*widths[1:], width)
        self.fusions = nn.ModuleList(
            UnifiedAttention(shallow, deep, out, weights)
            for shallow, deep, out in zip(in_channels, below, widths, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turn the maps of all stages, shallow to deep, into fused maps of their sizes."""
        x, levels = self.context(features[-1]), []
        for fusion, feature in zip(reversed(self.fusions), reversed(features), strict=True):
            x = fusion(feature, x)
            levels.insert(0, x)
        return tuple(levels)


def _mean(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)


def _maximum(x: Tensor) -> Tensor:
    return x.amax(1, keepdim=True)
