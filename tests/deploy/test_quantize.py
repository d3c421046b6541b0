"""int8 files: near the network's scores, with integers inside, and labels made of floats."""

import onnx
import onnxruntime
import pytest
import torch

from stdc_search.deploy.folding import deployed
from stdc_search.deploy.quantize import calibration_images, quantized
from tests.tiny_networks import SIZE, exported, segmenter


@pytest.fixture(scope="module")
def images():
    return torch.randn(8, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def content(images):
    return quantized(exported(segmenter(), SIZE, "logits"), images)


def test_scores_are_near_those_of_floats(content, images):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    scores = torch.from_numpy(session.run(None, {"image": images[:1].numpy()})[0])
    expected = deployed(segmenter(), "logits")(images[:1])
    error = (scores - expected).square().mean().sqrt() / expected.std()
    assert 0 < error < 0.2


def test_convolutions_work_on_integers(content):
    graph = onnx.load_from_string(content).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert {made_by[name] for node in convolutions for name in node.input[:2]} == {"DequantizeLinear"}


def test_what_follows_the_scores_stays_in_floats(images):
    graph = onnx.load_from_string(quantized(exported(segmenter(), SIZE, "labels"), images)).graph
    last = max(i for i, node in enumerate(graph.node) if node.op_type == "Conv")
    after = [node.op_type for node in graph.node[last + 1 :]]
    assert "ScatterND" in after
    assert after.count("QuantizeLinear") <= 1  # of the scores themselves


class Grey:
    class_names = ("a",)

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return torch.full((3, 10, 10), index, dtype=torch.uint8), torch.zeros(10, 10, dtype=torch.uint8)

    def name(self, index):
        return str(index)


def test_images_are_spread_over_the_data_set_and_seen_as_the_network_sees_them():
    images = calibration_images(Grey(), (16, 24))
    assert images.shape == (32, 3, 16, 24)
    assert images[0].mean() < images[16].mean() < images[31].mean()
    assert torch.equal(images[0, 0].unique(), images[0, 0, :1, 0])


class Photos(Grey):
    """Labels are of whole images, black but for a white middle."""

    def __getitem__(self, index):
        photo = torch.zeros(3, 10, 40, dtype=torch.uint8)
        photo[..., 15:25] = 255
        return photo, torch.tensor(0)


def test_a_classifier_is_calibrated_on_the_middle_of_photos_as_it_is_scored():
    assert calibration_images(Photos(), (16, 16)).unique().numel() == 3  # white, in three normalised channels
