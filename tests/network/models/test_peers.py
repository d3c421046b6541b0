"""Networks of other authors: they cost what was published, train, and survive being saved, folded and exported."""

import inspect
import json
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from stdc_search.deploy.export import export, run
from stdc_search.deploy.folding import deployed
from stdc_search.network.builder import WHOLE, build
from stdc_search.network.cost import count, count_parts, count_with_fvcore
from stdc_search.network.weights import load_weights, save_weights
from stdc_search.spec.base import replace
from stdc_search.spec.decoder import FlowDecoderSpec
from stdc_search.spec.heads import HeadSpec
from stdc_search.spec.network import NetworkSpec, SegmenterSpec
from stdc_search.spec.run import load
from stdc_search.spec.training import SegmentationLossSpec
from stdc_search.spec.whole import OnnxFileSpec, WholeSpec
from stdc_search.tasks.segmentation import SegmentationLoss
from stdc_search.training.losses import cross_entropy
from tests.tiny_networks import with_statistics

BASELINES = Path("specs/baselines")
GOLDEN = json.loads(Path("tests/golden/costs.json").read_text(encoding="utf-8"))

# Parameters, and multiply-adds by image size. Each was counted on the inference graph of the source that the file's
# header names, with 19 classes, apart from ICNet and DF-Seg, which were rebuilt from their prototxt.
PUBLISHED: dict[str, tuple[int, dict[tuple[int, int], int]]] = {
    "resnet18": (11_689_512, {(224, 224): 1_814_073_344}),
    "resnet50": (25_557_032, {(224, 224): 4_089_184_256}),
    "densenet121": (7_978_856, {(224, 224): 2_834_161_664}),
    "densenet161": (28_681_000, {(224, 224): 7_727_907_072}),
    "mobilenetv2": (3_504_872, {(224, 224): 300_774_272}),
    "mobilenetv3_large": (5_483_032, {(224, 224): 216_589_760}),
    "efficientnet_b0": (5_288_548, {(224, 224): 385_814_752}),
    "ghostnet_100": (5_182_508, {(224, 224): 141_150_512}),
    "ghostnet_130": (7_358_820, {(224, 224): 227_003_256}),
    "enet": (
        351_660,
        {
            (360, 640): 1_774_252_800,
            (512, 1024): 4_037_410_816,
            (1024, 2048): 16_149_643_264,
            (720, 960): 5_322_758_400,
        },
    ),
    "icnet": (6_699_987, {(1025, 2049): 29_811_584_064}),
    "dabnet": (
        756_643,
        {
            (1024, 2048): 40_881_520_640,
            (512, 1024): 10_220_380_160,
            (720, 960): 13_474_134_000,
            (360, 480): 3_368_533_500,
        },
    ),
    "bisenetv1_xception39": (
        1_541_963,
        {(768, 1536): 15_616_081_920, (512, 1024): 6_940_590_080, (720, 960): 9_157_340_928},
    ),
    "bisenetv1_resnet18": (
        12_894_163,
        {(768, 1536): 58_344_439_808, (512, 1024): 25_930_989_568, (720, 960): 34_320_966_656},
    ),
    "bisenetv2": (
        3_358_627,
        {(512, 1024): 24_603_312_128, (768, 1536): 55_357_431_808, (1024, 2048): 98_413_199_360},
    ),
    "df1_seg": (13_112_923, {(1024, 2048): 41_717_956_608}),
    "df2_seg1": (22_503_688, {(1024, 2048): 84_505_747_456}),
    "df2_seg2": (24_124_411, {(1024, 2048): 95_428_378_624}),
    "sfnet_df1": (8_422_387, {(1024, 2048): 32_726_384_640, (512, 1024): 8_182_824_960}),
    "sfnet_lite_stdc1": (9_710_278, {(1024, 2048): 74_295_017_472, (512, 1024): 18_578_669_568}),
    "sfnet_lite_stdc2": (13_740_742, {(1024, 2048): 100_668_801_024, (512, 1024): 25_172_115_456}),
    "ddrnet23_slim": (5_695_987, {(1024, 2048): 36_281_319_424, (512, 1024): 9_070_379_008}),
    "ddrnet23": (20_148_947, {(1024, 2048): 143_060_500_480, (512, 1024): 35_765_223_424}),
    "pidnet_s": (7_625_715, {(1024, 2048): 47_194_226_688, (512, 1024): 11_798_593_536}),
    "pidnet_m": (28_538_515, {(1024, 2048): 177_328_717_824}),
    "pidnet_l": (36_939_571, {(1024, 2048): 274_933_465_088}),
    "sctnet_s": (4_654_643, {(1024, 2048): 32_026_148_864, (512, 1024): 8_006_549_504}),
    "sctnet_b": (17_437_779, {(1024, 2048): 119_523_049_472, (512, 1024): 29_880_811_520}),
    "lpsnet_s": (3_375_363, {(1024, 2048): 10_421_305_344}),
    "lpsnet_m": (3_375_363, {(1024, 2048): 17_717_526_528}),
    "lpsnet_l": (9_159_235, {(1024, 2048): 43_807_670_272}),
    "regseg": (3_334_951, {(1024, 2048): 38_353_186_560}),
    "regseg_exp53": (6_131_579, {(1024, 2048): 86_455_894_048}),
    "fast_scnn": (1_138_051, {(1024, 2048): 6_708_323_168, (512, 1024): 1_676_903_264}),
    "lraspp_mobilenetv3": (
        3_221_198,
        {(512, 1024): 3_944_947_584, (1024, 2048): 15_774_900_096, (360, 480): 1_323_940_560},
    ),
    "deeplabv3_mobilenetv3": (
        11_024_963,
        {(512, 1024): 19_649_134_464, (1024, 2048): 78_591_278_976, (360, 480): 6_615_174_960},
    ),
    "efficientvit_b0": (
        706_691,
        {(1024, 2048): 4_391_436_288, (512, 1024): 1_097_859_072, (960, 1920): 3_859_660_800},
    ),
    "efficientvit_b1": (
        4_803_443,
        {(1024, 2048): 25_105_006_592, (512, 1024): 6_276_251_648, (960, 1920): 22_064_947_200},
    ),
}

