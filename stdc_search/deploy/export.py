"""A network as a file that needs none of this package: ONNX, OpenVINO, torch.export, ncnn."""

from __future__ import annotations

import io
import json
import logging
from ast import literal_eval
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from stdc_search.deploy.folding import Output, deployed
from stdc_search.deploy.ncnn import run_ncnn, save_ncnn
from stdc_search.device.runtimes import INPUT, openvino_core
from stdc_search.errors import UserError, brief
from stdc_search.network.onnx_file import file_in
from stdc_search.spec.choices import Format
from stdc_search.spec.data import MEAN, STD
from stdc_search.storage import write_atomically

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""The operator set of torch's exporter. It has everything that these networks need, and more runtimes read it than
later ones."""
ABOUT = "about"
"""Key of the JSON description inside a file."""
STEP = 32
"""Dynamic heights and widths are multiples of this, at least two, so that the maps of all strides fit together."""


def to_onnx(
    module: nn.Module,
    image_size: tuple[int, int],
    output: Output = "logits",
    path: Path | None = None,
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> bytes:
    """Export the `forward` of a network, without the heads for training; takes 3 to 6 s.

    Args:
        module: image float32 N, 3, H, W, normalised -> logits; not modified.
        image_size: (height, width), fixed in the file as is the batch.
        output: `labels` includes the argmax over classes in the graph.
        path: the file, written atomically.
        batch: images per call.
        dtype: of weights and features.

    Returns:
        The file's content.
    """
    model = _onnx(deployed(module, output, dtype).cpu(), torch.zeros(batch, 3, *image_size), output)
    content = model.SerializeToString()
    if path is not None:
        write_atomically(path, content)
    return content


class Best(nn.Module):
    """A network that returns the best class of each pixel, at any size: `deployed`'s faster way needs a fixed one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        scores = self.network(image)
        return scores.argmax(1).to(torch.uint8) if scores.ndim == 4 else scores.argmax(1)


