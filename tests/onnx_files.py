"""ONNX files made by hand: one convolution, whose scores have a stride of 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5


def weights(classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(classes, 3, 4, 4)).astype(np.float32)


def scores(images: torch.Tensor, classes: int = CLASSES) -> torch.Tensor:
    """What the file computes."""
    return torch.nn.functional.conv2d(images, torch.from_numpy(weights(classes)), stride=4)


def conv(
    path: Path,
    *,
    classes: int = CLASSES,
    image: tuple[Any, ...] = ("n", 3, "h", "w"),
    dtype: int = TensorProto.FLOAT,
    output: int = TensorProto.FLOAT,
    rank: int = 4,
    nodes: tuple[onnx.NodeProto, ...] = (),
    ends: tuple[str, ...] = ("scores",),
    inputs: tuple[str, ...] = ("images",),
    opset: int = 18,
) -> Path:
    """Write a file. Further nodes start from `scores`; the outputs are those named in `ends`."""
    first = helper.make_node("Conv", ["images", "weight"], ["scores"], strides=[4, 4])
    graph = helper.make_graph(
        [first, *nodes],
        "net",
        [helper.make_tensor_value_info(name, dtype, image) for name in inputs],
        [helper.make_tensor_value_info(name, output, [None] * rank) for name in ends],
        [numpy_helper.from_array(weights(classes).astype(helper.tensor_dtype_to_np_dtype(dtype)), "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def class_map(path: Path, **how: Any) -> Path:
    """Write a file that gives classes, N, h, w."""
    best = helper.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=0)
    return conv(path, nodes=(best,), ends=("classes",), output=TensorProto.INT64, rank=3, **how)
