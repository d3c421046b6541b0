"""Runtimes: a network -> a callable that can be timed. PyTorch's are here; `device/runtimes.py` has those that read a
file."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from stdc_search.deploy.export import to_onnx
from stdc_search.deploy.folding import deployed
from stdc_search.deploy.ncnn import to_ncnn
from stdc_search.deploy.quantize import quantized
from stdc_search.device.runtimes import Opener, Runner, Settings, UnavailableError, open_file
from stdc_search.network.onnx_file import file_in
from stdc_search.spec.choices import Precision
from stdc_search.spec.measurement import RuntimeSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.05, "fp16": 0.05, "int8": 0.5}
"""How far scores may lie from the reference: in fp32 each of them, as a share of the largest; in others their root mean
square, as a share of the reference's. int8 of random weights is far from it; a wrong network is farther."""


class MismatchError(RuntimeError):
    """A runtime's result is not that of eager PyTorch; its time would be of another network."""


def prepare(
    spec: RuntimeSpec,
    module: nn.Module,
    images: Tensor,
    threads: int,
    calibration: Tensor | None = None,
    content: bytes | None = None,
    opener: Opener = open_file,
) -> Runner:
    """Make a network ready on a runtime and check its result.

    Args:
        spec: runtime, device, precision and output.
        module: image -> logits; left as it is.
        images: as many as a batch has: N, 3, H, W on the CPU, normalised.
        threads: CPU threads.
        calibration: further ones that int8 takes the ranges of features from.
        content: what `file_content` made of the same, where it is at hand.
        opener: makes a file ready, here or on another device.

    Raises:
        UnavailableError: it is not there.
        MismatchError: the result differs from what eager PyTorch computes on the CPU.
    """
    file = file_in(module)
    match spec.runtime:
        case "eager" | "compile" | "ncnn" if file is not None:
            raise UnavailableError(
                f"`runtime: {spec.runtime}`: {file.path} runs only in onnxruntime and openvino; use them"
            )
        case "eager":
            runner = eager(spec, module, threads)
        case "compile":
            runner = compiled(spec, module, threads)
        case "onnxruntime" | "openvino" | "ncnn":
            content = content or file_content(spec, module, images, calibration)
            runner = opener(Settings(spec.runtime, spec.device, spec.precision, threads), content)
        case _:
            assert_never(spec.runtime)
    if file is not None:
        runner = replace(runner, load=lambda array, load=runner.load: load(_renormalised(file, array)))
    with torch.inference_mode():
        hard = file is not None and file.gives_labels
        result = runner.fetch(runner.run(runner.load(images.numpy())))
        check(torch.from_numpy(result), reference(module)(images), spec, hard=hard)
    return runner


def _renormalised(file: Any, images: np.ndarray) -> np.ndarray:
    return file.renormalised(torch.from_numpy(images)).numpy()


def reference(module: nn.Module) -> nn.Module:
    """What every runtime is compared with: the network itself in eager PyTorch on the CPU, nothing folded or fused."""
    return deepcopy(module).cpu().eval()


def eager(spec: RuntimeSpec, module: nn.Module, threads: int) -> Runner:
    """Plain PyTorch.

    A run sets torch's number of threads and leaves it so, since others may take turns with it.
    """
    return _torch(spec, deployed(module, spec.output, DTYPES[spec.precision]), threads)


def compiled(spec: RuntimeSpec, module: nn.Module, threads: int) -> Runner:
    """torch.compile, with weights as constants; takes minutes to be made ready on a CPU."""
    network = deployed(module, spec.output, DTYPES[spec.precision])
    return _torch(spec, network, threads, lambda network: torch.compile(network, options={"freezing": True}))


def _torch(
    spec: RuntimeSpec, network: nn.Module, threads: int, compiler: Callable[[nn.Module], Any] = lambda network: network
) -> Runner:
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("`device: cuda`: torch finds no GPU here; leave `device` out, or set it to cpu")
    device = torch.device(spec.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if spec.precision == "fp16" and device.type == "cpu":
        raise UnavailableError("`precision: fp16` runs only on GPUs in PyTorch; on a CPU use bf16 or fp32")
    memory_format = torch.channels_last if spec.memory_format == "channels_last" else torch.contiguous_format
    call = compiler(network.to(device).to(memory_format=memory_format))

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        torch.set_num_threads(threads)
        result = call(images)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return result

    def load(images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).to(device).to(memory_format=memory_format)

    return Runner(load, run, lambda result: result.numpy(force=True).copy(), device.type)


def file_content(spec: RuntimeSpec, module: nn.Module, images: Tensor, calibration: Tensor | None) -> bytes:
    """The file that a runtime reads: ONNX, or ncnn's own."""
    if spec.runtime == "ncnn":
        return to_ncnn(deployed(module, "logits").cpu(), images, spec.output)
    batch, _, height, width = images.shape
    # TensorRT and OpenVINO lower the precision of a float32 network themselves.
    lowered = spec.precision == "fp16" and spec.runtime == "onnxruntime" and spec.device != "tensorrt"
    if file_in(module) is not None and (lowered or spec.precision == "int8"):
        raise UnavailableError(f"`precision: {spec.precision}`: an ONNX file is not converted; give a converted one")
    dtype = torch.float16 if lowered else torch.float32
    content = to_onnx(module, (height, width), spec.output, batch=batch, dtype=dtype)
    if spec.precision != "int8":
        return content
    if calibration is None:
        raise UnavailableError("`precision: int8` needs images for calibration; add the section `data`")
    return quantized(content, calibration)


def check(result: Tensor, logits: Tensor, spec: RuntimeSpec, *, hard: bool = False) -> None:
    """Compare a result with the reference's scores; classes as good as tied may be swapped.

    Args:
        result: logits, or labels N, ... of logits N, C, ...
        logits: the reference.
        spec: whose result it is.
        hard: whether the reference only has the best class, as scores of 0 and 1, so that ties cannot be seen. Then a
            share of the pixels may differ.

    Raises:
        MismatchError: they differ.
    """
    expected = logits.shape[:1] + logits.shape[2:] if spec.output == "labels" else logits.shape
    if result.shape != expected:
        raise MismatchError(f"{spec.runtime} gives {spec.output} of shape {[*result.shape]}, not {[*expected]}")
    if spec.output == "labels":
        chosen = logits.gather(1, result.long().unsqueeze(1)).squeeze(1)
        error = logits.amax(1) - chosen
    else:
        error = (logits - result.float()).abs()
    limit = TOLERANCE[spec.precision] * (logits.abs().max() if spec.precision == "fp32" else _root_mean_square(logits))
    found = error.max() if spec.precision == "fp32" else _root_mean_square(error)
    if hard:
        limit, found = TOLERANCE[spec.precision], (error != 0).float().mean()
    if not found <= limit:  # written so that NaN is an error
        raise MismatchError(
            f"{spec.runtime} gives other {spec.output} than eager PyTorch: in {spec.precision} their scores differ by "
            f"{found:.3g}, and at most {limit:.3g} is allowed"
        )


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