# What the published networks have and ours do not: parameters, and multiply-adds at the size above.
# DF-Seg: frozen deconvolutions of 4x4 for the doubled maps and of 16x16 for the scores. SFNet-Lite: layers that are
# never called.
DIFFERENCES = {
    "df1_seg": (16 * (32 + 19) + 256 * 19, 16 * (32 * 2048 + 19 * 8192) + 256 * 19 * 32768),
    "df2_seg1": (16 * (19 + 19) + 256 * 19, 16 * (19 * 2048 + 19 * 8192) + 256 * 19 * 32768),
    "df2_seg2": (16 * (256 + 19) + 256 * 19, 16 * (256 * 2048 + 19 * 8192) + 256 * 19 * 32768),
    "sfnet_lite_stdc1": (3_275_539, 0),
    "sfnet_lite_stdc2": (3_275_539, 0),
}

# Published to four digits only: parameters in millions, and GMACs at the file's size.
ROUNDED = {
    "df1": (8.533, 0.747),
    "df2": (17.987, 1.774),
    "dfanet_a": (1.808, 2.804),
    "dfanet_a_half": (1.808, 1.403),
    "dfanet_b": (1.084, 1.442),
    "bisenetv2_large": (22.564, 105.670),
    "fasterseg": (3.422, 27.770),
    "ppliteseg_t": (8.028, 11.421),
    "ppliteseg_b": (12.234, 19.228),
}


def stages(kind: str, *widths: int) -> dict[str, object]:
    return {
        "stem": [{"width": 4}, {"width": 4}],
        "stages": [{"kind": kind, "width": width, "depth": 1} for width in widths],
    }


