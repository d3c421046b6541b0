"""An image as an array -> its label map: for users of the Python interface."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stdc_search.errors import UserError
from stdc_search.evaluation.views import Views
from stdc_search.evaluation.views import predict as labels_of


def predict(network: nn.Module, image: NDArray[np.uint8], image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Label the pixels of an image.

    The image is resized to the size that the network sees and normalised by ImageNet's mean and standard deviation, as
    in training; the scores are resized to the image.

    Args:
        network: from `build`, with weights (`load_weights`); on any device.
        image: H, W, 3, RGB, as Pillow and Matplotlib give it. OpenCV gives BGR: pass `image[..., ::-1]`.
        image_size: (height, width) that the network sees: `spec.image_size`.

    Returns:
        H, W: the class of each pixel.

    Raises:
        UserError: the array is not such an image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"the image is {image.dtype} of shape {image.shape}; pass uint8 of shape (height, width, 3), in RGB"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return labels_of(network, pixels, Views(image_size), image.shape[:2]).to(torch.uint8).numpy()
