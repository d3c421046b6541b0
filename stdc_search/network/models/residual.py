"""Residual blocks: plain ones, and those of separable convolutions.

Papers: He et al. 2016, "Deep Residual Learning"; Li et al. 2019, "Partial Order Pruning" (DF1, DF2); Yu et al. 2018,
"BiSeNet" (Xception39). The structure of DF follows lixincn2015/Partial-Order-Pruning (no licence), that of Xception39
ycszen/TorchSeg (MIT); only facts were taken from them.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the input, which a 1x1 convolution brings into shape where it has another one."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvNorm(in_channels, out_channels, stride=stride), ConvNorm(out_channels, out_channels, activation=None)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convs(x) + self.shortcut(x))


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution, then 1x1 with batch norm."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )


class SeparableBlock(nn.Module):
    """Three separable convolutions and the input; the first two have a quarter of the output's channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.convs = nn.Sequential(
            SeparableConv(in_channels, width, stride),
            nn.ReLU(inplace=True),
            SeparableConv(width, width),
            nn.ReLU(inplace=True),
            SeparableConv(width, out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = SeparableConv(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convs(x) + self.shortcut(x))