# Fields that make each network small enough to be run on every test. One that is missing runs at its full width.
NARROW: dict[str, dict[str, object]] = {
    "bisenetv2": {
        "detail_widths": [4, 4, 8],
        "detail_depths": [1, 1, 2],
        "semantic_widths": [4, 4, 8, 12],
        "repeats": [1, 1, 1],
        "expansion": 2,
        "head_width": 8,
    },
    "dabnet": {"stem_width": 4, "widths": [8, 12], "dilations": [[2], [4, 8]]},
    "ddrnet": {"width": 4, "depths": [1, 1, 1, 1], "high_depth": 1, "pyramid_width": 4},
    "dfanet": {"widths": [4, 8, 12], "depths": [1, 2, 1], "trunks": 2, "attention_width": 8, "decoder_width": 4},
    "dfseg": {
        "stem": [4, 4],
        "stages": [[{"width": 4, "depth": 1, "stride": 2}]] * 2
        + [[{"width": 8, "depth": 1}, {"width": 8, "depth": 1, "stride": 2}]],
        "fields_width": 4,
        "widths": [4, 6, 8],
    },
    "efficientvit": {"widths": [4, 4, 8, 8, 16], "depths": [1] * 5, "head_dim": 4, "decoder_width": 8},
    "enet": {"widths": [4, 8, 12], "depth": 1, "dilations": [2, 4], "decoder_depths": [1, 1]},
    "fasterseg": {
        "stem": [4, 4, 8],
        "shared": [{"width": 4}],
        "branches": [
            [{"convs": 1, "zoom": True, "width": 8, "stride": 2}, {"zoom": True, "width": 8, "stride": 2}],
            [{"zoom": True, "width": 4}, {"width": 8, "stride": 2}],
        ],
        "branch_width": 4,
    },
    "fast_scnn": {
        "down_widths": [4, 4, 8],
        "widths": [8, 8, 12],
        "depths": [1, 1, 2],
        "expansion": 2,
        "fusion_width": 8,
    },
    "icnet": {"width": 4, "depths": [1, 2, 1, 1], "fine_width": 4, "fusion_width": 8},
    "lpsnet": {"depths": [1, 1, 1, 2, 1], "widths": [4, 4, 8, 8, 12]},
    "pidnet": {"width": 4, "depths": [1, 1, 1, 1], "detail_depth": 1, "pyramid_width": 4, "head_width": 8},
    "regseg": {
        "widths": [4, 4, 8, 16, 16],
        "depths": [1, 1],
        "dilations": [1, 2],
        "group_width": 4,
        "decoder_widths": [2, 4, 8],
    },
    "sctnet": {
        "width": 4,
        "depths": [1, 1, 1],
        "attention_depths": [1, 1],
        "heads": 2,
        "head_channels": 2,
        "kernel_size": 3,
    },
    "library_segmenter": {"model": "lraspp_mobilenet_v3_large"},
    "library_classifier": {"library": "torchvision", "model": "mobilenet_v3_small"},
}
HEADS: dict[str, object] = {"head": {"width": 4, "bias": True}, "auxiliary": {"width": 4}, "detail": None}
# The other form of a network that has two, and networks of this package's parts that differ from STDC-Seg's.
MORE: dict[str, dict[str, object]] = {
    "pidnet_large": {**NARROW["pidnet"], "kind": "pidnet", "light": False},
    "bisenetv1": {
        "kind": "segmenter",
        "backbone": {"stem": [{"width": 4}], "stem_pool": True, **{"stages": stages("separable", 4, 8, 12)["stages"]}},
        "decoder": {
            "width": 8,
            "fusion_width": 8,
            "fusion_squeeze": 1,
            "spatial": {"convs": [{"width": 4, "kernel": 7}, {"width": 4}, {"width": 4}]},
        },
        **HEADS,
    },
    "ppliteseg": {
        "kind": "segmenter",
        "backbone": stages("plain", 4, 8, 12),
        "decoder": {"kind": "lite", "width": 8, "widths": [4, 6, 8]},
        **HEADS,
    },
    "sfnet": {
        "kind": "segmenter",
        "backbone": stages("residual", 4, 8, 12),
        "decoder": {"kind": "flow", "width": 4},
        **HEADS,
    },
    "sfnet_lite": {
        "kind": "segmenter",
        "backbone": stages("residual", 4, 8, 12),
        "decoder": {"kind": "flow", "width": 4, "lite": True},
        **HEADS,
    },
    "df": {
        "kind": "classifier",
        "backbone": stages("residual", 4, 8),
        "width": None,
        "pooling": "plain",
        "hidden": None,
        "bias": True,
    },
}
MEMBERS = {
    member.model_fields["kind"].annotation.__args__[0]: member
    for member in get_args(get_args(NetworkSpec)[0])
    if issubclass(member, WholeSpec) and member is not OnnxFileSpec  # a file is neither built nor trained
}
NETWORKS: dict[str, NetworkSpec] = {
    name: TypeAdapter(NetworkSpec).validate_python({"classes": 5, **fields})
    for name, fields in ({kind: {"kind": kind, **NARROW.get(kind, {})} for kind in MEMBERS} | MORE).items()
}
SEGMENTERS = [name for name, network in NETWORKS.items() if network.task == "segmentation"]
UNTAUGHT = {"detail_target.weights"}

