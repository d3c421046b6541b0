"""Accuracy of label maps and of image classes, from counts to the score in a record.

All functions return fractions, except that scores for records are in percent.

Means over classes (mIoU, boundary F-score) cover the classes that occur in the labels of the scored images, so they
cover the same classes for every candidate. If a prediction contains another class, only the true classes of its pixels
lose. torchmetrics, mmsegmentation and the Cityscapes scripts count such a class with an IoU of 0, so their mean is
lower. If the labels contain every class, all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stdc_search.records import IGNORED, ImageScore, Score


class Counts(NamedTuple):
    """Counts of right and wrong pixels of label maps; counts of several images add up."""

    confusion: Tensor
    """How often class `row` was predicted as class `column`: int64, classes x classes."""
    boundary: Tensor
    """Per class the predicted boundary pixels, the correct ones, the true ones, and the found ones:
    int64, 4 x classes."""
    images: Tensor = torch.zeros(0)
    """Mean IoU of each image of the data set, over the classes of its labels: float64. NaN for an image without labels,
    0 for one that was not looked at; empty if single images were not counted."""


def pair_counts(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often label `row` was predicted as class `column`, for labels of any value: int64, 256 x classes.

    Args:
        predictions: class ids below `classes`, of any shape.
        labels: ids of the same shape, 0 to 255.
        classes: number of classes, at most 255.
    """
    pairs = labels.flatten().long() * classes + predictions.flatten()
    return torch.bincount(pairs, minlength=(IGNORED + 1) * classes).view(-1, classes)


def confusion(pairs: Tensor) -> Tensor:
    """The part of `pair_counts` whose labels are classes: int64, classes x classes.

    Raises:
        ValueError: a label is neither a class nor 255.
    """
    classes = pairs.shape[1]
    if pairs[classes:IGNORED].any():
        raise ValueError(f"a label is neither in 0 to {classes - 1} nor {IGNORED} (ignored)")
    return pairs[:classes]


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class; NaN for a class that does not occur in the labels."""
    hits, truth = matrix.diagonal().double(), matrix.sum(1)
    return torch.where(truth > 0, hits / (matrix.sum(0) + truth - hits), torch.nan)


def miou(matrix: Tensor) -> float:
    """Mean IoU over the classes that occur in the labels."""
    return iou(matrix).nanmean().item()


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of the labelled pixels with the right class."""
    return (matrix.diagonal().sum() / matrix.sum()).item()


def boundary_counts(predictions: Tensor, labels: Tensor, classes: int, tolerance: int) -> Tensor:
    """`Counts.boundary` of one label map.

    A pixel is on the boundary of its class if one of its four neighbours has another class. It is right, or found, if
    the other map has a boundary pixel of the same class within `tolerance` pixels. Ignored pixels do not count.

    Args:
        predictions: class ids, H, W.
        labels: class ids, H, W; 255 is left out.
        classes: number of classes.
        tolerance: pixels, as a Euclidean distance.
    """
    truth = labels.long()
    predicted = predictions.long().masked_fill(truth == IGNORED, IGNORED)
    reach = range(-tolerance, tolerance + 1)
    disc = [(y, x) for y in reach for x in reach if y * y + x * x <= tolerance**2]
    width = labels.shape[1] + 2 * tolerance
    steps = [y * width + x for y, x in disc]
    marks = [
        F.pad(torch.where(on_boundary(m), m, IGNORED), [tolerance] * 4, value=IGNORED).flatten()
        for m in (predicted, truth)
    ]
    rows = []
    for mine, other in (marks, marks[::-1]):
        places = (mine != IGNORED).nonzero().squeeze(1)
        ids = mine[places]
        near = torch.zeros_like(ids, dtype=torch.bool)
        for step in steps:
            near |= other[places + step] == ids
        rows += [torch.bincount(ids, minlength=classes), torch.bincount(ids[near], minlength=classes)]
    return torch.stack(rows)


def on_boundary(labels: Tensor) -> Tensor:
    """Pixels of which one of the four neighbours has another class: bool, H, W."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    for ids, marks in ((labels, found), (labels.T, found.T)):
        change = (ids[1:] != ids[:-1]) & (ids[1:] != IGNORED) & (ids[:-1] != IGNORED)
        marks[1:] |= change
        marks[:-1] |= change
    return found


def boundary_f(counts: Tensor) -> float:
    """Mean over classes of the F-score of their boundaries: 2 / (1 / precision + 1 / recall), both over all images.

    The mean is over the classes that have a boundary in the labels; NaN if none has.
    """
    predicted, right, true, found = counts.double()
    precision, recall = right / predicted.clamp(min=1), found / true.clamp(min=1)
    scores = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return scores[true > 0].mean().item()


def constant_miou(matrix: Tensor) -> float:
    """Mean IoU of predicting the most common class everywhere."""
    counts = matrix.sum(1).double()
    return (counts.max() / counts.sum() / counts.count_nonzero()).item()


class ImageCounts(NamedTuple):
    """Counts of correctly classified images; counts of several parts of a data set add up."""

    top: Tensor
    """Number of images whose class has the highest score, or one of the five highest: int64, 2."""
    labels: Tensor
    """Number of images of each class: int64, classes."""


def image_score(counts: Sequence[ImageCounts]) -> ImageScore:
    """The score of a classifier, in percent: means over seeds.

    Args:
        counts: one for each seed.
    """
    images = counts[0].labels.sum()
    per_seed = [(100 * each.top / images).tolist() for each in counts]
    return ImageScore(
        top1=_mean([top1 for top1, _ in per_seed]),
        top5=_mean([top5 for _, top5 in per_seed]),
        constant_top1=(100 * counts[0].labels.max() / images).item(),
        images=int(images),
        seed_top1=tuple(top1 for top1, _ in per_seed),
    )


def score(counts: Sequence[Counts], class_names: Sequence[str], images: int) -> Score:
    """The score of a segmenter, in percent: means over seeds.

    Args:
        counts: one for each seed.
        class_names: one per class.
        images: number of scored images.
    """
    matrices = [each.confusion for each in counts]
    boundaries = [100 * f for each in counts if not isnan(f := boundary_f(each.boundary))]
    per_seed = [100 * miou(matrix) for matrix in matrices]
    per_class = torch.stack([iou(matrix) for matrix in matrices]).nanmean(0).mul(100).tolist()
    return Score(
        miou=_mean(per_seed),
        pixel_accuracy=_mean([100 * pixel_accuracy(matrix) for matrix in matrices]),
        boundary_f=_mean(boundaries) if boundaries else None,
        iou={name: None if isnan(value) else value for name, value in zip(class_names, per_class, strict=True)},
        constant_miou=100 * constant_miou(matrices[0]),
        images=images,
        seed_miou=tuple(per_seed),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
