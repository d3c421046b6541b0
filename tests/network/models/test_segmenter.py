"""The segmentation network as the released code has it (facts of its training and inference models)."""

import pytest
import torch
from torch import nn

from stdc_search.network.builder import build
from stdc_search.network.models.decoder import AttentionRefinement, FeatureFusion
from stdc_search.spec.backbone import StageSpec, StdcSpec
from stdc_search.spec.decoder import DecoderSpec
from stdc_search.spec.heads import DetailSpec
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec
from stdc_search.spec.start import PRESETS


@pytest.fixture(scope="module")
def stdc1() -> nn.Module:
    return build(PRESETS["stdc1"])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parts_have_the_released_parameter_counts(stdc1):
    """The order counts, too: initial weights of a seed are drawn in it, and optimizers keep their state in it."""
    found = {name: parameters(child) for name, child in stdc1.named_children()}
    parts = {
        "backbone": 5_318_304,
        "context": 2_230_016,
        "fusion": 131_584,
        "head": 595_200,
        "upsample": 0,
        "auxiliary": 2 * 75_072,
        "detail": 147_648,
        "detail_target": 0,
    }
    assert list(found.items()) == list(parts.items())


def test_the_modules_of_a_segmenter_are_its_attributes(stdc1):
    """A class attribute of the same name would hide a module, and no detail head would be trained."""
    assert all(getattr(stdc1, name) is child for name, child in stdc1.named_children())


@pytest.mark.parametrize("size", [(360, 480), (97, 131)])
def test_training_heads_have_the_released_shapes(stdc1, size):
    with torch.no_grad():
        output = stdc1.train().forward_training(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 19, *size)
    assert [head.shape for head in output.auxiliary] == [(2, 19, *size)] * 2
    assert output.detail.shape == (2, 1, -(-size[0] // 8), -(-size[1] // 8))


def test_forward_equals_the_training_logits(stdc1):
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stdc1.eval()
        torch.testing.assert_close(stdc1(image), stdc1.forward_training(image).logits)


def test_without_training_heads_there_are_none():
    stages = (StageSpec(width=16), StageSpec(width=16))
    spec = SegmenterSpec(kind="segmenter", backbone=StdcSpec(stages=stages), auxiliary=None, detail=None)
    output = build(spec).forward_training(torch.randn(2, 3, 64, 64))
    assert output.auxiliary == ()
    assert output.detail is None


def test_the_detail_head_reads_the_stage_that_the_spec_names():
    stages = (StageSpec(width=16), StageSpec(width=16))
    spec = SegmenterSpec(kind="segmenter", backbone=StdcSpec(stages=stages), detail=DetailSpec(stage=1))
    assert build(spec).forward_training(torch.randn(2, 3, 64, 64)).detail.shape == (2, 1, 4, 4)


def test_detail_guidance_trains_the_gate_of_a_gated_fusion():
    stages = (StageSpec(width=16), StageSpec(width=16))
    decoder = DecoderSpec(fusion="gated", fusion_width=16)
    module = build(SegmenterSpec(kind="segmenter", backbone=StdcSpec(stages=stages), decoder=decoder))
    assert module.detail is None
    module.forward_training(torch.randn(2, 3, 64, 64)).detail.sum().backward()
    taught = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert {name for name in taught if not name.startswith("backbone.")} == {
        f"fusion.boundary.{name}" for name, _ in module.fusion.boundary.named_parameters()
    }


def test_attention_refinement_weighs_channels():
    module = AttentionRefinement(6, 4).eval()
    x = torch.randn(1, 6, 5, 7)
    weights = module(x) / module.conv(x)
    first = weights[~weights.isnan()].view(-1)
    assert ((first > 0) & (first < 1)).all()
    per_channel = module.attention(module.conv(x))
    torch.testing.assert_close(module(x), module.conv(x) * per_channel)
    assert per_channel.shape == (1, 4, 1, 1)


def test_feature_fusion_adds_what_it_weighs():
    module = FeatureFusion(6, 4, 8).eval()
    shallow, context = torch.randn(1, 6, 4, 4), torch.randn(1, 4, 4, 4)
    fused = module.conv(torch.cat([shallow, context], 1))
    torch.testing.assert_close(module(shallow, context), fused * (1 + module.attention(fused)))


def test_initial_weights_have_the_released_spread():
    torch.manual_seed(0)
    module = build(PRESETS["stdc1"])
    backbone = module.backbone.stages[2][1].blocks[1].conv.weight  # fan out: 256 x 9
    assert backbone.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    head = module.head.convs[0].conv.weight  # fan in: 256 x 9
    assert head.std().item() == pytest.approx((256 * 9) ** -0.5, rel=0.02)


def test_the_classifier_squares_before_it_pools():
    spec = ClassifierSpec(
        kind="classifier", classes=3, backbone=StdcSpec(stages=(StageSpec(width=16),)), width=4, hidden=5
    )
    module = build(spec).eval()
    image = torch.randn(2, 3, 32, 32)
    features = module.conv(module.backbone(image)[-1])
    hidden = (features**2).mean((2, 3)) @ module.hidden.linear.weight.T
    torch.testing.assert_close(module(image), hidden.relu() @ module.out.weight.T)
