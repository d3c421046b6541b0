"""Runtimes that read a file: content -> a network that can be run and timed; one function per runtime."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stdc_search.errors import UserError

if TYPE_CHECKING:
    import onnxruntime as ort
    import openvino as ov

INPUT = "image"
"""Name of a file's input."""
Nodes = list[tuple[str, float]]
"""Names and milliseconds of what a runtime made of a network's operators, in the order in which they ran."""


class UnavailableError(UserError):
    """A runtime, device or precision that is not here."""


class Settings(NamedTuple):
    """How a runtime runs a file."""

    runtime: str
    device: str | None
    """None leaves it to the runtime: a GPU if it has one here."""
    precision: str
    threads: int


@dataclass(frozen=True)
class Runner:
    """A network made ready on a runtime."""

    load: Callable[[np.ndarray], Any]
    """Brings normalised images, float32 N, 3, H, W, to where the runtime wants them."""
    run: Callable[[Any], Any]
    """Called with what was loaded; returns when the result exists, which is good until the next call."""
    fetch: Callable[[Any], np.ndarray]
    """A copy of a result."""
    device: str
    """Where it runs: cpu, cuda, tensorrt, gpu or npu."""
    nodes: Callable[[], list[Nodes]] | None = None
    """The nodes of each run, if they are profiled; to be called once, after the last run."""


Opener = Callable[..., Runner]
"""Like `open_file`; on another device, too."""


def open_file(settings: Settings, content: bytes | Path, profile: bool = False) -> Runner:
    """Make a network ready.

    Args:
        settings: the runtime, and how it runs the file.
        content: of an ONNX file, or of one that `deploy/ncnn.py` wrote; or the path of a file that the runtime reads.
        profile: whether to note the time of each node.

    Raises:
        UnavailableError: the runtime, device or precision is not here.
    """
    makers = {"onnxruntime": _onnxruntime, "openvino": _openvino, "ncnn": _ncnn}
    return makers[settings.runtime](settings, content, profile)


def _onnxruntime(settings: Settings, content: bytes | Path, profile: bool) -> Runner:
    """ONNX Runtime with all graph optimisations.

    Images and result stay on the device: copies to and from it are not timed.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise UnavailableError(f"ONNX Runtime cannot be imported ({error}); type: pip install onnxruntime") from None
    session, device = _session(settings, content, Path(tempfile.mkdtemp(dir=_profiles())) if profile else None)
    memory = "cpu" if device == "cpu" else "cuda"
    binding = session.io_binding()
    binding.bind_output(session.get_outputs()[0].name, memory)

    def run(images: ort.OrtValue) -> ort.OrtValue:
        binding.bind_ortvalue_input(INPUT, images)  # here, since a binding does not keep the array alive
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    def nodes() -> list[Nodes]:
        path = Path(session.end_profiling())
        events = json.loads(path.read_bytes())
        path.unlink()
        runs: list[Nodes] = [[]]
        for event in events:
            if event["name"] == "model_run":  # ends a run
                runs.append([])
            elif event["cat"] == "Node":
                runs[-1].append((event["name"], event["dur"] / 1e3))
        return runs[:-1]

    return Runner(
        lambda images: ort.OrtValue.ortvalue_from_numpy(images, memory),
        run,
        lambda result: np.array(result.numpy()),  # which may be the memory of the next result
        device,
        nodes if profile else None,
    )


def _session(settings: Settings, content: bytes | Path, profile: Path | None) -> tuple[ort.InferenceSession, str]:
    """A session and its device; where a profile is wanted, it comes into the given folder."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    device = settings.device or ("cuda" if PROVIDERS["cuda"] in available else "cpu")
    if PROVIDERS[device] not in available:
        raise UnavailableError(
            f"`device: {device}`: ONNX Runtime has no {PROVIDERS[device]} here; "
            "type: pip uninstall onnxruntime, then: pip install onnxruntime-gpu"
        )
    if settings.precision == "fp16" and device == "cpu":
        raise UnavailableError(
            "`precision: fp16` runs only on GPUs in ONNX Runtime; on a CPU use int8 or fp32, or the runtime openvino"
        )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = 3  # errors
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile / "profile")
    # Otherwise idle threads spin for a while and slow down the next network.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    low = {"trt_fp16_enable": str(settings.precision == "fp16"), "trt_int8_enable": str(settings.precision == "int8")}
    chain: dict[str, list[Any]] = {
        "cpu": [],
        "cuda": [(PROVIDERS["cuda"], {"use_tf32": "0"})],
        "tensorrt": [(PROVIDERS["tensorrt"], low), (PROVIDERS["cuda"], {"use_tf32": "0"})],
    }
    session = ort.InferenceSession(content, options, providers=[*chain[device], PROVIDERS["cpu"]])
    if PROVIDERS[device] not in session.get_providers():
        raise UnavailableError(f"`device: {device}`: ONNX Runtime could not start its {PROVIDERS[device]} here")
    return session, device


