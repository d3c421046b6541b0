"""A network as it is deployed: norms folded, less work after up-sampling, the label map without scores of pixels."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stdc_search.models.decoder import UpConvX
from stdc_search.models.label_map import LabelMap
from stdc_search.models.segmenter import Segmenter

Output = Literal["labels", "logits"]


class Labeller(nn.Module):
    """A network that answers with the best class in place of scores.

    Of pixels: uint8, N, H, W; of an image: int64, N.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.label_map = network, LabelMap()

    def forward(self, image: Tensor) -> Tensor:
        if isinstance(self.network, Segmenter):
            return self.label_map(self.network.scores(image).float(), image)
        return self.network(image).argmax(1)


class Lowered(nn.Module):
    """A network of lower precision that takes float32 and, where it gives scores, gives float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, image: Tensor) -> Tensor:
        result = self.network(image.to(self.dtype))
        return result.float() if result.is_floating_point() else result


class UpConv(nn.Module):
    """`UpConvX` without its norm, where sides are doubled with 4/9 of its multiplications.

    Of the nine points that a 3x3 kernel sees after nearest up-sampling by two, some are copies: four are left, whose
    weights are sums, others for even and odd rows and columns. So four 2x2 convolutions of the small map, here one
    with four times the channels, give all pixels.
    """

    def __init__(self, folded: UpConvX) -> None:
        super().__init__()
        self.plain = folded
        conv = folded.conv
        kernels = _halves(_halves(conv.weight, 3), 3).permute(2, 0, 1, 3, 4, 5)  # out, row, column, in, 2, 2
        self.conv = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 2, padding=1)
        self.conv.weight.data = kernels.flatten(0, 2).contiguous()
        assert conv.bias is not None
        self.conv.bias.data = conv.bias.data.repeat_interleave(4)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        if like.shape[2:] != (2 * x.shape[2], 2 * x.shape[3]):
            return self.plain(x, like)
        return F.pixel_shuffle(self.conv(x).relu(), 2)[:, :, 1:-1, 1:-1]


def deployed(module: nn.Module, output: Output, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a network as it is deployed, in eval mode; the network itself is left as it is.

    Args:
        module: image -> scores.
        output: its scores, or the best class of each pixel or image.
        dtype: of weights and features; what goes in and comes out is float32 in any case.
    """
    network = copy.deepcopy(module).eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            _fold_norms(part)
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, UpConvX):
                setattr(part, name, UpConv(child))
    network = Labeller(network) if output == "labels" else network
    return (network if dtype == torch.float32 else Lowered(network, dtype)).eval()


def _halves(weight: Tensor, dim: int) -> Tensor:
    """The kernels of odd rows and of even ones along a side, stacked; the odd ones are the first of a pair, shifted."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([torch.stack([first + middle, last], dim), torch.stack([first, middle + last], dim)])


def _fold_norms(sequence: nn.Sequential) -> None:
    """Make a convolution and the batch norm after it one convolution; in the norm's place nothing is done."""
    for (name, part), (norm_name, norm) in pairwise(sequence.named_children()):
        if isinstance(part, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(sequence, name, fuse_conv_bn_eval(part, norm))
            setattr(sequence, norm_name, nn.Identity())