class Pixels(nn.Module):
    """A network that takes images as stored in files: uint8 N, H, W, 3, RGB."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        # Contiguous, or torch 2.8 pools by `as_strided`, for which exporters write a loop.
        image = image.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return self.network((image - self.mean) / self.std)


def export(
    module: nn.Module,
    image_size: tuple[int, int],
    to: Format,
    folder: Path,
    about: Mapping[str, Any],
    *,
    lower: Callable[[bytes], bytes] | None = None,
    dynamic: Collection[str] = (),
) -> Path:
    """Write a file that labels images uint8 N, H, W, 3, and verify it.

    Args:
        module: image -> scores; not modified.
        image_size: (height, width), fixed in the file unless `dynamic` has `size`.
        to: the format.
        folder: an existing folder for `network.onnx`, `network.xml` and `.bin`, `network.pt2`, or `network.param` and
            `.bin`.
        about: description that is stored in the file.
        lower: converts an ONNX file to a lower precision; its labels may then differ from the network's.
        dynamic: `batch` leaves the number of images open, which is 1 otherwise; `size` height and width.

    Raises:
        UserError: a package is missing, the network cannot be `dynamic`, or the file's labels differ from the
            network's.
    """
    check_dynamic(dynamic, image_size)
    scores = deployed(module, "logits").cpu()
    network = Pixels(Best(scores) if "size" in dynamic else deployed(module, "labels").cpu()).eval()
    sides: dict[int, Any] = {0: Dim("batch")} if "batch" in dynamic else {}
    if "size" in dynamic:
        sides |= {1: STEP * Dim("rows", min=2), 2: STEP * Dim("columns", min=2)}
    example = _noise(2 if "batch" in dynamic else 1, image_size)  # of 1, the exporter would make a constant
    if to == "torch":
        path = folder / "network.pt2"
        buffer = io.BytesIO()
        with _open(dynamic):
            program = torch.export.export(network, (example,), dynamic_shapes=(sides,))
        torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about)})
        path.write_bytes(buffer.getvalue())
    elif to == "ncnn":
        path = save_ncnn(Pixels(scores).eval(), example, folder)
    else:
        with _open(dynamic):
            model = _onnx(network, example, "labels", sides)
        note = model.metadata_props.add()
        note.key, note.value = ABOUT, json.dumps(about)
        content = model.SerializeToString()
        content = content if lower is None else lower(content)
        path = folder / "network.onnx"
        if to == "openvino":
            path = _save_openvino(content, folder / "network.xml", about)
        else:
            path.write_bytes(content)
    plain = Pixels(scores).eval() if lower is None else None
    _verify(path, plain, _noise(1, image_size))
    if dynamic:
        larger = image_size[0] + STEP, image_size[1] + 2 * STEP
        several = _noise(3 if "batch" in dynamic else 1, larger if "size" in dynamic else image_size)
        with _open(dynamic):
            _verify(path, plain, several)
    return path


def check_dynamic(dynamic: Collection[str], image_size: tuple[int, int]) -> None:
    """Check that a network with images of this size can have dynamic sizes.

    Raises:
        UserError: it cannot.
    """
    near = [STEP * max(-(-side // STEP), 2) for side in image_size]
    if "size" in dynamic and near != list(image_size):
        raise UserError(
            f"`--dynamic size` takes sides in multiples of {STEP}, at least {2 * STEP}, and `image_size` is "
            f"{list(image_size)}; write {near} there, or leave the option out"
        )


def run(path: Path, image: Tensor) -> Tensor:
    """Run an exported file: returns labels of pixels, uint8 N, H, W, or of whole images, int64 N.

    Args:
        path: a file that `export` wrote.
        image: images, uint8 N, H, W, 3, as the file takes them.
    """
    match path.suffix:
        case ".onnx":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4  # an error is raised, too
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            return torch.from_numpy(session.run(None, {INPUT: image.numpy()})[0])
        case ".xml":
            core = openvino_core()
            settings = {"INFERENCE_PRECISION_HINT": "f32"}
            return torch.from_numpy(core.compile_model(path, "CPU", settings)(image.numpy())[0].copy())
        case ".param":
            return run_ncnn(path, image)
        case _:
            return torch.export.load(path).module()(image)


@contextmanager
def _open(dynamic: Collection[str]) -> Iterator[None]:
    """Say it plainly where the exporter finds that a network needs fixed sizes."""
    try:
        yield
    except Exception as error:  # the exporter's errors have no class in common
        if not dynamic:
            raise
        options = " ".join(f"--dynamic {one}" for one in sorted(dynamic))
        raise UserError(f"this network cannot have dynamic sizes ({brief(error)}); leave out {options}") from None


def _noise(images: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (images, *size, 3), dtype=torch.uint8, generator=generator)


def _verify(path: Path, network: Pixels | None, images: Tensor) -> None:
    """A file must run, and its labels must be the best of the network's scores wherever its two highest are apart."""
    labels = run(path, images)
    if network is None:
        return
    with torch.inference_mode():
        scores = network(images)
    best = scores.topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > 1e-4 * scores.abs().max()
    wrong = (labels.long() != scores.argmax(1)) & sure
    if labels.shape != wrong.shape or wrong.any():
        raise UserError(f"{path.name}: its labels differ from the network's in {wrong.double().mean():.2%} of an image")


def _save_openvino(content: bytes, path: Path, about: Mapping[str, Any]) -> Path:
    core = openvino_core()
    import openvino as ov

    model = core.read_model(content)
    model.set_rt_info(json.dumps(about), ABOUT)
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def _onnx(
    network: nn.Module, example: Tensor, output: Output, dynamic: dict[int, Any] | None = None
) -> onnx.ModelProto:
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it logs a line for an attribute that is empty on purpose
    file = file_in(network)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=[INPUT],
        output_names=[output],
        dynamo=True,  # the default since torch 2.9
        opset_version=OPSET if file is None else max(OPSET, file.opset),
        verbose=False,  # progress would go to standard output
        dynamic_shapes=(dynamic,) if dynamic else None,
    )
    assert program is not None
    model = program.model_proto
    _name_after_modules(model)
    _drop_traces(model)
    if file is not None:
        file.put_into(model, tuple(example.shape))
    return model


def _name_after_modules(model: onnx.ModelProto) -> None:
    """Prefix the names of each node and its outputs with the name of their module: `network.head.out/conv2d`."""
    kept = {output.name for output in model.graph.output}
    names: dict[str, str] = {}
    for node in model.graph.node:
        scopes = {item.key: item.value for item in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "[]")
        module = "".join(f"{scope}/" for scope in literal_eval(scopes)[-2:-1])
        node.name = module + node.name
        names |= {name: name if name in kept else module + name for name in node.output}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in model.graph.value_info:
        value.name = names.get(value.name, value.name)


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the stack trace that the exporter notes at each node: paths and code of this machine."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for item in (model, graph, *graph.node, *values):
        item.ClearField("metadata_props")
