"""DFANet: light Xception trunks in a row; each one also reads the maps of the one before.

Paper: Li, Xiong, Fan and Sun 2019, "DFANet: Deep Feature Aggregation for Real-Time Semantic Segmentation".
No code was released; this is rebuilt from facts of the paper. Default: DFANet-A; A' is A at 512 x 1024.
B: `widths=(32, 64, 128)`.

Parameters and MACs at 1024 x 1024: A 1,807,540 and 2.80 G, B 1,083,796 and 1.44 G. They round to the recorded 1.808 M
and 1.084 M; there is no graph to compare with. Among the variants that we counted, only this choice of norms and biases
does so. The paper's 7.8 "M" (A) and 4.9 "M" (B) are probably megabytes.

Assumptions: the decoder's width (unpublished); ReLU before a block's sum and none after it; bilinear resizing with
corners not aligned. The last up-sampling to the image's size is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize

STEM_WIDTH = 8


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution without a norm, then 1x1 convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
            ConvNorm(in_channels, out_channels, 1),
        )


class XceptionBlock(nn.Module):
    """Three separable convolutions, the first two narrow, added to the input or to its projection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        narrow = out_channels // 4
        self.convs = nn.Sequential(
            SeparableConv(in_channels, narrow, stride),
            SeparableConv(narrow, narrow),
            SeparableConv(narrow, out_channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x) + self.shortcut(x)


class Attention(nn.Module):
    """Scales each channel by a weight that depends on all channels' averages (fc attention)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        # The paper's hidden layer has 1000 channels, like an ImageNet classifier. Only with a bias do the counts match.
        self.average = nn.AdaptiveAvgPool2d(1)
        self.weights = nn.Sequential(nn.Conv2d(channels, hidden, 1), ConvNorm(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(self.average(x))


class Trunk(nn.Module):
    """Three stages and an attention. Every stage halves the map.

    Args:
        in_channels: of every stage.
        widths: output channels of every stage.
        depths: blocks of every stage.
        hidden: channels of the attention's hidden layer.
    """

    def __init__(self, in_channels: Sequence[int], widths: Sequence[int], depths: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(map(stage, in_channels, widths, depths))
        self.attention = Attention(widths[-1], hidden)

    def forward(self, x: Tensor, earlier: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
        """The map after attention, and the maps of every stage.

        Args:
            x: input of the first stage; `earlier` sets its size if given.
            earlier: maps of the previous trunk's stages, which join the inputs of the same stages here.
        """
        maps = []
        for i, stage in enumerate(self.stages):
            if earlier:
                x = torch.cat([resize(x, earlier[i]), earlier[i]], dim=1)
            x = stage(x)
            maps.append(x)
        return self.attention(x), maps


class Dfanet(nn.Module):
    """DFANet-A by default.

    Args:
        classes: number of classes.
        widths: channels of a trunk's three stages, multiples of 4.
        depths: blocks of a trunk's three stages.
        trunks: number of trunks, at least 2; each one works at half the resolution of the one before.
        attention_width: hidden channels of each attention.
        decoder_width: channels of the decoder.
    """

    def __init__(
        self,
        classes: int,
        widths: tuple[int, int, int] = (48, 96, 192),
        depths: tuple[int, int, int] = (4, 6, 4),
        trunks: int = 3,
        attention_width: int = 1000,
        decoder_width: int = 32,
    ) -> None:
        super().__init__()
        first, second, last = widths
        self.stem = ConvNorm(3, STEM_WIDTH, 3, stride=2)
        inputs = [(STEM_WIDTH, first, second)] + [(last + first, first + second, second + last)] * (trunks - 1)
        self.trunks = nn.ModuleList(Trunk(channels, widths, depths, attention_width) for channels in inputs)
        self.reduce = nn.ModuleList(ConvNorm(first, decoder_width, 1) for _ in range(trunks))
        self.classifier = nn.Conv2d(decoder_width, classes, 1)
        self.deep_classifiers = nn.ModuleList(nn.Conv2d(last, classes, 1) for _ in range(trunks))
        self.levels = (last,) * (trunks - 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores at 1/4, then the maps after attention of all trunks but the last: 1/16, 1/32."""
        x, maps = self.stem(image), []  # 1/2
        shallow, deep = [], []
        for trunk in self.trunks:
            x, maps = trunk(x, maps)
            shallow.append(maps[0])  # 1/4, 1/8, 1/16
            deep.append(x)  # 1/16, 1/32, 1/64
        largest = shallow[0]
        reduced = [resize(reduce(x), largest) for reduce, x in zip(self.reduce, shallow, strict=True)]
        deep_scores = (resize(scores(x), largest) for scores, x in zip(self.deep_classifiers, deep, strict=True))
        return sum(deep_scores, start=self.classifier(sum(reduced[1:], start=reduced[0]))), *deep[:-1]


def stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """A block that halves the map, then blocks that keep it."""
    others = (XceptionBlock(out_channels, out_channels) for _ in range(depth - 1))
    return nn.Sequential(XceptionBlock(in_channels, out_channels, stride=2), *others)
