"""The class of each pixel: loss and score."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import isnan
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from stdc_search.data import DataError, Dataset, class_shares
from stdc_search.evaluation import metrics
from stdc_search.evaluation.views import Views, evaluate, predict
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.weights import load_weights
from stdc_search.records import IGNORED, Score
from stdc_search.run_folder import SAMPLE, SAMPLE_PARTS, SCORES, WORST
from stdc_search.spec.run import RunSpec
from stdc_search.spec.training import DistillationSpec, LossSpec, SegmentationLossSpec
from stdc_search.storage import write_atomically
from stdc_search.tasks.task import Told
from stdc_search.training import losses
from stdc_search.training.loop import Loss

IMAGES, LOOKED_AT = 4, 64
"""Validation images whose predictions are kept, and among how many they are chosen."""
WORST_IMAGES = 3
"""Validation images with the lowest mIoU, whose predictions are kept, too."""
LONGEST = 640
"""Pixels of the longer side of what is kept, at most."""


@dataclass(frozen=True)
class Segmentation:
    """The class of each pixel."""

    spec: RunSpec

    def loss(self, spec: LossSpec, data: Dataset) -> Loss:
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
        return evaluate(module, data, Views.of(self.spec), indices, told, tolerance=tolerance)

    def headline(self, counts: metrics.Counts) -> float:
        _check_labelled(counts)
        return 100 * metrics.miou(counts.confusion)

    def score(self, counts: list[metrics.Counts], data: Dataset) -> Score:
        _check_labelled(counts[0])
        return metrics.score(counts, data.class_names, len(data))

    def save_sample(self, module: nn.Module, data: Dataset, counts: metrics.Counts, folder: Path) -> None:
        """Write the mIoU of each image, and labels and predictions of telling and of the worst images as small PNGs."""
        table = io.StringIO(newline="")
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("image", "name", "miou"))
        for index, score in enumerate(counts.images.tolist()):
            rows.writerow((index, data.name(index), "" if isnan(score) else f"{100 * score:.2f}"))
        write_atomically(folder / SCORES, table.getvalue())
        for place, indices in ((folder / SAMPLE, telling(data)), (folder / WORST, worst(counts.images))):
            shutil.rmtree(place, ignore_errors=True)  # of an earlier training
            for index in indices:
                self._save(module, data, index, place / str(index))

    def _save(self, module: nn.Module, data: Dataset, index: int, folder: Path) -> None:
        image, label = data[index]
        prediction = predict(module, image, Views.of(self.spec), label.shape)
        folder.mkdir(parents=True)
        parts = (image.permute(1, 2, 0), label, prediction.to(torch.uint8))
        for name, content in zip(SAMPLE_PARTS, parts, strict=True):
            drawn = Image.fromarray(content.contiguous().cpu().numpy())
            drawn.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX if name == "image" else Image.Resampling.NEAREST)
            drawn.save(folder / f"{name}.png")


@lru_cache(maxsize=1)  # all candidates of a search are shown on the same images
def telling(data: Dataset) -> list[int]:
    """Indices of a few images which together show as many classes as possible, the rare ones most of all."""
    looked_at = [i * len(data) // min(len(data), LOOKED_AT) for i in range(min(len(data), LOOKED_AT))]
    shown = {index: [*data.label(index).unique().tolist()] for index in looked_at}
    images = Counter(chain.from_iterable(shown.values()))
    times: Counter[int] = Counter()
    chosen: list[int] = []
    for _ in range(min(IMAGES, len(shown))):
        left = (index for index in shown if index not in chosen)
        chosen.append(max(left, key=lambda i: sum(0.25 ** times[c] / images[c] for c in shown[i] if c != IGNORED)))
        times.update(shown[chosen[-1]])
    return sorted(chosen)


def worst(scores: Tensor) -> list[int]:
    """Indices of the images with the lowest scores, the lowest first."""
    order = scores.argsort(stable=True).tolist()  # NaN comes last
    return [index for index in order if not scores[index].isnan()][:WORST_IMAGES]


def _check_labelled(counts: metrics.Counts) -> None:
    if not counts.confusion.any():
        raise DataError("all pixels of the validation labels are ignored, so there is nothing to score")


def _teacher(how: DistillationSpec) -> nn.Module:
    module = build(how.network)
    load_weights(module, how.weights.path)
    return module.eval().requires_grad_(False)


class SegmentationLoss(nn.Module):
    """Weighted sum of the cross-entropy of the head and each auxiliary head, and BCE and dice of the detail head.

    A module, because class weights and teacher go to the training's device with it.

    Args:
        spec: the losses.
        class_weights: one per class.
        teacher: image -> scores, if `spec.distillation` is set.
    """

    class_weights: Tensor | None

    def __init__(
        self, spec: SegmentationLossSpec, class_weights: Tensor | None = None, teacher: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.spec, self.teacher = spec, teacher
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of images float N, 3, H, W and labels int64 N, H, W, where 255 is ignored."""
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
                goal = self.teacher(images)
            how = spec.distillation
            loss = loss + how.weight * losses.distillation(output.logits, goal, how.temperature)
        return loss

    def _pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        spec, weights = self.spec, self.class_weights
        if spec.ohem is None:
            return losses.cross_entropy(logits, labels, weights, spec.label_smoothing)
        return losses.ohem(logits, labels, spec.ohem.threshold, spec.ohem.min_kept, weights, spec.label_smoothing)
