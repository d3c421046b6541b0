from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stdc_search import metrics
from stdc_search.data import DataError
from stdc_search.data.transforms import normalise


class Samples:
    """A data set of given sizes, every sample its own noise; class 2 of 3 is rare, class 255 is there."""

    class_names = ("road", "tree", "sign")

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        generator = torch.Generator().manual_seed(0)
        shares = torch.tensor([0.6, 0.3, 0.05, 0.05])
        ids = torch.tensor([0, 1, 2, 255], dtype=torch.uint8)
        self.samples = [
            (
                torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator),
                ids[shares.multinomial(size[0] * size[1], replacement=True, generator=generator)].view(size),
            )
            for size in sizes
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.samples[index]


class Network(nn.Module):
    """A network of one batch norm and one convolution, which notes what it is given."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, classes, 3, padding=1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape))
        return self.conv(self.norm(image))


def brute_force_matrix(predictions: list[int], labels: list[int], classes: int) -> list[list[int]]:
    pairs = list(zip(labels, predictions, strict=True))
    return [[pairs.count((row, column)) for column in range(classes)] for row in range(classes)]


@settings(max_examples=50)
@given(st.data(), st.integers(2, 6))
def test_confusion_matrix_counts_pairs_of_label_and_prediction(data: st.DataObject, classes: int) -> None:
    pixel = st.tuples(st.integers(0, classes - 1), st.sampled_from([*range(classes), 255]))
    pixels = data.draw(st.lists(pixel, max_size=40))
    predictions, labels = [p for p, _ in pixels], [label for _, label in pixels]
    matrix = metrics.confusion_matrix(
        torch.tensor(predictions, dtype=torch.int64), torch.tensor(labels, dtype=torch.uint8), classes
    )
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == brute_force_matrix(predictions, labels, classes)


def test_confusion_matrix_takes_255_classes() -> None:
    labels = torch.arange(256, dtype=torch.uint8)
    matrix = metrics.confusion_matrix(labels.long().clamp(max=254), labels, classes=255)
    assert torch.equal(matrix, torch.eye(255, dtype=torch.int64))


@pytest.mark.parametrize("label", [3, 11, 254])
def test_an_unknown_label_is_an_error_and_not_ignored(label: int) -> None:
    with pytest.raises(ValueError, match="neither one of 0 to 2 nor 255"):
        metrics.confusion_matrix(torch.tensor([0]), torch.tensor([label], dtype=torch.uint8), classes=3)


def test_iou_and_accuracy_of_a_small_matrix_by_hand() -> None:
    matrix = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    scores = metrics.iou(matrix).tolist()
    assert scores[:2] == [6 / 9, 3 / 6] and isnan(scores[2])
    assert metrics.miou(matrix) == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert metrics.pixel_accuracy(matrix) == pytest.approx(9 / 12)


def test_a_class_that_is_only_predicted_has_iou_0_and_counts() -> None:
    matrix = torch.tensor([[6, 2], [0, 0]])
    assert metrics.iou(matrix).tolist() == [6 / 8, 0]
    assert metrics.miou(matrix) == 6 / 16


def test_metrics_equal_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randint(6, (2, 30, 40), generator=generator)
    labels = torch.where(torch.rand(2, 30, 40, generator=generator) < 0.4, predictions, 0)
    labels[:, :5] = 255
    ours = metrics.confusion_matrix(predictions, labels, classes=6)
    settings = {"num_classes": 6, "ignore_index": 255}
    assert torch.equal(ours, torchmetrics.multiclass_confusion_matrix(predictions, labels, **settings))
    theirs = torchmetrics.multiclass_jaccard_index(predictions, labels, average=None, **settings)
    torch.testing.assert_close(metrics.iou(ours).float(), theirs)
    accuracy = torchmetrics.multiclass_accuracy(predictions, labels, average="micro", **settings)
    assert metrics.pixel_accuracy(ours) == pytest.approx(accuracy.item())


def test_constant_miou_is_that_of_predicting_the_commonest_class() -> None:
    labels = torch.tensor([0] * 2 + [1] * 5 + [3] * 3 + [255])
    whatever = metrics.confusion_matrix(torch.zeros_like(labels), labels, classes=5)
    constant = metrics.confusion_matrix(torch.ones_like(labels), labels, classes=5)
    assert metrics.constant_miou(whatever) == pytest.approx(metrics.miou(constant))
    assert metrics.constant_miou(whatever) == pytest.approx(0.5 / 3)


def test_evaluate_resizes_images_to_the_networks_size_and_scores_back() -> None:
    data, network = Samples([(12, 16), (12, 16), (20, 10)]), Network()
    matrix = metrics.evaluate(network, data, image_size=(8, 24))
    expected = torch.zeros(3, 3, dtype=torch.int64)
    network.eval()
    for image, label in data.samples:
        small = F.interpolate(normalise(image)[None], size=(8, 24), mode="bilinear", align_corners=True)
        scores = F.interpolate(network(small), size=label.shape, mode="bilinear", align_corners=True)
        expected += metrics.confusion_matrix(scores.argmax(1)[0], label, classes=3)
    assert torch.equal(matrix, expected)
    assert matrix.dtype == torch.int64 and matrix.sum() == sum((label != 255).sum() for _, label in data.samples)


def test_predict_gives_the_label_map_that_evaluate_scores() -> None:
    data, network = Samples([(12, 16)]), Network()
    image, label = data[0]
    prediction = metrics.predict(network, image, (8, 24), label.shape)
    assert prediction.shape == label.shape
    matrix = metrics.confusion_matrix(prediction, label, classes=3)
    assert torch.equal(matrix, metrics.evaluate(network, data, image_size=(8, 24)))
    assert network.training


def test_evaluate_batches_neighbours_of_one_size_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BATCH_PIXELS", 2 * 12 * 16)
    network = Network()
    metrics.evaluate(network, Samples([(12, 16)] * 5 + [(16, 12)] + [(40, 40)] * 2), image_size=(8, 8))
    assert [shape[0] for shape in network.seen] == [2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_uses_eval_mode_and_leaves_the_mode_as_it_was(training: bool) -> None:
    network = Network().train(training)
    metrics.evaluate(network, Samples([(8, 8)] * 3), image_size=(8, 8))
    assert network.norm.num_batches_tracked == 0
    assert network.training is network.norm.training is training


def test_evaluate_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BATCH_PIXELS", 2 * 8 * 8)
    calls: list[tuple[int, int]] = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    metrics.evaluate(Network(), Samples([(8, 8)] * 5), image_size=(8, 8), progress=progress)
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_labels_without_any_class_are_an_error() -> None:
    data = Samples([(8, 8)])
    data.samples[0][1].fill_(255)
    with pytest.raises(DataError, match="all are ignored"):
        metrics.evaluate(Network(), data, image_size=(8, 8))


def test_score_is_in_percent_and_the_mean_over_seeds() -> None:
    first, second = (
        torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]]),
        torch.tensor([[8, 0, 0], [4, 0, 0], [0, 0, 0]]),
    )
    score = metrics.score([first, second], ("road", "tree", "sign"), images=2)
    assert score.seed_miou == pytest.approx((100 * (6 / 9 + 3 / 6) / 2, 100 * (8 / 12) / 2))
    assert score.miou == pytest.approx(sum(score.seed_miou) / 2)
    assert score.pixel_accuracy == pytest.approx(100 * (9 / 12 + 8 / 12) / 2)
    assert score.iou == {"road": pytest.approx(100 * 6 / 9 / 2 + 100 * 8 / 12 / 2), "tree": 25, "sign": None}
    assert score.constant_miou == pytest.approx(100 * (8 / 12) / 2)
    assert score.images == 2


def test_score_needs_one_name_a_class() -> None:
    with pytest.raises(ValueError, match="argument"):
        metrics.score([torch.eye(3, dtype=torch.int64)], ("road", "tree"), images=1)
