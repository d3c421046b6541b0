"""What torch's functions cost: multiply-adds, and FLOPs by fvcore's rule and by the paper's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Counts(NamedTuple):
    """The numbers of a `Cost`, as a tuple that is quick to add."""

    parameters: int = 0
    macs: int = 0
    fvcore_flops: int = 0
    paper_flops: int = 0


class Counter(TorchFunctionMode):
    """Sums three counts over all functions called within it.

    It intercepts functions above the dispatcher, where global pooling has not become a mean yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.fvcore_flops = self.paper_flops = 0

    @property
    def counts(self) -> Counts:
        return Counts(0, self.macs, self.fvcore_flops, self.paper_flops)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = (_SHAPES.get(func) or func)(*args, **(kwargs or {}))
        if rule := _RULES.get(func):
            macs, fvcore_extra, paper_extra = rule(output, *args, **(kwargs or {}))
            self.macs += macs
            self.fvcore_flops += macs + fvcore_extra
            self.paper_flops += macs + paper_extra
        return output


def _interpolate(output: Tensor, *_: Any, mode: str = "nearest", **__: Any) -> tuple[int, int, int]:
    return 0, output.numel() * {"nearest": 1, "bilinear": 4, "bicubic": 0}[mode], 0


def _matmul(output: Tensor, input: Tensor, *_: Any, **__: Any) -> tuple[int, int, int]:
    return output.numel() * input.shape[-1], 0, 0


def _attention(output: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[int, int, int]:
    macs = query.numel() * key.shape[-2] + output.numel() * key.shape[-2]
    return macs, -macs, 0  # fvcore skips it


def _norm(
    output: Tensor, input: Tensor, _groups: Any, weight: Tensor | None = None, *_: Any, **__: Any
) -> tuple[int, int, int]:
    return 0, input.numel() * (4 if weight is None else 5), 2 * input.numel()


# Parameters have torch's names, since callers may use them.


def _same(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def _broadcast(input: Tensor, other: Any, **_: Any) -> Tensor:
    if not isinstance(other, Tensor):
        return input
    try:
        return input.new_empty(np.broadcast_shapes(input.shape, other.shape))
    except ValueError as error:  # as torch would
        raise RuntimeError(*error.args) from None


def _resized(input: Tensor, size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    if isinstance(size, Sequence):
        return input.new_empty((*input.shape[:2], *size))
    return F.interpolate(input, size, *args, **kwargs)


def _pooled(input: Tensor, output_size: Any) -> Tensor:
    size = (new or old for new, old in zip(_pair(output_size), input.shape[-2:], strict=True))
    return input.new_empty((*input.shape[:-2], *size))


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    others = {(*x.shape[:dim], *x.shape[dim:][1:]) for x in tensors}
    if dim < 0 or len(others) > 1:
        return torch.cat([*tensors], dim)
    shape = [*tensors[0].shape]
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return tensors[0].new_empty(shape)


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    size = _windows(input, weight.shape[2:], stride, padding, dilation)
    if size is None or input.shape[1] != groups * weight.shape[1]:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return input.new_empty((len(input), len(weight), *size))


def _averaged(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    size = _windows(input, _pair(kernel_size), stride or kernel_size, padding)
    if size is None or ceil_mode:
        return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, *args, **kwargs)
    return input.new_empty((*input.shape[:2], *size))


def _windows(x: Tensor, kernel: Sequence[int], stride: Any, padding: Any, dilation: Any = 1) -> list[int] | None:
    """How often a window fits into the height and the width; None where torch shall say."""
    if isinstance(padding, str):
        return None
    steps = zip(x.shape[2:], kernel, *map(_pair, (stride, padding, dilation)), strict=True)
    size = [(length + 2 * pad - apart * (taps - 1) - 1) // step + 1 for length, taps, step, pad, apart in steps]
    return size if min(size) > 0 else None


def _pair(sizes: Any) -> Sequence[Any]:
    return sizes if isinstance(sizes, Sequence) else (sizes, sizes)


# Only shapes count. On `meta`, torch computes these in Python, for which it first imports its compiler and SymPy.
_SHAPES: dict[Any, Callable[..., Tensor]] = {
    F.conv2d: _convolved,
    F.avg_pool2d: _averaged,
    F.interpolate: _resized,
    F.adaptive_avg_pool2d: _pooled,
    torch.cat: _joined,
    **dict.fromkeys((Tensor.add, Tensor.mul), _broadcast),
    **dict.fromkeys((F.batch_norm, F.relu, torch.sigmoid, F.hardtanh, F.hardswish, F.hardsigmoid, torch.prelu), _same),
}


# (output, *arguments) -> multiply-adds, and what fvcore's rule and the paper's rule add to them.
_RULES: dict[Any, Callable[..., tuple[int, int, int]]] = {
    F.conv2d: lambda out, input, weight, *_, **__: (out.numel() * prod(weight.shape[1:]), 0, 0),
    F.conv_transpose2d: lambda out, input, weight, *_, **__: (input.numel() * prod(weight.shape[1:]), 0, 0),
    F.linear: lambda out, input, weight, *_, **__: (out.numel() * weight.shape[1], 0, 0),
    F.batch_norm: lambda out, input, *_, **__: (0, 2 * input.numel(), 2 * input.numel()),
    F.layer_norm: _norm,
    F.group_norm: _norm,
    torch.matmul: _matmul,
    torch.bmm: _matmul,
    torch.mm: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    F.scaled_dot_product_attention: _attention,
    F.relu: lambda out, *_, **__: (0, 0, out.numel()),
    F.avg_pool2d: lambda out, input, *_, **__: (0, 0, input.numel()),
    F.adaptive_avg_pool2d: lambda out, input, *_, **__: (0, input.numel(), input.numel()),
    F.interpolate: _interpolate,
    F.grid_sample: lambda out, *_, **__: (0, 4 * out.numel(), 0),
}
