from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stdc_search.data.pixels import normalise
from stdc_search.data.transforms import Drawn, Finish
from stdc_search.evaluation import metrics
from stdc_search.evaluation import views as evaluation


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


def test_images_that_shrink_are_smoothed_as_in_training_where_asked() -> None:
    grain = torch.randint(0, 256, (3, 256, 256), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    seen: list[Tensor] = []

    class Watcher(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(input)
            return super().forward(input)

    for antialias in (False, True):
        evaluation.predict(Watcher(3, 2, 1), grain, evaluation.Views((32, 32), antialias=antialias), (256, 256))
    plain, smooth = seen
    drawn = Drawn(grain, torch.zeros(256, 256, dtype=torch.uint8), False, (1, 1, 1), None)
    trained, _ = Finish((32, 32))(drawn)
    assert smooth.std() < plain.std() / 3
    torch.testing.assert_close(smooth[0], trained, rtol=0, atol=0.02)  # there, pixels are rounded


def test_evaluate_resizes_images_to_the_networks_size_and_scores_back() -> None:
    data, network = Samples([(12, 16), (12, 16), (20, 10)]), Network()
    matrix = evaluation.evaluate(network, data, evaluation.Views((8, 24))).confusion
    expected = torch.zeros(3, 3, dtype=torch.int64)
    network.eval()
    for image, label in data.samples:
        small = F.interpolate(normalise(image)[None], size=(8, 24), mode="bilinear", align_corners=True)
        scores = F.interpolate(network(small), size=label.shape, mode="bilinear", align_corners=True)
        expected += metrics.confusion(metrics.pair_counts(scores.argmax(1)[0], label, classes=3))
    assert torch.equal(matrix, expected)
    assert matrix.dtype == torch.int64 and matrix.sum() == sum((label != 255).sum() for _, label in data.samples)


def test_predict_gives_the_label_map_that_evaluate_scores() -> None:
    data, network = Samples([(12, 16)]), Network()
    image, label = data[0]
    prediction = evaluation.predict(network, image, evaluation.Views((8, 24)), label.shape)
    assert prediction.shape == label.shape
    matrix = metrics.confusion(metrics.pair_counts(prediction, label, classes=3))
    assert torch.equal(matrix, evaluation.evaluate(network, data, evaluation.Views((8, 24))).confusion)
    assert network.training


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def test_several_scales_and_flips_average_probabilities() -> None:
    network = Network().eval()
    image = Samples([(12, 16)])[0][0][None]
    views = evaluation.Views((8, 24), scales=(1.0, 1.5), flip=True)
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
    scores = evaluation.Views((16, 24), window=(8, 24), overlap=0.25).scores(network, image, (16, 24))
    assert network.seen == [(8, 24)] * 3  # rows 0 to 8, 4 to 12, 8 to 16
    torch.testing.assert_close(scores[:, :1], normalise(image)[:, :1])
    assert scores[0, 1, :, 0].tolist() == [1.0] * 4 + [1.5] * 4 + [2.5] * 4 + [3.0] * 4


@settings(max_examples=100)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 0.95))
def test_windows_cover_a_side_and_overlap_at_least_as_they_should(side: int, part: int, overlap: float) -> None:
    slices = evaluation.windows(side, part, overlap)
    assert {i for window in slices for i in range(window.start, window.stop)} == set(range(side))
    assert all(window.stop - window.start == min(part, side) for window in slices)
    steps = [b.start - a.start for a, b in pairwise(slices)]
    assert all(step <= max(part * (1 - overlap), 1) + 1 for step in steps)


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
    counts = evaluation.evaluate_images(ByGrey(), Pictures(), (16, 16))
    assert counts.top.tolist() == [7, 7]  # image 0 is of class 6, the least likely of 7
    assert counts.labels.tolist() == [1, 1, 1, 1, 1, 1, 2]
    score = metrics.image_score([counts, counts])
    assert (score.top1, score.top5, score.constant_top1, score.images) == (87.5, 87.5, 25.0, 8)
    assert score.seed_top1 == (87.5, 87.5)


def test_parts_of_a_data_set_are_scored_by_their_indices() -> None:
    whole = evaluation.evaluate_images(ByGrey(), Pictures(), (16, 16))
    parts = [evaluation.evaluate_images(ByGrey(), Pictures(), (16, 16), range(k, 8, 2)) for k in (0, 1)]
    assert torch.equal(whole.top, parts[0].top + parts[1].top)
    assert torch.equal(whole.labels, parts[0].labels + parts[1].labels)
    data, network = Samples([(8, 8)] * 3), Network()
    halves = [evaluation.evaluate(network, data, evaluation.Views((8, 8)), indices) for indices in ([0, 2], [1])]
    together = evaluation.evaluate(network, data, evaluation.Views((8, 8)))
    assert all(torch.equal(x + y, both) for x, y, both in zip(*halves, together, strict=True))


def test_evaluate_batches_neighbours_of_one_size_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BATCH_PIXELS", 2 * 12 * 16)
    network = Network()
    evaluation.evaluate(network, Samples([(12, 16)] * 5 + [(16, 12)] + [(40, 40)] * 2), evaluation.Views((8, 8)))
    assert [shape[0] for shape in network.seen] == [2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_uses_eval_mode_and_leaves_the_mode_as_it_was(training: bool) -> None:
    network = Network().train(training)
    evaluation.evaluate(network, Samples([(8, 8)] * 3), evaluation.Views((8, 8)))
    assert network.norm.num_batches_tracked == 0
    assert network.training is network.norm.training is training


def test_evaluate_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BATCH_PIXELS", 2 * 8 * 8)
    calls: list[tuple[int, int]] = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    evaluation.evaluate(Network(), Samples([(8, 8)] * 5), evaluation.Views((8, 8)), progress=progress)
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_nothing_that_is_looked_at_counts_nothing() -> None:
    data = Samples([(8, 8)])
    data.samples[0][1].fill_(255)
    for indices in ([], [0]):
        counts = evaluation.evaluate(Network(), data, evaluation.Views((8, 8)), indices)
        assert counts.confusion.shape == (3, 3) and not counts.confusion.any() and not counts.boundary.any()
    assert evaluation.evaluate_images(ByGrey(), Pictures(), (16, 16), []).labels.tolist() == [0] * 7


def test_a_brief_evaluation_leaves_boundaries_out() -> None:
    network, data = Network(), Samples([(8, 8)] * 3)
    whole = evaluation.evaluate(network, data, evaluation.Views((8, 8)))
    brief = evaluation.evaluate(network, data, evaluation.Views((8, 8)), tolerance=None)
    assert torch.equal(whole.confusion, brief.confusion)
    assert whole.boundary.any()
    assert not brief.boundary.any() and not brief.images.numel()


def test_each_image_has_the_score_that_it_has_alone() -> None:
    network, data = Network(), Samples([(8, 8), (8, 8), (12, 16), (8, 8)])
    data.samples[3][1].fill_(255)
    found = evaluation.evaluate(network, data, evaluation.Views((8, 8)), [3, 2, 0]).images
    alone = [
        metrics.miou(evaluation.evaluate(network, data, evaluation.Views((8, 8)), [index]).confusion)
        for index in range(4)
    ]
    expected = torch.tensor([alone[0], 0.0, alone[2], torch.nan], dtype=torch.float64)  # the second is not looked at
    torch.testing.assert_close(found, expected, equal_nan=True)
