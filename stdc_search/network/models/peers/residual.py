"""Parts that DDRNet, PIDNet and SCTNet share: stem, residual blocks and pre-activated convolutions.

Blocks: He et al. 2016, "Deep Residual Learning for Image Recognition". Unlike there, a block ends with the addition:
these families also read the map before its ReLU, so the ReLU stands between blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from stdc_search.network.models.layers import ConvNorm


class NormConv(nn.Sequential):
    """Batch norm, ReLU, convolution: the order of ConvNorm reversed. Keeps height and width."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, groups: int = 1, bias: bool = False
    ) -> None:
        padding = kernel_size // 2
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, groups=groups, bias=bias),
        )


class Stem(nn.Sequential):
    """Image to a map of 1/4: two strided 3x3 convolutions, which keep their bias before the norm as released."""

    def __init__(self, width: int) -> None:
        super().__init__(ConvNorm(3, width, stride=2, bias=True), ConvNorm(width, width, stride=2, bias=True))


class Head(nn.Sequential):
    """Map to scores: a pre-activated 3x3 convolution, then a 1x1."""

    def __init__(self, in_channels: int, width: int, classes: int, *, bias: bool = False) -> None:
        super().__init__(NormConv(in_channels, width, 3, bias=bias), NormConv(width, classes, bias=True))


class _Residual(nn.Module):
    """Convolutions beside a shortcut, added without ReLU; the shortcut is a 1x1 convolution if the shape changes."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, bias: bool, convs: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, bias=bias, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x) + self.shortcut(x)


class BasicBlock(_Residual):
    """Two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, bias: bool = False) -> None:
        convs = (
            ConvNorm(in_channels, out_channels, stride=stride, bias=bias),
            ConvNorm(out_channels, out_channels, bias=bias, activation=None),
        )
        super().__init__(in_channels, out_channels, stride, bias, convs)


class Bottleneck(_Residual):
    """1x1, 3x3 and 1x1 convolutions; the first two have half of the output's channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        width = out_channels // 2
        convs = (
            ConvNorm(in_channels, width, 1),
            ConvNorm(width, width, stride=stride),
            ConvNorm(width, out_channels, 1, activation=None),
        )
        super().__init__(in_channels, out_channels, stride, False, convs)


def basic_blocks(
    in_channels: int, out_channels: int, depth: int, stride: int = 1, *, bias: bool = False
) -> list[BasicBlock]:
    """Blocks of a stage; the first one changes the shape."""
    others = (BasicBlock(out_channels, out_channels, bias=bias) for _ in range(depth - 1))
    return [BasicBlock(in_channels, out_channels, stride, bias=bias), *others]


def chain(modules: Iterable[nn.Module]) -> nn.Sequential:
    """Modules with ReLU between them and none after the last."""
    chained = nn.Sequential()
    for module in modules:
        if len(chained):
            chained.append(nn.ReLU(inplace=True))
        chained.append(module)
    return chained
