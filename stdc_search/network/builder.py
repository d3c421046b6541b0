"""NetworkSpec -> nn.Module: the only file that knows both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, assert_never

from torch import nn

from stdc_search.network.models.classifier import AveragePool, Classifier, HiddenLayer, SquaredPool, WholeClassifier
from stdc_search.network.models.context import (
    AttentionContext,
    DeepPyramid,
    GlobalContext,
    PooledMaxima,
    Pyramid,
    SimplePyramid,
)
from stdc_search.network.models.decoder import (
    AdditiveFusion,
    AttentionRefinement,
    ContextPath,
    FeatureFusion,
    GatedFusion,
    Head,
    level_widths,
)
from stdc_search.network.models.layers import ConvX, RepConv, Upsample, fuse_branches
from stdc_search.network.models.library import (
    Features,
    LibraryClassifier,
    LibrarySegmenter,
    Trunk,
    check_model,
    features_of,
)
from stdc_search.network.models.liteseg import ChannelWeights, LiteDecoder, SpatialWeights, UnifiedAttention
from stdc_search.network.models.peers.bisenetv2 import Bisenetv2
from stdc_search.network.models.peers.dabnet import Dabnet
from stdc_search.network.models.peers.ddrnet import Ddrnet
from stdc_search.network.models.peers.dfanet import Dfanet
from stdc_search.network.models.peers.dfseg import Dfseg
from stdc_search.network.models.peers.efficientvit import Efficientvit
from stdc_search.network.models.peers.enet import Enet
from stdc_search.network.models.peers.fast_scnn import FastScnn
from stdc_search.network.models.peers.fasterseg import Fasterseg
from stdc_search.network.models.peers.icnet import Icnet
from stdc_search.network.models.peers.lpsnet import Lpsnet
from stdc_search.network.models.peers.pidnet import Pidnet
from stdc_search.network.models.peers.regseg import Regseg
from stdc_search.network.models.peers.sctnet import Sctnet
from stdc_search.network.models.residual import ResidualBlock, SeparableBlock
from stdc_search.network.models.segmenter import DetailTarget, Peer, Segmenter, StdcSegmenter
from stdc_search.network.models.sfnet import FlowDecoder, FlowDecoderLite
from stdc_search.network.models.stdc import AverageDown, Backbone, DepthwiseDown, Shortcut, StdcModule
from stdc_search.network.onnx_file import OnnxFile
from stdc_search.spec import peers
from stdc_search.spec.backbone import (
    ConvSpec,
    PlainStageSpec,
    ResidualStageSpec,
    SeparableStageSpec,
    Stage,
    StageSpec,
    StdcSpec,
    TrunkSpec,
)
from stdc_search.spec.decoder import DecoderSpec, FlowDecoderSpec, LiteDecoderSpec
from stdc_search.spec.heads import GuidanceSpec, HeadSpec
from stdc_search.spec.network import ClassifierSpec, NetworkSpec, SegmenterSpec
from stdc_search.spec.problems import at
from stdc_search.spec.whole import LibraryClassifierSpec, LibrarySegmenterSpec, OnnxFileSpec, WholeSpec

# Maps the words of a spec to modules.
SHORTCUTS = {"cat": None, "add": Shortcut}
DOWN = {"depthwise": DepthwiseDown, "strided": None, "average": AverageDown}
SKIP = {"average": AverageDown, "depthwise": DepthwiseDown, "shared": None}
CONVS = {"plain": ConvX, "reparameterised": RepConv}
POOLS = {"squared": SquaredPool, "plain": AveragePool}
REFINEMENTS = {"attention": AttentionRefinement, "plain": ConvX}
WEIGHTS = {"spatial": SpatialWeights, "channel": ChannelWeights}
WHOLE: dict[type[WholeSpec], type[nn.Module]] = {
    LibraryClassifierSpec: LibraryClassifier,
    LibrarySegmenterSpec: LibrarySegmenter,
    OnnxFileSpec: OnnxFile,
    peers.Bisenetv2Spec: Bisenetv2,
    peers.DabnetSpec: Dabnet,
    peers.DdrnetSpec: Ddrnet,
    peers.DfanetSpec: Dfanet,
    peers.DfsegSpec: Dfseg,
    peers.EfficientvitSpec: Efficientvit,
    peers.EnetSpec: Enet,
    peers.FastersegSpec: Fasterseg,
    peers.FastScnnSpec: FastScnn,
    peers.IcnetSpec: Icnet,
    peers.LpsnetSpec: Lpsnet,
    peers.PidnetSpec: Pidnet,
    peers.RegsegSpec: Regseg,
    peers.SctnetSpec: Sctnet,
}
CONTEXTS = {
    "none": None,
    "pool": GlobalContext,
    "sppm": SimplePyramid,
    "ppm": Pyramid,
    "dappm": DeepPyramid,
    "sppf": PooledMaxima,
    "linear_attention": AttentionContext,
}
GATE = 64
"""Channels within the gate of a gated fusion that no detail guidance trains."""


class Make(Protocol):
    """Makes one part of a network. All arguments are hashable, so they identify the part."""

    def __call__(self, part: type[nn.Module], /, *args: Any) -> nn.Module: ...


def construct(part: type[nn.Module], /, *args: Any) -> nn.Module:
    """Make the part itself, with weights."""
    return part(*args)


def construct_deployed(part: type[nn.Module], /, *args: Any) -> nn.Module:
    """Make the part itself in eval mode, with one convolution in place of branches that only training needs."""
    return fuse_branches(part(*args).eval())


def build(network: NetworkSpec, make: Make = construct) -> nn.Module:
    """Build a network with initial weights drawn from torch's global generator.

    Args:
        network: the network's spec.
        make: makes each part; `cost.count` passes a function that makes stand-ins.

    Returns:
        A `Segmenter` (N,3,H,W -> N,classes,H,W) or `Classifier` (N,3,H,W -> N,classes). Images are RGB, normalised
        by ImageNet's mean and standard deviation (`data.transforms.normalise`); `stdc_search.predict` takes plain ones.

    Raises:
        SpecError: the library lacks the model or a tap that the spec names.
    """
    match network:
        case SegmenterSpec():
            return build_segmenter(network, build_backbone(network.backbone, make), make)
        case ClassifierSpec():
            return build_classifier(network, build_backbone(network.backbone, make), make)
        case WholeSpec():
            return build_whole(network, make)
    assert_never(network)


def build_backbone(spec: StdcSpec | TrunkSpec, make: Make) -> nn.Module:
    """Build the backbone: image -> features of every stage."""
    match spec:
        case StdcSpec():
            widths = [spec.stem[-1].width, *(stage.width for stage in spec.stages)]
            stages = (build_stage(stage, width, make) for stage, width in zip(spec.stages, widths, strict=False))
            return Backbone(build_stem(spec.stem, spec.stem_pool, make), stages)
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


def build_stem(convs: tuple[ConvSpec, ...], pool: bool, make: Make) -> Iterator[nn.Module]:
    """Build the modules in front of the first stage."""
    yield from build_convs(convs, 3, make)
    if pool:
        yield make(nn.MaxPool2d, 3, 2, 1)


def build_convs(convs: tuple[ConvSpec, ...], channels: int, make: Make) -> Iterator[nn.Module]:
    """Build the convolutions of a stem or a spatial path."""
    for conv in convs:
        yield make(ConvX, channels, conv.width, conv.kernel, conv.stride)
        channels = conv.width


def build_stage(spec: Stage, channels: int, make: Make) -> Iterator[nn.Module]:
    """Build the modules of a stage; `channels` is the width of its input."""
    for i in range(spec.depth):
        stride = spec.stride if i == 0 else 1
        match spec:
            case StageSpec():
                how = spec.blocks, stride, DOWN[spec.down], SKIP[spec.skip], SHORTCUTS[spec.fusion]
                yield make(StdcModule, channels, spec.width, *how, CONVS[spec.convs])
            case ResidualStageSpec():
                yield make(ResidualBlock, channels, spec.width, stride)
            case SeparableStageSpec():
                yield make(SeparableBlock, channels, spec.width, stride)
            case PlainStageSpec():
                yield make(CONVS[spec.convs], channels, spec.width, 3, stride)
            case _:
                assert_never(spec)
        channels = spec.width


def build_segmenter(spec: SegmenterSpec, backbone: nn.Module, make: Make) -> Segmenter:
    """Build decoder and heads around a backbone."""
    decoder = build_decoder(spec, make)
    detail, gated = None, isinstance(spec.decoder, DecoderSpec) and spec.decoder.fusion == "gated"
    if (how := spec.detail) is not None and not gated:
        detail = make(Head, backbone_features(spec.backbone).channels[how.stage], how.width, 1, 1)
    return StdcSegmenter(
        backbone=backbone,
        spatial=decoder.spatial,
        context=decoder.context,
        fusion=decoder.fusion,
        head=make(Head, decoder.width, spec.head.width, spec.head.depth, spec.classes, spec.head.bias),
        upsample=make(Upsample),
        taps=spec.taps,
        auxiliary=build_auxiliary(spec.auxiliary, spec.classes, decoder.levels, make),
        detail=detail,
        detail_stage=how.stage if how else 0,
        detail_target=how and build_target(how),
    )


def build_whole(spec: WholeSpec, make: Make) -> Peer | WholeClassifier:
    """Build a network of other authors, and heads for its training."""
    try:
        match spec:
            case LibrarySegmenterSpec():
                check_model("torchvision", spec.model, "segmentation")
            case LibraryClassifierSpec():
                check_model(spec.library, spec.model, "classification")
        body = make(WHOLE[type(spec)], spec.classes, *spec.own.values())
    except ValueError as error:  # the library has no such model, or the file is not as it should be
        raise at(f"network.{'path' if isinstance(spec, OnnxFileSpec) else 'model'}", str(error)) from None
    if isinstance(spec, LibraryClassifierSpec):
        return WholeClassifier(body)
    levels: Sequence[int] = getattr(body, "levels", ())  # a stand-in has none, as heads do not count
    detail = how = None
    if isinstance(spec, peers.PidnetSpec) and levels:  # its last map finds boundaries
        *levels, boundaries = levels
        if (how := spec.detail) is not None:
            detail = make(Head, boundaries, how.width, 1, 1)
    return Peer(
        body=body,
        upsample=make(Upsample),
        auxiliary=build_auxiliary(getattr(spec, "auxiliary", None), spec.classes, levels, make),
        detail=detail,
        detail_target=how and build_target(how),
    )


def build_target(spec: GuidanceSpec) -> DetailTarget:
    """Build what turns labels into the target of the detail head."""
    return DetailTarget(spec.strides, spec.fusion_weights, spec.threshold, spec.kernel)


class Decoder(NamedTuple):
    """The modules of a decoder, and the channels of its maps."""

    context: nn.Module
    width: int
    """Of the fused map."""
    levels: tuple[int, ...]
    """Of the maps that auxiliary heads see."""
    fusion: nn.Module | None = None
    spatial: nn.Module | None = None


def build_decoder(spec: SegmenterSpec, make: Make) -> Decoder:
    """Build what turns the tapped features into one map."""
    features, taps = backbone_features(spec.backbone), spec.taps
    channels = tuple(features.channels[i] for i in taps)
    match spec.decoder:
        case DecoderSpec() as how:
            shallow, spatial = channels[0], None
            if how.spatial is not None:
                spatial = nn.Sequential(*build_convs(how.spatial.convs, 3, make))
                shallow = how.spatial.convs[-1].width
                if how.spatial.reduction != (reduction := features.reductions[taps[0]]):
                    raise at("network.decoder.spatial.convs", how.spatial.misfit(taps[0], reduction))
            widths = how.context_widths(len(taps))
            levels = level_widths(widths)
            context = make(ContextPath, channels[1:], widths, REFINEMENTS[how.refinement], CONTEXTS[how.context])
            fused = shallow, levels[0], how.fusion_width
            match how.fusion:
                case "attention":
                    fusion = make(FeatureFusion, *fused, how.fusion_squeeze)
                case "add":
                    fusion = make(AdditiveFusion, *fused)
                case "gated":
                    fusion = make(GatedFusion, *fused, spec.detail.width if spec.detail else GATE)
                case "uafm_spatial" | "uafm_channel":
                    fusion = make(UnifiedAttention, *fused, WEIGHTS[how.fusion.removeprefix("uafm_")])
                case _:
                    assert_never(how.fusion)
            return Decoder(context, how.fusion_width, levels, fusion, spatial)
        case LiteDecoderSpec() as how:
            args = channels, CONTEXTS[how.context], how.width, how.widths, WEIGHTS[how.attention]
            return Decoder(make(LiteDecoder, *args), how.widths[0], how.widths[1:])
        case FlowDecoderSpec() as how:
            context = make(FlowDecoderLite if how.lite else FlowDecoder, channels, how.width)
            deeper = len(taps) - 1
            return Decoder(context, (deeper + (not how.lite)) * how.width, (how.width,) * deeper)
    assert_never(spec.decoder)


def build_auxiliary(how: HeadSpec | None, classes: int, levels: Sequence[int], make: Make) -> list[nn.Module]:
    """Build a head for each of some maps, by their channels."""
    return [] if how is None else [make(Head, width, how.width, how.depth, classes, how.bias) for width in levels]


def build_classifier(spec: ClassifierSpec, backbone: nn.Module, make: Make) -> Classifier:
    """Build the classifier's layers around a backbone."""
    last = spec.backbone.stages[-1].width
    width = spec.width or last
    return Classifier(
        backbone=backbone,
        conv=None if spec.width is None else make(ConvX, last, width, 1),
        pool=make(POOLS[spec.pooling]),
        hidden=None if spec.hidden is None else make(HiddenLayer, width, spec.hidden, spec.dropout),
        out=make(nn.Linear, spec.hidden or width, spec.classes, spec.bias),
    )
