"""What a network learns: the class of each pixel, or of each image. A task has its loss and its score.

Everything that tells the two apart after the network is built stands here; training and trials know neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from stdc_search import evaluation, losses, metrics
from stdc_search.builder import build
from stdc_search.data import DataError, Dataset, class_shares
from stdc_search.data.transforms import TrainingSamples, denormalise
from stdc_search.models.segmenter import Segmenter
from stdc_search.records import ImageScore, Score
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import ClassificationLossSpec, DistillationSpec, SegmentationLossSpec
from stdc_search.train import Loss
from stdc_search.weights import load_weights

Counts = Any
Told = Callable[[int, int], None]
"""Called with images done and images in all."""


class Task(Protocol):
    """One kind of thing to learn, in one run.

    What a network got right (`Counts`) is the task's own, but adds up: that of two halves of a data set is their sum.
    """

    def loss(self, data: Dataset) -> Loss:
        """What is lowered."""
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


@dataclass(frozen=True)
class Segmentation:
    """The class of each pixel."""

    spec: RunSpec

    def loss(self, data: Dataset) -> Loss:
        assert self.spec.training is not None
        spec = self.spec.training.loss
        assert isinstance(spec, SegmentationLossSpec)
        weights = None
        if spec.class_weights == "log":
            weights = losses.log_weights(class_shares(data))
        elif spec.class_weights is not None:
            weights = torch.tensor(spec.class_weights)
        return SegmentationLoss(spec, weights, _teacher(spec.distillation) if spec.distillation else None)

    def evaluate(
        self,
        module: nn.Module,
        data: Dataset,
        indices: Sequence[int] | None = None,
        told: Told | None = None,
        *,
        brief: bool = False,
    ) -> metrics.Counts:
        tolerance = None if brief else self.spec.evaluation.boundary
        return evaluation.evaluate(module, data, views(self.spec), indices, told, tolerance=tolerance)

    def headline(self, counts: metrics.Counts) -> float:
        if not counts.confusion.any():
            raise DataError("no pixel of the validation labels has a class, all are ignored; there is nothing to score")
        return 100 * metrics.miou(counts.confusion)

    def score(self, counts: list[metrics.Counts], data: Dataset) -> Score:
        return metrics.score(counts, data.class_names, len(data))

    def save_sample(self, module: nn.Module, data: Dataset, folder: Path) -> None:
        """The middle image, its labels and the network's, as PNGs."""
        image, label = data[len(data) // 2]
        prediction = evaluation.predict(module, image, views(self.spec), label.shape)
        folder.mkdir(exist_ok=True)
        for name, content in {
            "image": image.permute(1, 2, 0),
            "truth": label,
            "prediction": prediction.to(torch.uint8),
        }.items():
            Image.fromarray(content.contiguous().cpu().numpy()).save(folder / f"{name}.png")


def views(spec: RunSpec) -> evaluation.Views:
    """How the network of a run looks at an image."""
    how = spec.evaluation
    size, overlap = (how.window.size, how.window.overlap) if how.window else (None, 0.0)
    return evaluation.Views(spec.image_size, how.scales, how.flip, size, overlap)


def _teacher(how: DistillationSpec) -> nn.Module:
    module = build(how.network)
    load_weights(module, how.weights)
    return module.eval().requires_grad_(False)


class SegmentationLoss:
    """Cross-entropy of the head and of each auxiliary head, BCE and dice of the detail head, weighted.

    Args:
        spec: the losses.
        class_weights: one a class.
        teacher: image -> scores, where `spec.distillation` has one.
    """

    def __init__(
        self, spec: SegmentationLossSpec, class_weights: Tensor | None = None, teacher: nn.Module | None = None
    ) -> None:
        self.spec, self.class_weights, self.teacher = spec, class_weights, teacher

    def __call__(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """A number from images float N, 3, H, W and labels int64 N, H, W, of which 255 is ignored."""
        assert isinstance(module, Segmenter)
        spec = self.spec
        output = module.forward_training(images, auxiliary=spec.auxiliary_weight > 0, detail=spec.detail_weight > 0)
        loss = self._pixels(output.logits, labels)
        for logits in output.auxiliary:
            loss = loss + spec.auxiliary_weight * self._pixels(logits, labels)
        if output.detail is not None and (how := module.detail_target) is not None:
            bce, dice = losses.detail(
                output.detail,
                labels,
                how.strides,
                how.weights,
                how.threshold,
                soft=how.soft,
                dice=spec.dice,
                ignored=spec.detail_ignored,
            )
            loss = loss + spec.detail_weight * (bce + dice)
        if self.teacher is not None and spec.distillation is not None:
            with torch.no_grad():
                goal = self.teacher.to(images.device)(images)
            how = spec.distillation
            loss = loss + how.weight * losses.distillation(output.logits, goal, how.temperature)
        return loss

    def _pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        spec = self.spec
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        if spec.ohem is None:
            return losses.cross_entropy(logits, labels, weights, spec.label_smoothing)
        return losses.ohem(logits, labels, spec.ohem.threshold, spec.ohem.min_kept, weights, spec.label_smoothing)


@dataclass(frozen=True)
class Classification:
    """The class of each image."""

    spec: RunSpec

    def loss(self, data: Dataset) -> Loss:
        assert self.spec.training is not None
        spec = self.spec.training.loss
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

    def save_sample(self, module: nn.Module, data: Dataset, folder: Path) -> None:
        """Nothing is drawn of a classifier."""


def preview(
    spec: RunSpec, data: Dataset, indices: Sequence[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8] | int]]:
    """Samples as the first epoch of a training sees them; without a training whole, at the size of the network's.

    Args:
        spec: a run.
        data: what it trains on.
        indices: of the samples.

    Returns:
        Images uint8 [height, width, 3], all of one size, with the class of each pixel, or of the image.
    """
    shown = []
    for index in indices:
        if (training := spec.training) is not None:
            samples = TrainingSamples(
                data, crop=training.crop, augmentation=training.augmentation, seed=training.seeds[0]
            )
            image, label = samples[0, index]
            image = denormalise(image)
        else:
            image, label = data[index]
            image = F.resize(image, list(spec.image_size), InterpolationMode.BILINEAR, antialias=True)
            if label.ndim:
                label = F.resize(label[None], list(spec.image_size), InterpolationMode.NEAREST_EXACT)[0]
        shown.append(
            (image.permute(1, 2, 0).numpy(), label.to(torch.uint8).numpy() if label.ndim else int(label.item()))
        )
    return shown


def task_of(spec: RunSpec) -> Task:
    """The task of a run's network."""
    match spec.network.kind:
        case "segmenter":
            return Segmentation(spec)
        case "classifier":
            return Classification(spec)
