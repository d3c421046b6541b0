"""From a training sample to a network's input: augmentation.

Everything random is a function of a seed argument; no global generator is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import NamedTuple, assert_never

import numpy as np
import torch
import torch.utils.data
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from stdc_search.data.dataset import Dataset
from stdc_search.spec.data import MEAN, STD
from stdc_search.spec.training import AugmentationSpec, ResizedCropSpec, ScaledCropSpec, multiples


class Drawn(NamedTuple):
    """A part of a sample and what was drawn for it. `Finish` computes the pixels, perhaps on another device."""

    image: Tensor
    """uint8 3, rows, columns."""
    label: Tensor
    """uint8 rows, columns, or the class of the image."""
    flipped: bool
    factors: tuple[float, float, float]
    """Of brightness, contrast and saturation."""
    pivot: Tensor | None
    """`contrast_pivot` of the whole image; None without jitter."""

    def copied(self) -> Drawn:
        """Without the pixels outside of the part, which a view would carry along to another process."""
        return self._replace(image=self.image.clone(), label=self.label.clone())


class Finish:
    """Computes the pixels of samples: resizes to the crop, flips, jitters and normalises.

    A GPU rounds differently than a CPU when it resizes.

    Args:
        crop: (h, w) of the result.
        device: where to compute.
    """

    def __init__(self, crop: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.crop, self.device = list(crop), torch.device(device)
        # Here and not in `F.normalize`, which copies them to a GPU, and waits for it, with each image.
        self.mean, self.std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))

    def __call__(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Image float32 3, h, w, and label int64 h, w or one number."""
        image, label = (part.to(self.device, non_blocking=True) for part in (drawn.image, drawn.label))
        if label.ndim:
            label = F.resize(label[None], self.crop, InterpolationMode.NEAREST_EXACT)
            label = (F.horizontal_flip(label) if drawn.flipped else label)[0].long()
        image = F.resize(image, self.crop, InterpolationMode.BILINEAR, antialias=True)  # smoothed, as in PIL
        if drawn.flipped:
            image = F.horizontal_flip(image)
        image = F.to_dtype(image, torch.float32, scale=True)
        if drawn.pivot is not None:  # in place, which saves four copies
            brightness, contrast, saturation = drawn.factors
            image.mul_(brightness).clamp_(0, 1)
            image.mul_(contrast).add_((1 - contrast) * drawn.pivot).clamp_(0, 1)
            grey = F.rgb_to_grayscale(image)
            image.mul_(saturation).add_(grey, alpha=1 - saturation).clamp_(0, 1)
        return image.sub_(self.mean).div_(self.std), label


def scaled_crop(image: Tensor, label: Tensor, crop: tuple[int, int], how: ScaledCropSpec, seed: int) -> Drawn:
    """Colour jitter, flip, random scale and crop, as in the released code (MichaelFan01/STDC-Seg, `transform.py`).

    An image that is smaller than the crop after scaling is enlarged with its aspect kept, never padded. We crop
    before scaling, to skip pixels that the crop would discard; the scale then differs by rounding. Jitter comes
    last, because it works pixel by pixel; only the pivot of the contrast is computed from the whole image.

    Args:
        image: uint8 3, H, W.
        label: uint8 H, W.
        crop: (h, w) of the result.
        how: probabilities and ranges.
        seed: of all that is random.
    """
    draws = _draws(seed)
    (h, w), (height, width) = crop, label.shape
    base = how.base_size or (height, width)
    scale = max(scale_from(draws[4], how.scales, how.scale_step), h / base[0], w / base[1])
    sides = ((h, base[0], height), (w, base[1], width))
    rows, columns = (max(min(round(part / scale * (whole / its)), whole), 1) for part, its, whole in sides)
    box = [int(draws[5] * (height - rows + 1)), int(draws[6] * (width - columns + 1)), rows, columns]
    return _drawn(image, F.crop(label[None], *box)[0], box, draws, how)


def resized_crop(image: Tensor, label: Tensor, how: ResizedCropSpec, seed: int) -> Drawn:
    """A part of the image with random area and aspect, to be resized to the crop; random flip and colour jitter.

    A part that is higher or wider than the image is cut to it.

    Args:
        image: uint8 3, H, W.
        label: the class of the image.
        how: probabilities and ranges.
        seed: of all that is random.
    """
    draws = _draws(seed)
    height, width = image.shape[1:]
    area = (how.area[0] + draws[4] * (how.area[1] - how.area[0])) * height * width
    low, high = map(log, how.aspect)
    aspect = exp(low + draws[7] * (high - low))
    rows, columns = (
        max(min(round(part), whole), 1) for part, whole in ((sqrt(area / aspect), height), (sqrt(area * aspect), width))
    )
    box = [int(draws[5] * (height - rows + 1)), int(draws[6] * (width - columns + 1)), rows, columns]
    return _drawn(image, label, box, draws, how)


def _draws(seed: int) -> list[float]:
    """Brightness, contrast, saturation, flip, scale, top, left, aspect: each in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(8, generator=generator, dtype=torch.float64).tolist()


def _drawn(
    image: Tensor, label: Tensor, box: list[int], draws: Sequence[float], how: ScaledCropSpec | ResizedCropSpec
) -> Drawn:
    """The box (top, left, rows, columns) of an image, with the draws for flip and jitter."""
    brightness, contrast, saturation = (1 + how.jitter * (2 * draw - 1) for draw in draws[:3])
    pivot = contrast_pivot(image, brightness) if how.jitter else None
    return Drawn(F.crop(image, *box), label, draws[3] < how.flip, (brightness, contrast, saturation), pivot)


def contrast_pivot(image: Tensor, brightness: float) -> Tensor:
    """Mean grey of an image after the change of brightness, on [0, 1], from every fourth row and column."""
    pixels = F.to_dtype(image[:, ::4, ::4], torch.float32, scale=True)
    return F.rgb_to_grayscale(F.adjust_brightness(pixels, brightness)).mean()


def scale_from(draw: float, scales: tuple[float, float], step: float | None) -> float:
    """Map a draw in [0, 1) to a scale: a multiple of the step within the range, or any number in it."""
    low, high = scales
    if step is None:
        return low + draw * (high - low)
    legal = multiples(step, low, high)
    return step * legal[int(draw * len(legal))]


class TrainingSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """An augmented data set, indexed by (epoch, index); a sample depends only on seed, epoch and index."""

    def __init__(self, data: Dataset, *, crop: tuple[int, int], augmentation: AugmentationSpec, seed: int) -> None:
        self.data, self.crop, self.augmentation, self.seed = data, crop, augmentation, seed
        self.finish = Finish(crop)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Image, float32 3, h, w, and label, int64 h, w or one number."""
        return self.finish(self.drawn(key))

    def drawn(self, key: tuple[int, int]) -> Drawn:
        """What was drawn for a sample, whose pixels are computed elsewhere."""
        image, label = self.data[key[1]]
        # Passed as spawn key, because the entropy (seed, epoch, 0) would equal (seed, epoch).
        seed = int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0])
        match self.augmentation:
            case ScaledCropSpec():
                return scaled_crop(image, label, self.crop, self.augmentation, seed)
            case ResizedCropSpec():
                return resized_crop(image, label, self.augmentation, seed)
        assert_never(self.augmentation)
