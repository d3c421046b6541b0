"""A data set read whole: what is in it, and every file that is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from stdc_search.data import open_dataset
from stdc_search.data.dataset import IGNORED, DataError, Dataset, Split
from stdc_search.spec.data import DataSpec

AHEAD = 256
"""Samples that are queued at once."""


@dataclass(frozen=True)
class Survey:
    """What one split holds, of the images that can be used."""

    split: Split
    class_names: tuple[str, ...]
    whole: tuple[int, ...]
    """Indices of the samples that can be used."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """(height, width) with the number of images that have it, the commonest first."""
    images: tuple[int, ...]
    """In how many images each class occurs."""
    labelled: tuple[int, ...]
    """How many pixels each class has; where a label is of a whole image, how many images."""
    ignored: int | None
    """How many pixels have no class; none where a label is of a whole image."""
    broken: int
    """How many samples cannot be used."""
    problems: tuple[str, ...]
    """What is wrong with them, a line a file."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each class, in percent of all that is labelled."""
        return tuple(100 * count / max(sum(self.labelled), 1) for count in self.labelled)

    @property
    def ignored_share(self) -> float | None:
        """Of pixels without a class, in percent of all pixels."""
        return None if self.ignored is None else 100 * self.ignored / max(sum(self.labelled) + self.ignored, 1)

    def spread(self, most: int) -> list[int]:
        """So many of the samples that can be used, evenly spread over them."""
        count = min(most, len(self.whole))
        return [self.whole[i * len(self.whole) // count] for i in range(count)]

    @property
    def never_seen(self) -> tuple[str, ...]:
        """Classes that occur in no image."""
        return tuple(name for name, count in zip(self.class_names, self.images, strict=True) if not count)


def open_what_can_be(spec: DataSpec, data_root: Path | None = None) -> tuple[dict[Split, Dataset], list[str]]:
    """The splits that can be opened, without files that are missing or have no counterpart, and what is wrong."""
    opened: dict[Split, Dataset] = {}
    problems: list[str] = []
    splits: tuple[Split, Split] = ("train", "val")
    for split in splits:
        try:
            opened[split] = open_dataset(spec, split, data_root, problems)
        except DataError as error:
            problems.append(str(error))
    return opened, list(dict.fromkeys(problems))  # what concerns both splits is told by both


def survey(data: Dataset, split: Split, told: Callable[[int, int], None] | None = None) -> Survey:
    """Read every sample of a split.

    Args:
        data: the split.
        split: which one it is.
        told: called with the number of samples read and of all.
    """
    whole: list[int] = []
    problems: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    images = torch.zeros(len(data.class_names), dtype=torch.int64)
    labelled, ignored = torch.zeros_like(images), None
    with ThreadPoolExecutor() as pool:  # decoders release the interpreter
        for start in range(0, len(data), AHEAD):
            indices = range(start, min(start + AHEAD, len(data)))
            for index, found in zip(indices, pool.map(lambda index: _look(data, index), indices), strict=True):
                if isinstance(found, _Found):
                    whole.append(index)
                    sizes[found.size] += 1
                    images += found.counts > 0
                    labelled += found.counts
                    if found.ignored is not None:
                        ignored = (ignored or 0) + found.ignored
                else:
                    problems += found.splitlines()
                if told is not None:
                    told(index + 1, len(data))
    return Survey(
        split=split,
        class_names=data.class_names,
        whole=tuple(whole),
        sizes=tuple(sizes.most_common()),
        images=tuple(images.tolist()),
        labelled=tuple(labelled.tolist()),
        ignored=ignored,
        broken=len(data) - len(whole),
        problems=tuple(problems),
    )


class _Found(NamedTuple):
    size: tuple[int, int]
    counts: torch.Tensor
    ignored: int | None


def _look(data: Dataset, index: int) -> _Found | str:
    """What is in a sample, or what is wrong with it."""
    try:
        image, label = data[index]
    except DataError as error:
        return str(error)
    height, width = image.shape[1:]
    classes = len(data.class_names)
    if label.ndim == 0:
        return _Found((height, width), torch.bincount(label[None], minlength=classes), None)
    counts = torch.bincount(label.flatten(), minlength=IGNORED + 1)
    return _Found((height, width), counts[:classes], int(counts[IGNORED]))
