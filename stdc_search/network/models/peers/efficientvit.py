"""EfficientViT-Seg: inverted residuals, and linear attention over several scales in the deep stages.

Paper: Cai, Li, Hu, Gan and Han 2023, "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction".
Reference code: mit-han-lab/efficientvit (Apache-2.0), used for facts only; no code is carried over. Default: B0.
B1: `widths=(16, 32, 64, 128, 256)`, `depths=(1, 2, 3, 3, 4)`, `decoder_width=64`, `decoder_depth=3`.

Convolutions, parameters and MACs equal the reference for both. Differences: attention never runs in fp16, and the
last up-sampling to the image's size is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm

HARDSWISH = partial(nn.Hardswish, inplace=True)
EXPANSION = 4

NormedConv = partial(ConvNorm, activation=HARDSWISH)


class BiasedConv(nn.Sequential):
    """Convolution with bias and Hardswish, without a norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups)
        super().__init__(conv, HARDSWISH())


class Residual(nn.Sequential):
    """Modules in a row, added to their input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


class InvertedResidual(nn.Sequential):
    """1x1 convolution to more channels, depthwise 3x3, 1x1 back (MBConv); `conv` makes the first two."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, conv: Callable[..., nn.Module] = NormedConv
    ) -> None:
        wide = in_channels * EXPANSION
        super().__init__(
            conv(in_channels, wide, 1),
            conv(wide, wide, 3, stride, groups=wide),
            ConvNorm(wide, out_channels, 1, activation=None),
        )


class LinearAttention(nn.Module):
    """Attention with ReLU as its kernel, over pixels and over 5x5 neighbourhoods."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        wide = 3 * channels
        self.qkv = nn.Conv2d(channels, wide, 1, bias=False)
        self.aggregate = nn.Sequential(
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False),
            nn.Conv2d(wide, wide, 1, groups=wide // head_dim, bias=False),
        )
        self.project = ConvNorm(2 * channels, channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, self.aggregate(qkv)], dim=1)
        heads = qkv.reshape(n, -1, 3 * self.head_dim, height * width)  # N, heads of both scales, 3 * head_dim, pixels
        y = attend(*heads.chunk(3, dim=2)).to(x.dtype)
        return self.project(y.reshape(n, -1, height, width))


# Sums over all pixels overflow in fp16, which only CUDA's autocast uses here. The range of bf16 is that of float32.
@torch.autocast("cuda", enabled=False)
def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention of queries, keys and values, each N, heads, head_dim, pixels."""
    q, k = F.relu(q.float()), F.relu(k.float())
    v = F.pad(v.float(), (0, 0, 0, 1), value=1.0)  # the row of ones collects the sum of the weights
    # Values times keys come first: the cost grows with the number of pixels, not with its square.
    y = (v @ k.transpose(2, 3)) @ q
    # Pixels without weight become 0. The reference adds 1e-15, which the ONNX exporter drops: 0 / 0 follows.
    return y[:, :, :-1] / y[:, :, -1:].clamp(min=1e-15)


class Efficientvit(nn.Module):
    """EfficientViT-Seg B0 by default.

    Args:
        classes: number of classes.
        widths: channels at 1/2, 1/4, 1/8, 1/16 and 1/32; `head_dim` divides the last two.
        depths: blocks at each of them; 1/16 and 1/32 have one more, which halves the map.
        head_dim: channels of an attention head.
        decoder_width: channels of the decoder.
        decoder_depth: inverted residuals of the decoder.
    """

    def __init__(
        self,
        classes: int,
        widths: tuple[int, int, int, int, int] = (8, 16, 32, 64, 128),
        depths: tuple[int, int, int, int, int] = (1, 2, 2, 2, 2),
        head_dim: int = 16,
        decoder_width: int = 32,
        decoder_depth: int = 1,
    ) -> None:
        super().__init__()
        w = widths[0]
        blocks = (Residual(NormedConv(w, w, 3, groups=w), ConvNorm(w, w, 1, activation=None)) for _ in range(depths[0]))
        self.stem = nn.Sequential(NormedConv(3, w, 3, stride=2), *blocks)
        self.stage4 = conv_stage(widths[0], widths[1], depths[1])
        self.stage8 = conv_stage(widths[1], widths[2], depths[2])
        self.stage16 = attention_stage(widths[2], widths[3], depths[3], head_dim)
        self.stage32 = attention_stage(widths[3], widths[4], depths[4], head_dim)
        self.reduce = nn.ModuleList(ConvNorm(width, decoder_width, 1, activation=None) for width in widths[2:])
        refine = (Residual(InvertedResidual(decoder_width, decoder_width)) for _ in range(decoder_depth))
        wide = decoder_width * EXPANSION
        self.head = nn.Sequential(*refine, NormedConv(decoder_width, wide, 1), nn.Conv2d(wide, classes, 1))
        self.levels = (widths[3], widths[4])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores at 1/8, then the trunk's 1/16 and 1/32 maps."""
        x8 = self.stage8(self.stage4(self.stem(image)))  # 1/8
        x16 = self.stage16(x8)  # 1/16
        x32 = self.stage32(x16)  # 1/32
        fused, *others = (reduce(x) for reduce, x in zip(self.reduce, (x8, x16, x32), strict=True))
        for x in others:
            fused = F.interpolate(x, size=x8.shape[2:], mode="bicubic", align_corners=False) + fused
        return self.head(fused), x16, x32


def conv_stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """Inverted residuals; the first one halves the map."""
    others = (Residual(InvertedResidual(out_channels, out_channels)) for _ in range(depth - 1))
    return nn.Sequential(InvertedResidual(in_channels, out_channels, stride=2), *others)


def attention_stage(in_channels: int, out_channels: int, depth: int, head_dim: int) -> nn.Sequential:
    """An inverted residual that halves the map, then pairs of attention and inverted residual."""
    stage = nn.Sequential(InvertedResidual(in_channels, out_channels, stride=2, conv=BiasedConv))
    for _ in range(depth):
        stage.append(Residual(LinearAttention(out_channels, head_dim)))
        stage.append(Residual(InvertedResidual(out_channels, out_channels, conv=BiasedConv)))
    return stage
