"""Closed choices that specs and the command line share. Imports nothing heavy, so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal

Runtime = Literal["eager", "compile", "onnxruntime", "openvino", "ncnn"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]

PRECISIONS: dict[Runtime, tuple[Precision, ...]] = {
    "eager": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "ncnn": ("fp32", "bf16", "fp16"),
}
"""The precisions that each runtime supports on some device."""

ProfiledRuntime = Literal["onnxruntime", "openvino"]
"""Runtimes that report the time of each node, which `calibrate` needs."""
FloatPrecision = Literal["fp32", "bf16", "fp16"]
"""Precisions that need no calibration images."""
TrainingPrecision = Literal["auto", FloatPrecision]

Tracker = Literal["mlflow", "wandb"]
"""Experiment trackers, by their names in accelerate and the packages that must be there."""

Format = Literal["onnx", "openvino", "torch", "ncnn"]
"""Formats of an exported network."""
Dynamic = Literal["batch", "size"]
"""What an exported network may leave open: the number of images, or their height and width."""
