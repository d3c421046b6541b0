"""Pyramid pooling over a small map: DAPPM of DDRNet and PAPPM of PIDNet.

DAPPM: Hong et al. 2021, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road
Scenes"; original code ydhongHIT/DDRNet (MIT). PAPPM: Xu et al. 2023, "PIDNet: A Real-time Semantic Segmentation Network
Inspired by PID Controllers"; original code XuJiacong/PIDNet (MIT). Facts only, no code is carried over. Average
pools include the padding. No difference is known.

A batch of 1 cannot be trained, as one value per channel is left for the norm after the global pool.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import resize
from stdc_search.network.models.peers.residual import NormConv

POOLS = ((5, 2), (9, 4), (17, 8))
"""Kernel and stride of the pools before the global one. The padding is half a kernel, so any map is large enough."""


def _pooled(in_channels: int, width: int, bias: bool) -> nn.ModuleList:
    """Pools from fine to global, each before a 1x1 convolution."""
    pools = [nn.AvgPool2d(kernel_size, stride, kernel_size // 2) for kernel_size, stride in POOLS]
    return nn.ModuleList(
        nn.Sequential(pool, NormConv(in_channels, width, bias=bias)) for pool in (*pools, nn.AdaptiveAvgPool2d(1))
    )


class Dappm(nn.Module):
    """Deep aggregation: every scale is added to the finer one, then smoothed.

    Args:
        in_channels: channels of the input.
        width: channels of every scale.
        out_channels: channels of the output, which has the input's height and width.
        bias: whether convolutions have one.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, *, bias: bool = False) -> None:
        super().__init__()
        self.full = NormConv(in_channels, width, bias=bias)
        self.pooled = _pooled(in_channels, width, bias)
        self.smooth = nn.ModuleList(NormConv(width, width, 3, bias=bias) for _ in self.pooled)
        self.out = NormConv(width * (1 + len(self.pooled)), out_channels, bias=bias)
        self.shortcut = NormConv(in_channels, out_channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        scales = [self.full(x)]
        for pool, smooth in zip(self.pooled, self.smooth, strict=True):
            scales.append(smooth(resize(pool(x), x) + scales[-1]))
        return self.out(torch.cat(scales, dim=1)) + self.shortcut(x)


class Pappm(nn.Module):
    """Parallel aggregation: every scale is added to the full map, then one grouped convolution smooths all.

    Args:
        in_channels: channels of the input.
        width: channels of every scale.
        out_channels: channels of the output, which has the input's height and width.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.full = NormConv(in_channels, width)
        self.pooled = _pooled(in_channels, width, bias=False)
        groups = len(self.pooled)
        self.smooth = NormConv(width * groups, width * groups, 3, groups=groups)
        self.out = NormConv(width * (1 + groups), out_channels)
        self.shortcut = NormConv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        full = self.full(x)
        scales = [resize(pool(x), x) + full for pool in self.pooled]
        smooth = self.smooth(torch.cat(scales, dim=1))
        return self.out(torch.cat([full, smooth], dim=1)) + self.shortcut(x)
