"""From a sample to what a network takes: normalisation, and the augmentation of training images.

What is random is a function of a seed that is passed in; no global generator is read or moved.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.utils.data
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from stdc_search.data.dataset import Dataset
from stdc_search.spec.training import AugmentationSpec, multiples

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Of ImageNet, RGB on [0, 1]."""


def normalise(image: Tensor) -> Tensor:
    """Image uint8 ..., 3, H, W as float32 of about zero mean and unit variance."""
    return F.normalize(F.to_dtype(image, torch.float32, scale=True), MEAN, STD)


def train_transform(
    image: Tensor,
    label: Tensor,
    *,
    crop: tuple[int, int],
    jitter: float,
    flip: float,
    scales: tuple[float, float],
    scale_step: float | None,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Colour jitter, flip, random scale and crop, as in the released code (MichaelFan01/STDC-Seg, `transform.py`).

    An image that is smaller than the crop after scaling is scaled up to it, aspect kept, never padded. The crop
    comes first here, at the size that scaling turns into (h, w), so that nothing is computed that is thrown away;
    the scale differs by the rounding of that size. Jitter comes last: it works on single pixels, but for contrast,
    whose pivot is taken from the whole image.

    Args:
        image: uint8 3, H, W.
        label: uint8 H, W.
        crop: (h, w) of the result.
        jitter: brightness, contrast and saturation are multiplied by factors from [1 - jitter, 1 + jitter].
        flip: probability of a horizontal flip.
        scales: range of the random scale.
        scale_step: scales are multiples of it; None draws from the whole range.
        seed: of all that is random.

    Returns:
        Image float32 3, h, w, normalised, and label int64 h, w.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    brightness, contrast, saturation = (1 + jitter * (2 * draw - 1) for draw in draws[:3])
    (h, w), (height, width) = crop, label.shape
    scale = max(scale_from(draws[4], scales, scale_step), h / height, w / width)
    rows, columns = (max(min(round(part / scale), whole), 1) for part, whole in ((h, height), (w, width)))
    top, left = int(draws[5] * (height - rows + 1)), int(draws[6] * (width - columns + 1))

    pivot = contrast_pivot(image, brightness)
    image, label = (F.crop(planes, top, left, rows, columns) for planes in (image, label[None]))
    # Smoothed where it shrinks, as PIL does; nearest with the same pixel centres.
    image = F.resize(image, list(crop), InterpolationMode.BILINEAR, antialias=True)
    label = F.resize(label, list(crop), InterpolationMode.NEAREST_EXACT)
    if draws[3] < flip:
        image, label = F.horizontal_flip(image), F.horizontal_flip(label)
    image = F.adjust_brightness(F.to_dtype(image, torch.float32, scale=True), brightness)
    image = (image * contrast + (1 - contrast) * pivot).clamp_(0, 1)
    image = F.adjust_saturation(image, saturation)
    return F.normalize(image, MEAN, STD, inplace=True), label[0].long()


def contrast_pivot(image: Tensor, brightness: float) -> Tensor:
    """Mean grey of an image after its brightness was changed, on [0, 1]; taken from every fourth row and column."""
    pixels = F.to_dtype(image[:, ::4, ::4], torch.float32, scale=True)
    return F.rgb_to_grayscale(F.adjust_brightness(pixels, brightness)).mean()


def scale_from(draw: float, scales: tuple[float, float], step: float | None) -> float:
    """A scale from a draw in [0, 1): a multiple of the step in the range, or any number in it."""
    low, high = scales
    if step is None:
        return low + draw * (high - low)
    legal = multiples(step, low, high)
    return step * legal[int(draw * len(legal))]


class TrainingSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A data set, augmented, by (epoch, index): what a sample becomes depends on seed, epoch and index alone."""

    def __init__(self, data: Dataset, *, crop: tuple[int, int], augmentation: AugmentationSpec, seed: int) -> None:
        self.data, self.crop, self.augmentation, self.seed = data, crop, augmentation, seed

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Image float32 3, h, w and label int64 h, w of the index in the epoch."""
        image, label = self.data[key[1]]
        # As spawn key: an entropy of (seed, epoch, 0) would equal one of (seed, epoch).
        seed = int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0])
        how = self.augmentation
        return train_transform(
            image,
            label,
            crop=self.crop,
            jitter=how.jitter,
            flip=how.flip,
            scales=how.scales,
            scale_step=how.scale_step,
            seed=seed,
        )
