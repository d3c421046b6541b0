"""A bounded in-memory cache of decoded images."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from stdc_search.data.dataset import DataError, Dataset
from stdc_search.data.threads import readers


class Cached:
    """A data set that keeps its first samples in memory after `fill`, and reads the others each time.

    Loader processes share the memory if they are forked after `fill`.

    Args:
        data: the data set.
        limit: size of the cache in bytes.
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
        """Read samples until the cache is full; a broken file is skipped here and raises when it is accessed."""
        if self.filled:
            return
        self.filled = True
        ahead = 32  # at most this many samples are read beyond the limit
        with readers() as pool:
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
