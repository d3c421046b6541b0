"""An image as an array -> its label map: for users of the Python interface."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stdc_search.data.pixels import center_crop, normalise
from stdc_search.errors import UserError
from stdc_search.evaluation.views import Views
from stdc_search.evaluation.views import predict as labels_of


def predict(
    network: nn.Module, image: NDArray[np.uint8], image_size: tuple[int, int], antialias: bool = False
) -> NDArray[np.uint8]:
    """Label the pixels of an image.

    The image is resized to the size that the network sees and normalised by ImageNet's mean and standard deviation; the
    scores are resized to the image.

    Args:
        network: from `build`, with weights (`load_weights`); on any device.
        image: H, W, 3, RGB, as Pillow and Matplotlib give it. OpenCV gives BGR: pass `image[..., ::-1]`.
        image_size: (height, width) that the network sees: `spec.image_size`.
        antialias: whether an image that shrinks is smoothed: `spec.evaluation.antialias`.

    Returns:
        H, W: the class of each pixel.

    Raises:
        UserError: the array is not such an image.
    """
    check_image(image)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return labels_of(network, pixels, Views(image_size, antialias=antialias), image.shape[:2]).to(torch.uint8).numpy()


@torch.inference_mode()
def classify(network: nn.Module, image: NDArray[np.uint8], image_size: tuple[int, int]) -> int:
    """The class of an image, whose middle the network sees, as in scoring.

    Args:
        network: a classifier, in eval mode; on any device.
        image: as `predict` takes it.
        image_size: (height, width) that the network sees.

    Raises:
        UserError: the array is not such an image.
    """
    check_image(image)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    seen = normalise(center_crop(pixels, image_size)[None].to(next(network.parameters()).device))
    return int(network(seen).argmax())


def check_image(image: NDArray[np.uint8]) -> None:
    """Check that an array is an image.

    Raises:
        UserError: it is not uint8 of shape H, W, 3.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f"the image is a {type(image).__name__}; pass a NumPy array, such as numpy.asarray(image)")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"the image is {image.dtype} of shape {image.shape}; pass uint8 of shape (height, width, 3), in RGB"
        )
