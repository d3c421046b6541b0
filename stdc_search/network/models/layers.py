"""Small layers that all networks share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
RELU: Activation = partial(nn.ReLU, inplace=True)
Kernel = int | tuple[int, int]


class ConvNorm(nn.Sequential):
    """Convolution and batch norm, then an activation if there is one. A stride of 1 keeps height and width.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of both sides, or (height, width).
        stride: of both sides.
        dilation: of both sides.
        groups: of channels; as many as inputs make the convolution depthwise.
        bias: whether the convolution has one.
        activation: makes it; None for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Kernel = 3,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        activation: Activation | None = RELU,
    ) -> None:
        super().__init__()
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        padding = dilation * (height - 1) // 2, dilation * (width - 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, dilation, groups, bias)
        self.bn = nn.BatchNorm2d(out_channels)
        if activation is not None:
            self.activation = activation()


class ConvX(ConvNorm):
    """Convolution without bias, batch norm, ReLU: the paper's ConvX."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride)


class RepConv(nn.Module):
    """`ConvX` of 3x3 that trains as three branches and runs as one (Ding et al. 2021, "RepVGG").

    In training a 3x3 convolution, a 1x1 convolution and, where the shape does not change, the input itself are added,
    each after a batch norm of its own. In eval mode their kernels are added first.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        assert kernel_size == 3
        super().__init__()
        self.stride = stride
        self.large = ConvNorm(in_channels, out_channels, 3, stride, activation=None)
        self.small = ConvNorm(in_channels, out_channels, 1, stride, activation=None)
        self.same = nn.BatchNorm2d(in_channels) if stride == 1 and in_channels == out_channels else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            weight, bias = self.kernel()
            return self.relu(F.conv2d(x, weight, bias, self.stride, padding=1))
        branches = self.large(x) + self.small(x)
        return self.relu(branches if self.same is None else branches + self.same(x))

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals the branches."""
        middle = (1, 1, 1, 1)  # a 1x1 kernel in the middle of 3x3 zeros
        weight, bias = _folded(self.large.conv.weight, self.large.bn)
        small, small_bias = _folded(self.small.conv.weight, self.small.bn)
        weight, bias = weight + F.pad(small, middle), bias + small_bias
        if self.same is not None:
            identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)[:, :, None, None]
            same, same_bias = _folded(identity, self.same)
            weight, bias = weight + F.pad(same, middle), bias + same_bias
        return weight, bias

    def fused(self) -> nn.Sequential:
        """That convolution and the ReLU, as modules."""
        weight, bias = self.kernel()
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, self.stride, padding=1)
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        return nn.Sequential(conv, nn.ReLU(inplace=True))


def fuse_branches(module: nn.Module) -> nn.Module:
    """A module whose convolutions of several branches have become one; the module itself changes, too."""
    if isinstance(module, RepConv):
        return module.fused()
    for name, child in module.named_children():
        setattr(module, name, fuse_branches(child))
    return module


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution without bias and the norm after it."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class Upsample(nn.Module):
    """Resize an image-like tensor to the height and width of another, bilinear with corners aligned."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(x, like, align_corners=True)


def resize(
    x: Tensor, like: Tensor, mode: Literal["nearest", "bilinear"] = "bilinear", *, align_corners: bool = False
) -> Tensor:
    """A map N, C, h, w at the height and width of another."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode=mode, align_corners=align_corners if mode == "bilinear" else None)


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
