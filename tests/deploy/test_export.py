"""ONNX files: complete, right at odd sizes, and free of what only training or this machine needs."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import stdc_search
from stdc_search.deploy.export import OPSET, to_onnx
from stdc_search.deploy.folding import deployed
from tests.tiny_networks import SIZE, classifier, exported, segmenter


def run(content: bytes, image: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def signature(content: bytes) -> dict[str, tuple[int, list[int]]]:
    graph = onnx.load_from_string(content).graph
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
    return {name: (kind.elem_type, [d.dim_value for d in kind.shape.dim]) for name, kind in types.items()}


@pytest.fixture(scope="module")
def logits_file() -> bytes:
    return exported(segmenter(), SIZE, "logits")


@pytest.fixture(scope="module")
def labels_file() -> bytes:
    return exported(segmenter(), SIZE, "labels")


def test_a_file_passes_the_checker_of_onnx(logits_file):
    onnx.checker.check_model(logits_file, full_check=True)


def test_a_file_names_its_opset(logits_file):
    assert [(one.domain, one.version) for one in onnx.load_from_string(logits_file).opset_import] == [("", OPSET)]


def test_inputs_and_outputs_have_names_and_fixed_shapes(logits_file, labels_file):
    image = (onnx.TensorProto.FLOAT, [1, 3, *SIZE])
    assert signature(logits_file) == {"image": image, "logits": (onnx.TensorProto.FLOAT, [1, 5, *SIZE])}
    assert signature(labels_file) == {"image": image, "labels": (onnx.TensorProto.UINT8, [1, *SIZE])}


def test_logits_at_an_odd_size_are_those_of_the_network(logits_file):
    image = torch.randn(1, 3, *SIZE)
    expected = deployed(segmenter(), "logits")(image)
    torch.testing.assert_close(run(logits_file, image), expected, rtol=1e-4, atol=1e-4)


def test_labels_are_the_best_classes_of_the_logits(logits_file, labels_file):
    image = torch.randn(1, 3, *SIZE)
    labels = run(labels_file, image)
    assert labels.unique().numel() > 1
    assert torch.equal(labels, run(logits_file, image).argmax(1).to(torch.uint8))


def test_heads_for_training_stay_behind(logits_file):
    names = {weight.name for weight in onnx.load_from_string(logits_file).graph.initializer}
    assert any(name.startswith("head.") for name in names)
    assert not [name for name in names if name.startswith(("auxiliary", "detail"))]


def test_nodes_are_named_after_the_modules_that_they_are_of(logits_file):
    """The names come from an undocumented note of torch's exporter; without it they would be `node_conv2d` only."""
    convolutions = [node for node in onnx.load_from_string(logits_file).graph.node if node.op_type == "Conv"]
    modules = deployed(segmenter(), "logits").named_modules()
    convs = {name for name, module in modules if isinstance(module, nn.Conv2d)}
    convs = {name for name in convs if not name.startswith(("auxiliary", "detail"))}
    assert {node.name.split("/")[0] for node in convolutions} == convs
    assert {node.output[0].split("/")[0] for node in convolutions} == convs


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(logits_file):
    assert str(Path(stdc_search.__file__).parent).encode() not in logits_file


def test_an_export_leaves_the_network_as_it_was(logits_file):
    assert all(module.training for module in segmenter().modules())
    assert all(parameter.requires_grad for parameter in segmenter().parameters())


def test_a_classifier_gives_the_index_of_its_class_and_its_export_prints_nothing(capfd, tmp_path):
    path = tmp_path / "classifier.onnx"
    content = to_onnx(classifier(), (64, 64), "labels", path)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == content
    assert signature(content)["labels"] == (onnx.TensorProto.INT64, [1])
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(run(content, image), deployed(classifier(), "labels")(image))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(360, 480), (720, 960), (512, 1024), (33, 45)])
def test_logits_at_the_sizes_in_use_are_those_of_the_network(size):
    image = torch.randn(1, 3, *size)
    expected = deployed(segmenter(), "logits")(image)
    torch.testing.assert_close(run(to_onnx(segmenter(), size), image), expected, rtol=1e-4, atol=1e-4)