every_network = pytest.mark.parametrize("name", NETWORKS)


@cache
def made(name: str) -> nn.Module:
    """With statistics of norms that differ from 0 and 1; in eval mode."""
    return with_statistics(lambda: build(NETWORKS[name])).eval()


def image_of(*size: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))


def shape_of(name: str, n: int, size: tuple[int, int]) -> tuple[int, ...]:
    return (n, 5, *size) if name in SEGMENTERS else (n, 5)


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, theirs.abs().max().item()))


# --- What was published. tests/test_specs.py compares the golden costs with counts.


def test_every_baseline_is_compared_with_what_was_published():
    assert {*PUBLISHED, *ROUNDED} == {path.stem for path in BASELINES.glob("*.yaml")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_baseline_has_the_published_parameters(name):
    missing, _ = DIFFERENCES.get(name, (0, 0))
    assert GOLDEN[f"baselines/{name}.yaml"]["parameters"] == PUBLISHED[name][0] - missing


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "icnet"])
def test_a_baseline_has_the_published_multiply_adds_at_its_size(name):
    _, missing = DIFFERENCES.get(name, (0, 0))
    size = load(BASELINES / f"{name}.yaml").image_size
    assert GOLDEN[f"baselines/{name}.yaml"]["macs"] == PUBLISHED[name][1][size] - missing


@pytest.mark.parametrize("name", ROUNDED)
def test_a_baseline_rounds_to_what_was_published(name):
    cost = GOLDEN[f"baselines/{name}.yaml"]
    assert (round(cost["parameters"] / 1e6, 3), round(cost["macs"] / 1e9, 3)) == ROUNDED[name]


def test_icnet_has_the_multiply_adds_of_its_prototxt():
    ((size, macs),) = PUBLISHED["icnet"][1].items()
    assert count(load(BASELINES / "icnet.yaml").network, size).macs == macs


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_baseline_has_the_published_multiply_adds_at_every_size(name):
    network = load(BASELINES / f"{name}.yaml").network
    _, missing = DIFFERENCES.get(name, (0, 0))
    for size, macs in PUBLISHED[name][1].items():
        assert count(network, size).macs == macs - missing


def test_sfnet_on_df2_costs_what_the_released_one_does():
    network = SegmenterSpec(
        kind="segmenter",
        backbone=load(BASELINES / "df2.yaml").network.backbone,
        decoder=FlowDecoderSpec(kind="flow", taps=(1, 3, 5)),
        head=HeadSpec(width=64, bias=True),
        detail=None,
    )
    cost = count(network, (1024, 2048))
    assert (cost.parameters, cost.macs) == (17_876_467, 79_969_189_888)


# --- What every network does.


@pytest.mark.parametrize("kind", MEMBERS)
def test_the_fields_of_a_spec_are_the_arguments_of_its_module(kind):
    """`build_whole` passes them by their order."""
    _, classes, *arguments = inspect.signature(WHOLE[MEMBERS[kind]].__init__).parameters.values()
    assert classes.name == "classes"
    assert [argument.name for argument in arguments] == list(NETWORKS[kind].own)
    if not kind.startswith("library"):
        defaults = TypeAdapter(NetworkSpec).validate_python({"kind": kind})
        assert {argument.name: argument.default for argument in arguments} == defaults.own


