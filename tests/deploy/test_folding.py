"""A network as it is deployed gives what the network gives."""

import pytest
import torch
from torch import nn

from stdc_search.deploy.folding import UpConv, deployed
from stdc_search.network.models.decoder import UpConvX
from tests.tiny_networks import SIZE, classifier, segmenter


@pytest.fixture
def image():
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def logits(image):
    network = segmenter()
    with torch.no_grad():
        network.eval()
        try:
            return network(image)
        finally:
            network.train()


def norms(network: nn.Module) -> list[nn.Module]:
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]


def test_scores_are_those_of_the_network_in_eval_mode(image, logits):
    torch.testing.assert_close(deployed(segmenter(), "logits")(image), logits, rtol=1e-4, atol=1e-4)


def test_labels_are_the_best_classes(image, logits):
    labels = deployed(segmenter(), "labels")(image)
    best = logits.topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > 1e-3
    assert sure.float().mean() > 0.9
    assert labels.dtype == torch.uint8
    assert torch.equal(labels[sure], logits.argmax(1)[sure].to(torch.uint8))


def test_norms_after_convolutions_are_folded():
    assert len(norms(segmenter())) > 20
    assert norms(deployed(segmenter(), "labels")) == []


@pytest.mark.parametrize("size", [(1, 1), (4, 7)])
def test_a_convolution_after_doubling_is_a_transposed_one(size):
    torch.manual_seed(0)
    plain = UpConvX(3, 5).eval()
    plain.bn.running_mean.normal_()
    plain.bn.bias.data.normal_()
    x, doubled, odd = torch.randn(2, 3, *size), torch.zeros(1, 1, 2 * size[0], 2 * size[1]), torch.zeros(1, 1, 9, 9)
    (ours,) = deployed(nn.ModuleList([plain]), "logits")
    torch.testing.assert_close(ours(x, doubled), plain(x, doubled), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(x, odd), plain(x, odd), rtol=1e-5, atol=1e-5)
    assert ours.weight.numel() * 9 == plain.conv.weight.numel() * 16
    assert any(isinstance(part, UpConv) for part in deployed(segmenter(), "labels").modules())


def test_the_network_itself_is_left_as_it_is(image):
    before = {name: tensor.clone() for name, tensor in segmenter().state_dict().items()}
    deployed(segmenter(), "labels", torch.bfloat16)(image)
    assert all(torch.equal(tensor, before[name]) for name, tensor in segmenter().state_dict().items())
    assert all(part.training for part in segmenter().modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_takes_and_gives_floats(dtype, image, logits):
    network = deployed(segmenter(), "logits", dtype)
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
    scores = network(image)
    assert scores.dtype == torch.float32
    assert (scores - logits).square().mean().sqrt() < 0.05 * logits.square().mean().sqrt()
    assert deployed(segmenter(), "labels", dtype)(image).dtype == torch.uint8


def test_a_classifier_gives_the_index_of_its_class(image):
    scores = deployed(classifier(), "logits")(image)
    labels = deployed(classifier(), "labels")(image)
    assert (labels.dtype, labels.tolist()) == (torch.int64, scores.argmax(1).tolist())
