"""From the pixels of an image to what a network sees, without augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stdc_search.spec.data import MEAN, STD

CENTER = 224 / 256
"""Share of an image's shorter side that a classifier is scored on."""


def normalise(image: Tensor) -> Tensor:
    """Image uint8 ..., 3, H, W as float32 with about zero mean and unit variance, to the bit as in torchvision."""
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (MEAN, STD))
    return image.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)


def denormalise(image: Tensor) -> Tensor:
    """The inverse of `normalise`: uint8 ..., 3, H, W."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (255 * (image * std + mean)).round().clamp(0, 255).to(torch.uint8)


def resized(images: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Images or scores float N, C, H, W in another (height, width), bilinear: with corners aligned, as in the paper.

    Args:
        images: in any size.
        size: (height, width).
        antialias: smooth what shrinks, as Pillow does; corners are not aligned then.
    """
    if images.shape[2:] == tuple(size):
        return images
    return interpolate(images, tuple(size), mode="bilinear", align_corners=not antialias, antialias=antialias)


def center_crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of an image with the aspect of `size`, less a margin, resized to (h, w): uint8 3, h, w.

    The margin leaves 224 of 256 rows, as is usual for ImageNet.
    """
    # Importing it takes two seconds, which nothing else here needs.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    height, width = image.shape[1:]
    scale = CENTER * min(height / size[0], width / size[1])
    rows, columns = (max(round(part * scale), 1) for part in size)
    middle = F.crop(image, (height - rows) // 2, (width - columns) // 2, rows, columns)
    return F.resize(middle, list(size), InterpolationMode.BILINEAR, antialias=True)