@cache
def _profiles() -> str:
    """A folder for the profiles of this process, which is removed at its end."""
    folder = tempfile.mkdtemp(prefix="stdc-search-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""ONNX Runtime's, by device."""


def _openvino(settings: Settings, content: bytes | Path, profile: bool) -> Runner:
    """OpenVINO on the CPU, or on Intel's GPU or NPU, for one call at a time."""
    core = openvino_core()
    import openvino as ov

    device = settings.device or "cpu"
    name = device.upper()
    if device != "cpu" and name not in (here := sorted({one.split(".")[0] for one in core.available_devices})):
        raise UnavailableError(
            f"`device: {device}`: OpenVINO finds only {', '.join(here)} here; install Intel's driver of the {name}"
        )
    words = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
    have = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
    if words[settings.precision] not in have:
        raise UnavailableError(f"`precision: {settings.precision}`: this {name} has {', '.join(have)} in OpenVINO")
    types = {"bf16": ov.Type.bf16, "fp16": ov.Type.f16}
    how = {
        "PERFORMANCE_HINT": "LATENCY",
        **({"INFERENCE_NUM_THREADS": settings.threads} if device == "cpu" else {}),
        # It lowers the precision by itself otherwise, where the CPU is faster at that.
        "INFERENCE_PRECISION_HINT": types.get(settings.precision, ov.Type.f32),
        "PERF_COUNT": profile,
    }
    request = core.compile_model(core.read_model(content), name, how).create_infer_request()
    runs: list[Nodes] = []

    def run(images: ov.Tensor) -> np.ndarray:
        request.set_input_tensor(images)
        request.infer()
        if profile:
            nodes = request.get_profiling_info()
            runs.append([(node.node_name, node.real_time.total_seconds() * 1e3) for node in nodes])
        return request.get_output_tensor().data

    return Runner(
        lambda images: ov.Tensor(images.copy()),  # a shared array is not kept alive
        run,
        np.array,
        device,
        (lambda: runs) if profile else None,
    )


def openvino_core() -> ov.Core:
    """OpenVINO's Core, one for the whole process.

    Raises:
        UnavailableError: OpenVINO is not installed.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise UnavailableError(f"OpenVINO cannot be imported ({error}); type: pip install openvino") from None
    return _core(ov.Core)


@cache
def _core(make: Callable[[], ov.Core]) -> ov.Core:
    # A Core sets its thread's signal stack. When it is deleted, it restores the previous Core's stack, which may be
    # gone: the next handled signal, such as Ctrl-C or the end of a loader's worker, was then a segmentation fault.
    return make()


NCNN_INPUT, NCNN_OUTPUT = "in0", "out0"
"""Names that pnnx gives."""


def _ncnn(settings: Settings, content: bytes | Path, profile: bool) -> Runner:
    """ncnn on the CPU. It has no argmax: NumPy takes the best class, as the example beside an exported file does."""
    assert isinstance(content, bytes) and not profile
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(content)) as archive:
        output = archive.read("output").decode()
        archive.extractall(folder)
        net = ncnn_net(Path(folder, "network.param"), settings.precision, settings.threads)

    def run(images: np.ndarray) -> np.ndarray:
        scores = ncnn_scores(net, images)
        return (scores if output == "logits" else best_class(scores))[None]

    return Runner(lambda images: np.ascontiguousarray(images[0]), run, np.array, "cpu")


def ncnn_net(param: Path, precision: str = "fp32", threads: int | None = None) -> Any:
    """A network from `network.param` and the `.bin` beside it.

    Raises:
        UnavailableError: ncnn is not installed.
        UserError: ncnn lacks an operator.
    """
    net = _ncnn_package().Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, name, precision == "fp16")
    for name in ("use_bf16_packed", "use_bf16_storage"):
        setattr(net.opt, name, precision == "bf16")
    if threads is not None:
        net.opt.num_threads = threads
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise UserError("ncnn lacks an operator of this network; take another runtime or format")
    return net


def _ncnn_package() -> Any:
    try:
        return import_module("ncnn")  # which type checkers cannot look into
    except ImportError as error:
        raise UnavailableError(f"ncnn cannot be imported ({error}); type: pip install ncnn") from None


def ncnn_scores(net: Any, image: np.ndarray) -> np.ndarray:
    """Scores of one image, float32 3, H, W.

    Raises:
        UserError: ncnn cannot run the network.
    """
    with net.create_extractor() as run:
        run.input(NCNN_INPUT, _ncnn_package().Mat(image))
        failed, found = run.extract(NCNN_OUTPUT)
        if failed:
            raise UserError("ncnn cannot run this network; take another runtime or format")
        return np.array(found)


def best_class(scores: np.ndarray) -> np.ndarray:
    """The best class, uint8 H, W, of scores: classes, H, W; int64, of classes alone.

    NumPy's own argmax takes four times as long.
    """
    if scores.ndim == 1:
        return np.asarray(scores.argmax())
    best, highest = np.zeros(scores.shape[1:], np.uint8), scores[0].copy()
    for number, its in enumerate(scores[1:], start=1):
        np.putmask(best, its > highest, number)
        np.maximum(highest, its, out=highest)
    return best
