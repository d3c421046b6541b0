"""Small layers that all networks share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvX(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: the paper's ConvX."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)


class Upsample(nn.Module):
    """Resize an image-like tensor to the height and width of another, bilinear with corners aligned."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def init_fan_out(module: nn.Module) -> None:
    """Initial weights of the released backbone and classifier, for `Module.apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)


def init_fan_in(module: nn.Module) -> None:
    """Initial weights of the released decoder and heads, for `Module.apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=1)