@pytest.mark.parametrize(
    "size", [(65, 97), (360, 480), (512, 1024), (720, 960)], ids=lambda size: f"{size[0]}x{size[1]}"
)
@every_network
def test_scores_have_the_size_of_the_image_and_are_finite(name, size):
    with torch.no_grad():  # the `meta` device would take longer
        scores = made(name)(image_of(*size, n=1))
    assert scores.shape == shape_of(name, 1, size)
    assert scores.isfinite().all()


@every_network
def test_a_training_step_reaches_every_parameter(name):
    module = build(NETWORKS[name]).train()
    image, generator = image_of(64, 96), torch.Generator().manual_seed(0)
    if name in SEGMENTERS:
        labels = torch.randint(5, (2, 64, 96), generator=generator)
        loss = SegmentationLoss(SegmentationLossSpec())(module, image, labels)
    else:
        loss = cross_entropy(module(image), torch.tensor([0, 4]))
    loss.backward()
    assert loss.isfinite()
    parameters = [(name, parameter) for name, parameter in module.named_parameters() if name not in UNTAUGHT]
    assert [name for name, parameter in parameters if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for _, parameter in parameters)


@every_network
def test_costs_equal_fvcores_and_those_of_the_parts(name):
    network, size = NETWORKS[name], (64, 96)
    cost = count(network, size)
    assert cost.fvcore_flops == count_with_fvcore(made(name), size)
    parts = [part.cost for part in count_parts(network, size)]
    assert sum(parts[1:], parts[0]) == cost


@every_network
def test_saved_weights_give_the_same_scores(name, tmp_path):
    save_weights(made(name), tmp_path / "weights.safetensors")
    other = build(NETWORKS[name]).eval()
    assert load_weights(other, tmp_path / "weights.safetensors").misfits == []
    with torch.no_grad():
        assert torch.equal(other(image_of(64, 96)), made(name)(image_of(64, 96)))


@every_network
def test_folded_norms_leave_the_scores_as_they_are(name):
    folded = deployed(made(name), "logits")
    assert norms(folded) < norms(made(name))
    with torch.no_grad():
        assert_alike(folded(image_of(64, 96)), made(name)(image_of(64, 96)))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


EXPORTS = [(name, to) for name in NETWORKS for to in ("onnx", "openvino")]
QUICK = ("dfseg", "openvino")


@pytest.mark.parametrize(
    ("name", "to"), [pytest.param(*export, marks=[pytest.mark.slow] * (export != QUICK)) for export in EXPORTS]
)
def test_an_exported_network_gives_the_same_labels(name, to, tmp_path):
    path = export(made(name), (65, 97), to, tmp_path, {})  # raises if labels differ
    image = torch.randint(256, (1, 65, 97, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    assert run(path, image).shape == shape_of(name, 1, (65, 97))[:1] + shape_of(name, 1, (65, 97))[2:]


# --- Of some.


def test_pidnets_detail_head_sees_the_boundaries_and_its_auxiliary_head_the_details():
    module, image = made("pidnet"), image_of(64, 96)
    with torch.no_grad():
        _, details, boundaries = module.body(image)
        output = module.forward_training(image)
        (auxiliary,) = module.auxiliary
        assert torch.equal(output.detail, module.detail(boundaries))
        assert torch.equal(output.auxiliary[0], module.upsample(auxiliary(details), image))
    assert output.detail.shape == (2, 1, 8, 12)


def test_pidnet_without_guidance_has_no_head_on_its_boundaries():
    module = build(replace(NETWORKS["pidnet"], {"detail": None}))
    assert module.detail is None
    assert len(module.auxiliary) == 1


def test_a_peer_without_heads_for_training_has_none():
    module = build(replace(NETWORKS["ddrnet"], {"auxiliary": None}))
    assert module.forward_training(image_of(64, 96)).auxiliary == ()


@pytest.mark.parametrize(
    "tiny", [{"kind": "regseg", "widths": (3, 16, 16, 32, 32)}, {"kind": "fast_scnn", "widths": (64, 96, 3)}]
)
def test_the_narrowest_layers_have_a_channel(tiny):
    network = build(TypeAdapter(NetworkSpec).validate_python(tiny)).eval()
    assert network(torch.randn(1, 3, 64, 96)).isfinite().all()
