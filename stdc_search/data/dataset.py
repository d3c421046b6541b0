"""The interface of a data set."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from stdc_search.data.threads import readers
from stdc_search.errors import UserError

Split = Literal["train", "val"]
SPLITS: tuple[Split, Split] = ("train", "val")


class DataError(UserError):
    """Data on disk cannot be used. The message names the file, the problem and the remedy."""

    advice = "To list all problems of the data: stdc-search data SPEC"


class Dataset(Protocol):
    """Images and labels of one split, in a fixed order; each pixel has a label, or the image as a whole."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Short name of a sample, for messages and files."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image, uint8 3, H, W, and its label; do not modify them.

        The label is a map of ids, uint8 H, W, from 0 to classes - 1, with 255 for no class; or one such id, int64.

        Raises:
            DataError: the files are broken.
        """
        ...

    def label(self, index: int) -> Tensor:
        """The label alone; does not read the image if possible.

        Raises:
            DataError: its file is broken.
        """
        ...

    def files(self, index: int) -> tuple[Path, ...]:
        """Files of a sample, the image first; empty for generated data."""
        ...


MOST = 5000
"""Images whose labels tell the shares of classes: more would say the same, and a process would start later."""


@lru_cache(maxsize=1)  # all candidates of a search train on one data set
def class_shares(dataset: Dataset) -> Tensor:
    """Share of the labelled pixels that belongs to each class: float32, classes; zeros if nothing is labelled.

    Of more than 5,000 images, as many count, evenly spaced.

    Raises:
        DataError: a file is broken.
    """
    most = min(len(dataset), MOST)
    chosen = (i * len(dataset) // most for i in range(most))
    with readers() as pool:
        found = pool.map(lambda index: torch.bincount(dataset.label(index).flatten(), minlength=256), chosen)
        counts = sum(found, torch.zeros(256, dtype=torch.int64))
    counts = counts[: len(dataset.class_names)].float()
    return counts / counts.sum().clamp(min=1)
