from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdc_search.network.models.segmenter import DetailTarget
from stdc_search.spec.training import PolySpec
from stdc_search.training import losses
from stdc_search.training.optimizer import learning_rate_factor

DETAIL = {"strides": (1, 2, 4), "weights": (0.6, 0.3, 0.1), "threshold": 0.1}


def random_batch(size: tuple[int, int] = (8, 12), scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of 5 classes, and labels of which about a tenth is ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(2, 5, *size, generator=generator)
    labels = torch.randint(5, (2, *size), generator=generator)
    labels[torch.rand(2, *size, generator=generator) < 0.1] = 255
    return logits.requires_grad_(), labels


def confident_batch(hard: int) -> tuple[Tensor, Tensor]:
    """64 pixels with a loss near 0 but the first few, whose losses are about 10, 11, 12, ..."""
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    logits = torch.zeros(1, 2, 64)
    logits[:, 0] = 20
    logits[:, 0, :hard] = -10 - torch.arange(hard)
    return logits.view(1, 2, 8, 8).requires_grad_(), labels


def sorted_ohem(logits: Tensor, labels: Tensor, threshold: float, min_kept: float) -> Tensor:
    """The definition, by sorting."""
    probabilities = logits.softmax(1).movedim(1, -1).reshape(-1, logits.shape[1])
    flat = labels.flatten()
    values = [
        -row[label].log() if label != 255 else row[0] * 0
        for row, label in zip(probabilities, flat.tolist(), strict=True)
    ]
    ordered = torch.stack(values).sort(descending=True).values
    fewest = max(1, int(len(ordered) * min_kept))
    if fewest < len(ordered) and ordered[fewest] > -log(threshold):
        return ordered[ordered > -log(threshold)].mean()
    return ordered[:fewest].mean()


@pytest.mark.parametrize("min_kept", [1 / 16, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("threshold", [0.05, 0.7, 0.999])
def test_ohem_and_its_gradient_equal_the_definition_by_sorting(threshold: float, min_kept: float) -> None:
    logits, labels = random_batch(scale=2)
    loss = losses.ohem(logits, labels, threshold, min_kept)
    expected = sorted_ohem(logits, labels, threshold, min_kept)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient)


def plain_ohem(logits: Tensor, labels: Tensor, threshold: float, min_kept: float) -> Tensor:
    """With a look at the number of hard pixels, in the order of operations that results have always had."""
    each = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    fewest = max(1, int(each.numel() * min_kept))
    hard = each.detach() > -log(threshold)
    count = int(hard.sum())
    if count > fewest:
        return (each * hard).sum() / count
    return each.flatten().topk(fewest, sorted=False).values.mean()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.1, 1.0, 8.0]),
    threshold=st.sampled_from([0.05, 0.3, 0.7, 0.999]),
    min_kept=st.sampled_from([1 / 16, 0.5, 1.0]),
    ties=st.booleans(),
)
@pytest.mark.parametrize("where", ["cpu", "gpu"])
def test_ohem_and_its_gradient_are_bit_for_bit_those_of_a_look_at_the_count(
    where: str, seed: int, scale: float, threshold: float, min_kept: float, ties: bool
) -> None:
    """On a GPU both means are computed and one is chosen; compiled code does so on a CPU, too."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 5, 8, 12, generator=generator)
    logits = (logits.round() if ties else logits).requires_grad_()
    labels = torch.randint(5, (2, 8, 12), generator=generator)
    labels[torch.rand(2, 8, 12, generator=generator) < 0.1] = 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: where == "gpu")
        loss = losses.ohem(logits, labels, threshold, min_kept)
    expected = plain_ohem(logits, labels, threshold, min_kept)
    assert torch.equal(loss, expected)
    assert torch.equal(*(torch.autograd.grad(one, logits)[0] for one in (loss, expected)))


def test_ohem_is_the_same_for_channels_last_logits() -> None:
    logits, labels = random_batch()
    loss = losses.ohem(logits.contiguous(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(loss, losses.ohem(logits, labels))


def test_ohem_keeps_every_hard_pixel_where_there_are_more_than_the_fewest() -> None:
    logits, labels = confident_batch(hard=5)  # 64 / 16 = 4 are the fewest
    torch.testing.assert_close(losses.ohem(logits, labels).item(), (10 + 11 + 12 + 13 + 14) / 5, rtol=1e-4, atol=0)


def test_ohem_keeps_the_fewest_where_no_more_are_hard() -> None:
    logits, labels = confident_batch(hard=2)
    torch.testing.assert_close(losses.ohem(logits, labels).item(), (10 + 11) / 4, rtol=1e-4, atol=0)


def test_ohem_keeps_the_fewest_where_exactly_as_many_are_hard() -> None:
    logits, labels = confident_batch(hard=4)
    torch.testing.assert_close(losses.ohem(logits, labels).item(), (10 + 11 + 12 + 13) / 4, rtol=1e-4, atol=0)


def test_ohem_gives_easy_pixels_no_gradient() -> None:
    logits, labels = confident_batch(hard=5)
    losses.ohem(logits, labels).backward()
    assert logits.grad is not None
    reached = logits.grad.abs().sum(1).flatten() > 0
    assert reached.nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


def test_ohem_counts_ignored_pixels_among_all() -> None:
    logits, labels = confident_batch(hard=2)
    labels[0, 4:] = 255  # half of the pixels, none of the hard ones
    torch.testing.assert_close(losses.ohem(logits, labels).item(), (10 + 11) / 4, rtol=1e-4, atol=0)


def test_ohem_of_ignored_pixels_only_is_zero_with_zero_gradient() -> None:
    logits, _ = random_batch()
    loss = losses.ohem(logits, torch.full((2, 8, 12), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("size", [(1, 1), (1, 3)])
def test_ohem_keeps_at_least_one_of_few_pixels_though_none_is_hard(size: tuple[int, int]) -> None:
    logits = torch.zeros(1, 2, *size)
    logits[:, 0] = 20
    logits[:, 0, 0, 0] = 1
    loss = losses.ohem(logits, torch.zeros(1, *size, dtype=torch.int64))
    torch.testing.assert_close(loss.item(), log(1 + exp(-1)))


@pytest.mark.parametrize("hard", [5, 2])
def test_ohem_of_a_nan_is_nan(hard: int) -> None:
    logits, labels = confident_batch(hard)
    logits = logits.detach().clone()
    logits[0, 0, 7, 7] = torch.nan
    assert losses.ohem(logits, labels).isnan()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0])])
def test_cross_entropy_is_torchs_mean_over_labelled_pixels(weights: Tensor | None, smoothing: float) -> None:
    logits, labels = random_batch()
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255, label_smoothing=smoothing)
    torch.testing.assert_close(losses.cross_entropy(logits, labels, weights, smoothing), expected)


def test_cross_entropy_of_ignored_pixels_only_is_zero_with_zero_gradient() -> None:
    logits, labels = random_batch()
    loss = losses.cross_entropy(logits, torch.full_like(labels, 255), torch.ones(5))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0 and not gradient.any()


def test_ohem_weighs_and_smoothes_each_pixel() -> None:
    logits, labels = random_batch(scale=2)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0])
    each = F.cross_entropy(logits, labels, weights, ignore_index=255, reduction="none", label_smoothing=0.1)
    hard = each > -log(0.7)
    torch.testing.assert_close(losses.ohem(logits, labels, 0.7, 1 / 16, weights, 0.1), each[hard].mean())


def test_rare_classes_weigh_more() -> None:
    shares = torch.tensor([0.0, 0.01, 0.3, 1.0])
    torch.testing.assert_close(losses.log_weights(shares), torch.tensor([1 / log(1.1 + x) for x in shares.tolist()]))


def brute_force_target(
    labels: list[list[int]], strides: tuple[int, ...], weights: tuple[float, ...], threshold: float
) -> list[list[float]]:
    """The detail target of one label map, pixel by pixel."""
    height, width = len(labels), len(labels[0])

    def laplacian(y: int, x: int) -> int:
        window = [
            labels[j][i]
            for j in range(max(0, y - 1), min(height, y + 2))
            for i in range(max(0, x - 1), min(width, x + 2))
        ]
        return 9 * labels[y][x] - sum(window)

    def marked(y: int, x: int, stride: int) -> bool:
        rows, columns = -(-height // stride), -(-width // stride)
        return laplacian(y * rows // height * stride, x * columns // width * stride) > threshold

    def fused(y: int, x: int) -> float:
        shares = torch.tensor([w for s, w in zip(strides, weights, strict=True) if marked(y, x, s)])
        return float(shares.sum() > torch.tensor(threshold))

    return [[fused(y, x) for x in range(width)] for y in range(height)]


@pytest.mark.parametrize(("strides", "weights"), [((1, 2, 4), (0.6, 0.3, 0.1)), ((2, 8), (0.5, 0.5)), ((4,), (1.0,))])
@pytest.mark.parametrize("size", [(16, 16), (13, 9), (3, 5)])
def test_detail_target_equals_the_definition_pixel_by_pixel(
    size: tuple[int, int], strides: tuple[int, ...], weights: tuple[float, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (2, *size), generator=generator)
    labels[torch.rand(2, *size, generator=generator) < 0.1] = 255
    target = losses.detail_target(labels, strides, weights, threshold=0.1)
    assert target.shape == (2, 1, *size)
    expected = [brute_force_target(rows, strides, weights, threshold=0.1) for rows in labels.tolist()]
    assert target.squeeze(1).tolist() == expected


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (13, 9)])
def test_detail_target_of_a_stride_is_a_strided_laplacian(size: tuple[int, int], stride: int) -> None:
    labels = torch.randint(3, (2, *size), generator=torch.Generator().manual_seed(2))
    kernel = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]).view(1, 1, 3, 3)
    edges = F.conv2d(labels.unsqueeze(1).float(), kernel, stride=stride, padding=1).clamp(min=0)
    expected = (F.interpolate(edges, size=size, mode="nearest") > 0.1).float()
    assert torch.equal(losses.detail_target(labels, (stride,), (1.0,), 0.1), expected)


@pytest.mark.parametrize(
    ("strides", "marked"),
    [
        ((4,), False),
        ((2,), True),
        ((1,), True),
        ((2, 4), True),
        ((1, 4), True),
        ((1, 2), True),
        ((1, 2, 4), True),
    ],
)
def test_default_weights_mark_a_pixel_by_stride_1_or_2_and_never_by_4_alone(
    strides: tuple[int, ...], marked: bool
) -> None:
    edge_everywhere = torch.tensor([[[1]]])  # one pixel within the zero padding: on at every stride
    weights = dict(zip(DETAIL["strides"], DETAIL["weights"], strict=True))
    target = losses.detail_target(edge_everywhere, strides, [weights[s] for s in strides], 0.1)
    assert target.item() == marked


def test_only_the_side_of_a_border_with_the_higher_id_is_detail() -> None:
    labels = torch.ones(1, 8, 8, dtype=torch.int64)
    labels[..., 4:] = 2
    target = losses.detail_target(labels, (1,), (1.0,), 0.1)
    assert target[0, 0, 4].tolist() == [1, 0, 0, 0, 1, 0, 0, 1]  # both frames, and column 4


def test_the_frame_is_detail_except_for_id_0() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    assert losses.detail_target(labels, **DETAIL).sum() == 0


def test_ignored_pixels_are_detail_as_the_highest_id() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    labels[0, 3:6, 3:6] = 255
    target = losses.detail_target(labels, (1,), (1.0,), 0.1)
    assert target[0, 0, 3:6, 3:6].tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert target.sum() == 8


def test_detail_target_takes_uint8_labels() -> None:
    labels = torch.tensor([[[0, 255], [3, 3]]])
    assert torch.equal(losses.detail_target(labels.byte()), losses.detail_target(labels))


@pytest.mark.parametrize("ignored", ["counted", "masked"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dice", ["linear", "squared"])
def test_detail_losses_equal_their_formulas(dice, soft: bool, ignored) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 1, 3, 4, generator=generator)
    labels = torch.randint(4, (2, 9, 10), generator=generator)
    labels[torch.rand(2, 9, 10, generator=generator) < 0.1] = 255
    how = {"strides": (1, 2), "weights": torch.tensor([0.15, 0.1]), "threshold": 0.1, "soft": soft}
    bce, loss = losses.detail(logits, labels, **how, dice=dice, ignored=ignored)
    probabilities = F.interpolate(logits, size=(9, 10), mode="bilinear", align_corners=True).sigmoid()
    target = losses.detail_target(labels, **how)
    pixels, expected = [], 0.0
    for i in range(2):
        kept = torch.full((9, 10), True) if ignored == "counted" else labels[i] != 255
        p, g = probabilities[i, 0][kept], target[i, 0][kept]
        pixels.append(-(g * p.log() + (1 - g) * (1 - p).log()))
        below = (p + g).sum() if dice == "linear" else (p**2 + g**2).sum()
        expected += (1 - (2 * (p * g).sum() + 1) / (below + 1)) / 2
    torch.testing.assert_close(bce, torch.cat(pixels).mean())
    torch.testing.assert_close(loss, torch.as_tensor(expected))


def test_masked_detail_losses_do_not_depend_on_the_head_where_nothing_is_labelled() -> None:
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    labels = torch.randint(4, (1, 8, 8), generator=torch.Generator().manual_seed(4))
    labels[:, :, 4:] = 255
    torch.stack(losses.detail(logits, labels, ignored="masked")).sum().backward()
    assert logits.grad is not None
    assert not logits.grad[..., 4:].any() and logits.grad[..., :4].all()


def test_masked_detail_losses_of_ignored_pixels_only_are_zero() -> None:
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    both = torch.stack(losses.detail(logits, torch.full((1, 8, 8), 255), ignored="masked"))
    assert both.tolist() == [0, 0]
    both.sum().backward()
    assert logits.grad is not None and not logits.grad.any()


def test_detail_losses_vanish_for_a_sure_and_right_head() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :, 2:5] = 1
    bce, dice = losses.detail(200 * losses.detail_target(labels) - 100, labels)
    torch.testing.assert_close(torch.stack([bce, dice]), torch.zeros(2), atol=1e-6, rtol=0)


def test_detail_losses_reach_the_head() -> None:
    logits = torch.zeros(2, 1, 2, 2, requires_grad=True)
    labels = torch.randint(4, (2, 8, 8), generator=torch.Generator().manual_seed(4))
    torch.stack(losses.detail(logits, labels)).sum().backward()
    assert logits.grad is not None and (logits.grad != 0).all()


def test_a_decayed_kernel_shrinks_as_it_did_in_the_released_training() -> None:
    """facts: 0.3 x factor falls to the threshold 0.1 in step 28,839, and the factor is 0.2101 after 60,000 steps."""
    kernel = DetailTarget((1, 2, 4), (0.6, 0.3, 0.1), 0.1, "decayed")
    optimizer = torch.optim.SGD(kernel.parameters(), lr=1, momentum=0.9, weight_decay=5e-4)
    schedule = PolySpec()
    crossed = None
    for step in range(60_000):
        kernel.weights.grad = torch.zeros_like(kernel.weights)
        optimizer.param_groups[0]["lr"] = 0.01 * learning_rate_factor(step, 60_000, schedule)
        optimizer.step()
        if crossed is None and kernel.weights[0, 1].item() <= 0.1:
            crossed = step + 1
    assert kernel.weights[0, 0].item() / 0.6 == pytest.approx(0.2101, abs=1e-3)
    assert crossed == pytest.approx(28_839, abs=20)


@pytest.mark.parametrize(("kernel", "gradient"), [("constant", None), ("decayed", False), ("trained", True)])
def test_a_kernel_gets_the_gradient_that_its_name_says(kernel: str, gradient: bool | None) -> None:
    how = DetailTarget((1, 2), (0.2, 0.1), 0.1, kernel)  # pyright: ignore[reportArgumentType]
    labels = torch.randint(3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    if gradient is None:
        assert not losses.detail_target(labels, how.strides, how.weights, how.threshold, how.soft).requires_grad
        assert list(how.parameters()) == []
        return
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    sum(losses.detail(logits, labels, how.strides, how.weights, how.threshold, soft=how.soft)).backward()
    assert how.weights.grad is not None
    assert how.weights.grad.any() == gradient


def test_a_soft_threshold_rises_through_one_half_at_the_threshold() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    labels[0, 4:, :] = 1
    hard = losses.detail_target(labels, (1,), (0.5,), 0.1)
    soft = losses.detail_target(labels, (1,), torch.tensor([0.5]), 0.1, soft=True)
    assert torch.equal(soft > 0.5, hard > 0.5)
    assert soft.max().item() == pytest.approx(torch.sigmoid(torch.tensor(0.4 / losses.SOFTNESS)).item())
