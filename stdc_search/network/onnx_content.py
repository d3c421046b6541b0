"""Reads ONNX files of other tools and counts their operators.

No file may run code or read another file: only ONNX's own operators are accepted, and only weights within the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx.inliner import inline_local_functions

from stdc_search.errors import UserError, brief, several

MAX_BYTES = 2**31 - 1
"""Size of the largest ONNX file; larger networks have files of weights beside it."""
OUTPUTS = ("float32", "int64", "int32", "uint8")
Shape = tuple[int, ...]


def read(path: Path) -> onnx.ModelProto:
    """A file with one image as input, which comes first, and one output; its own functions are inlined.

    Raises:
        UserError: it is something else, or needs more than itself.
    """
    try:
        model = _parsed(path)
        _check_alone(model)
        model = inline_local_functions(model) if model.functions else model
        _check_operators(model)
        onnx.checker.check_model(model)
        _check_ends(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # the errors of checker and inliner have no class in common
        raise UserError(f"{path}: is not valid ONNX: {brief(error)}; export it again") from None
    return model


def _parsed(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        found = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{found}; give the path of an ONNX file, relative to the spec's file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"has {size / 1e9:.1f} GB, but an ONNX file cannot have more than 2 GB; give another one")
    content = path.read_bytes()
    try:
        model = onnx.load_from_string(content)
    except Exception:  # DecodeError of protobuf, which is not a dependency of ours
        raise UserError("is truncated, or is not an ONNX file; export it again") from None
    if not model.graph.node:
        raise UserError("is not an ONNX file, or contains no operators; export it again")
    return model


def _check_alone(model: onnx.ModelProto) -> None:
    for tensor in _all(model, onnx.TensorProto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            raise UserError(
                f"keeps its weights in another file ({place}), which is not read; write a single file of at most 2 GB: "
                "`onnx.save(onnx.load(old), new)`"
            )


def _check_operators(model: onnx.ModelProto) -> None:
    nodes = _all(model, onnx.NodeProto)
    if foreign := {f"{node.domain}.{node.op_type}": None for node in nodes if node.domain not in ("", "ai.onnx")}:
        raise UserError(f"uses custom operators: {several(list(foreign))}; export it with ONNX's own operators only")
    own = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)


def _check_ends(model: onnx.ModelProto) -> None:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]  # old files list weights among the inputs
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or _dtype(inputs[0]) != "float32" or len(dims) != 4 or dims[1] not in (0, 3):
        found = "; ".join(map(_described, inputs)) or "none"
        raise UserError(f"must have one input, float32 N, 3, H, W; it has {found}")
    del graph.input[:]
    graph.input.append(inputs[0])
    names = [value.name for value in graph.output]
    if len(names) > 1:
        remedy = f"onnx.utils.extract_model(old, new, [{inputs[0].name!r}], [{names[0]!r}])"
        raise UserError(f"has {len(names)} outputs ({several(names)}); keep that of the scores or classes: `{remedy}`")
    if (dtype := _dtype(graph.output[0])) not in OUTPUTS:
        raise UserError(f"has an output of {dtype}; export it with float32 scores, or classes in int64, int32 or uint8")


def _dtype(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else "no tensor"


def _described(value: onnx.ValueInfoProto) -> str:
    dims = (str(dim.dim_value or dim.dim_param or "any") for dim in value.type.tensor_type.shape.dim)
    return f"{value.name}: {_dtype(value)} {', '.join(dims)}"


def _all(message: Any, kind: type[Any]) -> Iterator[Any]:
    """The messages of a kind within a message of protobuf, wherever they are."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if hasattr(value, "ListFields") else value:
                if isinstance(child, kind):
                    yield child
                yield from _all(child, kind)


# (shapes of the inputs, shape of the output) -> multiply-adds, and what fvcore's rule and the paper's add to them.
_RULES: dict[str, Callable[[Sequence[Shape], Shape], tuple[int, int, int]]] = {
    "Conv": lambda ins, out: (prod(out) * prod(ins[1][1:]), 0, 0),
    "ConvTranspose": lambda ins, _: (prod(ins[0]) * prod(ins[1][1:]), 0, 0),
    "Gemm": lambda ins, out: (prod(ins[0]) * out[1], 0, 0),
    "MatMul": lambda ins, out: (prod(out) * ins[0][-1], 0, 0),
    "BatchNormalization": lambda ins, _: (0, 2 * prod(ins[0]), 2 * prod(ins[0])),
    "GlobalAveragePool": lambda ins, _: (0, prod(ins[0]), prod(ins[0])),
    "AveragePool": lambda ins, _: (0, 0, prod(ins[0])),
    "Relu": lambda _, out: (0, 0, prod(out)),
    "Resize nearest": lambda _, out: (0, prod(out), 0),
    "Resize linear": lambda _, out: (0, 4 * prod(out), 0),
}
_WITHOUT_RULE = {
    *("Attention", "ConvInteger", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "MatMulInteger", "QLinearConv"),
    *("QLinearMatMul", "RNN", "Scan"),
}
"""Operators with multiply-adds that are not counted."""


def _parameters(model: onnx.ModelProto) -> int:
    nodes = [*_all(model, onnx.NodeProto)]
    sizes = {name for node in nodes if node.op_type == "Resize" for name in node.input[1:]}
    constants = (node for node in nodes if node.op_type == "Constant" and node.output[0] not in sizes)
    tensors = [one for node in constants for one in _all(node, onnx.TensorProto)]
    for graph in _all(model, onnx.GraphProto):
        tensors += [one for one in graph.initializer if one.name not in sizes]
        tensors += [one.values for one in graph.sparse_initializer]
    return sum(prod(one.dims) for one in tensors if one.dims and _learnt(one.data_type))


def _learnt(data_type: int) -> bool:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    return dtype.kind in "fV" or dtype.name in ("int8", "uint8")


def counts(model: onnx.ModelProto, file: Path) -> tuple[int, int, int, int]:
    """Parameters, multiply-adds, and FLOPs by fvcore's rule and by the paper's, as in `cost`.

    Parameters are floats and 8-bit integers, without single constants and the sizes of `Resize`. A warning names the
    operators with multiply-adds that are not counted.

    Args:
        model: its inputs have fixed sizes; its constants are folded.
        file: where it comes from, for the warning.
    """
    from onnxscript.optimizer import fold_constants

    parameters = _parameters(model)
    fold_constants(model)  # files for any size compute shapes, too
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    known = {name: shape for name, shape in shapes.items() if all(shape)}
    macs = fvcore_extra = paper_extra = 0
    missed: dict[str, None] = {}
    for node in graph.node:
        kind = node.op_type
        if kind == "Resize":
            kind += next((f" {it.s.decode()}" for it in node.attribute if it.name == "mode"), " nearest")
        try:
            if kind in _RULES:
                more = _RULES[kind]([known[name] for name in node.input[:2] if name], known[node.output[0]])
                macs, fvcore_extra, paper_extra = macs + more[0], fvcore_extra + more[1], paper_extra + more[2]
            elif kind in _WITHOUT_RULE:
                missed[kind] = None
        except KeyError:  # a shape is not known
            missed[kind] = None
    if missed:
        message = f"the cost does not include {several(list(missed))}: there is no rule, or the shapes are not fixed"
        warnings.warn(f"{file}: {message}", stacklevel=2)
    return parameters, macs, macs + fvcore_extra, macs + paper_extra
