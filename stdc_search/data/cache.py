"""Decoded images in memory, within a bound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from stdc_search.data.dataset import DataError, Dataset


class Cached:
    """A data set whose first samples stay in memory once `fill` has read them; the others are read each time.

    Filled before loader processes are forked, the memory is theirs too.

    Args:
        data: the data set.
        limit: bytes that may be kept.
    """

    def __init__(self, data: Dataset, limit: float) -> None:
        self.data, self.class_names = data, data.class_names
        self.left = limit
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.filled = False

    def __len__(self) -> int:
        return len(self.data)

    def name(self, index: int) -> str:
        return self.data.name(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.kept.get(index) or self.data[index]

    def label(self, index: int) -> Tensor:
        return self.kept[index][1] if index in self.kept else self.data.label(index)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.data.files(index)

    def fill(self) -> None:
        """Read samples until the bound is met; broken files are left to the later reader."""
        if self.filled:
            return
        self.filled = True
        ahead = 32  # samples that are read beyond the bound, at most
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), ahead):
                indices = range(start, min(start + ahead, len(self)))
                for index, sample in zip(indices, pool.map(self._read, indices), strict=True):
                    if sample is None:
                        continue
                    self.left -= sum(part.numel() * part.element_size() for part in sample)
                    if self.left < 0:
                        return
                    self.kept[index] = sample

    def _read(self, index: int) -> tuple[Tensor, Tensor] | None:
        try:
            return self.data[index]
        except DataError:
            return None
