"""Claims of the paper about its module, as functions: Equation 3 and Table 1 (Fan et al. 2021, section 3.1)."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn

from stdc_search.network.models.stdc import StdcModule


def equation_3(in_channels: int, out_channels: int, blocks: int) -> int:
    """Parameters of a stride-1 STDC module by the paper's Equation 3: S = NM / 2 + 3 N^2 (1 + 2^(3 - 2n)) / 2.

    It counts the weights of the convolutions. The only other parameters are the 2 N scales and shifts of the norms. The
    depthwise convolution of a released stride-2 module, 9 N / 2 weights, is not included.

    Args:
        in_channels: M.
        out_channels: N; a multiple of 2^(blocks - 1).
        blocks: n, at least 2.
    """
    m, n = Fraction(in_channels), Fraction(out_channels)
    weights = n * m / 2 + 3 * n**2 / 2 * (1 + Fraction(2) ** (3 - 2 * blocks))
    assert weights.denominator == 1, "out_channels is not a multiple of 2^(blocks - 1)"
    return int(weights)


def receptive_fields(module: StdcModule) -> tuple[int, ...]:
    """Height of the input that each concatenated block of a module sees (paper, Table 1), found from its gradients.

    All weights are set to one, so pass a module that you can discard.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)  # no path cancels another
    module.double().eval()
    widths = [block.conv.out_channels for block in module.blocks]  # pyright: ignore[reportAttributeAccessIssue]
    side = 8 * len(widths) + 9  # more than any of them sees
    image = torch.ones(1, module.blocks[0].conv.in_channels, side, side, dtype=torch.float64, requires_grad=True)  # pyright: ignore
    output = module(image)
    centre = output.shape[2] // 2
    fields = []
    for part in output.split(widths, dim=1):
        (gradient,) = torch.autograd.grad(part[0, :, centre, centre].sum(), image, retain_graph=True)
        fields.append(int(gradient.any(dim=3).any(dim=1).sum()))
    return tuple(fields)
