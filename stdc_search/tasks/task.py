"""The interface of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from stdc_search.data import Dataset
from stdc_search.records import ImageScore, Score
from stdc_search.spec.training import LossSpec
from stdc_search.training.loop import Loss

Counts = Any
Told = Callable[[int, int], None]
"""Called with the number of images done and the total."""


class Task(Protocol):
    """Segmentation or classification, in one run.

    The type of `Counts` depends on the task, but counts add up: those of two halves of a data set have a sum.
    """

    def loss(self, spec: LossSpec, data: Dataset) -> Loss:
        """The loss to minimise on this data."""
        ...

    def evaluate(
        self,
        module: nn.Module,
        data: Dataset,
        indices: Sequence[int] | None = None,
        told: Told | None = None,
        *,
        brief: bool = False,
    ) -> Counts:
        """Count what a network gets right in all or some images; `brief` counts only what `headline` needs."""
        ...

    def headline(self, counts: Counts) -> float:
        """The score of a point on the training curve, in percent."""
        ...

    def score(self, counts: list[Counts], data: Dataset) -> Score | ImageScore:
        """The score, from one count per seed."""
        ...

    def save_sample(self, module: nn.Module, data: Dataset, counts: Counts, folder: Path) -> None:
        """Write what the report shows of single images into a candidate's folder: scores, and outputs for a few."""
        ...
