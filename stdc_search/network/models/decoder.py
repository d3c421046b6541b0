"""Decoder and heads of STDC-Seg: BiSeNet's context path and feature fusion (Fan et al. 2021, section 3.2, Figure 4).

Original code: MichaelFan01/STDC-Seg. Up-sampling between levels is nearest, as there. Its norms are activated
batch norms, which scale by |weight| + 1e-5; here they are plain ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stdc_search.network.models.context import GlobalContext
from stdc_search.network.models.layers import ConvX, resize


class AttentionRefinement(nn.Module):
    """3x3 convolution with channel attention over the whole map (ARM)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvX(in_channels, out_channels)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.attention(x)


class UpConvX(ConvX):
    """Nearest up-sampling to the height and width of another map, then ConvX."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return super().forward(resize(x, like, "nearest"))


class ContextPath(nn.Module):
    """Refines the deep stages from the deepest upwards.

    Args:
        in_channels: channels of every stage but the first, shallow to deep.
        widths: output channels of each stage; the result of a level has the channels of the next shallower one.
        refine: in channels, out channels -> what refines a stage.
        context: in channels, width -> what is added to the deepest stage; None: nothing.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        widths: Sequence[int],
        refine: Callable[[int, int], nn.Module] = AttentionRefinement,
        context: Callable[[int, int], nn.Module] | None = GlobalContext,
    ) -> None:
        super().__init__()
        self.average = None if context is None else context(in_channels[-1], widths[-1])
        self.refine = nn.ModuleList(map(refine, in_channels, widths))
        self.smooth = nn.ModuleList(map(UpConvX, widths, level_widths(widths)))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turn the maps of all stages, shallow to deep, into levels with the sizes of all but the deepest."""
        *_, deepest = features
        context = None if self.average is None else resize(self.average(deepest), deepest, "nearest")
        levels: list[Tensor] = []
        for i in reversed(range(len(self.refine))):
            refined = self.refine[i](features[i + 1])
            context = refined if context is None else context + refined
            context = self.smooth[i](context, features[i])
            levels.insert(0, context)
        return tuple(levels)


def level_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Channels of the levels that a context path with these widths returns."""
    return (widths[0], *widths[:-1])


class FeatureFusion(nn.Module):
    """Concatenates the shallow map and the context, then applies channel attention (FFM); `squeeze` narrows that."""

    def __init__(self, shallow_channels: int, context_channels: int, out_channels: int, squeeze: int = 4) -> None:
        super().__init__()
        self.conv = ConvX(shallow_channels + context_channels, out_channels, kernel_size=1)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels // squeeze, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels // squeeze, out_channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, shallow: Tensor, context: Tensor) -> Tensor:
        x = self.conv(torch.cat([shallow, context], dim=1))
        return x + x * self.attention(x)


class AdditiveFusion(nn.Module):
    """Adds the shallow map and the context, each after a 1x1 convolution."""

    def __init__(self, shallow_channels: int, context_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shallow = ConvX(shallow_channels, out_channels, kernel_size=1)
        self.context = ConvX(context_channels, out_channels, kernel_size=1)

    def forward(self, shallow: Tensor, context: Tensor) -> Tensor:
        return self.shallow(shallow) + self.context(context)


class GatedFusion(nn.Module):
    """Takes the shallow map at boundaries and the context elsewhere, as PIDNet's boundary-guided fusion (Bag) does.

    `boundary` finds the boundaries. Detail guidance can train it.
    """

    def __init__(self, shallow_channels: int, context_channels: int, out_channels: int, boundary_width: int) -> None:
        super().__init__()
        self.boundary = Head(shallow_channels, boundary_width, 1, 1)
        self.shallow = ConvX(shallow_channels, out_channels, kernel_size=1)
        self.context = ConvX(context_channels, out_channels, kernel_size=1)

    def forward(self, shallow: Tensor, context: Tensor) -> Tensor:
        gate = self.boundary(shallow).sigmoid()
        return gate * self.shallow(shallow) + (1 - gate) * self.context(context)


class Head(nn.Module):
    """3x3 convolutions, then 1x1 to the outputs; no dropout, as released."""

    def __init__(self, in_channels: int, width: int, depth: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(ConvX(width if i else in_channels, width) for i in range(depth)))
        self.out = nn.Conv2d(width, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.convs(x))
