"""DDRNet: two branches of different resolution that exchange maps.

Paper: Hong et al. 2021, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road
Scenes". Original code: ydhongHIT/DDRNet (MIT); facts only, no code is carried over. The default is DDRNet-23-slim,
and `width=64` is DDRNet-23. Both execute the same operations as the released networks. The authors' auxiliary head is
left to training. DDRNet-39 exchanges maps once more, so it cannot be built here.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize
from stdc_search.network.models.peers.pyramid import Dappm
from stdc_search.network.models.peers.residual import Bottleneck, Head, Stem, basic_blocks, chain


class BilateralFusion(nn.Module):
    """Adds each branch to the other. Inputs and outputs are maps before their ReLU.

    Args:
        high_channels: channels of the branch of high resolution.
        down: channels after each strided convolution from high to low resolution; the last equals the low branch's.
    """

    def __init__(self, high_channels: int, down: tuple[int, ...]) -> None:
        super().__init__()
        steps = itertools.pairwise((high_channels, *down))
        self.down = chain(ConvNorm(a, b, stride=2, activation=None) for a, b in steps)
        self.compress = ConvNorm(down[-1], high_channels, 1, activation=None)

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        to_high = resize(self.compress(F.relu(low)), high)
        to_low = self.down(F.relu(high))  # reads the map from before the exchange, as released
        return high + to_high, low + to_low


class Ddrnet(nn.Module):
    """Image N, 3, H, W -> scores of 1/8 and the high branch after the first exchange.

    Args:
        classes: outputs.
        width: channels of the stem, C below.
        depths: basic blocks of the stages from 1/4 to 1/32.
        high_depth: basic blocks of the high branch before each exchange.
        pyramid_width: channels of every scale of the pyramid.
    """

    def __init__(
        self,
        classes: int,
        width: int = 32,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        high_depth: int = 2,
        pyramid_width: int = 128,
    ) -> None:
        super().__init__()
        c2, c4, c8, c16 = (width * factor for factor in (2, 4, 8, 16))
        self.stem = Stem(width)
        self.stage1 = chain(basic_blocks(width, width, depths[0]))
        self.stage2 = chain(basic_blocks(width, c2, depths[1], stride=2))
        self.low3 = chain(basic_blocks(c2, c4, depths[2], stride=2))
        self.low4 = chain(basic_blocks(c4, c8, depths[3], stride=2))
        self.low5 = Bottleneck(c8, c16, stride=2)
        self.high3 = chain(basic_blocks(c2, c2, high_depth))
        self.high4 = chain(basic_blocks(c2, c2, high_depth))
        self.high5 = Bottleneck(c2, c4)
        self.exchange3 = BilateralFusion(c2, (c4,))
        self.exchange4 = BilateralFusion(c2, (c4, c8))
        self.pyramid = Dappm(c16, pyramid_width, c4)
        self.head = Head(c4, c2, classes)
        self.levels = (c2,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stage1(self.stem(image)))  # C, 1/4
        x = F.relu(self.stage2(x))  # 2C, 1/8
        high, low = self.exchange3(self.high3(x), self.low3(x))  # 2C, 1/8; 4C, 1/16
        level = high
        high, low = self.exchange4(self.high4(F.relu(high)), self.low4(F.relu(low)))  # 2C, 1/8; 8C, 1/32
        high = self.high5(F.relu(high))  # 4C, 1/8
        context = self.pyramid(self.low5(F.relu(low)))  # 4C, 1/64
        return self.head(high + resize(context, high)), level
