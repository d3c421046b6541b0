"""RegSeg: RegNet blocks whose 3x3 convolutions split into an undilated and a dilated half.

Paper: Gao 2021, "Rethinking Dilated Convolution for Real-time Semantic Segmentation".
Reference code: RolandGao/RegSeg (MIT), used for facts only; no code is carried over. Default: its exp48.
exp53: `widths=(32, 48, 120, 336, 384)`, `depths=(2, 6)`, `group_width=24`, `decoder_widths=(16, 128, 256)`.

Convolutions, parameters and MACs equal the reference for both. Differences: a block has at most two dilations, 1 and
another one, as in both published networks. The last up-sampling to the image's size is left to the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize


class SqueezeExcitation(nn.Module):
    """Scales each channel by a weight that depends on all channels' averages."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class SplitConv(nn.Module):
    """Grouped 3x3 convolution of the first half of the channels; a dilated one of the second half."""

    def __init__(self, channels: int, dilation: int, group_width: int) -> None:
        super().__init__()
        half = channels // 2
        groups = half // group_width
        self.near = nn.Conv2d(half, half, 3, padding=1, groups=groups, bias=False)
        self.far = nn.Conv2d(half, half, 3, padding=dilation, dilation=dilation, groups=groups, bias=False)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        near, far = x.chunk(2, dim=1)
        return self.norm(torch.cat([self.near(near), self.far(far)], dim=1))


class Shortcut(nn.Sequential):
    """Brings a block's input into the shape of its output; nothing if it has that shape."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if stride == 2:
            # An odd height must become as large here as after the strided convolution of the block.
            self.append(nn.AvgPool2d(2, ceil_mode=True))
        if stride == 2 or in_channels != out_channels:
            self.append(ConvNorm(in_channels, out_channels, 1, activation=None))


class DilatedBlock(nn.Module):
    """D block: RegNet's Y block with a split convolution if the dilation is not 1."""

    def __init__(
        self, in_channels: int, out_channels: int, group_width: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.reduce = ConvNorm(in_channels, out_channels, 1)
        if dilation == 1:
            self.conv = ConvNorm(out_channels, out_channels, 3, stride, groups=out_channels // group_width)
        else:
            self.conv = SplitConv(out_channels, dilation, group_width)
        self.attention = SqueezeExcitation(out_channels, max(in_channels // 4, 1))
        self.expand = ConvNorm(out_channels, out_channels, 1, activation=None)
        self.shortcut = Shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.attention(self.conv(self.reduce(x))))
        return self.relu(y + self.shortcut(x))


class Decoder(nn.Module):
    """Adds the 1/16 map to the 1/8 map, then concatenates the 1/4 map."""

    def __init__(self, in_channels: tuple[int, int, int], widths: tuple[int, int, int]) -> None:
        super().__init__()
        detail, middle, deep = widths
        self.skip4 = ConvNorm(in_channels[0], detail, 1)
        self.skip8 = ConvNorm(in_channels[1], deep, 1)
        self.reduce16 = ConvNorm(in_channels[2], deep, 1)
        self.fuse8 = ConvNorm(deep, middle)
        self.fuse4 = ConvNorm(middle + detail, middle)

    def forward(self, x4: Tensor, x8: Tensor, x16: Tensor) -> tuple[Tensor, Tensor]:
        x8, x4 = self.skip8(x8), self.skip4(x4)
        x8 = self.fuse8(x8 + resize(self.reduce16(x16), x8))
        return self.fuse4(torch.cat([resize(x8, x4), x4], dim=1)), x8


class Regseg(nn.Module):
    """RegSeg exp48 by default.

    Args:
        classes: number of classes.
        widths: channels at 1/2, 1/4, 1/8 and 1/16, then of the last block.
        depths: blocks at 1/4 and 1/8.
        dilations: of the second half of the channels, one per block after the first at 1/16; 1 does not split.
        group_width: channels of a group; it divides all widths, and half the width of blocks that split.
        decoder_widths: of the 1/4 map before fusion, of the fused maps, and of the 1/8 and 1/16 maps before fusion.
    """

    def __init__(
        self,
        classes: int,
        widths: tuple[int, int, int, int, int] = (32, 48, 128, 256, 320),
        depths: tuple[int, int] = (1, 3),
        dilations: tuple[int, ...] = (1, 2, 4, 4, 4, 4, 14, 14, 14, 14, 14, 14, 14),
        group_width: int = 16,
        decoder_widths: tuple[int, int, int] = (8, 64, 128),
    ) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth, last = widths
        self.stem = ConvNorm(3, half, 3, stride=2)
        self.stage4 = stage(half, quarter, group_width, (1,) * (depths[0] - 1))
        self.stage8 = stage(quarter, eighth, group_width, (1,) * (depths[1] - 1))
        self.stage16 = stage(eighth, sixteenth, group_width, dilations[:-1])
        self.stage16.append(DilatedBlock(sixteenth, last, group_width, dilation=dilations[-1]))
        self.decoder = Decoder((quarter, eighth, last), decoder_widths)
        self.classifier = nn.Conv2d(decoder_widths[1], classes, 1)
        self.levels = (decoder_widths[1], last)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores at 1/4, then the decoder's 1/8 map and the trunk's 1/16 map."""
        x4 = self.stage4(self.stem(image))  # 1/4
        x8 = self.stage8(x4)  # 1/8
        x16 = self.stage16(x8)  # 1/16
        fused, middle = self.decoder(x4, x8, x16)  # 1/4, 1/8
        return self.classifier(fused), middle, x16


def stage(in_channels: int, out_channels: int, group_width: int, dilations: tuple[int, ...]) -> nn.Sequential:
    """A block that halves the map, then one block for each dilation."""
    first = DilatedBlock(in_channels, out_channels, group_width, stride=2)
    return nn.Sequential(first, *(DilatedBlock(out_channels, out_channels, group_width, dilation=d) for d in dilations))
