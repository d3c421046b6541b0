from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stdc_search.data import DataError
from stdc_search.data.cache import Cached

BYTES = 3 * 4 * 5 + 4 * 5


class Counted:
    """Samples of `BYTES` each; notes how often each is read."""

    class_names = ("a", "b")

    def __init__(self, count: int = 40, broken: int | None = None) -> None:
        self.reads = [0] * count
        self.broken = broken

    def __len__(self) -> int:
        return len(self.reads)

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads[index] += 1
        if index == self.broken:
            raise DataError("broken")
        return torch.full((3, 4, 5), index, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)


def test_what_fits_is_read_once() -> None:
    data = Counted()
    cached = Cached(data, limit=40 * BYTES)
    cached.fill()
    cached.fill()
    for _ in range(2):
        assert all(int(cached[i][0][0, 0, 0]) == i for i in range(len(cached)))
    assert data.reads == [1] * 40


def test_no_more_is_kept_than_fits() -> None:
    data = Counted()
    cached = Cached(data, limit=10.5 * BYTES)
    cached.fill()
    assert len(cached.kept) == 10
    read = sum(data.reads)
    for i in range(len(cached)):
        cached[i]
    assert sum(data.reads) == read + 30


def test_before_it_is_filled_and_with_no_memory_each_sample_is_read() -> None:
    for limit in (1e9, 0):
        data = Counted(3)
        cached = Cached(data, limit)
        _ = cached[1], cached[1]
        assert data.reads == [0, 2, 0]


def test_a_broken_sample_is_told_to_who_asks_for_it() -> None:
    cached = Cached(Counted(5, broken=3), limit=1e9)
    cached.fill()
    assert len(cached.kept) == 4
    with pytest.raises(DataError, match="broken"):
        cached[3]


def test_it_is_the_data_set_that_it_holds() -> None:
    cached = Cached(Counted(5), limit=1e9)
    assert (len(cached), cached.name(2), cached.class_names) == (5, "2", ("a", "b"))
