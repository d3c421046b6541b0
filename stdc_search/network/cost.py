"""NetworkSpec, image size -> Cost: the sum over a network's parts, each counted once and cached.

A part is built on the `meta` device and counted for its input shapes. The network runs its own `forward` on shapes
instead of tensors, with stand-ins that look up the costs of their parts. Stages, and everything after a backbone, are
cached too, so a network of known pieces needs only a few look-ups.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple, assert_never, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stdc_search.errors import brief
from stdc_search.network.builder import (
    Make,
    build,
    build_backbone,
    build_classifier,
    build_convs,
    build_segmenter,
    build_stage,
    construct,
)
from stdc_search.records import Cost, PartCost
from stdc_search.spec.network import (
    ClassifierSpec,
    ConvSpec,
    NetworkSpec,
    SegmenterSpec,
    StageSpec,
    StdcSpec,
    TrunkSpec,
)

CHECKED_SIZE = 256, 512
"""Image size for comparing a library's trunk with fvcore; rules that may differ do not depend on the size."""
Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]


class Part(NamedTuple):
    """Everything that determines the cost and latency of a part."""

    kind: type[nn.Module]
    args: tuple[Any, ...]
    inputs: tuple[Shape | Shapes, ...]
    """Shapes of the inputs, including the batch size 1."""

    def __str__(self) -> str:
        def word(value: Any) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(map(word, value)) + "]"
            return value.__name__ if isinstance(value, type) else str(value)

        return f"{self.kind.__name__}({', '.join(map(word, self.args))}) of {', '.join(map(word, self.inputs))}"


class Counts(NamedTuple):
    """The numbers of a `Cost`, as a tuple that is quick to add."""

    parameters: int = 0
    macs: int = 0
    fvcore_flops: int = 0
    paper_flops: int = 0


def count(network: NetworkSpec, image_size: tuple[int, int]) -> Cost:
    """Count the cost of a network's `forward` for one image.

    Args:
        network: its spec.
        image_size: (height, width).

    Raises:
        SpecError: the library lacks the model or a tap that the spec names.
    """
    return Cost(**count_quickly(network, image_size)._asdict())


def count_quickly(network: NetworkSpec, image_size: tuple[int, int]) -> Counts:
    """Like `count`, as a plain tuple; takes microseconds once the network's pieces are cached."""
    return _sum(*[piece.counts for piece in pieces(network, image_size)])


class Piece:
    """Parts that run in sequence. A cached piece is always the same object, so it is a fast key."""

    def __init__(self, ran: Sequence[_Ran]) -> None:
        self.parts = tuple(part for _, part in ran)
        self.counts = _sum(*(_count_part(part).counts for part in self.parts))


def pieces(network: NetworkSpec, image_size: tuple[int, int]) -> list[Piece]:
    """Stem, stages, and everything after the backbone: all parts in running order."""
    image = (1, 3, *image_size)
    found, features = _backbone_pieces(network.backbone, image)
    rest = tuple(value for name, value in network if name != "backbone")
    key = (rest, image, features)
    if key not in _RESTS:
        _RESTS[key] = _rest(network, image, features)
    found.append(_RESTS[key])
    return found


def named_parts(network: NetworkSpec, image_size: tuple[int, int]) -> dict[str, Part]:
    """Parts by their path in the module, such as `backbone.stages.0.1`, in running order."""
    ran: list[_Ran] = []
    module = build(network, _stand_ins(ran))
    module((1, 3, *image_size))
    names = {child: name for name, child in module.named_modules()}
    return {names[part]: key for part, key in ran}


def count_parts(network: NetworkSpec, image_size: tuple[int, int]) -> list[PartCost]:
    """The cost of each part in running order, without the heads that only training uses."""
    parts = named_parts(network, image_size)
    trunk = []
    if isinstance(network.backbone, TrunkSpec):
        parts.pop("backbone")
        trunk = _trunk_parts(network.backbone, (1, 3, *image_size))
    return trunk + [
        PartCost(
            name=name,
            kind=part.kind.__name__,
            output=_count_part(part).outputs[0][1:],
            cost=Cost(**_count_part(part).counts._asdict()),
        )
        for name, part in parts.items()
    ]


