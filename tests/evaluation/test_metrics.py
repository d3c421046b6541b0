from __future__ import annotations

from math import isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdc_search.evaluation import metrics


def brute_force_matrix(predictions: list[int], labels: list[int], classes: int) -> list[list[int]]:
    pairs = list(zip(labels, predictions, strict=True))
    return [[pairs.count((row, column)) for column in range(classes)] for row in range(classes)]


def confusion_matrix(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    return metrics.confusion(metrics.pair_counts(predictions, labels, classes))


@settings(max_examples=50)
@given(st.data(), st.integers(2, 6))
def test_confusion_matrix_counts_pairs_of_label_and_prediction(data: st.DataObject, classes: int) -> None:
    pixel = st.tuples(st.integers(0, classes - 1), st.sampled_from([*range(classes), 255]))
    pixels = data.draw(st.lists(pixel, max_size=40))
    predictions, labels = [p for p, _ in pixels], [label for _, label in pixels]
    matrix = confusion_matrix(
        torch.tensor(predictions, dtype=torch.int64), torch.tensor(labels, dtype=torch.uint8), classes
    )
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == brute_force_matrix(predictions, labels, classes)


def test_confusion_matrix_takes_255_classes() -> None:
    labels = torch.arange(256, dtype=torch.uint8)
    matrix = confusion_matrix(labels.long().clamp(max=254), labels, classes=255)
    assert torch.equal(matrix, torch.eye(255, dtype=torch.int64))


@pytest.mark.parametrize("label", [3, 11, 254])
def test_an_unknown_label_is_an_error_and_not_ignored(label: int) -> None:
    with pytest.raises(ValueError, match="neither in 0 to 2 nor 255"):
        confusion_matrix(torch.tensor([0]), torch.tensor([label], dtype=torch.uint8), classes=3)


def test_iou_and_accuracy_of_a_small_matrix_by_hand() -> None:
    matrix = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    scores = metrics.iou(matrix).tolist()
    assert scores[:2] == [6 / 9, 3 / 6] and isnan(scores[2])
    assert metrics.miou(matrix) == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert metrics.pixel_accuracy(matrix) == pytest.approx(9 / 12)


def test_a_class_that_is_only_predicted_has_no_iou_and_does_not_count() -> None:
    matrix = torch.tensor([[6, 2], [0, 0]])
    scores = metrics.iou(matrix).tolist()
    assert scores[0] == 6 / 8 and isnan(scores[1])
    assert metrics.miou(matrix) == 6 / 8


def test_the_mean_is_over_the_same_classes_whatever_a_network_predicts() -> None:
    labels = torch.tensor([0] * 6 + [1] * 4)
    one_pixel_of_an_absent_class = labels.index_fill(0, torch.tensor([0]), 2)
    matrix = confusion_matrix(one_pixel_of_an_absent_class, labels, classes=3)
    assert metrics.miou(matrix) == pytest.approx((5 / 6 + 1) / 2)
    score = metrics.score([metrics.Counts(matrix, torch.zeros(4, 3))], ("road", "tree", "sign"), images=1)
    assert score.iou["sign"] is None


def test_torchmetrics_counts_a_class_that_is_only_predicted_as_0() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1])
    theirs = torchmetrics.multiclass_jaccard_index(predictions, labels, num_classes=4)
    ours = metrics.miou(confusion_matrix(predictions, labels, classes=4))
    assert (theirs.item(), ours) == (pytest.approx((1 / 2 + 1 + 0) / 3), (1 / 2 + 1) / 2)


def test_metrics_equal_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randint(6, (2, 30, 40), generator=generator)
    labels = torch.where(torch.rand(2, 30, 40, generator=generator) < 0.4, predictions, 0)
    labels[:, :5] = 255
    ours = confusion_matrix(predictions, labels, classes=6)
    settings = {"num_classes": 6, "ignore_index": 255}
    assert torch.equal(ours, torchmetrics.multiclass_confusion_matrix(predictions, labels, **settings))
    theirs = torchmetrics.multiclass_jaccard_index(predictions, labels, average=None, **settings)
    torch.testing.assert_close(metrics.iou(ours).float(), theirs)
    accuracy = torchmetrics.multiclass_accuracy(predictions, labels, average="micro", **settings)
    assert metrics.pixel_accuracy(ours) == pytest.approx(accuracy.item())


def test_constant_miou_is_that_of_predicting_the_commonest_class() -> None:
    labels = torch.tensor([0] * 2 + [1] * 5 + [3] * 3 + [255])
    whatever = confusion_matrix(torch.zeros_like(labels), labels, classes=5)
    constant = confusion_matrix(torch.ones_like(labels), labels, classes=5)
    assert metrics.constant_miou(whatever) == pytest.approx(metrics.miou(constant))
    assert metrics.constant_miou(whatever) == pytest.approx(0.5 / 3)


