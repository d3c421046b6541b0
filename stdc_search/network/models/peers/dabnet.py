"""DABNet: depthwise asymmetric bottlenecks; every stage sees the image again.

Paper: Li et al. 2019, "DABNet: Depth-wise Asymmetric Bottleneck for Real-time Semantic Segmentation".
Reference: Reagan1311/DABNet (MIT); parameters and MACs equal its inference graph.
What differs: `forward` ends at 1/8; the 2x2 max pool rounds odd sizes up, as the convolution beside it does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormAct(nn.Sequential):
    """Batch norm and PReLU with a slope per channel; the authors' epsilon is larger than torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


class ConvAct(nn.Sequential):
    """3x3 convolution without bias, batch norm, PReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        super().__init__(conv, NormAct(out_channels))


class Asymmetric(nn.Sequential):
    """Depthwise 3x1, then depthwise 1x3, both dilated."""

    def __init__(self, channels: int, dilation: int) -> None:
        tall = nn.Conv2d(
            channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1), groups=channels, bias=False
        )
        flat = nn.Conv2d(
            channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=channels, bias=False
        )
        super().__init__(tall, NormAct(channels), flat, NormAct(channels))


class DabModule(nn.Module):
    """Residual module: 3x3 to half the channels, a near and a dilated branch, 1x1 back."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Sequential(NormAct(channels), ConvAct(channels, half))
        self.near = Asymmetric(half, 1)
        self.far = Asymmetric(half, dilation)
        self.expand = nn.Sequential(NormAct(half), nn.Conv2d(half, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.reduce(x)  # C / 2; both branches keep it
        return x + self.expand(self.near(narrow) + self.far(narrow))


class PoolDown(nn.Module):
    """Halves and widens a map: strided 3x3 convolution beside a max pool."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, stride=2, ceil_mode=True)  # as large as the convolution's map
        self.norm = NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.conv(x), self.pool(x)], dim=1))


class Stage(nn.Module):
    """Halves the map, runs the modules, then joins both results with the image of that size."""

    def __init__(self, in_channels: int, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        widens = channels > in_channels
        self.down = PoolDown(in_channels, channels) if widens else ConvAct(in_channels, channels, stride=2)
        self.blocks = nn.Sequential(*(DabModule(channels, dilation) for dilation in dilations))
        self.out_channels = 2 * channels + 3
        self.norm = NormAct(self.out_channels)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        x = self.down(x)  # half of height and width
        return self.norm(torch.cat([self.blocks(x), x, image], dim=1))  # 2 C + 3


class Dabnet(nn.Module):
    """Image to scores at 1/8, and the result of the stage before at 1/4.

    Args:
        classes: number of scores.
        stem_width: of the three convolutions at 1/2.
        widths: of the stages at 1/4 and 1/8; even.
        dilations: of each stage's modules, one number a module.
    """

    def __init__(
        self,
        classes: int,
        stem_width: int = 32,
        widths: tuple[int, int] = (64, 128),
        dilations: tuple[tuple[int, ...], tuple[int, ...]] = ((2, 2, 2), (4, 4, 8, 8, 16, 16)),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvAct(3, stem_width, stride=2), ConvAct(stem_width, stem_width), ConvAct(stem_width, stem_width)
        )
        self.halve = nn.AvgPool2d(3, stride=2, padding=1)
        self.norm = NormAct(stem_width + 3)
        self.shallow = Stage(stem_width + 3, widths[0], dilations[0])
        self.deep = Stage(self.shallow.out_channels, widths[1], dilations[1])
        self.classifier = nn.Conv2d(self.deep.out_channels, classes, 1, bias=False)
        self.levels: tuple[int, ...] = (self.shallow.out_channels,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        half = self.halve(image)
        quarter = self.halve(half)
        x = self.norm(torch.cat([self.stem(image), half], dim=1))  # 1/2
        shallow = self.shallow(x, quarter)  # 1/4
        deep = self.deep(shallow, self.halve(quarter))  # 1/8
        return self.classifier(deep), shallow
