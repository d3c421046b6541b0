"""NetworkSpec, image size -> Cost: the sum over a network's parts, each counted once and cached.

A part is built on the `meta` device and counted for its input shapes. The network runs its own `forward` on shapes
instead of tensors, with stand-ins that look up the costs of their parts. Stages, and everything after a backbone, are
cached too, so a network of known pieces needs only a few look-ups.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, assert_never, cast

import torch
from torch import Tensor, nn

from stdc_search.errors import brief
from stdc_search.network.builder import (
    Make,
    build,
    build_backbone,
    build_classifier,
    build_segmenter,
    build_stage,
    build_stem,
    build_whole,
    construct,
    construct_deployed,
)
from stdc_search.network.counter import Counter, Counts
from stdc_search.network.onnx_content import counts as counts_of_file
from stdc_search.network.onnx_file import OnnxFile
from stdc_search.records import Cost, PartCost
from stdc_search.spec.backbone import ConvSpec, Stage, StdcSpec, TrunkSpec
from stdc_search.spec.network import ClassifierSpec, NetworkSpec, SegmenterSpec
from stdc_search.spec.problems import at
from stdc_search.spec.whole import LibraryClassifierSpec, LibrarySegmenterSpec, WholeSpec

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


def output_stride(network: NetworkSpec, image_size: tuple[int, int]) -> float | None:
    """Image height over that of the scores before they are up-sampled; None for a classifier."""
    if network.task == "classification":
        return None
    module: Any = build(network, _stand_ins([]))  # whose parts take shapes
    return image_size[0] / module.scores((1, 3, *image_size))[2]


class Piece:
    """Parts that run in sequence. A cached piece is always the same object, so it is a fast key."""

    def __init__(self, ran: Sequence[_Ran]) -> None:
        self.parts = tuple(part for _, part in ran)
        self.counts = _sum(*(_count_part(part).counts for part in self.parts))


def pieces(network: NetworkSpec, image_size: tuple[int, int]) -> list[Piece]:
    """Stem, stages, and everything after the backbone: all parts in running order."""
    image = (1, 3, *image_size)
    if isinstance(network, WholeSpec):
        return [_whole(network, image)]  # pyright: ignore[reportArgumentType]: specs have a hash
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
    first = []
    if isinstance(network, WholeSpec):
        first = _children(parts.pop("body"))
    elif isinstance(network.backbone, TrunkSpec):
        parts.pop("backbone")
        first = _trunk_parts(network.backbone, (1, 3, *image_size))
    return first + [
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
    if not isinstance(network, WholeSpec) and isinstance(network.backbone, TrunkSpec):
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
            piece, shape = _stem(spec.stem, spec.stem_pool, image)
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
def _stem(convs: tuple[ConvSpec, ...], pool: bool, image: Shape) -> tuple[Piece, Shape]:
    return _chain(lambda make: build_stem(convs, pool, make), image)


@cache
def _stage(stage: Stage, shape: Shape) -> tuple[Piece, Shape]:
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


@cache
def _whole(network: WholeSpec, image: Shape) -> Piece:
    ran: list[_Ran] = []
    module = build_whole(network, _stand_ins(ran))
    try:
        module(image)
    except Exception as error:  # a library's model can raise anything
        if not isinstance(network, LibrarySegmenterSpec | LibraryClassifierSpec):
            raise
        message = f"{network.model} fails on an image of {image[2]} x {image[3]}: {brief(error)}"
        raise at("network.model", message) from None
    return Piece(ran)


def _children(whole: Part) -> list[PartCost]:
    """A cost for each child of a part, and one for what it does itself."""
    module, inputs = _made(whole)
    costs, outputs, counter = dict[str, Counts](), dict[str, Shape](), Counter()

    def count_in(name: str, child: nn.Module) -> None:
        before: list[Counts] = []
        child.register_forward_pre_hook(lambda *_: before.append(counter.counts))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            more = Counts(*(new - old for new, old in zip(counter.counts, before.pop(), strict=True)))
            costs[name] = _sum(costs.get(name, Counts(_size(child))), more)
            outputs[name] = tuple((output[0] if isinstance(output, tuple | list) else output).shape[1:])

        child.register_forward_hook(after)

    children = dict(_called(module))
    for name, child in children.items():
        count_in(name, child)
    with torch.no_grad(), counter:
        module(*inputs)
    total = _count_part(whole)
    own = Counts(*(all_ - part for all_, part in zip(total.counts, _sum(Counts(), *costs.values()), strict=True)))
    found = [
        PartCost(
            name=f"body.{name}", kind=type(children[name]).__name__, output=outputs[name], cost=Cost(**cost._asdict())
        )
        for name, cost in costs.items()
    ]
    if any(own):
        kind, output = whole.kind.__name__, total.outputs[0][1:]
        found.append(PartCost(name="body", kind=kind, output=output, cost=Cost(**own._asdict())))
    return found


def _called(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The children of a module by their names; those of a list in its place, as a list is never called."""
    for child_name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _called(child, f"{name}{child_name}.")
        else:
            yield name + child_name, child


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _rest(network: SegmenterSpec | ClassifierSpec, image: Shape, features: Shapes) -> Piece:
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
    module, tensors = _made(part)
    counter = Counter()
    with torch.no_grad(), counter:
        output = module(*tensors)
    counts = counter.counts._replace(parameters=_size(module))
    if isinstance(module, OnnxFile):
        counts = Counts(*counts_of_file(module.fixed(tuple(tensors[0].shape)), module.path))
    several = isinstance(output, tuple)
    outputs = output if several else (output,)
    return _Counted(several, tuple(tuple(tensor.shape) for tensor in outputs), counts)


def _made(part: Part) -> tuple[nn.Module, list[Any]]:
    """A part without weights, and its inputs without values."""
    with torch.device("meta"):
        return construct_deployed(part.kind, *part.args), [_empty(shape) for shape in part.inputs]


def _empty(shape: Shape | Shapes) -> Tensor | list[Tensor]:
    if isinstance(shape[0], int):
        return torch.empty(cast(Shape, shape))
    return [torch.empty(one) for one in cast(Shapes, shape)]