def brute_force_boundary(predictions: Tensor, labels: Tensor, classes: int, tolerance: int) -> list[list[int]]:
    """By distance transforms: of each class boundary pixels, and those near one of its class in the other map."""
    ndimage = pytest.importorskip("scipy.ndimage")
    predictions = torch.where(labels == 255, 255, predictions)

    def edges(ids: Tensor) -> Tensor:
        found = torch.zeros(ids.shape, dtype=torch.bool)
        height, width = ids.shape
        for y in range(height):
            for x in range(width):
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                others = [ids[j, i] for j, i in near if 0 <= j < height and 0 <= i < width]
                found[y, x] = ids[y, x] != 255 and any(other not in (255, ids[y, x]) for other in others)
        return found

    rows = []
    for mine, other in ((predictions, labels), (labels, predictions)):
        edge, target, counts = edges(mine), edges(other), []
        for k in range(classes):
            goal = (target & (other == k)).numpy()
            own = (edge & (mine == k)).numpy()
            near = ndimage.distance_transform_edt(~goal) <= tolerance if goal.any() else goal
            counts.append((int(own.sum()), int((own & near).sum())))
        rows += [[count for count, _ in counts], [near for _, near in counts]]
    return rows


@pytest.mark.parametrize("tolerance", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_boundary_counts_equal_those_of_distance_transforms(seed: int, tolerance: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(3, (2, 5, 6), generator=generator).repeat_interleave(5, 1).repeat_interleave(4, 2)
    labels, predictions = blocks[0], torch.where(torch.rand(25, 24, generator=generator) < 0.9, blocks[0], blocks[1])
    predictions = predictions.roll(seed, 1)
    labels = labels.masked_fill(torch.rand(25, 24, generator=generator) < 0.1, 255)
    counts = metrics.boundary_counts(predictions, labels, 3, tolerance)
    assert counts.tolist() == brute_force_boundary(predictions, labels, 3, tolerance)


def test_a_boundary_that_is_off_by_the_tolerance_is_right_and_by_more_is_wrong() -> None:
    labels = (torch.arange(30) >= 10).long().expand(20, 30)
    for shift, expected in ((0, 1.0), (3, 1.0), (4, 0.0)):
        counts = metrics.boundary_counts((torch.arange(30) >= 10 + shift).long().expand(20, 30), labels, 2, 3)
        assert metrics.boundary_f(counts) == pytest.approx(expected)


def test_a_boundary_that_is_not_found_counts_as_zero_and_one_that_is_only_predicted_does_not_count() -> None:
    assert metrics.boundary_f(torch.tensor([[5, 0, 3], [5, 0, 0], [5, 7, 0], [5, 0, 0]])) == pytest.approx(0.5)
    assert isnan(metrics.boundary_f(torch.tensor([[0, 4], [0, 0], [0, 0], [0, 0]])))


def test_without_boundaries_there_is_no_boundary_score() -> None:
    counts = metrics.Counts(torch.tensor([[5, 0], [0, 0]]), torch.zeros(4, 2))
    assert metrics.score([counts], ("a", "b"), images=1).boundary_f is None
    with_one = metrics.Counts(counts.confusion, torch.ones(4, 2))
    assert metrics.score([counts, with_one], ("a", "b"), images=1).boundary_f == pytest.approx(100)


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1)])
def test_a_map_of_one_row_or_column_has_boundaries_too(size: tuple[int, int]) -> None:
    labels = (torch.arange(size[0] * size[1]) > 1).long().view(size)
    assert metrics.on_boundary(labels).sum() == 2 * (labels.numel() > 1)


def test_score_is_in_percent_and_the_mean_over_seeds() -> None:
    first, second = (
        metrics.Counts(torch.tensor(confusion), torch.tensor(boundary))
        for confusion, boundary in (
            ([[6, 2, 0], [1, 3, 0], [0, 0, 0]], [[4, 2, 0], [2, 1, 0], [4, 2, 0], [2, 1, 0]]),
            ([[8, 0, 0], [4, 0, 0], [0, 0, 0]], [[4, 0, 0], [1, 0, 0], [4, 2, 0], [2, 0, 0]]),
        )
    )
    score = metrics.score([first, second], ("road", "tree", "sign"), images=2)
    assert score.boundary_f == pytest.approx(100 * (1 / 2 + (2 * 0.25 * 0.5 / 0.75) / 2) / 2)
    assert score.seed_miou == pytest.approx((100 * (6 / 9 + 3 / 6) / 2, 100 * (8 / 12) / 2))
    assert score.miou == pytest.approx(sum(score.seed_miou) / 2)
    assert score.pixel_accuracy == pytest.approx(100 * (9 / 12 + 8 / 12) / 2)
    assert score.iou == {"road": pytest.approx(100 * 6 / 9 / 2 + 100 * 8 / 12 / 2), "tree": 25, "sign": None}
    assert score.constant_miou == pytest.approx(100 * (8 / 12) / 2)
    assert score.images == 2


def test_score_needs_one_name_a_class() -> None:
    with pytest.raises(ValueError, match="argument"):
        metrics.score([metrics.Counts(torch.eye(3, dtype=torch.int64), torch.ones(4, 3))], ("road", "tree"), images=1)
