"""Evaluation of a network on a data set: how it looks at an image, and what it gets right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn

from stdc_search.data import Dataset
from stdc_search.data.pixels import center_crop, normalise, resized
from stdc_search.evaluation.metrics import Counts, ImageCounts, boundary_counts, confusion, iou, pair_counts
from stdc_search.records import IGNORED
from stdc_search.spec.run import RunSpec

BATCH_PIXELS = 2**20
"""Number of label-map pixels to keep scores of at a time; a single image may have more."""


@dataclass(frozen=True)
class Views:
    """How a network looks at an image: by default once, at the size at which it is deployed, as in the paper.

    Args:
        image_size: (height, width) that the network sees.
        scales: multiples of `image_size`; the probabilities of several scales are averaged.
        flip: whether the network also sees each scale mirrored.
        window: (height, width) of a sliding window; None shows the whole image.
        overlap: smallest share of a window that the next one overlaps.
        antialias: whether images are smoothed when they shrink.
    """

    image_size: tuple[int, int]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    overlap: float = 1 / 3
    antialias: bool = False

    @classmethod
    def of(cls, spec: RunSpec) -> Views:
        """How the network of a run looks at an image."""
        how = spec.evaluation
        size, overlap = (how.window.size, how.window.overlap) if how.window else (None, 0.0)
        return cls(spec.image_size, how.scales, how.flip, size, overlap, how.antialias)

    def scores(self, module: nn.Module, images: Tensor, size: Sequence[int]) -> Tensor:
        """Logits, or mean probabilities if there are several views: N, classes, and the given (height, width).

        Args:
            module: image float N, 3, h, w -> scores N, classes, h, w.
            images: uint8 N, 3, H, W.
            size: (height, width).
        """
        images = normalise(images.to(next(module.parameters()).device))
        flips = (False, True) if self.flip else (False,)
        views = list(product(self.scales, flips))
        if len(views) == 1:
            return resized(self._view(module, images, *views[0]), size)
        total = torch.zeros((), device=images.device)
        for view in views:
            total = total + resized(self._view(module, images, *view), size).softmax(1) / len(views)
        return total

    def _view(self, module: nn.Module, images: Tensor, scale: float, flipped: bool) -> Tensor:
        seen = resized(images, [max(round(side * scale), 1) for side in self.image_size], self.antialias)
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
    """Evenly spaced windows that cover a side; each shares at least `overlap` of its length with the next."""
    if part >= side:
        return [slice(0, side)]
    count = ceil((side - part) / max(part * (1 - overlap), 1)) + 1
    return [slice(start, start + part) for start in (round(i * (side - part) / (count - 1)) for i in range(count))]


@torch.inference_mode()
def predict(module: nn.Module, image: Tensor, views: Views, size: Sequence[int]) -> Tensor:
    """Label map of one image, computed as in `evaluate`: int64, with the given (height, width), on the CPU.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w; its mode is restored.
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
    """Count what a network's label maps get right on a data set; the counts are on the CPU.

    Images are resized to the network's input size and scores to the labels' size, both bilinear. The module runs on its
    device in eval mode; its previous mode is restored.

    Args:
        module: image float N, 3, h, w -> scores N, classes, h, w.
        data: images and labels; sizes may differ from image to image.
        views: how the network looks at an image.
        indices: indices of the images to evaluate; default: all.
        progress: called with the number of images done and the total.
        tolerance: pixels by which a boundary may be off; None counts neither boundaries nor single images, which halves
            the time.

    Raises:
        DataError: an image cannot be read.
        ValueError: a label is neither a class of the network nor 255.
    """
    indices = range(len(data)) if indices is None else indices
    classes, done = len(data.class_names), 0
    device = next(module.parameters()).device
    # They stay on the device until the end, since a GPU's results have to be waited for.
    pairs, boundary = (torch.zeros(rows, classes, dtype=torch.int64, device=device) for rows in (IGNORED + 1, 4))
    each = torch.zeros(0 if tolerance is None else len(data), dtype=torch.float64, device=device)
    with _in_eval_mode(module):
        for images, labels in _batches(data, indices):
            scores = views.scores(module, images, labels.shape[1:])
            predictions, labels = scores.argmax(1).to(device), labels.to(device)
            if tolerance is None:
                pairs += pair_counts(predictions, labels, classes)
            else:
                places = indices[done : done + len(images)]
                for index, predicted, true in zip(places, predictions, labels, strict=True):
                    own = pair_counts(predicted, true, classes)
                    each[index] = iou(own[:classes]).nanmean()
                    pairs += own
                    boundary += boundary_counts(predicted, true, classes, tolerance)
            done += len(images)
            if progress is not None:
                progress(done, len(indices))
    return Counts(confusion(pairs.cpu()), boundary.cpu(), each.cpu())


@torch.inference_mode()
def evaluate_images(
    module: nn.Module,
    data: Dataset,
    image_size: tuple[int, int],
    indices: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCounts:
    """Count what a classifier gets right on a data set, on the CPU; it sees the middle of each image.

    Args:
        module: image float N, 3, h, w -> scores N, classes.
        data: images and their classes.
        image_size: (height, width) that the network sees.
        indices: indices of the images to evaluate; default: all.
        progress: called with the number of images done and the total.

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
    """Consecutive samples of one size, as many as `BATCH_PIXELS` allows: N, 3, H, W and N, H, W."""
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