def warn_of_trunk(network: NetworkSpec) -> None:
    """Warn if `count` and fvcore disagree about a library's trunk. For all other parts, tests check that they agree.

    This takes a second or more, once per trunk.
    """
    if isinstance(network.backbone, TrunkSpec):
        _warn_of_trunk(network.backbone)  # pyright: ignore[reportArgumentType]: specs have a hash


@cache
def _warn_of_trunk(spec: TrunkSpec) -> None:
    piece, _ = _trunk(spec, (1, 3, *CHECKED_SIZE))  # pyright: ignore[reportArgumentType]
    ours = piece.counts.fvcore_flops
    try:
        theirs = count_with_fvcore(build_backbone(spec, construct), CHECKED_SIZE)
    except Exception as error:  # tracing a library's model can raise almost anything
        warnings.warn(f"{spec.model}: fvcore cannot check its cost, {ours:,} FLOPs: {brief(error)}", stacklevel=3)
        return
    if ours != theirs:
        warnings.warn(
            f"{spec.model}: this package counts {ours:,} FLOPs and fvcore {theirs:,}; "
            "its `cost` may be wrong, so compare it only with networks that have the same backbone",
            stacklevel=3,
        )


def count_with_fvcore(module: nn.Module, image_size: tuple[int, int]) -> int:
    """FLOPs of a built network by fvcore's default rule. Tests check that `count` agrees.

    This takes about a second at 512 x 1024 and leaves the module in eval mode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore's own import of a moved torch function
        from fvcore.nn import FlopCountAnalysis
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # otherwise it logs a line for each ignored operator
    analysis = FlopCountAnalysis(module.eval(), torch.zeros(1, 3, *image_size))
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


_RESTS: dict[Any, Piece] = {}
"""Cache of everything after a backbone, by the rest of the network's spec and the shapes of the features."""


def _backbone_pieces(spec: StdcSpec | TrunkSpec, image: Shape) -> tuple[list[Piece], Shapes]:
    """A backbone's pieces and the shapes of its features."""
    match spec:
        case StdcSpec():
            piece, shape = _convs(spec.stem, image)
            found, features = [piece], []
            for stage in spec.stages:
                piece, shape = _stage(stage, shape)  # pyright: ignore[reportArgumentType]: specs have a hash
                found.append(piece)
                features.append(shape)
            return found, tuple(features)
        case TrunkSpec():
            piece, shapes = _trunk(spec, image)  # pyright: ignore[reportArgumentType]
            return [piece], shapes
    assert_never(spec)


@cache
def _convs(convs: tuple[ConvSpec, ...], shape: Shape) -> tuple[Piece, Shape]:
    return _chain(lambda make: build_convs(convs, shape[1], make), shape)


@cache
def _stage(stage: StageSpec, shape: Shape) -> tuple[Piece, Shape]:
    return _chain(lambda make: build_stage(stage, shape[1], make), shape)


def _chain(parts: Callable[[Make], Iterable[nn.Module]], shape: Shape) -> tuple[Piece, Shape]:
    ran: list[_Ran] = []
    output = nn.Sequential(*parts(_stand_ins(ran)))(shape)
    return Piece(ran), output


def _trunk_parts(spec: TrunkSpec, image: Shape) -> list[PartCost]:
    """One part per tap: the cost of the trunk up to it, minus the cost up to the tap before."""
    parts, before = [], Counts()
    for i, tap in enumerate(spec.taps):
        upto = spec.model_copy(update={"taps": spec.taps[: i + 1], "truncated": True})
        piece, shapes = _trunk(upto, image)  # pyright: ignore[reportArgumentType]
        more = Counts(*(new - old for new, old in zip(piece.counts, before, strict=True)))
        parts.append(PartCost(name=tap, kind=spec.model, output=shapes[-1][1:], cost=Cost(**more._asdict())))
        before = piece.counts
    return parts


@cache
def _trunk(spec: TrunkSpec, image: Shape) -> tuple[Piece, Shapes]:
    ran: list[_Ran] = []
    features = build_backbone(spec, _stand_ins(ran))(image)
    return Piece(ran), features


