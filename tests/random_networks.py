"""Random networks over the whole space of specs, small enough to be built and run."""

from __future__ import annotations

from hypothesis import strategies as st

from stdc_search.spec.network import (
    ClassifierSpec,
    ConvSpec,
    DecoderSpec,
    DetailSpec,
    HeadSpec,
    SegmenterSpec,
    SpatialSpec,
    StageSpec,
    StdcSpec,
)

widths = st.integers(1, 9)
strides = st.sampled_from([1, 2])
convs = st.builds(ConvSpec, width=widths, stride=strides, kernel=st.sampled_from([1, 3, 5, 7]))
heads = st.builds(HeadSpec, width=widths, depth=st.integers(1, 2), bias=st.booleans())


@st.composite
def stages(draw: st.DrawFn) -> StageSpec:
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
    )


backbones = st.builds(
    StdcSpec,
    stem=st.lists(convs, min_size=1, max_size=3).map(tuple),
    stages=st.lists(stages(), min_size=2, max_size=4).map(tuple),
)


@st.composite
def details(draw: st.DrawFn, levels: int) -> DetailSpec:
    chosen = tuple(draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, unique=True)))
    weights = st.lists(st.floats(0, 1), min_size=len(chosen), max_size=len(chosen)).map(tuple)
    return DetailSpec(
        strides=chosen,
        weights=draw(st.none() | weights),
        kernel=draw(st.sampled_from(["constant", "decayed", "trained"])),
        threshold=draw(st.floats(0.05, 0.95)),
        stage=draw(st.integers(0, levels - 1)),
        width=draw(widths),
    )


@st.composite
def decoders(draw: st.DrawFn, backbone: StdcSpec) -> DecoderSpec:
    levels = backbone.levels
    first = draw(st.sets(st.integers(0, levels - 2), min_size=1))
    taps = (*sorted(first), levels - 1)
    if draw(st.booleans()):
        taps = None
    deep = (len(taps) if taps else levels) - 1
    spatial = None
    if draw(st.booleans()):
        reduction = backbone.reductions[taps[0] if taps else 0]
        halvings = reduction.bit_length() - 1
        path = [draw(convs).model_copy(update={"stride": 2}) for _ in range(halvings)]
        spatial = SpatialSpec(convs=(*path, draw(convs).model_copy(update={"stride": 1})))
    return DecoderSpec(
        taps=taps,
        width=draw(widths | st.lists(widths, min_size=deep, max_size=deep).map(tuple)),
        context=draw(st.sampled_from(["pool", "none"])),
        refinement=draw(st.sampled_from(["attention", "plain"])),
        fusion=draw(st.sampled_from(["attention", "add"])),
        fusion_width=draw(st.sampled_from([4, 8, 12])),
        spatial=spatial,
    )


@st.composite
def segmenters(draw: st.DrawFn, classes: int | None = None) -> SegmenterSpec:
    backbone = draw(backbones)
    return SegmenterSpec(
        kind="segmenter",
        classes=classes or draw(st.integers(2, 5)),
        backbone=backbone,
        decoder=draw(decoders(backbone)),
        head=draw(heads),
        auxiliary=draw(st.none() | heads),
        detail=draw(st.none() | details(backbone.levels)),
    )


classifiers = st.builds(
    ClassifierSpec,
    kind=st.just("classifier"),
    classes=st.integers(2, 9),
    backbone=backbones,
    width=widths,
    pooling=st.sampled_from(["squared", "plain"]),
    hidden=widths,
)
networks = segmenters() | classifiers
