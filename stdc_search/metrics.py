"""Accuracy of label maps, from a confusion matrix to the score of a record.

Everything here is a fraction, but `score`: a record is in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.data import DataError, Dataset
from stdc_search.data.transforms import normalise
from stdc_search.losses import IGNORE
from stdc_search.records import Score

BATCH_PIXELS = 2**20
"""Pixels of the label maps that `evaluate` holds scores of at a time; one image may have more."""


def confusion_matrix(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often class `row` was predicted as class `column`: int64, classes x classes.

    Args:
        predictions: class ids below `classes`, of any shape.
        labels: class ids of the same shape; 255 is left out.
        classes: number of classes, at most 255.

    Raises:
        ValueError: a label is neither a class nor 255.
    """
    pairs = labels.flatten().long() * classes + predictions.flatten()
    counts = torch.bincount(pairs, minlength=(IGNORE + 1) * classes)
    if counts[classes * classes : IGNORE * classes].any():
        raise ValueError(f"a label is neither one of 0 to {classes - 1} nor {IGNORE} (ignored)")
    return counts[: classes * classes].view(classes, classes)


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class; NaN for a class that neither labels nor predictions have."""
    hits = matrix.diagonal().double()
    return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def miou(matrix: Tensor) -> float:
    """Mean IoU of the classes that labels or predictions have."""
    return iou(matrix).nanmean().item()


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of the labelled pixels whose class is right."""
    return (matrix.diagonal().sum() / matrix.sum()).item()


def constant_miou(matrix: Tensor) -> float:
    """Mean IoU of predicting the labels' commonest class everywhere, over the classes that labels have."""
    counts = matrix.sum(1).double()
    return (counts.max() / counts.sum() / counts.count_nonzero()).item()


@torch.inference_mode()
def predict(module: nn.Module, image: Tensor, image_size: tuple[int, int], size: Sequence[int]) -> Tensor:
    """Label map of one image, as `evaluate` makes it: int64, of the given (height, width), on the CPU.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w; left in the mode that it was in.
        image: uint8 3, H, W.
        image_size: (height, width) that the network sees.
        size: (height, width) of the label map.
    """
    with _in_eval_mode(module):
        return _scores(module, image.unsqueeze(0), image_size, size).argmax(1)[0].cpu()


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    data: Dataset,
    image_size: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Confusion matrix of a network over a data set: int64, classes x classes, on the CPU.

    As in the paper, images are resized to `image_size` and scores back to the labels' size, both bilinear with
    corners aligned. The module is used where it is, in eval mode, and left in the mode that it was in.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w.
        data: images and labels; sizes may differ from image to image.
        image_size: (height, width) that the network sees.
        progress: called with the number of images done and of all.

    Raises:
        DataError: an image cannot be read, or no pixel of any has a class.
        ValueError: a label is neither a class of the network nor 255.
    """
    matrix, done = torch.tensor(0), 0
    with _in_eval_mode(module):
        for images, labels in _batches(data):
            scores = _scores(module, images, image_size, labels.shape[1:])
            matrix = matrix + confusion_matrix(scores.argmax(1), labels.to(scores.device), classes=scores.shape[1])
            done += len(images)
            if progress is not None:
                progress(done, len(data))
    if not matrix.any():
        raise DataError("no pixel of the validation labels has a class, all are ignored; there is nothing to score")
    return matrix.cpu()


def score(matrices: Sequence[Tensor], class_names: Sequence[str], images: int) -> Score:
    """The score of a network, in percent: means over trainings.

    Args:
        matrices: confusion matrix of each seed's training.
        class_names: one a class.
        images: number of images that were scored.
    """
    per_seed = [100 * miou(matrix) for matrix in matrices]
    per_class = torch.stack([iou(matrix) for matrix in matrices]).nanmean(0).mul(100).tolist()
    return Score(
        miou=_mean(per_seed),
        pixel_accuracy=_mean([100 * pixel_accuracy(matrix) for matrix in matrices]),
        iou={name: None if isnan(value) else value for name, value in zip(class_names, per_class, strict=True)},
        constant_miou=100 * constant_miou(matrices[0]),
        images=images,
        seed_miou=tuple(per_seed),
    )


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def _scores(module: nn.Module, images: Tensor, image_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """uint8 N, 3, H, W -> N, classes and the given (height, width)."""
    images = images.to(next(module.parameters()).device)
    return _resize(module(_resize(normalise(images), image_size)), size)


def _batches(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Runs of samples of one size, as many as `BATCH_PIXELS` allow: N, 3, H, W and N, H, W."""
    batch: list[tuple[Tensor, Tensor]] = []
    for i in range(len(data)):
        image, label = data[i]
        if batch and ((len(batch) + 1) * label.numel() > BATCH_PIXELS or image.shape != batch[0][0].shape):
            yield _stack(batch)
            batch = []
        batch.append((image, label))
    if batch:
        yield _stack(batch)


def _stack(batch: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batch, strict=True)
    return torch.stack(images), torch.stack(labels)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
