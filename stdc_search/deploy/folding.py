"""A network as it is deployed: norms folded, less work after up-sampling, the label map without scores of pixels."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stdc_search.network.models.decoder import UpConvX
from stdc_search.network.models.label_map import LabelMap
from stdc_search.network.models.segmenter import Segmenter

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
    """`UpConvX` without its norm; where it doubles sides, with 4/9 of the multiplications.

    Of the nine points that a 3x3 kernel sees after nearest doubling some are copies of each other. The four that are
    left, with the sums of their weights, are those of a transposed convolution.
    """

    def __init__(self, folded: UpConvX) -> None:
        super().__init__()
        self.plain = folded
        conv, shifts = folded.conv, ((1, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1))
        weight = torch.stack([F.pad(conv.weight.flip(2, 3), shift) for shift in shifts]).sum(0)
        self.weight = nn.Parameter(weight.transpose(0, 1).contiguous(), requires_grad=False)
        self.bias = conv.bias

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        if like.shape[2:] != (2 * x.shape[2], 2 * x.shape[3]):
            return self.plain(x, like)
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1).relu()


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


def _fold_norms(sequence: nn.Sequential) -> None:
    """Make a convolution and the batch norm after it one convolution; in the norm's place nothing is done."""
    for (name, part), (norm_name, norm) in pairwise(sequence.named_children()):
        if isinstance(part, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(sequence, name, fuse_conv_bn_eval(part, norm))
            setattr(sequence, norm_name, nn.Identity())
