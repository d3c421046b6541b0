"""Rules of the networks of other authors, and of the stages and decoders that came with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stdc_search.network.builder import build
from stdc_search.network.cost import count
from stdc_search.spec.network import ClassifierSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.whole import LibraryClassifierSpec, LibrarySegmenterSpec

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("kind", "section", "complaint"),
    [
        ("enet", "widths: [16, 64, 32]", "widths: `widths` [16, 64, 32] must not shrink; write [16, 32, 64]"),
        ("enet", "widths: [16, 30, 64]", "widths.1: must be a multiple of 4, not 30; nearest: 28 or 32"),
        ("sctnet", "kernel_size: 8", "kernel_size: must be odd, not 8; nearest: 7 or 9"),
        (
            "dfseg",
            "stages: [[{width: 8, depth: 1}], [{width: 8, depth: 1, stride: 2}], [{width: 8, depth: 1, stride: 2}]]",
            "stages.0: must halve the map once; give exactly one of its parts `stride: 2`",
        ),
        (
            "regseg",
            "widths: [32, 48, 120, 256, 320]",
            "widths.2: 120 is not a multiple of 16, which `group_width` 16 needs; nearest: 112 or 128",
        ),
        (
            "regseg",
            "widths: [32, 48, 128, 240, 320]",
            "widths.3: 240 is not a multiple of 32, which `group_width` 16 needs; nearest: 224 or 256",
        ),
        (
            "regseg",
            "widths: [32, 8, 128, 256, 320]",
            "widths.1: 8 is not a multiple of 16, which `group_width` 16 needs; nearest: 16",
        ),
        (
            "efficientvit",
            "widths: [8, 16, 32, 72, 128]",
            "widths.3: 72 is not a multiple of `head_dim` 16; nearest: 64 or 80",
        ),
        (
            "fasterseg",
            "branches: [[{width: 8}], [{width: 8}]]",
            "branches: no cell has `stride: 2`, so the network sees little of the image; give one",
        ),
        ("fasterseg", "shared: [{width: 8, convs: 3}]", "shared.0.convs: must be 1 or 2, not 3; nearest: 2"),
        ("dfanet", "trunks: 1", "trunks: must be at least 2, not 1"),
        ("lpsnet", "scales: [1.5]", "scales.0: must be at most 1, not 1.5"),
        ("pidnet", "detail: {stage: 1}", "detail.stage: unknown; legal: strides, weights, kernel, threshold, width"),
        (
            "segmenter",
            "decoder: {kind: lite, widths: [32, 64]}",
            "decoder.widths: `decoder.widths` has 2 widths for 3 tapped stages; give one for each",
        ),
        (
            "segmenter",
            "decoder: {kind: lite, context: none}",
            "decoder.context: `none` leaves nothing to fuse with; use sppm, ppm, dappm or pool",
        ),
        (
            "segmenter",
            "decoder: {kind: lite, taps: [2, 0]}",
            "decoder.taps: `taps` [2, 0] must increase; write [0, 2]",
        ),
        (
            "segmenter",
            "decoder: {kind: flow, width: 7}",
            "decoder.width: must be a multiple of 2, not 7; nearest: 6 or 8",
        ),
        (
            "segmenter",
            "decoder: {kind: flows}",
            "decoder.kind: must be bisenet, lite or flow, not 'flows'; did you mean flow?",
        ),
        (
            "segmenter",
            "decoder: {fusion: add, fusion_squeeze: 1}",
            "decoder.fusion_squeeze: has no effect with `fusion: add`; remove it",
        ),
        (
            "segmenter",
            "backbone: {stages: [{kind: separable, width: 30}, {width: 64}]}",
            "backbone.stages.0.width: must be a multiple of 4, not 30; nearest: 28 or 32",
        ),
        (
            "library_classifier",
            "library: timn\n  model: a",
            "library: must be timm or torchvision, not 'timn'; did you mean timm?",
        ),
        (
            "classifier",
            "hidden: null\n  dropout: 0.5",
            "dropout: has no effect with `hidden: null`; remove it",
        ),
    ],
)
def test_what_a_network_cannot_be_is_told(complaints: Complaints, kind: str, section: str, complaint: str) -> None:
    (told,) = complaints(f"network:\n  kind: {kind}\n  {section}\n")
    line = 4 if complaint.startswith("dropout") else 3
    assert told == f"run.yaml:{line}: network.{complaint}"


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (
            LibrarySegmenterSpec(kind="library_segmenter", model="lraspp_mobilenet_v3"),
            "torchvision has no segmentation network `lraspp_mobilenet_v3`; there is `lraspp_mobilenet_v3_large`, .*",
        ),
        (
            LibrarySegmenterSpec(kind="library_segmenter", model="resnet18"),
            "torchvision has no segmentation network `resnet18`; there is .*",
        ),
        (
            LibraryClassifierSpec(kind="library_classifier", library="torchvision", model="lraspp_mobilenet_v3_large"),
            "torchvision has no classifier `lraspp_mobilenet_v3_large`; there is `mobilenet_v3_large`, .*",
        ),
        (
            LibraryClassifierSpec(kind="library_classifier", library="timm", model="ghostnt_100"),
            "timm has no classifier `ghostnt_100`; there is `ghostnet_100`, .*",
        ),
    ],
)
def test_a_model_that_a_library_lacks_is_told(network, complaint: str) -> None:
    for use in (build, lambda network: count(network, (64, 64))):
        with pytest.raises(SpecError, match=f"^network.model: {complaint}$"):
            use(network)


def test_a_model_that_needs_another_image_size_is_told() -> None:
    network = LibraryClassifierSpec(kind="library_classifier", library="torchvision", model="vit_b_16")
    with pytest.raises(SpecError, match=r"^network.model: vit_b_16 fails on an image of 64 x 96: Wrong image height"):
        count(network, (64, 96))


def test_a_classifier_without_a_hidden_layer_keeps_the_default_dropout() -> None:
    assert ClassifierSpec(kind="classifier", hidden=None).dropout == 0.2
