"""What every task can do."""

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
"""Called with images done and images in all."""


class Task(Protocol):
    """One kind of thing to learn, in one run.

    What a network got right (`Counts`) is the task's own, but adds up: that of two halves of a data set is their sum.
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
        """What a network got right, in all images or in some; if it is brief, no more than the headline needs."""
        ...

    def headline(self, counts: Counts) -> float:
        """The one number of a curve's point, in percent."""
        ...

    def score(self, counts: list[Counts], data: Dataset) -> Score | ImageScore:
        """The score of one training a seed."""
        ...

    def save_sample(self, module: nn.Module, data: Dataset, folder: Path) -> None:
        """Write what the network makes of one image, for the report to draw."""
        ...
