"""ENet: narrow residual bottlenecks; the decoder puts values back where the encoder's max pools found them.

Paper: Paszke et al. 2016, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation".
Reference: davidtvs/PyTorch-ENet (MIT); parameters and MACs equal its inference graph where 8 divides the image size.
What differs:
- Max-unpooling exports to ONNX. `pixel_unshuffle` turns a window into channels, their argmax is the maximum's place,
  and `pixel_shuffle` puts the masked values back. The values equal those of torch's `max_unpool2d`.
- If 8 does not divide the image size, the map at 1/2 is padded with zeros to a multiple of 4; the scores are cropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import RELU, Activation, ConvNorm

PRELU: Activation = nn.PReLU  # one slope for all channels
RATIO = 4  # a bottleneck's input is this much wider than its inside


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Max pool 2x2, and the place 0 to 3 of each maximum in its window; height and width are even."""
    windows = F.pixel_unshuffle(x, 2).unflatten(1, (x.shape[1], 4))  # N, C, 4, h / 2, w / 2
    return windows.max(dim=2)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """Each value at its place in a 2x2 window of zeros."""
    window = torch.arange(4, device=x.device).view(1, 1, 4, 1, 1)
    spread = torch.where(places.unsqueeze(2) == window, x.unsqueeze(2), 0)  # N, C, 4, h, w
    return F.pixel_shuffle(spread.flatten(1, 2), 2)  # N, C, 2 h, 2 w


def regular(channels: int, activation: Activation, dilation: int = 1) -> nn.Module:
    return ConvNorm(channels, channels, dilation=dilation, activation=activation)


def asymmetric(channels: int, activation: Activation) -> nn.Module:
    return nn.Sequential(*(ConvNorm(channels, channels, side, activation=activation) for side in ((5, 1), (1, 5))))


Middle = Callable[[int, Activation], nn.Module]  # channels, activation -> what a bottleneck has inside


class Bottleneck(nn.Module):
    """1x1 to fewer channels, the middle, 1x1 back, spatial dropout, added to the input (Figure 2b)."""

    def __init__(
        self, channels: int, middle: Middle = regular, drop: float = 0.1, activation: Activation = PRELU
    ) -> None:
        super().__init__()
        width = channels // RATIO
        first = ConvNorm(channels, width, 1, activation=activation)
        last = ConvNorm(width, channels, 1, activation=activation)
        self.branch = nn.Sequential(first, middle(width, activation), last, nn.Dropout2d(drop))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.branch(x))


class Down(nn.Module):
    """Bottleneck that halves a map; also returns the places of the max pool beside it."""

    def __init__(self, in_channels: int, out_channels: int, drop: float) -> None:
        super().__init__()
        width = in_channels // RATIO
        self.extra = out_channels - in_channels
        first = ConvNorm(in_channels, width, 2, stride=2, activation=PRELU)
        last = ConvNorm(width, out_channels, 1, activation=PRELU)
        self.branch = nn.Sequential(first, regular(width, PRELU), last, nn.Dropout2d(drop))
        self.activation = PRELU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, places = pool(x)
        main = F.pad(pooled, (0, 0, 0, 0, 0, self.extra))  # the new channels are zero
        return self.activation(main + self.branch(x)), places


class Up(nn.Module):
    """Bottleneck that doubles a map; the max pool's places come from the encoder."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = in_channels // RATIO
        self.main = ConvNorm(in_channels, out_channels, 1, activation=None)
        double = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        norm = nn.BatchNorm2d(width)
        last = ConvNorm(width, out_channels, 1, activation=None)
        self.branch = nn.Sequential(ConvNorm(in_channels, width, 1), double, norm, RELU(), last, nn.Dropout2d(0.1))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return F.relu(unpool(self.main(x), places) + self.branch(x))


class Enet(nn.Module):
    """Image to scores of the image's size, and the encoder's output at 1/8; the authors train the encoder first.

    Args:
        classes: number of scores.
        widths: at 1/2, 1/4, 1/8; multiples of 4 that do not shrink.
        depth: regular bottlenecks at 1/4.
        dilations: at 1/8; before each dilated bottleneck there is a regular or, every second time, an asymmetric one.
        decoder_depths: regular bottlenecks of the decoder at 1/4 and 1/2.
    """

    def __init__(
        self,
        classes: int,
        widths: tuple[int, int, int] = (16, 64, 128),
        depth: int = 4,
        dilations: tuple[int, ...] = (2, 4, 8, 16, 2, 4, 8, 16),
        decoder_depths: tuple[int, int] = (2, 1),
    ) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.conv = nn.Conv2d(3, half - 3, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.norm = nn.Sequential(nn.BatchNorm2d(half), PRELU())
        self.down1 = Down(half, quarter, drop=0.01)
        self.stage1 = nn.Sequential(*(Bottleneck(quarter, drop=0.01) for _ in range(depth)))
        self.down2 = Down(quarter, eighth, drop=0.1)
        self.stage2 = nn.Sequential()
        for index, dilation in enumerate(dilations):
            self.stage2.append(Bottleneck(eighth, asymmetric if index % 2 else regular))
            self.stage2.append(Bottleneck(eighth, partial(regular, dilation=dilation)))
        self.up2 = Up(eighth, quarter)
        self.stage3 = nn.Sequential(*(Bottleneck(quarter, activation=RELU) for _ in range(decoder_depths[0])))
        self.up1 = Up(quarter, half)
        self.stage4 = nn.Sequential(*(Bottleneck(half, activation=RELU) for _ in range(decoder_depths[1])))
        self.score = nn.ConvTranspose2d(half, classes, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.levels: tuple[int, ...] = (eighth,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        height, width = image.shape[2:]
        x = self.norm(torch.cat([self.conv(image), self.pool(image)], dim=1))  # 1/2
        if height % 8 or width % 8:  # not the image: ONNX Runtime rejects the Pad before the max pool
            x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        x, places1 = self.down1(x)
        x, places2 = self.down2(self.stage1(x))  # 1/8
        deep = self.stage2(x)
        x = self.stage3(self.up2(deep, places2))  # 1/4
        x = self.stage4(self.up1(x, places1))  # 1/2
        return self.score(x)[:, :, :height, :width], deep
