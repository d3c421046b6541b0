"""Re-parameterised convolutions: three branches in training are one convolution afterwards."""

import pytest
import torch
from torch import nn

from stdc_search.network.models.layers import ConvNorm, RepConv, fuse_branches


def trained(module: nn.Module, channels: int) -> nn.Module:
    """A module whose norms have seen data, so that none of them is the identity."""
    for _ in range(3):
        module(torch.randn(4, channels, 9, 11) * 2 + 1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
    return module.eval()


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(5, 5, 1), (5, 5, 2), (3, 6, 1), (3, 6, 2)])
def test_one_convolution_equals_the_sum_of_the_branches(inputs, outputs, stride):
    torch.manual_seed(0)
    module = trained(RepConv(inputs, outputs, 3, stride), inputs).double()
    x = torch.randn(2, inputs, 9, 11, dtype=torch.float64)
    branches = module.large(x) + module.small(x)
    if (inputs, stride) == (outputs, 1):
        branches = branches + module.same(x)
    torch.testing.assert_close(module(x), branches.relu())
    torch.testing.assert_close(module.double().fused()(x), branches.relu(), rtol=1e-5, atol=1e-5)


def test_the_input_itself_is_a_branch_only_where_the_shape_stays():
    assert RepConv(4, 4).same is not None
    assert RepConv(4, 4, stride=2).same is None
    assert RepConv(4, 8).same is None


def test_branches_are_fused_wherever_they_are_and_give_the_same():
    torch.manual_seed(0)
    module = trained(nn.Sequential(ConvNorm(3, 4), RepConv(4, 4), nn.Sequential(RepConv(4, 8))), 3)
    x = torch.randn(1, 3, 9, 11)
    before = module(x)
    fused = fuse_branches(module)
    assert not [part for part in fused.modules() if isinstance(part, RepConv)]
    torch.testing.assert_close(fused(x), before)
