"""Structure of the STDC module, against the released code's facts."""

import pytest
import torch
from torch import nn

from stdc_search.network.models.stdc import StdcModule


@pytest.mark.parametrize("blocks", range(2, 8))
@pytest.mark.parametrize("stride", [1, 2])
def test_widths_halve_and_the_last_two_are_equal(blocks, stride):
    module = StdcModule(8, 128, blocks, stride)
    widths = [block.conv.out_channels for block in module.blocks]
    assert widths == [128 // 2**i for i in range(1, blocks)] + [128 // 2 ** (blocks - 1)]
    assert sum(widths) == 128
    height = -(-17 // stride)
    assert module(torch.randn(2, 8, 17, 17)).shape == (2, 128, height, height)


def test_only_the_first_block_is_pointwise():
    module = StdcModule(8, 32)
    assert [block.conv.kernel_size for block in module.blocks] == [(1, 1), (3, 3), (3, 3), (3, 3)]


def test_the_skip_pool_counts_its_padding():
    skip = StdcModule(8, 32, stride=2).skip
    pooled = skip(torch.ones(1, 1, 4, 4))
    assert pooled[0, 0].tolist() == [
        [pytest.approx(4 / 9), pytest.approx(6 / 9)],
        [pytest.approx(6 / 9), 1.0],
    ]


def test_the_depthwise_convolution_has_no_relu():
    module = StdcModule(8, 32, stride=2)
    assert not any(isinstance(layer, nn.ReLU) for layer in module.down.modules())
    depthwise = module.down[0]
    assert (depthwise.groups, depthwise.stride, depthwise.kernel_size) == (16, (2, 2), (3, 3))


def test_output_is_the_blocks_in_order():
    module = StdcModule(8, 32).eval()
    x = torch.randn(1, 8, 5, 5)
    outputs, y = [], x
    for block in module.blocks:
        conv, bn = block.conv, block.bn
        y = nn.functional.conv2d(y, conv.weight, padding=conv.padding)
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        y = ((y - bn.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + bn.bias.view(-1, 1, 1)).relu()
        outputs.append(y)
    torch.testing.assert_close(module(x), torch.cat(outputs, 1))
