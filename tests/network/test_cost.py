"""The costs that the paper and its weights imply, and that fvcore counts."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from pydantic import TypeAdapter

from stdc_search.network.builder import build
from stdc_search.network.cost import count, count_parts, count_with_fvcore, output_stride
from stdc_search.network.models.layers import fuse_branches
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.spec.network import ClassifierSpec, NetworkSpec
from stdc_search.spec.start import PRESETS
from tests.random_networks import networks


def classifier(name: str) -> ClassifierSpec:
    return ClassifierSpec(kind="classifier", backbone=PRESETS[name].backbone)


@pytest.mark.parametrize(
    ("name", "parameters", "macs", "paper_flops"),
    [
        ("stdc1", 8_443_552, 806_067_712, 812_817_408),  # Table 2: 8.44M, 813M
        ("stdc2", 12_474_016, 1_437_081_088, 1_446_088_704),  # Table 2: 12.47M, 1446M
    ],
)
def test_classifiers_cost_what_the_papers_table_2_says(name, parameters, macs, paper_flops):
    cost = count(classifier(name), (224, 224))
    assert (cost.parameters, cost.macs, cost.paper_flops) == (parameters, macs, paper_flops)


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        (
            "stdc1",
            8_275_104,
            {(512, 1024): 16.86, (768, 1536): 37.94, (1024, 2048): 67.45, (720, 960): 22.31},
        ),
        (
            "stdc2",
            12_305_568,
            {(512, 1024): 23.46, (768, 1536): 52.78, (1024, 2048): 93.83, (720, 960): 31.03},
        ),
    ],
)
def test_segmenters_cost_what_the_released_inference_graph_has(name, parameters, gmacs):
    for image_size, expected in gmacs.items():
        cost = count(PRESETS[name], image_size)
        assert cost.parameters == parameters
        assert round(cost.macs / 1e9, 2) == expected


@pytest.mark.parametrize(("stage", "weights"), [(0, 134_144), (1, 536_576), (2, 2_146_304)])
def test_a_stride_1_module_has_the_parameters_of_equation_3(stage, weights):
    part = {part.name: part for part in count_parts(PRESETS["stdc1"], (64, 64))}[f"backbone.stages.{stage}.1"]
    width = 256 * 2**stage
    equation_3 = width * width // 2 + 3 * width**2 * (1 + 2**-5) / 2
    assert weights == equation_3
    assert part.cost.parameters == weights + 2 * width  # scales and shifts


def test_a_count_is_remembered():
    from stdc_search.network.cost import _count_part

    count(PRESETS["stdc1"], (96, 96))
    before = _count_part.cache_info().misses
    count(PRESETS["stdc1"], (96, 96))
    assert _count_part.cache_info().misses == before


def test_counting_allocates_no_weights_and_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    count(PRESETS["stdc2"], (64, 128))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("network", "stride"),
    [
        ({"kind": "segmenter"}, 8),
        ({"kind": "lpsnet"}, 64 / 3),  # its first path sees 3/4 of the image
        ({"kind": "enet"}, 1),
        ({"kind": "classifier"}, None),
    ],
)
def test_the_stride_of_scores_is_that_before_up_sampling(network, stride):
    assert output_stride(TypeAdapter(NetworkSpec).validate_python(network), (512, 1024)) == stride


odd = st.integers(16, 34).map(lambda half: 2 * half + 1)


def hold_a_network_to_its_promises(network: NetworkSpec, image_size: tuple[int, int]) -> None:
    """It maps any size to scores of that size, everything in it learns, and its remembered cost is fvcore's."""
    torch.manual_seed(0)
    module = build(network).train()
    image = torch.randn(2, 3, *image_size)
    if isinstance(module, Segmenter):
        output = module.forward_training(image)
        scores = [output.logits, *output.auxiliary]
        assert all(score.shape == (2, network.classes, *image_size) for score in scores)
        sum(score.sum() for score in [*scores, *([] if output.detail is None else [output.detail])]).backward()
    else:
        module(image).sum().backward()
    learning = [(name, parameter) for name, parameter in module.named_parameters() if name not in UNTAUGHT]
    assert [name for name, parameter in learning if parameter.grad is None] == []
    size = image_size if isinstance(module, Segmenter) else ()
    assert module.eval()(image).shape == (2, network.classes, *size)

    cost = count(network, image_size)
    assert cost.fvcore_flops == count_with_fvcore(module, image_size)
    deployed = fuse_branches(module)
    heads = [child for name, child in deployed.named_children() if name in ("auxiliary", "detail", "detail_target")]
    unused = sum(parameter.numel() for head in heads for parameter in head.parameters())
    assert cost.parameters == sum(parameter.numel() for parameter in deployed.parameters()) - unused
    parts = [part.cost for part in count_parts(network, image_size)]
    assert cost == sum(parts[1:], parts[0])


UNTAUGHT = {"detail_target.weights", "hidden.bn.weight", "hidden.bn.bias"}
"""What the losses teach, and what is never called."""


@settings(max_examples=15, deadline=None)
@given(network=networks, image_size=st.tuples(odd, odd))
def test_every_network_keeps_its_promises(network, image_size):
    hold_a_network_to_its_promises(network, image_size)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(network=networks, image_size=st.tuples(odd, odd))
def test_two_hundred_networks_keep_their_promises(network, image_size):
    hold_a_network_to_its_promises(network, image_size)
