"""A network as deployed: norms folded, less work after up-sampling, the label map without scores per pixel."""

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
from stdc_search.network.models.layers import fuse_branches
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.onnx_file import file_in

Output = Literal["labels", "logits"]


class Labeller(nn.Module):
    """A network that returns the best class instead of scores: per pixel uint8 N, H, W, or per image int64 N."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.label_map = network, LabelMap()

    def forward(self, image: Tensor) -> Tensor:
        if (file := file_in(self.network)) is not None and file.gives_labels:
            return file.labels(image)
        if isinstance(self.network, Segmenter):
            scores = self.network.scores(image).float()
            same = scores.shape[2:] == image.shape[2:]
            return scores.argmax(1).to(torch.uint8) if same else self.label_map(scores, image)
        return self.network(image).argmax(1)


class Lowered(nn.Module):
    """A network of lower precision that takes float32 and returns scores as float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, image: Tensor) -> Tensor:
        result = self.network(image.to(self.dtype))
        return result.float() if result.is_floating_point() else result


class UpConv(nn.Module):
    """`UpConvX` without its norm, and with 4/9 of the multiplications where it doubles height and width.

    After nearest doubling, the nine points under a 3x3 kernel include copies. The four distinct points, with summed
    weights, are those of a transposed convolution.
    """

    def __init__(self, folded: UpConvX) -> None:
        super().__init__()
        self.plain = folded
        conv, shifts = folded.conv, ((1, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1))
        weight = torch.stack([F.pad(conv.weight.flip(2, 3), shift) for shift in shifts]).sum(0)
        self.weight = nn.Parameter(weight.transpose(0, 1).contiguous(), requires_grad=False)
        assert conv.bias is not None  # of the norm that was folded
        self.bias = nn.Parameter(conv.bias.clone(), requires_grad=False)  # pnnx cannot read a parameter of two modules

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        if like.shape[2:] != (2 * x.shape[2], 2 * x.shape[3]):
            return self.plain(x, like)
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1).relu()


def deployed(module: nn.Module, output: Output, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a network as deployed, in eval mode; the network itself is not modified.

    Args:
        module: image -> scores.
        output: its scores, or the best class of each pixel or image.
        dtype: of weights and features; inputs and outputs are always float32.
    """
    network = fuse_branches(copy.deepcopy(module).eval()).requires_grad_(False)
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
    """Merge a convolution with the batch norm after it; the norm becomes an identity."""
    for (name, part), (norm_name, norm) in pairwise(sequence.named_children()):
        if isinstance(part, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(sequence, name, fuse_conv_bn_eval(part, norm))
            setattr(sequence, norm_name, nn.Identity())
