"""Networks of a few thousand weights, and their ONNX files, which take seconds and are made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from stdc_search.deploy.export import to_onnx
from stdc_search.network.builder import build
from stdc_search.spec.backbone import StageSpec, StdcSpec
from stdc_search.spec.decoder import DecoderSpec
from stdc_search.spec.heads import HeadSpec
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec

SIZE = (97, 131)
"""A multiple of nothing, so that every resize is put to the test."""

_BACKBONE = StdcSpec(stages=tuple(StageSpec(width=8 << i, depth=1, blocks=i + 1) for i in (1, 2, 3)))
_SEGMENTER = SegmenterSpec(
    kind="segmenter",
    classes=5,
    backbone=_BACKBONE,
    decoder=DecoderSpec(width=16, fusion_width=16),
    head=HeadSpec(width=16),
)
_CLASSIFIER = ClassifierSpec(kind="classifier", classes=300, backbone=_BACKBONE, width=16, hidden=16)

exported = cache(to_onnx)


@cache
def segmenter() -> nn.Module:
    """Five classes; in training mode."""
    return with_statistics(lambda: build(_SEGMENTER))


@cache
def classifier() -> nn.Module:
    """300 classes, more than a byte holds; in training mode."""
    return with_statistics(lambda: build(_CLASSIFIER))


def with_statistics(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose batch norms do something, so that folding them would show a mistake."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                    nn.init.uniform_(tensor, 0.5, 1.5)
    return module
