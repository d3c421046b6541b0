"""What a data set is to the rest of the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from stdc_search.errors import UserError

Split = Literal["train", "val"]


class DataError(UserError):
    """Data on disk cannot be used; the message names the fault, the file and a remedy."""


class Dataset(Protocol):
    """Images and labels of one split, in a fixed order: of each pixel, or of the image."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Short name of a sample, for messages and files."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 3, H, W, and its label; do not write into them.

        The label is uint8 H, W of ids from 0 to classes - 1 and 255 for no class, or one such id, int64.

        Raises:
            DataError: the files are broken.
        """
        ...

    def label(self, index: int) -> Tensor:
        """The label alone, without reading the image where possible.

        Raises:
            DataError: its file is broken.
        """
        ...

    def files(self, index: int) -> tuple[Path, ...]:
        """Files of a sample, the image first; empty for data that is drawn."""
        ...


@lru_cache(maxsize=1)  # candidates of a search train on one data set
def class_shares(dataset: Dataset) -> Tensor:
    """Share of the labelled pixels that each class has: float32, one a class, zeros where nothing is labelled.

    Raises:
        DataError: a file is broken.
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for index in range(len(dataset)):
        counts += torch.bincount(dataset[index][1].flatten(), minlength=256)
    counts = counts[: len(dataset.class_names)].float()
    return counts / counts.sum().clamp(min=1)
