"""NetworkSpec -> nn.Module: the only file that knows both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, assert_never

from torch import nn

from stdc_search.network.models.classifier import AveragePool, Classifier, HiddenLayer, SquaredPool
from stdc_search.network.models.decoder import (
    AdditiveFusion,
    AttentionRefinement,
    ContextPath,
    FeatureFusion,
    Head,
    level_widths,
)
from stdc_search.network.models.layers import ConvX, Upsample
from stdc_search.network.models.library import Features, Trunk, features_of
from stdc_search.network.models.segmenter import DetailTarget, Segmenter
from stdc_search.network.models.stdc import AverageDown, Backbone, DepthwiseDown, Shortcut, StdcModule
from stdc_search.spec.network import (
    ClassifierSpec,
    ConvSpec,
    NetworkSpec,
    SegmenterSpec,
    StageSpec,
    StdcSpec,
    TrunkSpec,
)
from stdc_search.spec.problems import at

# Maps the words of a spec to modules.
SHORTCUTS = {"cat": None, "add": Shortcut}
DOWN = {"depthwise": DepthwiseDown, "strided": None, "average": AverageDown}
SKIP = {"average": AverageDown, "depthwise": DepthwiseDown, "shared": None}
POOLS = {"squared": SquaredPool, "plain": AveragePool}
REFINEMENTS = {"attention": AttentionRefinement, "plain": ConvX}
FUSIONS = {"attention": FeatureFusion, "add": AdditiveFusion}


class Make(Protocol):
    """Makes one part of a network. All arguments are hashable, so they identify the part."""

    def __call__(self, part: type[nn.Module], /, *args: Any) -> nn.Module: ...


def construct(part: type[nn.Module], /, *args: Any) -> nn.Module:
    """Make the part itself, with weights."""
    return part(*args)


def build(network: NetworkSpec, make: Make = construct) -> nn.Module:
    """Build a network with initial weights drawn from torch's global generator.

    Args:
        network: the network's spec.
        make: makes each part; `cost.count` passes a function that makes stand-ins.

    Returns:
        `Segmenter` (N,3,H,W -> N,classes,H,W) or `Classifier` (N,3,H,W -> N,classes).

    Raises:
        SpecError: the library lacks the model or a tap that the spec names.
    """
    backbone = build_backbone(network.backbone, make)
    match network:
        case SegmenterSpec():
            return build_segmenter(network, backbone, make)
        case ClassifierSpec():
            return build_classifier(network, backbone, make)
    assert_never(network)


def build_backbone(spec: StdcSpec | TrunkSpec, make: Make) -> nn.Module:
    """Build the backbone: image -> features of every stage."""
    match spec:
        case StdcSpec():
            widths = [spec.stem[-1].width, *(stage.width for stage in spec.stages)]
            stages = (build_stage(stage, width, make) for stage, width in zip(spec.stages, widths, strict=False))
            return Backbone(build_convs(spec.stem, 3, make), stages)
        case TrunkSpec():
            backbone_features(spec)  # first, for its clear messages
            return make(Trunk, spec.kind, spec.model, spec.taps)
    assert_never(spec)


def backbone_features(spec: StdcSpec | TrunkSpec) -> Features:
    """Channels and reductions of a backbone's features."""
    match spec:
        case StdcSpec():
            return Features(tuple(stage.width for stage in spec.stages), spec.reductions)
        case TrunkSpec():
            try:
                return features_of(spec.kind, spec.model, spec.taps, spec.truncated)
            except ValueError as error:
                raise at("network.backbone", str(error)) from None
    assert_never(spec)


def build_convs(convs: tuple[ConvSpec, ...], channels: int, make: Make) -> Iterator[nn.Module]:
    """Build the convolutions of a stem or a spatial path."""
    for conv in convs:
        yield make(ConvX, channels, conv.width, conv.kernel, conv.stride)
        channels = conv.width


def build_stage(spec: StageSpec, channels: int, make: Make) -> Iterator[nn.Module]:
    """Build the modules of a stage; `channels` is the width of its input."""
    down, skip, shortcut = DOWN[spec.down], SKIP[spec.skip], SHORTCUTS[spec.fusion]
    for i in range(spec.depth):
        stride = spec.stride if i == 0 else 1
        yield make(StdcModule, channels, spec.width, spec.blocks, stride, down, skip, shortcut)
        channels = spec.width


def build_segmenter(spec: SegmenterSpec, backbone: nn.Module, make: Make) -> Segmenter:
    """Build decoder and heads around a backbone."""
    channels, reductions = backbone_features(spec.backbone)
    decoder, taps = spec.decoder, spec.taps
    shallow, *deep = (channels[i] for i in taps)
    spatial = None
    if decoder.spatial is not None:
        spatial = nn.Sequential(*build_convs(decoder.spatial.convs, 3, make))
        shallow = decoder.spatial.convs[-1].width
        if decoder.spatial.reduction != reductions[taps[0]]:
            raise at("network.decoder.spatial.convs", decoder.spatial.misfit(taps[0], reductions[taps[0]]))
    refine, average = REFINEMENTS[decoder.refinement], decoder.context == "pool"
    levels = level_widths(spec.context_widths)
    auxiliary: list[nn.Module] = []
    if (how := spec.auxiliary) is not None:
        auxiliary = [make(Head, width, how.width, how.depth, spec.classes, how.bias) for width in levels]
    detail, detail_stage, detail_target = None, 0, None
    if (how := spec.detail) is not None:
        detail, detail_stage = make(Head, channels[how.stage], how.width, 1, 1), how.stage
        detail_target = DetailTarget(how.strides, how.fusion_weights, how.threshold, how.kernel)
    return Segmenter(
        backbone=backbone,
        spatial=spatial,
        context=make(ContextPath, tuple(deep), spec.context_widths, refine, average),
        fusion=make(FUSIONS[decoder.fusion], shallow, levels[0], decoder.fusion_width),
        head=make(Head, decoder.fusion_width, spec.head.width, spec.head.depth, spec.classes, spec.head.bias),
        upsample=make(Upsample),
        taps=taps,
        auxiliary=auxiliary,
        detail=detail,
        detail_stage=detail_stage,
        detail_target=detail_target,
    )


def build_classifier(spec: ClassifierSpec, backbone: nn.Module, make: Make) -> Classifier:
    """Build the classifier's layers around a backbone."""
    return Classifier(
        backbone=backbone,
        conv=make(ConvX, spec.backbone.stages[-1].width, spec.width, 1),
        pool=make(POOLS[spec.pooling]),
        hidden=make(HiddenLayer, spec.width, spec.hidden, spec.dropout),
        out=make(nn.Linear, spec.hidden, spec.classes, False),
    )
