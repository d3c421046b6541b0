"""Runtimes: a network and an image -> a run that can be timed; one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn

from stdc_search.export import INPUT, Output, deployed, to_onnx
from stdc_search.spec.measurement import RuntimeSpec

TOLERANCE = 1e-3
"""How far scores may lie from the reference, as a share of its largest."""


@dataclass(frozen=True)
class Prepared:
    """A network made ready on a runtime."""

    run: Callable[[], Tensor]
    """Returns when the result exists; the result is good until the next call."""
    device: str
    """Where it runs: cpu or cuda."""


class MismatchError(RuntimeError):
    """A runtime's result is not that of eager PyTorch; its time would be of another network."""


def prepare(spec: RuntimeSpec, module: nn.Module, image: Tensor, threads: int) -> Prepared:
    """Make a network ready on a runtime and check its result on one image.

    Args:
        spec: runtime and output.
        module: image -> logits; left as it is.
        image: 1, 3, H, W on the CPU.
        threads: CPU threads.

    Raises:
        MismatchError: the result differs from what eager PyTorch computes on the CPU.
    """
    match spec.runtime:
        case "eager":
            prepared = eager(module, image, spec.output, threads)
        case "onnxruntime":
            prepared = onnxruntime(module, image, spec.output, threads)
        case _:
            assert_never(spec.runtime)
    with torch.inference_mode():
        check(prepared.run().cpu(), deployed(module, "logits").cpu()(image), spec)
    return prepared


def eager(module: nn.Module, image: Tensor, output: Output, threads: int) -> Prepared:
    """Plain PyTorch on the GPU if there is one, batch norms not folded: the reference.

    A run sets torch's number of threads and leaves it so, since others may take turns with it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = deployed(module, output).to(device)
    image = image.to(device)

    @torch.inference_mode()
    def run() -> Tensor:
        torch.set_num_threads(threads)
        result = network(image)
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return Prepared(run, device)


def onnxruntime(module: nn.Module, image: Tensor, output: Output, threads: int) -> Prepared:
    """ONNX Runtime with all graph optimisations, on the GPU if its package has CUDA.

    Image and result stay on the device: copies to and from it are not timed.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    # Idle threads otherwise spin on for a while, at the cost of whoever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in ort.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    content = to_onnx(module, (image.shape[2], image.shape[3]), output)
    session = ort.InferenceSession(content, options, providers=providers)

    device = "cuda" if "CUDAExecutionProvider" in session.get_providers() else "cpu"
    binding = session.io_binding()
    binding.bind_output(output, device)
    pixels = ort.OrtValue.ortvalue_from_numpy(image.numpy(), device)

    def run() -> Tensor:
        binding.bind_ortvalue_input(INPUT, pixels)  # here, since a binding does not keep the array alive
        session.run_with_iobinding(binding)
        return torch.from_dlpack(binding.get_outputs()[0])

    return Prepared(run, device)


def check(result: Tensor, logits: Tensor, spec: RuntimeSpec) -> None:
    """Compare a result with the reference's scores; classes as good as tied may be swapped.

    Args:
        result: logits, or labels N, ... of logits N, C, ...
        logits: the reference.
        spec: whose result it is.

    Raises:
        MismatchError: they differ.
    """
    if spec.output == "labels":
        chosen = logits.gather(1, result.long().unsqueeze(1)).squeeze(1)
        error = logits.amax(1) - chosen
    else:
        error = (logits - result).abs()
    limit = TOLERANCE * logits.abs().max()
    if not (agrees := error <= limit).all():  # written so that NaN is an error
        wrong, worst = 1 - agrees.double().mean(), error.max()
        raise MismatchError(
            f"{spec.runtime} does not give the {spec.output} of eager PyTorch: {wrong:.1%} of them are off, "
            f"by scores of up to {worst:.3g} where {limit:.3g} is allowed"
        )
