"""NetworkSpec -> nn.Module: the only file that knows both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, assert_never

from torch import nn

from stdc_search.models.classifier import Classifier, HiddenLayer
from stdc_search.models.decoder import ContextPath, FeatureFusion, Head
from stdc_search.models.layers import ConvX, Upsample
from stdc_search.models.segmenter import DetailTarget, Segmenter
from stdc_search.models.stdc import Backbone, StdcModule
from stdc_search.spec.network import ClassifierSpec, NetworkSpec, SegmenterSpec, StdcSpec


class Make(Protocol):
    """Makes one part of a network; arguments are hashable, so that a part can be told by them."""

    def __call__(self, part: type[nn.Module], /, *args: Any) -> nn.Module: ...


def construct(part: type[nn.Module], /, *args: Any) -> nn.Module:
    """The part itself."""
    return part(*args)


def build(network: NetworkSpec, make: Make = construct) -> nn.Module:
    """Build a network with initial weights drawn from torch's global generator.

    Args:
        network: what to build.
        make: makes each part; `cost.count` puts stand-ins in the parts' places.

    Returns:
        `Segmenter` (N,3,H,W -> N,classes,H,W) or `Classifier` (N,3,H,W -> N,classes).
    """
    match network:
        case SegmenterSpec():
            return _segmenter(network, make)
        case ClassifierSpec():
            return _classifier(network, make)
    assert_never(network)


def _backbone(spec: StdcSpec, make: Make) -> Backbone:
    def stem() -> Iterator[nn.Module]:
        channels = 3
        for conv in spec.stem:
            yield make(ConvX, channels, conv.width, 3, conv.stride)
            channels = conv.width

    def stages() -> Iterator[list[nn.Module]]:
        channels = spec.stem[-1].width
        for stage in spec.stages:
            first = make(StdcModule, channels, stage.width, stage.blocks, stage.stride)
            channels = stage.width
            others = [make(StdcModule, channels, channels, stage.blocks, 1) for _ in range(stage.depth - 1)]
            yield [first, *others]

    return Backbone(stem(), stages())


def _segmenter(spec: SegmenterSpec, make: Make) -> Segmenter:
    widths = tuple(stage.width for stage in spec.backbone.stages)
    decoder, auxiliary, detail = spec.decoder, spec.auxiliary, spec.detail
    return Segmenter(
        backbone=_backbone(spec.backbone, make),
        context=make(ContextPath, widths[1:], decoder.width),
        fusion=make(FeatureFusion, widths[0] + decoder.width, decoder.fusion_width),
        head=make(Head, decoder.fusion_width, spec.head.width, spec.classes),
        upsample=make(Upsample),
        auxiliary=[make(Head, decoder.width, auxiliary.width, spec.classes) for _ in widths[1:]] if auxiliary else [],
        detail=make(Head, widths[detail.stage], detail.width, 1) if detail else None,
        detail_stage=detail.stage if detail else 0,
        detail_target=DetailTarget(detail.strides, detail.fusion_weights, detail.threshold) if detail else None,
    )


def _classifier(spec: ClassifierSpec, make: Make) -> Classifier:
    return Classifier(
        backbone=_backbone(spec.backbone, make),
        conv=make(ConvX, spec.backbone.stages[-1].width, spec.width, 1),
        pool=make(nn.AdaptiveAvgPool2d, 1),
        hidden=make(HiddenLayer, spec.width, spec.hidden, spec.dropout),
        out=make(nn.Linear, spec.hidden, spec.classes, False),
    )
