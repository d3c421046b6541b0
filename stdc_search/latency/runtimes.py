"""Runtimes: a network -> a callable that can be timed; one function per runtime."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import torch
from torch import Tensor, nn

from stdc_search.deploy.export import INPUT, openvino_core, to_onnx
from stdc_search.deploy.folding import deployed
from stdc_search.deploy.quantize import quantized
from stdc_search.errors import UserError
from stdc_search.network.onnx_file import file_in
from stdc_search.spec.choices import Precision
from stdc_search.spec.measurement import RuntimeSpec

if TYPE_CHECKING:
    import onnxruntime as ort
    import openvino as ov

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.05, "fp16": 0.05, "int8": 0.5}
"""How far scores may lie from the reference: in fp32 each of them, as a share of the largest; in others their root mean
square, as a share of the reference's. int8 of random weights is far from it; a wrong network is farther."""


@dataclass(frozen=True)
class Prepared:
    """A network made ready on a runtime."""

    load: Callable[[Tensor], Any]
    """Brings normalised images, float32 N, 3, H, W on the CPU, to where the runtime wants them."""
    run: Callable[[Any], Tensor]
    """Called with what was loaded; returns when the result exists, which is good until the next call."""
    device: str
    """Where it runs: cpu, cuda or tensorrt."""


class MismatchError(RuntimeError):
    """A runtime's result is not that of eager PyTorch; its time would be of another network."""


class UnavailableError(UserError):
    """A runtime, device or precision that is not here."""


def prepare(
    spec: RuntimeSpec,
    module: nn.Module,
    images: Tensor,
    threads: int,
    calibration: Tensor | None = None,
    content: bytes | None = None,
) -> Prepared:
    """Make a network ready on a runtime and check its result.

    Args:
        spec: runtime, device, precision and output.
        module: image -> logits; left as it is.
        images: as many as a batch has: N, 3, H, W on the CPU, normalised.
        threads: CPU threads.
        calibration: further ones that int8 takes the ranges of features from.
        content: what `onnx_content` made of the same, where it is at hand.

    Raises:
        UnavailableError: it is not here.
        MismatchError: the result differs from what eager PyTorch computes on the CPU.
    """
    file = file_in(module)
    if file is not None and spec.runtime in ("eager", "compile"):
        raise UnavailableError(
            f"`runtime: {spec.runtime}`: {file.path} runs only in onnxruntime and openvino; use them"
        )
    match spec.runtime:
        case "eager":
            prepared = eager(spec, module, threads)
        case "compile":
            prepared = compiled(spec, module, threads)
        case "onnxruntime":
            prepared = onnxruntime(spec, content or onnx_content(spec, module, images, calibration), threads)
        case "openvino":
            prepared = openvino(spec, content or onnx_content(spec, module, images, calibration), threads)
        case _:
            assert_never(spec.runtime)
    if file is not None:
        prepared = replace(prepared, load=lambda images, load=prepared.load: load(file.renormalised(images)))
    with torch.inference_mode():
        hard = file is not None and file.gives_labels
        check(prepared.run(prepared.load(images)).cpu(), reference(module)(images), spec, hard=hard)
    return prepared


def reference(module: nn.Module) -> nn.Module:
    """What every runtime is compared with: the network itself in eager PyTorch on the CPU, nothing folded or fused."""
    return deepcopy(module).cpu().eval()


def eager(spec: RuntimeSpec, module: nn.Module, threads: int) -> Prepared:
    """Plain PyTorch.

    A run sets torch's number of threads and leaves it so, since others may take turns with it.
    """
    return _torch(spec, deployed(module, spec.output, DTYPES[spec.precision]), threads)


def compiled(spec: RuntimeSpec, module: nn.Module, threads: int) -> Prepared:
    """torch.compile, with weights as constants; takes minutes to be made ready on a CPU."""
    network = deployed(module, spec.output, DTYPES[spec.precision])
    return _torch(spec, network, threads, lambda network: torch.compile(network, options={"freezing": True}))


def _torch(
    spec: RuntimeSpec, network: nn.Module, threads: int, compiler: Callable[[nn.Module], Any] = lambda network: network
) -> Prepared:
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

    return Prepared(lambda images: images.to(device).to(memory_format=memory_format), run, device.type)


