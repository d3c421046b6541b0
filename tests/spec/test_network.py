"""Rules of the network that its fields' types do not say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from stdc_search.spec.backbone import ConvSpec, StageSpec, StdcSpec
from stdc_search.spec.decoder import DecoderSpec
from stdc_search.spec.heads import DetailSpec
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec

Complaints = Callable[..., list[str]]


def test_the_defaults_are_stdc1_for_cityscapes() -> None:
    network = SegmenterSpec(kind="segmenter")
    assert network.classes == 19
    assert [stage.width for stage in network.backbone.stages] == [256, 512, 1024]
    assert [stage.depth for stage in network.backbone.stages] == [2, 2, 2]
    assert network.backbone.reductions == (8, 16, 32)


def test_reductions_follow_from_the_strides() -> None:
    stem = (ConvSpec(width=8), ConvSpec(width=8, stride=1))
    stages = (StageSpec(width=8, stride=1), StageSpec(width=8), StageSpec(width=8))
    assert StdcSpec(stem=stem, stages=stages).reductions == (2, 4, 8)


def test_equal_networks_are_one_key() -> None:
    assert (
        len({SegmenterSpec(kind="segmenter"), SegmenterSpec(kind="segmenter"), ClassifierSpec(kind="classifier")}) == 2
    )


def test_a_network_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SegmenterSpec(kind="segmenter").classes = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("width", "blocks"), [(2, 2), (6, 2), (8, 4), (64, 7)])
def test_a_width_that_divides_among_the_blocks_is_legal(width: int, blocks: int) -> None:
    assert StageSpec(width=width, blocks=blocks).width == width


@pytest.mark.parametrize(
    ("width", "blocks", "nearest"), [(100, 4, "96 or 104"), (3, 4, "8"), (65, 7, "64 or 128"), (7, 2, "6 or 8")]
)
def test_a_width_that_does_not_divide_names_the_nearest_that_do(width: int, blocks: int, nearest: str) -> None:
    with pytest.raises(ValidationError, match=f"`width` {width} .* `blocks` {blocks} .* nearest: {nearest} "):
        StageSpec(width=width, blocks=blocks)


def test_an_indivisible_width_is_told_with_its_line(complaints: Complaints) -> None:
    text = """\
network:
  kind: segmenter
  backbone:
    stages:
      - {width: 64}
      - width: 100
        blocks: 4
