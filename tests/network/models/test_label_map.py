"""The label map in one: what up-sampling and argmax give, wherever they are sure."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdc_search.network.models.label_map import LabelMap

SIDES = st.integers(1, 12)
SURE = 1e-4


def plain(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=True)


def unlike_where_sure(scores: Tensor, size: tuple[int, int]) -> int:
    """Pixels whose class differs from the plain pair's though the two highest scores differ by more than `SURE`."""
    labels = LabelMap()(scores, torch.empty(len(scores), 3, *size))
    assert (labels.shape, labels.dtype) == ((len(scores), *size), torch.uint8)
    full = plain(scores, size)
    best = full.topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > SURE
    return int(((labels != full.argmax(1)) & sure).sum())


@settings(max_examples=200)
@given(
    grid=st.tuples(SIDES, SIDES),
    more=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    classes=st.integers(2, 255),
    smooth=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_the_plain_pair(grid, more, classes, smooth, seed):
    size = (grid[0] + more[0], grid[1] + more[1])
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, classes, *(max(side // smooth, 1) for side in grid), generator=generator)
    assert unlike_where_sure(F.interpolate(coarse, grid, mode="nearest"), size) == 0


@pytest.mark.parametrize("size", [(512, 1024), (513, 1021), (360, 480)])
def test_labels_at_the_sizes_in_use(size):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 19, 9, 13, generator=generator)
    scores = F.interpolate(coarse, tuple(-(-side // 8) for side in size), mode="bilinear")
    assert unlike_where_sure(scores, size) == 0


def test_a_class_that_is_best_at_no_corner_can_be_best_between_them():
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 0, :, 0] = scores[0, 1, :, 1] = 1
    scores[0, 2] = 0.9
    labels = LabelMap()(scores, torch.empty(1, 3, 2, 9))
    assert labels[0, 0].tolist() == [0, 2, 2, 2, 2, 2, 2, 2, 1]


def test_of_equal_scores_the_first_class_is_taken():
    assert LabelMap()(torch.zeros(1, 4, 3, 3), torch.empty(1, 3, 9, 9)).unique().tolist() == [0]
