"""What a network learns: the class of each pixel, or of each image. A task has its loss and its score.

All differences between the two, once the network is built, are here; training and trials know neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from stdc_search.data import Dataset
from stdc_search.data.pixels import denormalise
from stdc_search.data.transforms import TrainingSamples
from stdc_search.spec.run import RunSpec
from stdc_search.tasks.classification import Classification
from stdc_search.tasks.segmentation import Segmentation
from stdc_search.tasks.task import Task

__all__ = ["Task", "preview", "task_of"]


def preview(
    spec: RunSpec, data: Dataset, indices: Sequence[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8] | int]]:
    """Samples as the first epoch of training sees them; without a section `training`, whole images at `image_size`.

    Args:
        spec: a run.
        data: its training data.
        indices: indices of the samples.

    Returns:
        Images uint8 [height, width, 3], all of one size, each with the class of every pixel, or of the image.
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
    return Classification(spec) if spec.network.task == "classification" else Segmentation(spec)
