from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isnan

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stdc_search import metrics
from stdc_search.data.transforms import normalise
from stdc_search.metrics import Views


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
    matrix = metrics.evaluate(network, data, Views((8, 24))).confusion
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
    prediction = metrics.predict(network, image, Views((8, 24)), label.shape)
    assert prediction.shape == label.shape
    matrix = metrics.confusion_matrix(prediction, label, classes=3)
    assert torch.equal(matrix, metrics.evaluate(network, data, Views((8, 24))).confusion)
    assert network.training


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def test_several_scales_and_flips_average_probabilities() -> None:
    network = Network().eval()
    image = Samples([(12, 16)])[0][0][None]
    views = Views((8, 24), scales=(1.0, 1.5), flip=True)
    expected = torch.zeros(1, 3, 12, 16)
    for size in ((8, 24), (12, 36)):
        seen = resized(normalise(image), size)
        for scores in (network(seen), network(seen.flip(3)).flip(3)):
            expected += resized(scores, (12, 16)).softmax(1) / 4
    torch.testing.assert_close(views.scores(network, image, (12, 16)), expected)


class Positions(nn.Module):
    """Gives the first channel of what it sees, and one for how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape[2:]))
        return torch.cat([image[:, :1], torch.full_like(image[:, :1], len(self.seen))], 1)


def test_windows_put_together_give_each_pixel_the_mean_of_those_that_saw_it() -> None:
    network, image = Positions(), Samples([(16, 24)])[0][0][None]
    scores = Views((16, 24), window=(8, 24), overlap=0.25).scores(network, image, (16, 24))
    assert network.seen == [(8, 24)] * 3  # rows 0 to 8, 4 to 12, 8 to 16
    torch.testing.assert_close(scores[:, :1], normalise(image)[:, :1])
    assert scores[0, 1, :, 0].tolist() == [1.0] * 4 + [1.5] * 4 + [2.5] * 4 + [3.0] * 4


@settings(max_examples=100)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 0.95))
def test_windows_cover_a_side_and_overlap_at_least_as_they_should(side: int, part: int, overlap: float) -> None:
    slices = metrics.windows(side, part, overlap)
    assert {i for window in slices for i in range(window.start, window.stop)} == set(range(side))
    assert all(window.stop - window.start == min(part, side) for window in slices)
    steps = [b.start - a.start for a, b in pairwise(slices)]
    assert all(step <= max(part * (1 - overlap), 1) + 1 for step in steps)


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


def test_a_class_that_is_only_predicted_or_only_there_has_a_boundary_score_of_zero() -> None:
    assert metrics.boundary_f(torch.tensor([[5, 0, 0], [5, 0, 0], [5, 7, 0], [5, 0, 0]])) == pytest.approx(0.5)
    assert isnan(metrics.boundary_f(torch.zeros(4, 3)))


class Pictures:
    """Images of one grey each; their class is how light they are, but one has the wrong one."""

    class_names = tuple("abcdefg")

    def __len__(self) -> int:
        return 8

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = torch.full((3, 20 + index, 24), 30 * (index % 7), dtype=torch.uint8)
        return image, torch.tensor(6 if index == 0 else index % 7)


class ByGrey(nn.Module):
    """Scores each class by how near its grey is."""

    def __init__(self) -> None:
        super().__init__()
        greys = (30 * torch.arange(7)).byte()[:, None, None, None].expand(7, 3, 1, 1)
        self.greys = nn.Parameter(normalise(greys).mean((1, 2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return -(images.mean((1, 2, 3))[:, None] - self.greys).abs()


def test_images_are_scored_by_the_best_and_the_five_best_classes() -> None:
    counts = metrics.evaluate_images(ByGrey(), Pictures(), (16, 16))
    assert counts.top.tolist() == [7, 7]  # image 0 is of class 6, the least likely of 7
    assert counts.labels.tolist() == [1, 1, 1, 1, 1, 1, 2]
    score = metrics.image_score([counts, counts])
    assert (score.top1, score.top5, score.constant_top1, score.images) == (87.5, 87.5, 25.0, 8)
    assert score.seed_top1 == (87.5, 87.5)


def test_parts_of_a_data_set_are_scored_by_their_indices() -> None:
    whole = metrics.evaluate_images(ByGrey(), Pictures(), (16, 16))
    parts = [metrics.evaluate_images(ByGrey(), Pictures(), (16, 16), range(k, 8, 2)) for k in (0, 1)]
    assert torch.equal(whole.top, parts[0].top + parts[1].top)
    assert torch.equal(whole.labels, parts[0].labels + parts[1].labels)
    data, network = Samples([(8, 8)] * 3), Network()
    halves = [metrics.evaluate(network, data, Views((8, 8)), indices) for indices in ([0, 2], [1])]
    together = metrics.evaluate(network, data, Views((8, 8)))
    assert all(torch.equal(x, y) for x, y in zip(halves[0].plus(halves[1]), together, strict=True))


def test_evaluate_batches_neighbours_of_one_size_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BATCH_PIXELS", 2 * 12 * 16)
    network = Network()
    metrics.evaluate(network, Samples([(12, 16)] * 5 + [(16, 12)] + [(40, 40)] * 2), Views((8, 8)))
    assert [shape[0] for shape in network.seen] == [2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_uses_eval_mode_and_leaves_the_mode_as_it_was(training: bool) -> None:
    network = Network().train(training)
    metrics.evaluate(network, Samples([(8, 8)] * 3), Views((8, 8)))
    assert network.norm.num_batches_tracked == 0
    assert network.training is network.norm.training is training


def test_evaluate_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BATCH_PIXELS", 2 * 8 * 8)
    calls: list[tuple[int, int]] = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    metrics.evaluate(Network(), Samples([(8, 8)] * 5), Views((8, 8)), progress=progress)
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_nothing_that_is_looked_at_counts_nothing() -> None:
    data = Samples([(8, 8)])
    data.samples[0][1].fill_(255)
    for indices in ([], [0]):
        counts = metrics.evaluate(Network(), data, Views((8, 8)), indices)
        assert counts.confusion.shape == (3, 3) and not counts.confusion.any() and not counts.boundary.any()
    assert metrics.evaluate_images(ByGrey(), Pictures(), (16, 16), []).labels.tolist() == [0] * 7


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
