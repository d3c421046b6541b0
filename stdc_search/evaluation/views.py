"""A network over a data set: what it sees of an image, and what it gets right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdc_search.data import Dataset
from stdc_search.data.transforms import center_crop, normalise
from stdc_search.evaluation.metrics import Counts, ImageCounts, boundary_counts, confusion_matrix

BATCH_PIXELS = 2**20
"""Pixels of the label maps that are held scores of at a time; one image may have more."""


@dataclass(frozen=True)
class Views:
    """How a network looks at an image; by default once, at the size that it is deployed at, as in the paper.

    Args:
        image_size: (height, width) that the network sees.
        scales: multiples of it; of several, probabilities are averaged.
        flip: whether it sees each mirrored, too.
        window: (height, width) of the part that it sees at a time; None shows the whole image.
        overlap: share of a window that the next one covers too, at least.
    """

    image_size: tuple[int, int]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    overlap: float = 1 / 3

    def scores(self, module: nn.Module, images: Tensor, size: Sequence[int]) -> Tensor:
        """Logits, or where there are several views their mean probabilities: N, classes and the given (height, width).

        Args:
            module: image float N, 3, h, w -> scores N, classes, h, w.
            images: uint8 N, 3, H, W.
            size: (height, width).
        """
        images = normalise(images.to(next(module.parameters()).device))
        flips = (False, True) if self.flip else (False,)
        views = list(product(self.scales, flips))
        if len(views) == 1:
            return _resize(self._view(module, images, *views[0]), size)
        total = torch.zeros((), device=images.device)
        for view in views:
            total = total + _resize(self._view(module, images, *view), size).softmax(1) / len(views)
        return total

    def _view(self, module: nn.Module, images: Tensor, scale: float, flipped: bool) -> Tensor:
        seen = _resize(images, [max(round(side * scale), 1) for side in self.image_size])
        if flipped:
            return self._windows(module, seen.flip(3)).flip(3)
        return self._windows(module, seen)

    def _windows(self, module: nn.Module, images: Tensor) -> Tensor:
        if self.window is None:
            return module(images)
        boxes = list(
            product(
                *(windows(side, part, self.overlap) for side, part in zip(images.shape[2:], self.window, strict=True))
            )
        )
        total = count = None
        for rows, columns in boxes:
            scores = module(images[..., rows, columns])
            if total is None or count is None:
                total = scores.new_zeros(*scores.shape[:2], *images.shape[2:])
                count = torch.zeros_like(total[:1, :1])
            total[..., rows, columns] += scores
            count[..., rows, columns] += 1
        assert total is not None and count is not None
        return total / count


def windows(side: int, part: int, overlap: float) -> list[slice]:
    """Evenly spread parts that cover a side, each sharing at least `overlap` of itself with the next."""
    if part >= side:
        return [slice(0, side)]
    count = ceil((side - part) / max(part * (1 - overlap), 1)) + 1
    return [slice(start, start + part) for start in (round(i * (side - part) / (count - 1)) for i in range(count))]


@torch.inference_mode()
def predict(module: nn.Module, image: Tensor, views: Views, size: Sequence[int]) -> Tensor:
    """Label map of one image, as `evaluate` makes it: int64, of the given (height, width), on the CPU.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w; left in the mode that it was in.
        image: uint8 3, H, W.
        views: how the network looks at it.
        size: (height, width) of the label map.
    """
    with _in_eval_mode(module):
        return views.scores(module, image.unsqueeze(0), size).argmax(1)[0].cpu()


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    data: Dataset,
    views: Views,
    indices: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    tolerance: int | None = 3,
) -> Counts:
    """What the label maps of a network got right over a data set, on the CPU.

    As in the paper, images are resized to what the network sees and scores back to the labels' size, both bilinear
    with corners aligned. The module is used where it is, in eval mode, and left in the mode that it was in.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w.
        data: images and labels; sizes may differ from image to image.
        views: how the network looks at an image.
        indices: of the images that are looked at; default: all.
        progress: called with the number of images done and of all.
        tolerance: pixels that a boundary may be off; None leaves boundaries at 0, which takes half of the time.

    Raises:
        DataError: an image cannot be read.
        ValueError: a label is neither a class of the network nor 255.
    """
    indices = range(len(data)) if indices is None else indices
    classes, done = len(data.class_names), 0
    total = Counts(torch.zeros(classes, classes, dtype=torch.int64), torch.zeros(4, classes, dtype=torch.int64))
    with _in_eval_mode(module):
        for images, labels in _batches(data, indices):
            scores = views.scores(module, images, labels.shape[1:])
            predictions, labels = scores.argmax(1), labels.to(scores.device)
            boundary = torch.zeros_like(total.boundary, device=scores.device)
            if tolerance is not None:
                for predicted, true in zip(predictions, labels, strict=True):
                    boundary += boundary_counts(predicted, true, classes, tolerance)
            counts = Counts(confusion_matrix(predictions, labels, classes), boundary)
            total = total.plus(Counts(*(part.cpu() for part in counts)))
            done += len(images)
            if progress is not None:
                progress(done, len(indices))
    return total


@torch.inference_mode()
def evaluate_images(
    module: nn.Module,
    data: Dataset,
    image_size: tuple[int, int],
    indices: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCounts:
    """What classes of images a network got right over a data set, on the CPU; of each its middle is looked at.

    Args:
        module: image float N, 3, h, w -> scores N, classes.
        data: images and their classes.
        image_size: (height, width) that the network sees.
        indices: of the images that are looked at; default: all.
        progress: called with the number of images done and of all.

    Raises:
        DataError: an image cannot be read.
    """
    indices = range(len(data)) if indices is None else indices
    device = next(module.parameters()).device
    classes = len(data.class_names)
    top, seen = torch.zeros(2, dtype=torch.int64), torch.zeros(classes, dtype=torch.int64)
    batch = max(BATCH_PIXELS // (image_size[0] * image_size[1]), 1)
    with _in_eval_mode(module):
        for start in range(0, len(indices), batch):
            samples = [data[i] for i in indices[start : start + batch]]
            images = torch.stack([center_crop(image, image_size) for image, _ in samples]).to(device)
            labels = torch.stack([label for _, label in samples])
            scores = module(normalise(images)).cpu()
            best = scores.topk(min(5, scores.shape[1])).indices == labels[:, None]
            top += torch.stack([best[:, 0].sum(), best.any(1).sum()])
            seen += torch.bincount(labels, minlength=classes)
            if progress is not None:
                progress(start + len(samples), len(indices))
    return ImageCounts(top, seen)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def _batches(data: Dataset, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Runs of samples of one size, as many as `BATCH_PIXELS` allow: N, 3, H, W and N, H, W."""
    batch: list[tuple[Tensor, Tensor]] = []
    for i in indices:
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
