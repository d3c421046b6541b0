"""Converts an ONNX file from floats to int8 weights and features, with ONNX Runtime's static quantisation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stdc_search.data import Dataset
from stdc_search.data.pixels import center_crop, normalise, resized
from stdc_search.device.runtimes import INPUT

if TYPE_CHECKING:
    import onnx

QUANTIZED = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Resize", "Sigmoid"]
"""Operators that run on int8, so that features stay int8 between convolutions."""


IMAGES = 32
"""Number of images for the ranges, evenly spread over a data set."""


def calibration_images(data: Dataset, image_size: tuple[int, int], antialias: bool = False) -> Tensor:
    """Images of a data set as a network sees them: float32 N, 3, H, W, normalised."""
    chosen = np.linspace(0, len(data) - 1, min(IMAGES, len(data))).round().astype(int)
    return torch.cat([normalise(_seen(*data[i], image_size, antialias)[None]) for i in chosen])


def _seen(image: Tensor, label: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """What a network sees of an image: all of it, or the middle if the label is of the whole image: uint8 3, h, w."""
    if label.ndim == 0:
        return center_crop(image, size)
    return resized(image[None].float(), size, antialias)[0].round().to(torch.uint8)


def quantized(content: bytes, images: Tensor) -> bytes:
    """Convert a file to int8: feature ranges come from calibration images, weights have one scale per channel.

    Everything after the last convolution or linear layer stays in floats, so scores become labels as before.

    Args:
        content: an ONNX file whose batch is 1.
        images: float32 N, 3, H, W, normalised, of the file's size.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, object]] = ({INPUT: image[None].numpy()} for image in images)

        def get_next(self) -> dict[str, object] | None:  # type: ignore[override]
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        ready, path = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        ready.write_bytes(content)
        quant_pre_process(ready, ready, skip_symbolic_shape=True)
        model = onnx.load(ready)
        quantize_static(
            model,
            path,
            Images(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=_after_the_scores(model),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def _after_the_scores(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes after the last layer with weights."""
    nodes = list(model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}  # a label map has a product too, but without weights
    layers = ("Conv", "Gemm", "MatMul")
    last = max(i for i, node in enumerate(nodes) if node.op_type in layers and node.input[1] in weights)
    reached, names = {*nodes[last].output}, []
    for node in nodes[last + 1 :]:
        if reached & {*node.input}:
            reached |= {*node.output}
            names.append(node.name)
    return names
