"""The class of each image: loss and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from stdc_search.data import Dataset
from stdc_search.evaluation import metrics
from stdc_search.evaluation import views as evaluation
from stdc_search.records import ImageScore
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import ClassificationLossSpec, LossSpec
from stdc_search.tasks.task import Told
from stdc_search.training import losses
from stdc_search.training.loop import Loss


@dataclass(frozen=True)
class Classification:
    """The class of each image."""

    spec: RunSpec

    def loss(self, spec: LossSpec, data: Dataset) -> Loss:
        assert isinstance(spec, ClassificationLossSpec)
        return lambda module, images, labels: losses.cross_entropy(
            module(images), labels, label_smoothing=spec.label_smoothing
        )

    def evaluate(
        self,
        module: nn.Module,
        data: Dataset,
        indices: Sequence[int] | None = None,
        told: Told | None = None,
        *,
        brief: bool = False,
    ) -> metrics.ImageCounts:
        return evaluation.evaluate_images(module, data, self.spec.image_size, indices, told)

    def headline(self, counts: metrics.ImageCounts) -> float:
        return 100 * counts.top[0].item() / counts.labels.sum().item()

    def score(self, counts: list[metrics.ImageCounts], data: Dataset) -> ImageScore:
        return metrics.image_score(counts)

    def save_sample(self, module: nn.Module, data: Dataset, counts: metrics.ImageCounts, folder: Path) -> None:
        """Do nothing: a report draws no sample of a classifier."""
