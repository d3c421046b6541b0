"""The shapes that functions have when they are counted."""

import subprocess
import sys

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from stdc_search.network.counter import Counter

FEW, PAIRS = st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))
LENGTHS = st.integers(1, 12)


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def like_torch(function, *args, **kwargs):
    """Hold a function to torch's own shape, or to its own error."""
    try:
        expected = function(*args, **kwargs).shape
    except RuntimeError:
        with pytest.raises(RuntimeError), Counter():
            function(*args, **kwargs)
        return
    with Counter():
        assert function(*args, **kwargs).shape == expected


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(LENGTHS, LENGTHS, PAIRS, st.one_of(FEW, PAIRS), st.one_of(st.just("same"), FEW, PAIRS), PAIRS, FEW, FEW)
def test_convolutions(height, width, kernel, stride, padding, dilation, groups, given_channels):
    x, weight = meta(2, 2 * groups, height, width), meta(3 * groups, given_channels, *kernel)
    like_torch(F.conv2d, x, weight, None, stride, padding, dilation, groups)


@given(LENGTHS, LENGTHS, st.one_of(FEW, PAIRS), st.one_of(st.none(), PAIRS), st.integers(0, 2), st.booleans())
def test_average_pools(height, width, kernel, stride, padding, ceil_mode):
    most = min(kernel if isinstance(kernel, tuple) else (kernel,)) // 2
    like_torch(F.avg_pool2d, meta(2, 3, height, width), kernel, stride, min(padding, most), ceil_mode)


@given(LENGTHS, LENGTHS, st.one_of(FEW, PAIRS, st.tuples(st.none(), FEW)))
def test_pools_to_a_size(height, width, size):
    like_torch(F.adaptive_avg_pool2d, meta(2, 3, height, width), size)


@given(st.lists(st.tuples(*[st.integers(1, 2)] * 4), min_size=1, max_size=3), st.integers(-4, 3))
def test_joined_tensors(shapes, dim):
    like_torch(torch.cat, [meta(*shape) for shape in shapes], dim)


@given(st.tuples(*[FEW] * 4), st.tuples(*[FEW] * 4))
def test_sums_and_products_broadcast(shape, other):
    like_torch(lambda x, y: x + y, meta(*shape), meta(*other))
    like_torch(lambda x, y: x * y, meta(*shape), meta(*other))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (
            F.conv2d,
            {"input": meta(1, 4, 8, 8), "weight": meta(6, 2, 3, 3), "stride": 2, "padding": (1, 0), "groups": 2},
        ),
        (F.avg_pool2d, {"input": meta(1, 4, 8, 8), "kernel_size": 3, "padding": 1, "count_include_pad": False}),
        (F.adaptive_avg_pool2d, {"input": meta(1, 4, 8, 8), "output_size": 3}),
        (F.interpolate, {"input": meta(1, 4, 8, 8), "size": (3, 5), "mode": "bilinear"}),
        (F.relu, {"input": meta(1, 4), "inplace": True}),
        (torch.cat, {"tensors": [meta(1, 4), meta(1, 3)], "dim": 1}),
    ],
)
def test_arguments_may_be_named(function, named):
    expected = function(**named).shape
    for function_named in (function, lambda **rest: function(rest.pop(next(iter(rest))), **rest)):
        with Counter():
            assert function_named(**named).shape == expected


def test_counting_stdc_imports_neither_the_compiler_nor_sympy():
    program = """
import sys
from stdc_search.network.cost import count
from stdc_search.spec.start import PRESETS
for network in PRESETS.values():
    count(network, (512, 1024))
print({"torch._dynamo", "sympy"} & {*sys.modules})
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