def _rest(network: NetworkSpec, image: Shape, features: Shapes) -> Piece:
    ran: list[_Ran] = []
    match network:
        case SegmenterSpec():
            module = build_segmenter(network, _Given(features), _stand_ins(ran))
        case ClassifierSpec():
            module = build_classifier(network, _Given(features), _stand_ins(ran))
    module(image)
    return Piece(ran)


def _sum(*counts: Counts) -> Counts:
    return Counts(*map(sum, zip(*counts, strict=True)))


class _Given(nn.Module):
    """Stand-in for a backbone that returns the shapes of its features."""

    def __init__(self, features: Shapes) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: Shape) -> Shapes:
        return self.features


class _StandIn(nn.Module):
    """Stand-in for a part: maps input shapes to output shapes and records that it ran."""

    def __init__(self, part: type[nn.Module], args: tuple[Any, ...], ran: list[_Ran]) -> None:
        super().__init__()
        self.part, self.args, self.ran = part, args, ran

    def forward(self, *inputs: Shape | Sequence[Shape]) -> Shape | Shapes:
        part = Part(self.part, self.args, cast(tuple[Shape | Shapes, ...], tuple(map(tuple, inputs))))
        self.ran.append((self, part))
        counted = _count_part(part)
        return counted.outputs if counted.several else counted.outputs[0]


_Ran = tuple[_StandIn, Part]


def _stand_ins(ran: list[_Ran]) -> Make:
    return lambda part, *args: _StandIn(part, args, ran)


class _Counted(NamedTuple):
    """The cached facts about a part."""

    several: bool
    """Whether the part returns a tuple."""
    outputs: Shapes
    counts: Counts


@cache
def _count_part(part: Part) -> _Counted:
    with torch.device("meta"):
        module = part.kind(*part.args).eval()
        tensors = [_empty(shape) for shape in part.inputs]
    counter = _Counter()
    with torch.no_grad(), counter:
        output = module(*tensors)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    counts = Counts(parameters, counter.macs, counter.fvcore_flops, counter.paper_flops)
    several = isinstance(output, tuple)
    outputs = output if several else (output,)
    return _Counted(several, tuple(tuple(tensor.shape) for tensor in outputs), counts)


class _Counter(TorchFunctionMode):
    """Sums three counts over all functions called within it.

    It intercepts functions above the dispatcher, where global pooling has not become a mean yet.
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


def _matmul(output: Tensor, x: Tensor, *_: Any, **__: Any) -> tuple[int, int, int]:
    return output.numel() * x.shape[-1], 0, 0


def _attention(output: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[int, int, int]:
    macs = query.numel() * key.shape[-2] + output.numel() * key.shape[-2]
    return macs, -macs, 0  # fvcore skips it


def _norm(
    output: Tensor, x: Tensor, _groups: Any, weight: Tensor | None = None, *_: Any, **__: Any
) -> tuple[int, int, int]:
    return 0, x.numel() * (4 if weight is None else 5), 2 * x.numel()


# (output, *arguments) -> multiply-adds, and what fvcore's rule and the paper's rule add to them.
_RULES: dict[Any, Callable[..., tuple[int, int, int]]] = {
    F.conv2d: lambda out, x, weight, *_, **__: (out.numel() * prod(weight.shape[1:]), 0, 0),
    F.linear: lambda out, x, weight, *_, **__: (out.numel() * weight.shape[1], 0, 0),
    F.batch_norm: lambda out, x, *_, **__: (0, 2 * x.numel(), 2 * x.numel()),
    F.layer_norm: _norm,
    F.group_norm: _norm,
    torch.matmul: _matmul,
    torch.bmm: _matmul,
    torch.mm: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    F.scaled_dot_product_attention: _attention,
    F.relu: lambda out, *_, **__: (0, 0, out.numel()),
    F.avg_pool2d: lambda out, x, *_, **__: (0, 0, x.numel()),
    F.adaptive_avg_pool2d: lambda out, x, *_, **__: (0, x.numel(), x.numel()),
    F.interpolate: _interpolate,
}


def _empty(shape: Shape | Shapes) -> Tensor | list[Tensor]:
    if isinstance(shape[0], int):
        return torch.empty(cast(Shape, shape))
    return [torch.empty(one) for one in cast(Shapes, shape)]
