"""The paper's formulas hold of the modules that are built."""

import pytest
from torch import nn

from stdc_search.network.models.analysis import equation_3, receptive_fields
from stdc_search.network.models.stdc import AverageDown, DepthwiseDown, StdcModule


@pytest.mark.parametrize("blocks", range(2, 8))
@pytest.mark.parametrize(("in_channels", "out_channels"), [(256, 256), (64, 256), (96, 128), (3, 64)])
def test_equation_3_is_the_weights_of_a_stride_1_module(in_channels, out_channels, blocks):
    module = StdcModule(in_channels, out_channels, blocks)
    weights = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Conv2d))
    assert equation_3(in_channels, out_channels, blocks) == weights
    assert sum(parameter.numel() for parameter in module.parameters()) == weights + 2 * out_channels


def test_equation_3_counts_a_module_of_stage_3_as_it_is():
    assert equation_3(256, 256, 4) == 134_144


@pytest.mark.parametrize(
    ("stride", "down", "fields"),
    [
        (1, DepthwiseDown, (1, 3, 5, 7)),  # Table 1, S = 1
        (2, None, (3, 3, 7, 11)),  # Table 1, S = 2, as in Figure 3c
        (2, DepthwiseDown, (3, 7, 11, 15)),  # as released
        (2, AverageDown, (3, 7, 11, 15)),
    ],
)
def test_receptive_fields_are_table_1_s_or_the_released_ones(stride, down, fields):
    assert receptive_fields(StdcModule(4, 16, 4, stride, down)) == fields


def test_more_blocks_see_further():
    assert receptive_fields(StdcModule(4, 64, 7)) == (1, 3, 5, 7, 9, 11, 13)
