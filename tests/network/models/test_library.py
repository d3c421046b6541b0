"""Trunks of timm and torchvision under STDC's decoder: Table 3's rows, and nothing cut off."""

import pytest
import torch

from stdc_search.network import cost
from stdc_search.network.builder import build
from stdc_search.network.cost import count, count_parts, count_with_fvcore, warn_of_trunk
from stdc_search.network.models.library import features_of
from stdc_search.spec.base import replace
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load

pytest.importorskip("timm", reason="the extra `zoo` is not installed")
GHOSTNET = ("blocks.4", "blocks.6", "blocks.8")


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs", "gmacs_75"),  # Table 3's rows as an independent count has them
    [
        ("ghostnet", 3.851, 8.45, 19.01),
        ("mobilenetv3", 5.331, 9.79, 22.02),
        ("efficientnet_b0", 5.135, 10.99, 24.73),
        ("resnet18", 13.150, 26.77, 60.24),
    ],
)
def test_a_row_of_table_3_costs_what_it_should(name, parameters, gmacs, gmacs_75):
    network = load(f"specs/{name}_seg50.yaml").network
    cost, larger = count(network, (512, 1024)), count(network, (768, 1536))
    assert round(cost.parameters / 1e6, 3) == parameters
    assert round(cost.macs / 1e9, 2) == gmacs
    assert round(larger.macs / 1e9, 2) == gmacs_75


def test_features_are_those_of_the_taps():
    assert features_of("timm", "ghostnet_100", GHOSTNET) == ((40, 112, 160), (8, 16, 32))
    assert features_of("torchvision", "resnet18", ("layer1", "layer4")) == ((64, 512), (4, 32))


def test_timms_own_taps_of_ghostnet_are_refused_and_the_right_one_is_named():
    with pytest.raises(
        ValueError, match=r"`blocks\.4` of ghostnet_100 follows `blocks\.3` .* tap the last of them, `bl"
    ):
        features_of("timm", "ghostnet_100", ("blocks.3", "blocks.5", "blocks.7"))
    with pytest.raises(ValueError, match=r"`blocks\.8` of ghostnet_100 follows `blocks\.7`"):
        features_of("timm", "ghostnet_100", ("blocks.4", "blocks.6", "blocks.7"))
    truncated = features_of("timm", "ghostnet_100", ("blocks.3", "blocks.5", "blocks.7"), truncated=True)
    assert truncated.channels == (40, 80, 160)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "ghostnt_100"}, r"network\.backbone: timm has no model `ghostnt_100`; there is `ghostnet_100`"),
        ({"taps": ("blocks.4", "block.8")}, r"ghostnet_100 has no module `block\.8`; there is `blocks\.8`"),
        ({"taps": ("blocks.4", "classifier")}, r"`classifier` of ghostnet_100 does not output a map"),
        (
            {"taps": ("blocks.8", "blocks.4")},
            r"`blocks\.4` of ghostnet_100 is at 1/8, after one at 1/32; taps must",
        ),
        (
            {"taps": ("blocks.4", "blocks.6")},
            r"`blocks\.7, blocks\.8` of ghostnet_100 follow `blocks\.6` and would be",
        ),
        (
            {"kind": "torchvision", "model": "swin_t", "taps": ("features.3", "features.5")},
            r"`features\.3` of swin_t does not output a map of N, C, H, W",
        ),
        (
            {"kind": "torchvision", "model": "raft_small", "taps": ("feature_encoder", "context_encoder")},
            r"raft_small cannot be a trunk: it fails on an image of 256 x 512",
        ),
    ],
)
def test_what_a_library_does_not_have_is_told(changes, message):
    network = load("specs/ghostnet_seg50.yaml").network
    wrong = replace(network, {f"backbone.{name}": value for name, value in changes.items()})
    for use in (build, lambda network: count(network, (64, 64))):
        with pytest.raises(SpecError, match=message):
            use(wrong)


def test_a_trunk_has_a_row_a_tap_and_they_add_up():
    network = load("specs/resnet18_seg50.yaml").network
    parts = count_parts(network, (224, 224))
    assert [part.name for part in parts[:3]] == ["layer2", "layer3", "layer4"]
    assert [part.output for part in parts[:3]] == [(128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert sum(part.cost.parameters for part in parts[:3]) == 11_176_512
    assert sum(part.cost.macs for part in parts) == count(network, (224, 224)).macs


def test_a_spatial_path_must_end_at_the_size_of_the_trunks_stage():
    network = load("specs/resnet18_seg50.yaml").network
    wrong = replace(network, {"backbone.taps": ("layer1", "layer3", "layer4"), "decoder.spatial": {}})
    with pytest.raises(SpecError, match=r"strides multiply to 8, but stage 0, .* is at 1/4; let them multiply to 4"):
        build(wrong)


@pytest.mark.parametrize(
    ("library", "model", "taps"),
    [
        ("timm", "convnext_atto", ("stages.1", "stages.2", "stages.3")),  # layer norms
        ("timm", "mobilevit_xxs", ("stages.2", "stages.3", "stages.4")),  # attention
        ("torchvision", "resnet18", ("layer2", "layer3", "layer4")),
        ("torchvision", "resnet18", ("layer2.1.relu", "layer3.1.relu", "layer4.1.relu")),  # each runs twice
        ("torchvision", "regnet_y_400mf", ("trunk_output.block2", "trunk_output.block3", "trunk_output.block4")),
    ],
)
def test_counts_of_a_trunk_equal_fvcores(library, model, taps):
    network = load("specs/ghostnet_seg50.yaml").network
    network = replace(network, {"backbone": {"kind": library, "model": model, "taps": taps}})
    module = build(network)
    assert count(network, (64, 96)).fvcore_flops == count_with_fvcore(module, (64, 96))
    output = module.train().forward_training(torch.randn(2, 3, 64, 96))
    output.logits.sum().backward()
    assert output.logits.shape == (2, 19, 64, 96)
    assert all(p.grad is not None for name, p in module.backbone.named_parameters() if p.requires_grad)


def test_a_trunk_that_fvcore_counts_alike_gives_no_warning():
    warn_of_trunk(load("specs/resnet18_seg50.yaml").network)  # a warning would be an error here


def _unable(*_: object) -> int:
    raise RuntimeError("tracing failed")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (lambda *_: 5, r"resnet18: this package counts [\d,]+ FLOPs and fvcore 5; its `cost` may be wrong"),
        (_unable, r"resnet18: fvcore cannot check its cost, [\d,]+ FLOPs: tracing failed"),
    ],
)
def test_a_trunk_that_fvcore_counts_otherwise_is_warned_of_once(monkeypatch, counts, message):
    monkeypatch.setattr(cost, "count_with_fvcore", counts)
    cost._warn_of_trunk.cache_clear()
    network = load("specs/resnet18_seg50.yaml").network
    with pytest.warns(UserWarning, match=message):
        warn_of_trunk(network)
    warn_of_trunk(network)
    cost._warn_of_trunk.cache_clear()