def onnx_content(spec: RuntimeSpec, module: nn.Module, images: Tensor, calibration: Tensor | None) -> bytes:
    """The file that ONNX Runtime and OpenVINO read."""
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


def onnxruntime(spec: RuntimeSpec, content: bytes, threads: int) -> Prepared:
    """ONNX Runtime with all graph optimisations.

    Images and result stay on the device: copies to and from it are not timed.
    """
    import onnxruntime as ort

    session, device = onnxruntime_session(spec, content, threads)
    memory = "cpu" if device == "cpu" else "cuda"
    binding = session.io_binding()
    binding.bind_output(session.get_outputs()[0].name, memory)

    def run(pixels: ort.OrtValue) -> Tensor:
        binding.bind_ortvalue_input(INPUT, pixels)  # here, since a binding does not keep the array alive
        session.run_with_iobinding(binding)
        return torch.from_dlpack(binding.get_outputs()[0])

    return Prepared(lambda images: ort.OrtValue.ortvalue_from_numpy(images.numpy(), memory), run, device)


def onnxruntime_session(
    spec: RuntimeSpec, content: bytes, threads: int, profile: Path | None = None
) -> tuple[ort.InferenceSession, str]:
    """A session and its device; where a profile is wanted, its file has a name that begins as given."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    device = spec.device or ("cuda" if PROVIDERS["cuda"] in available else "cpu")
    if PROVIDERS[device] not in available:
        raise UnavailableError(
            f"`device: {device}`: ONNX Runtime has no {PROVIDERS[device]} here; "
            "type: pip uninstall onnxruntime, then: pip install onnxruntime-gpu"
        )
    if spec.precision == "fp16" and device == "cpu":
        raise UnavailableError(
            "`precision: fp16` runs only on GPUs in ONNX Runtime; on a CPU use int8 or fp32, or the runtime openvino"
        )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    # Otherwise idle threads spin for a while and slow down the next network.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    lower = {"trt_fp16_enable": str(spec.precision == "fp16"), "trt_int8_enable": str(spec.precision == "int8")}
    chain: dict[str, list[Any]] = {
        "cpu": [],
        "cuda": [(PROVIDERS["cuda"], {"use_tf32": "0"})],
        "tensorrt": [(PROVIDERS["tensorrt"], lower), (PROVIDERS["cuda"], {"use_tf32": "0"})],
    }
    session = ort.InferenceSession(content, options, providers=[*chain[device], PROVIDERS["cpu"]])
    if PROVIDERS[device] not in session.get_providers():
        raise UnavailableError(f"`device: {device}`: ONNX Runtime could not start its {PROVIDERS[device]} here")
    return session, device


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""ONNX Runtime's, by device."""


def openvino(spec: RuntimeSpec, content: bytes, threads: int) -> Prepared:
    """OpenVINO on the CPU, for one call at a time."""
    request = openvino_request(spec, content, threads)
    import openvino as ov

    def load(images: Tensor) -> ov.Tensor:
        return ov.Tensor(images.numpy())  # a copy, since a shared array is not kept alive

    def run(images: ov.Tensor) -> Tensor:
        request.set_input_tensor(images)
        request.infer()
        return torch.from_numpy(request.get_output_tensor().data)

    return Prepared(load, run, "cpu")


def openvino_request(spec: RuntimeSpec, content: bytes, threads: int, profile: bool = False) -> ov.InferRequest:
    """What a compiled network is called by; it notes the time of each node where a profile is wanted."""
    try:
        core = openvino_core()
    except UserError as error:
        raise UnavailableError(str(error)) from None
    import openvino as ov

    words = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
    have = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if words[spec.precision] not in have:
        raise UnavailableError(f"`precision: {spec.precision}`: this CPU has {', '.join(have)} in OpenVINO")
    types = {"bf16": ov.Type.bf16, "fp16": ov.Type.f16}
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # It lowers the precision by itself otherwise, where the CPU is faster at that.
        "INFERENCE_PRECISION_HINT": types.get(spec.precision, ov.Type.f32),
        "PERF_COUNT": profile,
    }
    return core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()


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