"""
    assert complaints(text) == [
        "run.yaml:6: network.backbone.stages.1.width: `width` 100 is not a multiple of 8, which `blocks` 4 needs "
        "(2^(blocks - 1)); nearest: 96 or 104"
    ]


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({}, (0.6, 0.3, 0.1)),
        ({"strides": (1, 2)}, (0.5, 0.5)),
        ({"strides": (2, 1), "weights": (3.0, 4.0)}, (3.0, 4.0)),
    ],
)
def test_detail_maps_have_the_released_weights_or_equal_shares(fields: dict, weights: tuple[float, ...]) -> None:
    assert DetailSpec(**fields).fusion_weights == weights


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            "detail: {strides: [1, 1]}",
            "run.yaml:3: network.detail.strides: `strides` [1, 1] names a stride twice; name each once",
        ),
        (
            "detail: {weights: [1]}",
            "run.yaml:3: network.detail.weights: `weights` has 1 numbers and `strides` 3; give one weight per stride, "
            "or remove `weights`",
        ),
        (
            "detail: {stage: 3}",
            "run.yaml:3: network.detail.stage: `detail.stage` 3 does not exist; the last of 3 stages is 2",
        ),
        (
            "backbone: {stages: [{width: 64}]}",
            "run.yaml:3: network.backbone.stages: `backbone.stages` has 1 stage(s); the decoder fuses the "
            "first with the context of the others: give at least 2",
        ),
        (
            "backbone: {stem: [{width: 8, stride: 4}]}",
            "run.yaml:3: network.backbone.stem.0.stride: must be 1 or 2, not 4; nearest: 2",
        ),
        (
            "decoder: {fusion_width: 30}",
            "run.yaml:3: network.decoder.fusion_width: must be a multiple of 4, not 30; nearest: 28 or 32",
        ),
        (
            "backbone: {stages: [{width: 64}, {width: 64, down: strided, skip: shared}]}",
            "run.yaml:3: network.backbone.stages.1.skip: `skip: shared` needs the map that is halved before Block2, "
            "which `down: strided` does not have; use `skip: average` or `down: depthwise`",
        ),
        (
            "decoder: {taps: [0, 1]}",
            "run.yaml:3: network.decoder.taps: `decoder.taps` ends with 1, so nothing uses the stages after it; "
            "end with 2, or remove those stages",
        ),
        ("decoder: {taps: [2, 0]}", "run.yaml:3: network.decoder.taps: `taps` [2, 0] must increase; write [0, 2]"),
        (
            "decoder: {taps: [0, 3]}",
            "run.yaml:3: network.decoder.taps: `decoder.taps` names 3, and the last of 3 stages is 2",
        ),
        (
            "decoder: {width: [64, 64, 64]}",
            "run.yaml:3: network.decoder.width: `decoder.width` has 3 widths for 3 tapped stages; give 2, one for each "
            "but the first, or one number for all",
        ),
        ("decoder: {width: 0}", "run.yaml:3: network.decoder.width: must be above 0, not 0; nearest: 1"),
        ("decoder: {width: [8, 0]}", "run.yaml:3: network.decoder.width.1: must be above 0, not 0; nearest: 1"),
        ("decoder: {width: wide}", "run.yaml:3: network.decoder.width: must be a whole number, not 'wide'"),
        (
            "decoder: {spatial: {convs: [{width: 8}, {width: 8}]}}",
            "run.yaml:3: network.decoder.spatial.convs: strides multiply to 4, but stage 0, which they replace, is "
            "at 1/8; let them multiply to 8",
        ),
        (
            "backbone: {kind: tim, model: x, taps: [a, b]}",
            "run.yaml:3: network.backbone.kind: must be stdc, timm or torchvision, not 'tim'; did you mean timm?",
        ),
        (
            "backbone: {kind: timm, model: x, taps: [a, a]}",
            "run.yaml:3: network.backbone.taps: `taps` ['a', 'a'] names a module twice; name each once",
        ),
        (
            "backbone: {kind: timm, model: x, tap: [a, b], taps: [a, b]}",
            "run.yaml:3: network.backbone.tap: unknown; did you mean `taps`?",
        ),
        (
            "detail: {weights: [0.05, 0.03, 0.02]}",
            "run.yaml:3: network.detail.weights: `weights` add up to 0.1, which is not above `threshold` 0.1, so no "
            "pixel is detail; make `weights` larger, or `threshold` smaller",
        ),
        (
            "detail: {weights: [1, 1, -1]}",
            "run.yaml:3: network.detail.weights.2: must be at least 0, not -1",
        ),
        ("classes: 1", "run.yaml:3: network.classes: must be at least 2, not 1"),
        ("clases: 19", "run.yaml:3: network.clases: unknown; did you mean `classes`?"),
    ],
)
def test_what_a_segmenter_cannot_be_is_told(complaints: Complaints, section: str, complaint: str) -> None:
    assert complaints(f"network:\n  kind: segmenter\n  {section}\n") == [complaint]


def test_a_classifier_has_no_decoder(complaints: Complaints) -> None:
    (complaint,) = complaints("network:\n  kind: classifier\n  decoder: {width: 64}\n")
    assert re.fullmatch(r"run.yaml:3: network.decoder: unknown; legal: kind, classes, backbone, .*", complaint)


def test_one_width_is_for_all_levels_and_a_list_has_one_each() -> None:
    def widths(width: object) -> tuple[int, ...]:
        return DecoderSpec.model_validate({"width": width}).context_widths(3)

    assert widths(64) == (64, 64)
    assert widths((64, 32)) == (64, 32)


def test_a_backbone_without_a_kind_is_stdc() -> None:
    backbone = {"stages": ({"width": 64}, {"width": 64})}
    spec = SegmenterSpec.model_validate({"kind": "segmenter", "backbone": backbone})
    assert isinstance(spec.backbone, StdcSpec)
    assert spec.taps == (0, 1)
