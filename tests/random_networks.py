"""Random networks over the whole space of specs, small enough to be built and run."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from stdc_search.spec.backbone import (
    ConvSpec,
    PlainStageSpec,
    ResidualStageSpec,
    SeparableStageSpec,
    Stage,
    StageSpec,
    StdcSpec,
)
from stdc_search.spec.decoder import HEAD, Context, Decoder, DecoderSpec, FlowDecoderSpec, LiteDecoderSpec, SpatialSpec
from stdc_search.spec.heads import DetailSpec, HeadSpec
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec

widths = st.integers(1, 9)
strides = st.sampled_from([1, 2])
kinds = st.sampled_from(["plain", "reparameterised"])
convs = st.builds(ConvSpec, width=widths, stride=strides, kernel=st.sampled_from([1, 3, 5, 7]))
heads = st.builds(HeadSpec, width=widths, depth=st.integers(1, 2), bias=st.booleans())


@st.composite
def stdc_stages(draw: st.DrawFn) -> StageSpec:
    blocks = draw(st.integers(2, 7))
    down = draw(st.sampled_from(["depthwise", "strided", "average"]))
    return StageSpec(
        width=draw(st.integers(1, 2)) * 2 ** (blocks - 1),
        depth=draw(st.integers(1, 3)),
        stride=draw(strides),
        blocks=blocks,
        fusion=draw(st.sampled_from(["cat", "add"])),
        down=down,
        skip=draw(st.sampled_from(["average", "depthwise"] + ["shared"] * (down != "strided"))),
        convs=draw(kinds),
    )


quarters = st.sampled_from([4, 8, 12])
depths = st.integers(1, 3)
stages: st.SearchStrategy[Stage] = (
    stdc_stages()
    | st.builds(ResidualStageSpec, kind=st.just("residual"), width=widths, depth=depths, stride=strides)
    | st.builds(PlainStageSpec, kind=st.just("plain"), width=widths, depth=depths, stride=strides, convs=kinds)
    | st.builds(SeparableStageSpec, kind=st.just("separable"), width=quarters, depth=depths, stride=strides)
)
backbones = st.builds(
    StdcSpec,
    stem=st.lists(convs, min_size=1, max_size=3).map(tuple),
    stem_pool=st.booleans(),
    stages=st.lists(stages, min_size=2, max_size=4).map(tuple),
)


@st.composite
def details(draw: st.DrawFn, levels: int) -> DetailSpec:
    chosen = tuple(draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, unique=True)))
    threshold = draw(st.floats(0.05, 0.95))
    weights = st.lists(st.floats(0, 1), min_size=len(chosen), max_size=len(chosen)).map(tuple)
    weights = weights.filter(lambda each: sum(each) > threshold)
    return DetailSpec(
        strides=chosen,
        weights=draw(st.none() | weights),
        kernel=draw(st.sampled_from(["constant", "decayed", "trained"])),
        threshold=threshold,
        stage=draw(st.integers(0, levels - 1)),
        width=draw(widths),
    )


@st.composite
def decoders(draw: st.DrawFn, backbone: StdcSpec) -> Decoder:
    levels = backbone.levels
    first = draw(st.sets(st.integers(0, levels - 2), min_size=1))
    taps = draw(st.sampled_from([None, (*sorted(first), levels - 1)]))
    tapped = len(taps) if taps else levels
    match draw(st.sampled_from(["bisenet", "lite", "flow"])):
        case "lite":
            context = draw(st.sampled_from([word for word in get_args(Context) if word != "none"]))
            return LiteDecoderSpec(
                kind="lite",
                taps=taps,
                context=context,
                width=HEAD if context == "linear_attention" else draw(widths),
                widths=tuple(draw(st.lists(widths, min_size=tapped, max_size=tapped))),
                attention=draw(st.sampled_from(["spatial", "channel"])),
            )
        case "flow":
            return FlowDecoderSpec(kind="flow", taps=taps, width=2 * draw(widths), lite=draw(st.booleans()))
    fusion = draw(st.sampled_from(["attention", "add", "uafm_spatial", "uafm_channel", "gated"]))
    spatial = None
    if fusion != "gated" and draw(st.booleans()):
        reduction = backbone.reductions[taps[0] if taps else 0]
        halvings = reduction.bit_length() - 1
        path = [draw(convs).model_copy(update={"stride": 2}) for _ in range(halvings)]
        spatial = SpatialSpec(convs=(*path, draw(convs).model_copy(update={"stride": 1})))
    context = draw(st.sampled_from(get_args(Context)))
    width = draw(widths | st.lists(widths, min_size=tapped - 1, max_size=tapped - 1).map(tuple))
    if context == "linear_attention":
        width = (*width[:-1], HEAD) if isinstance(width, tuple) else HEAD
    return DecoderSpec(
        taps=taps,
        width=width,
        context=context,
        refinement=draw(st.sampled_from(["attention", "plain"])),
        fusion=fusion,
        fusion_width=draw(quarters),
        fusion_squeeze=draw(st.sampled_from([1, 2, 4])) if fusion == "attention" else 4,
        spatial=spatial,
    )


@st.composite
def segmenters(draw: st.DrawFn, classes: int | None = None) -> SegmenterSpec:
    backbone = draw(backbones)
    decoder = draw(decoders(backbone))
    detail = draw(st.none() | details(backbone.levels))
    if detail is not None and isinstance(decoder, DecoderSpec) and decoder.fusion == "gated":
        detail = detail.model_copy(update={"stage": decoder.taps[0] if decoder.taps else 0})
    return SegmenterSpec(
        kind="segmenter",
        classes=classes or draw(st.integers(2, 5)),
        backbone=backbone,
        decoder=decoder,
        head=draw(heads),
        auxiliary=draw(st.none() | heads),
        detail=detail,
    )


classifiers = st.builds(
    ClassifierSpec,
    kind=st.just("classifier"),
    classes=st.integers(2, 9),
    backbone=backbones,
    width=st.none() | widths,
    pooling=st.sampled_from(["squared", "plain"]),
    hidden=st.none() | widths,
    bias=st.booleans(),
)
networks = segmenters() | classifiers
