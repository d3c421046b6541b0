"""SCTNet: one convolutional branch whose attention is built from convolutions.

Paper: Xu et al. 2024, "SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation".
Original code: xzz777/SCTNet (MIT); facts only, no code is carried over. The default is SCTNet-S, and `width=64` is
SCTNet-B. Both execute the same operations as the released networks, except for a second ReLU directly after another.
The authors train with a transformer branch that shapes the features; it is left to training. Unconfirmed assumptions:
- the initial weights of the attention's kernels
- the place of the authors' auxiliary head: their configuration has it on a map of `2 * width` channels; here it is that
  of the 1/8 stage
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm, resize
from stdc_search.network.models.peers.pyramid import Dappm
from stdc_search.network.models.peers.residual import Head, Stem, basic_blocks, chain


class ConvAttention(nn.Module):
    """Attention of pixels to learned kernels, one vertical and one horizontal.

    A kernel gives the affinities, and its transpose turns them into values.

    Args:
        channels: channels of input and output.
        heads: groups in which affinities are normalised.
        head_channels: affinities of a head.
        kernel_size: odd length of the kernels.
    """

    def __init__(self, channels: int, heads: int, head_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(channels)
        self.vertical = nn.Parameter(torch.empty(heads * head_channels, channels, kernel_size, 1))
        self.horizontal = nn.Parameter(torch.empty(heads * head_channels, channels, 1, kernel_size))
        for kernel in (self.vertical, self.horizontal):
            nn.init.trunc_normal_(kernel, std=0.001)  # a block starts close to the identity

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self._attend(x, self.vertical) + self._attend(x, self.horizontal)

    def _attend(self, x: Tensor, kernel: Tensor) -> Tensor:
        padding = kernel.shape[2] // 2, kernel.shape[3] // 2
        affinity = F.conv2d(x, kernel, padding=padding)
        return F.conv2d(self._normalise(affinity), kernel.transpose(0, 1), padding=padding)

    def _normalise(self, affinity: Tensor) -> Tensor:
        """Softmax over pixels, then division by the sum over the channels of a head."""
        heads = affinity.unflatten(1, (self.heads, -1)).flatten(3).softmax(dim=3)  # N, heads, channels, pixels
        heads = heads / (heads.sum(dim=2, keepdim=True) + 1e-6)
        return heads.reshape(affinity.shape)


class ConvFormerBlock(nn.Module):
    """Attention, then two 3x3 convolutions, each with a shortcut (CFBlock)."""

    def __init__(self, channels: int, heads: int, head_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.attention = ConvAttention(channels, heads, head_channels, kernel_size)
        self.feed_forward = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class Sctnet(nn.Module):
    """Image N, 3, H, W -> scores of 1/8 and the map of the stage at 1/8.

    Args:
        classes: outputs.
        width: channels of the stem, C below.
        depths: basic blocks of the stages from 1/4 to 1/16.
        attention_depths: attention blocks of 1/16 and of 1/32.
        heads: groups in which the attention is normalised.
        head_channels: attention channels of a head.
        kernel_size: odd length of the attention's kernels.
    """

    def __init__(
        self,
        classes: int,
        width: int = 32,
        depths: tuple[int, int, int] = (2, 2, 2),
        attention_depths: tuple[int, int] = (1, 2),
        heads: int = 8,
        head_channels: int = 8,
        kernel_size: int = 7,
    ) -> None:
        super().__init__()
        c2, c4, c8 = (width * factor for factor in (2, 4, 8))

        def attention(channels: int, depth: int) -> list[ConvFormerBlock]:
            return [ConvFormerBlock(channels, heads, head_channels, kernel_size) for _ in range(depth)]

        # Every convolution but the attention's has a bias, as released.
        self.stem = Stem(width)
        self.stage1 = chain(basic_blocks(width, width, depths[0], bias=True))
        self.stage2 = chain(basic_blocks(width, c2, depths[1], stride=2, bias=True))
        blocks = basic_blocks(c2, c4, depths[2], stride=2, bias=True)
        self.stage3 = chain([*blocks, *attention(c4, attention_depths[0])])
        self.down = ConvNorm(c4, c8, stride=2, bias=True)
        self.stage4 = chain(attention(c8, attention_depths[1]))
        self.pyramid = Dappm(c8, c2, c2, bias=True)
        self.head = Head(c4, c4, classes, bias=True)
        self.levels = (c2,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stage1(self.stem(image)))  # C, 1/4
        detail = self.stage2(x)  # 2C, 1/8
        x = self.stage3(F.relu(detail))  # 4C, 1/16
        x = self.stage4(self.down(x))  # 8C, 1/32
        context = self.pyramid(x)  # 2C, 1/32
        fused = torch.cat([detail, resize(context, detail)], dim=1)  # 4C, 1/8
        return self.head(fused), detail
