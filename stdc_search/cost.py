"""NetworkSpec, image size -> Cost: a sum over the network's parts, each counted once and remembered.

A network is built with stand-ins in its parts' places and run once through its own `forward`. A stand-in looks up
what its part costs for the shapes that it is given; only a part that was never seen is built, on the `meta` device,
and counted.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stdc_search.builder import build
from stdc_search.records import Cost, PartCost
from stdc_search.spec.network import NetworkSpec

ZERO = Cost(parameters=0, macs=0, fvcore_flops=0, paper_flops=0)
Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]


def count(network: NetworkSpec, image_size: tuple[int, int]) -> Cost:
    """Count what `forward` of a network needs for one image.

    Args:
        network: its spec.
        image_size: (height, width).
    """
    return sum((part.cost for part in count_parts(network, image_size)), ZERO)


def count_parts(network: NetworkSpec, image_size: tuple[int, int]) -> list[PartCost]:
    """The same a part, in the order in which they run; heads that only training uses are not among them."""
    ran: list[tuple[_StandIn, Shapes, Cost]] = []
    module = build(network, lambda part, *args: _StandIn(part, args, ran)).eval()
    names = {child: name for name, child in module.named_modules()}
    module(torch.empty((1, 3, *image_size), device="meta"))
    return [
        PartCost(name=names[part], kind=part.part.__name__, output=outputs[0][1:], cost=cost)
        for part, outputs, cost in ran
    ]


def count_with_fvcore(module: nn.Module, image_size: tuple[int, int]) -> int:
    """FLOPs of a built network by fvcore's default rule, the authority that `count` is held to.

    Takes about a second at 512 x 1024; the module is left in eval mode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore's own import of a moved torch function
        from fvcore.nn import FlopCountAnalysis
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # else a line for each operator that it ignores
    analysis = FlopCountAnalysis(module.eval(), torch.zeros(1, 3, *image_size))
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


class _StandIn(nn.Module):
    """Stands where a part would, and answers with tensors of the part's output shapes."""

    def __init__(self, part: type[nn.Module], args: tuple[Any, ...], ran: list[Any]) -> None:
        super().__init__()
        self.part = part
        self.args = args
        self.ran = ran

    def forward(self, *inputs: Tensor | list[Tensor]) -> Tensor | tuple[Tensor, ...]:
        shapes = tuple(_shape(value) for value in inputs)
        several, outputs, cost = _count_part(self.part, self.args, shapes)
        self.ran.append((self, outputs, cost))
        tensors = tuple(torch.empty(shape, device="meta") for shape in outputs)
        return tensors if several else tensors[0]


@cache
def _count_part(
    part: type[nn.Module], args: tuple[Any, ...], inputs: tuple[Shape | Shapes, ...]
) -> tuple[bool, Shapes, Cost]:
    """Whether a part gives several outputs, their shapes, and its cost for inputs of these shapes."""
    with torch.device("meta"):
        module = part(*args).eval()
        tensors = [_empty(shape) for shape in inputs]
    counter = _Counter()
    with torch.no_grad(), counter:
        output = module(*tensors)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    cost = Cost(
        parameters=parameters,
        macs=counter.macs,
        fvcore_flops=counter.fvcore_flops,
        paper_flops=counter.paper_flops,
    )
    several = isinstance(output, tuple)
    outputs = output if several else (output,)
    return several, tuple(tuple(tensor.shape) for tensor in outputs), cost


class _Counter(TorchFunctionMode):
    """Adds up three counts of what runs under it.

    Functions are met above the dispatcher, where global pooling has not yet become a mean.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.fvcore_flops = self.paper_flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if rule := _RULES.get(func):
            macs, fvcore_extra, paper_extra = rule(output, *args, **(kwargs or {}))
            self.macs += macs
            self.fvcore_flops += macs + fvcore_extra
            self.paper_flops += macs + paper_extra
        return output


def _interpolate(output: Tensor, *_: Any, mode: str = "nearest", **__: Any) -> tuple[int, int, int]:
    return 0, output.numel() * {"nearest": 1, "bilinear": 4}[mode], 0


# (output, *arguments) -> multiply-adds, what fvcore adds, what the paper's rule adds.
_RULES: dict[Any, Callable[..., tuple[int, int, int]]] = {
    F.conv2d: lambda out, x, weight, *_, **__: (out.numel() * prod(weight.shape[1:]), 0, 0),
    F.linear: lambda out, x, weight, *_, **__: (out.numel() * weight.shape[1], 0, 0),
    F.batch_norm: lambda out, x, *_, **__: (0, 2 * x.numel(), 2 * x.numel()),
    F.relu: lambda out, *_, **__: (0, 0, out.numel()),
    F.avg_pool2d: lambda out, x, *_, **__: (0, 0, x.numel()),
    F.adaptive_avg_pool2d: lambda out, x, *_, **__: (0, x.numel(), x.numel()),
    F.interpolate: _interpolate,
}


def _shape(value: Tensor | list[Tensor]) -> Shape | Shapes:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return tuple(tuple(tensor.shape) for tensor in value)


def _empty(shape: Shape | Shapes) -> Tensor | list[Tensor]:
    if isinstance(shape[0], int):
        return torch.empty(cast(Shape, shape))
    return [torch.empty(one) for one in cast(Shapes, shape)]
