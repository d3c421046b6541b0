from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stdc_search.data import DataError, Dataset
from stdc_search.data.transforms import TrainingSamples
from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.run_folder import BEST, CHECKPOINT, CURVE, TENSORBOARD
from stdc_search.spec.backbone import ConvSpec, StageSpec, StdcSpec
from stdc_search.spec.decoder import DecoderSpec
from stdc_search.spec.heads import DetailSpec, HeadSpec
from stdc_search.spec.network import SegmenterSpec
from stdc_search.spec.run import load
from stdc_search.spec.training import (
    AdamwSpec,
    CosineSpec,
    EmaSpec,
    OhemSpec,
    PolySpec,
    ScaledCropSpec,
    SegmentationLossSpec,
    SgdSpec,
    TrainingSpec,
)
from stdc_search.tasks.segmentation import SegmentationLoss
from stdc_search.training import losses
from stdc_search.training.batches import length
from stdc_search.training.loop import CurvePoint, TrainingDiverged, _Losses, check
from stdc_search.training.loop import train as train_on
from stdc_search.training.optimizer import learning_rate_factor, parameter_groups

TINY = SegmenterSpec(
    kind="segmenter",
    classes=3,
    backbone=StdcSpec(
        stem=(ConvSpec(width=4), ConvSpec(width=4)),
        stages=(StageSpec(width=8, depth=1), StageSpec(width=8, depth=1), StageSpec(width=16, depth=1)),
    ),
    decoder=DecoderSpec(width=4, fusion_width=8),
    head=HeadSpec(width=4),
    auxiliary=HeadSpec(width=4),
    detail=DetailSpec(width=4),
)
SHORT = TrainingSpec(
    epochs=3,
    batch=2,
    crop=(32, 32),
    optimizer=SgdSpec(kind="sgd", learning_rate=0.02),
    backbone_norms="trained",
    schedule=PolySpec(warmup=2),
    precision="fp32",  # the same on every CPU
    workers=0,
)
ADAMW = SHORT.model_copy(update={"optimizer": AdamwSpec(kind="adamw")})

FORKS = pytest.mark.filterwarnings(
    "ignore:.*use of fork:DeprecationWarning", "ignore:This DataLoader will create 2 worker processes:UserWarning"
)
"""Loader processes are forked, which Python 3.12 and 3.13 warn of where a library has threads. PyTorch warns of two on
a machine of one core."""


class Samples:
    """Five images of one size; labels follow the brightness, so that there is something to learn."""

    class_names = ("dark", "grey", "light")

    def __init__(self, count: int = 5) -> None:
        generator = torch.Generator().manual_seed(0)
        cells = torch.randint(3, (count, 2, 2), generator=generator)
        labels = cells.repeat_interleave(20, 1).repeat_interleave(24, 2).byte()
        noise = torch.randint(40, (count, 3, 40, 48), generator=generator)
        self.images = (labels.unsqueeze(1) * 80 + noise).byte()
        self.labels = labels.masked_fill(torch.rand(labels.shape, generator=generator) < 0.05, 255)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class Noted(Samples):
    """Notes which images it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.given.append(index)
        return super().__getitem__(index)


def train(module: nn.Module, data: Dataset, spec: TrainingSpec, *, seed: int, **how: Any) -> list[CurvePoint]:
    samples = TrainingSamples(data, crop=spec.crop, augmentation=spec.augmentation, seed=seed)
    return train_on(module, samples, SegmentationLoss(spec.loss), spec, seed=seed, **how)


class Cut(Exception):
    """Stands for a process that ends."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from a second thread, and lose much where tests share their cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(network: SegmenterSpec = TINY, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    module = build(network)
    assert isinstance(module, Segmenter)
    return module


def with_dropout(module: Segmenter) -> Segmenter:
    """Draws from torch's global generator in training."""
    module.head = nn.Sequential(nn.Dropout(0.2), module.head)
    return module


def cut_after(steps: int) -> Callable[[int, int, float], None]:
    def progress(done: int, total: int, loss: float) -> None:
        if done == steps:
            raise Cut

    return progress


def counting_scores(*scores: float) -> Callable[[nn.Module, bool], float]:
    left: Iterator[float] = iter(scores)
    return lambda module, last: next(left)


def without_time(curve: list[CurvePoint]) -> list[CurvePoint]:
    return [replace(point, seconds=0.0) for point in curve]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_the_schedule_is_the_papers_at_its_defaults() -> None:
    schedule, rate = PolySpec(), SgdSpec(kind="sgd").learning_rate
    factors = {step: learning_rate_factor(step, 60_000, schedule) for step in (0, 500, 1000, 30_500, 59_999)}
    assert rate * factors[0] == pytest.approx(1e-5)
    assert rate * factors[500] == pytest.approx((1e-5 * 1e-2) ** 0.5)  # exponential: the geometric mean half-way
    assert rate * factors[1000] == pytest.approx(1e-2)
    assert rate * factors[30_500] == pytest.approx(1e-2 * 0.5**0.9)
    assert 0 < factors[59_999] < 1e-4


def test_the_schedule_rises_in_the_warm_up_and_falls_after_it() -> None:
    factors = [learning_rate_factor(step, 50, PolySpec(warmup=10)) for step in range(50)]
    assert factors[:11] == sorted(factors[:11]) and factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True) and factors[-1] > 0


def test_a_share_of_warm_up_is_one_of_all_steps() -> None:
    for step in range(50):
        share, steps = (learning_rate_factor(step, 50, PolySpec(warmup=warmup)) for warmup in (0.2, 10))
        assert share == steps
    assert learning_rate_factor(0, 3, PolySpec(warmup=0.05)) == 1


def test_without_warm_up_the_first_step_has_the_whole_learning_rate() -> None:
    assert learning_rate_factor(0, 1, PolySpec(warmup=0)) == 1


@pytest.mark.parametrize(
    ("update", "images", "expected"),
    [
        ({"epochs": 3}, 5, (6, 2)),
        ({"epochs": 3}, 6, (9, 3)),
        ({"epochs": None, "steps": 7}, 6, (7, 3)),
        ({"epochs": None, "steps": 7}, 1000, (7, 500)),
    ],
)
def test_an_epoch_drops_the_incomplete_batch(update, images: int, expected: tuple[int, int]) -> None:
    assert length(SHORT.model_copy(update=update), images) == expected


def test_a_batch_of_more_than_all_images_is_an_error() -> None:
    with pytest.raises(UserError, match=r"training\.batch: 2 is more than the 1 training images"):
        length(SHORT, images=1)


def test_a_warm_up_as_long_as_the_training_is_an_error_that_names_both(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"schedule": PolySpec(warmup=6)})
    with pytest.raises(UserError, match=r"training\.schedule\.warmup: 6 steps are not fewer than the 6 .* write .*: 0"):
        train(tiny(), Samples(), spec, seed=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def names_by_group(module: Segmenter, spec: TrainingSpec) -> dict[tuple[float, float], set[str]]:
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {
        (group["rate"], group["weight_decay"]): {names[parameter] for parameter in group["params"]}
        for group in parameter_groups(module, spec)
    }


def test_parameter_groups_of_stdc1_seg_are_as_released() -> None:
    """Released (facts from its code): 39, 14, 17 and 16 tensors, with 3 of ConvX6 and the FCs and 6 of heads that
    nothing reads; 62 in no group, 4 of them in ConvX6 and the FC's norm."""
    module = tiny(SegmenterSpec(kind="segmenter"))
    groups = names_by_group(module, TrainingSpec(steps=60_000))
    assert {key: len(names) for key, names in groups.items()} == {
        (1, 5e-4): 39 - 3,
        (1, 0): 14,
        (10, 5e-4): 17 - 6,
        (10, 0): 16 - 6,
    }
    grouped = set().union(*groups.values())
    assert sum(name not in grouped for name, _ in module.named_parameters()) == 62 - 4


def test_heads_and_fusion_learn_faster_and_norms_are_not_decayed() -> None:
    module = tiny()
    groups = names_by_group(module, SHORT)
    fast = ("fusion.", "head.", "auxiliary.", "detail.")
    for (rate, decay), names in groups.items():
        assert all(name.startswith(fast) == (rate == 10) for name in names)
        assert all((dict(module.named_parameters())[name].ndim == 4) == (decay > 0) for name in names)
    assert set().union(*groups.values()) == {name for name, _ in module.named_parameters()}


def test_frozen_backbone_norms_stay_but_their_statistics_move(tmp_path: Path) -> None:
    module, untouched = tiny(), tiny()
    train(module, Samples(), SHORT.model_copy(update={"backbone_norms": "frozen"}), seed=0, folder=tmp_path)
    before, after = untouched.state_dict(), module.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {f"{name}." for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)}
    shifts = {f"{norm}{kind}" for norm in norms for kind in ("weight", "bias")}
    frozen = {name for name in shifts if name.startswith("backbone.")}
    assert frozen and moved == before.keys() - frozen


OTHER_DETAIL = TINY.model_copy(
    update={"detail": DetailSpec(strides=(2, 8), weights=(0.7, 0.2), threshold=0.3, width=4)}
)
BARE = TINY.model_copy(update={"auxiliary": None, "detail": None})
OTHER_LOSS = SegmentationLossSpec(
    ohem=OhemSpec(threshold=0.3, min_kept=0.5), auxiliary_weight=0.3, detail_weight=2, dice="squared"
)


@pytest.mark.parametrize("network", [TINY, OTHER_DETAIL, BARE], ids=["tiny", "other detail", "bare"])
@pytest.mark.parametrize("loss", [SegmentationLossSpec(), OTHER_LOSS], ids=["default", "other loss"])
def test_total_loss_is_the_weighted_sum_of_its_parts(network: SegmenterSpec, loss: SegmentationLossSpec) -> None:
    module = tiny(network)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 64, 64), generator=torch.Generator().manual_seed(1))
    output = module.forward_training(images)
    assert loss.ohem is not None
    main, *auxiliary = (
        losses.ohem(logits, labels, loss.ohem.threshold, loss.ohem.min_kept)
        for logits in (output.logits, *output.auxiliary)
    )
    expected = main + loss.auxiliary_weight * sum(auxiliary)
    if network.detail is not None:
        assert output.detail is not None
        how = network.detail
        bce, dice = losses.detail(output.detail, labels, how.strides, how.fusion_weights, how.threshold, dice=loss.dice)
        expected = expected + loss.detail_weight * (bce + dice)
    torch.testing.assert_close(SegmentationLoss(loss)(module, images, labels), expected)


@pytest.mark.parametrize("spec", [SHORT, ADAMW], ids=["sgd", "adamw"])
def test_training_lowers_the_loss(spec: TrainingSpec, tmp_path: Path) -> None:
    spec = spec.model_copy(update={"epochs": 15})
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path)
    assert curve[-1].loss < 0.9 * curve[0].loss


def test_the_curve_counts_epochs_steps_and_learning_rates(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"epochs": None, "steps": 5})  # 2 steps an epoch, so the third has one
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path)
    assert [(point.epoch, point.step) for point in curve] == [(1, 2), (2, 4), (3, 5)]
    rates = [0.02 * learning_rate_factor(step, 5, spec.schedule) for step in (1, 3, 4)]
    assert [point.learning_rate for point in curve] == pytest.approx(rates)
    assert all(point.seconds > 0 and point.score is None for point in curve)


def test_the_curve_is_also_a_csv_file(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"score_every": 2})
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path, evaluate=lambda module, last: 12.5)
    header, *rows = csv.reader((tmp_path / CURVE).read_text("utf-8").splitlines())
    assert header == ["epoch", "step", "loss", "learning_rate", "score", "seconds"]
    assert [[float(value) if value else None for value in row] for row in rows] == [list(astuple(p)) for p in curve]
    assert [point.score for point in curve] == [None, 12.5, 12.5]


def test_progress_tells_every_step(tmp_path: Path) -> None:
    calls: list[tuple[int, int, float]] = []
    curve = train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path, progress=lambda *call: calls.append(call))
    assert [(done, total) for done, total, _ in calls] == [(step, 6) for step in range(1, 7)]
    assert (calls[0][2] + calls[1][2]) / 2 == pytest.approx(curve[0].loss)


def test_each_epoch_is_a_new_order_of_all_images(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"batch": 5})
    orders = []
    for seed in (0, 1):
        data, folder = Noted(), tmp_path / str(seed)
        folder.mkdir()
        train(tiny(), data, spec, seed=seed, folder=folder)
        orders += [tuple(data.given[start : start + 5]) for start in (0, 5, 10)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(orders)) == 6


def test_each_group_learns_at_its_rate_on_the_schedule(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"head_rate": 7.0})
    train(tiny(), Samples(), spec, seed=0, folder=tmp_path)
    groups = torch.load(tmp_path / CHECKPOINT, weights_only=True)["optimizer"]["param_groups"]
    rate = 0.02 * learning_rate_factor(5, 6, spec.schedule)
    assert [group["lr"] for group in groups] == pytest.approx([rate, rate, 7 * rate, 7 * rate])


@pytest.mark.parametrize(
    ("optimizer", "field", "value"),
    [
        (SgdSpec(kind="sgd", momentum=0.5, weight_decay=0.1), "momentum", 0.5),
        (AdamwSpec(kind="adamw", betas=(0.5, 0.6)), "betas", (0.5, 0.6)),
    ],
)
def test_the_optimizer_is_set_as_its_spec_says(optimizer, field: str, value: object, tmp_path: Path) -> None:
    train(tiny(), Samples(), SHORT.model_copy(update={"optimizer": optimizer}), seed=0, folder=tmp_path)
    groups = torch.load(tmp_path / CHECKPOINT, weights_only=True)["optimizer"]["param_groups"]
    assert [group[field] for group in groups] == [value] * 4
    assert [group["weight_decay"] for group in groups] == [optimizer.weight_decay, 0] * 2


@pytest.mark.parametrize("change", ["seed", "initial weights"])
def test_a_training_depends_on_its_seed_and_its_initial_weights(change: str, tmp_path: Path) -> None:
    curves = []
    for other in (0, 1):
        folder = tmp_path / str(other)
        folder.mkdir()
        module = tiny(seed=other if change == "initial weights" else 0)
        seed = other if change == "seed" else 0
        curves.append(without_time(train(module, Samples(), SHORT, seed=seed, folder=folder)))
    assert curves[0] != curves[1]


@pytest.mark.parametrize("spec", [SHORT, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("cut", [1, 2, 3, 4], ids="cut after step {}".format)
def test_a_training_that_was_cut_and_went_on_equals_an_uncut_one(cut: int, spec: TrainingSpec, tmp_path: Path) -> None:
    """Steps 2 and 4 end an epoch, whose checkpoint is then not yet written."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    uncut = with_dropout(tiny())
    curve = train(uncut, Samples(), spec, seed=3, folder=whole)
    with pytest.raises(Cut):
        train(with_dropout(tiny()), Samples(), spec, seed=3, folder=parts, progress=cut_after(cut))
    resumed = with_dropout(tiny(seed=0 if cut <= 2 else 7))  # once there is a checkpoint, they must not matter
    torch.manual_seed(99)  # nor must this
    calls: list[int] = []
    again = train(resumed, Samples(), spec, seed=3, folder=parts, progress=lambda done, *_: calls.append(done))
    assert_same_weights(uncut, resumed)
    assert without_time(again) == without_time(curve)
    assert calls[0] == (cut - 1) // 2 * 2 + 1  # only the epoch that was cut is done again


def test_a_finished_training_is_loaded_and_not_repeated(tmp_path: Path) -> None:
    first = tiny()
    curve = train(first, Samples(), SHORT, seed=0, folder=tmp_path)
    second = tiny(seed=1)
    assert train(second, Samples(), SHORT, seed=0, folder=tmp_path, progress=cut_after(1)) == curve
    assert_same_weights(first, second)


@FORKS
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_data_is_told_without_the_traceback_of_a_worker(tmp_path: Path, workers: int) -> None:
    class Broken(Samples):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            raise DataError("x.png: is broken")

    with pytest.raises(DataError, match=r"^x\.png: is broken$"):
        train(tiny(), Broken(), SHORT.model_copy(update={"workers": workers}), seed=0, folder=tmp_path)


@FORKS
def test_workers_change_nothing(tmp_path: Path) -> None:
    results = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        module = tiny()
        train(module, Samples(), SHORT.model_copy(update={"workers": workers}), seed=0, folder=folder)
        results.append(module)
    assert_same_weights(*results)


@FORKS
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augmentation", [ScaledCropSpec(), ScaledCropSpec(jitter=0)], ids=["jitter", "plain"])
def test_without_a_gpu_augmentation_on_the_device_gives_the_same(
    workers: int, augmentation: ScaledCropSpec, tmp_path: Path
) -> None:
    results = []
    for where in ("cpu", "device"):
        (tmp_path / where).mkdir()
        module = tiny()
        change = {"augment_on": where, "workers": workers, "epochs": 2, "augmentation": augmentation}
        train(module, Samples(), SHORT.model_copy(update=change), seed=0, folder=tmp_path / where)
        results.append(module)
    assert_same_weights(*results)


def test_a_training_that_was_cut_goes_on_with_augmentation_on_the_device(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"augment_on": "device"})
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = tiny(), tiny()
    train(whole, Samples(), spec, seed=0, folder=tmp_path / "whole")
    with pytest.raises(Cut):
        train(tiny(), Samples(), spec, seed=0, folder=tmp_path / "parts", progress=cut_after(5))
    train(parts, Samples(), spec, seed=0, folder=tmp_path / "parts")
    assert_same_weights(whole, parts)


def test_a_checkpoint_from_before_augmentation_on_the_device_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path, progress=cut_after(3))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del state["origin"]["augment_on"]
    torch.save(state, tmp_path / CHECKPOINT)
    assert len(train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path)) == 3


def test_scoring_changes_nothing_in_the_training(tmp_path: Path) -> None:
    def disturb(module: nn.Module, last: bool) -> float:
        module.eval()
        return torch.rand(()).item()

    results = []
    for name, every in (("never", None), ("always", 1)):
        (tmp_path / name).mkdir()
        module = tiny()
        spec = SHORT.model_copy(update={"score_every": every})
        train(module, Samples(), spec, seed=0, folder=tmp_path / name, evaluate=disturb)
        results.append(module)
    assert_same_weights(*results)


def test_the_best_weights_are_those_of_the_best_score(tmp_path: Path) -> None:
    snapshots: list[dict[str, Tensor]] = []
    scores = counting_scores(10.0, 30.0, 20.0)

    def evaluate(module: nn.Module, last: bool) -> float:
        snapshots.append({name: value.clone() for name, value in module.state_dict().items()})
        return scores(module, last)

    spec = SHORT.model_copy(update={"score_every": 1})
    train(tiny(), Samples(), spec, seed=0, folder=tmp_path, evaluate=evaluate)
    best = safetensors.torch.load_file(tmp_path / BEST)
    assert best.keys() == snapshots[1].keys()
    assert all(torch.equal(best[name], snapshots[1][name]) for name in best)
    tiny().load_state_dict(best)


def test_the_last_epoch_is_scored_in_any_case(tmp_path: Path) -> None:
    curve = train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path, evaluate=counting_scores(30.0))
    assert [point.score for point in curve] == [None, None, 30]
    assert not (tmp_path / BEST).exists(), "it would be a second copy of the last weights"


def test_the_best_score_is_known_after_a_cut(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"score_every": 1})
    with pytest.raises(Cut):
        train(
            tiny(), Samples(), spec, seed=0, folder=tmp_path,
            evaluate=counting_scores(30.0), progress=cut_after(3),
        )  # fmt: skip
    best = (tmp_path / BEST).read_bytes()
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path, evaluate=counting_scores(20.0, 10.0))
    assert [point.score for point in curve] == [30, 20, 10]
    assert (tmp_path / BEST).read_bytes() == best


def test_a_checkpoint_holds_plain_values_only(tmp_path: Path) -> None:
    train(tiny(), Samples(), ADAMW, seed=0, folder=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    tiny().load_state_dict(state["model"])
    assert [point["epoch"] for point in state["curve"]] == [1, 2, 3]


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trace,)

    torch.save({"curve": Code()}, tmp_path / CHECKPOINT)
    with pytest.warns(UserWarning, match="starts over"):
        train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_checkpoint_is_named_and_the_training_starts_over(damage: str, tmp_path: Path) -> None:
    whole = tiny()
    train(whole, Samples(), SHORT, seed=0, folder=tmp_path)
    path = tmp_path / CHECKPOINT
    if damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    again = tiny()
    with pytest.warns(UserWarning, match=r"checkpoint\.pt is damaged .* starts over"):
        train(again, Samples(), SHORT, seed=0, folder=tmp_path)
    assert_same_weights(whole, again)


@pytest.mark.parametrize("change", ["seed", "batch", "images"])
def test_a_checkpoint_of_another_training_is_an_error(change: str, tmp_path: Path) -> None:
    train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path)
    content = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(UserError, match=rf"checkpoint\.pt: .*other settings.*{change}"):
        train(
            tiny(),
            Samples(6 if change == "images" else 5),
            SHORT.model_copy(update={"batch": 3}) if change == "batch" else SHORT,
            seed=1 if change == "seed" else 0,
            folder=tmp_path,
        )
    assert (tmp_path / CHECKPOINT).read_bytes() == content


@FORKS
@pytest.mark.parametrize("change", [{"score_every": 1}, {"workers": 2}, {"seeds": (0, 1)}])
def test_a_training_goes_on_with_what_does_not_change_it(change, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path, progress=cut_after(3))
    assert len(train(tiny(), Samples(), SHORT.model_copy(update=change), seed=0, folder=tmp_path)) == 3


@pytest.mark.parametrize("written_before", [0, 1], ids=["at the curve", "at the checkpoint"])
def test_a_full_disk_leaves_the_checkpoint_before_it(
    written_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cut):
        train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path, progress=cut_after(3))
    content = (tmp_path / CHECKPOINT).read_bytes()

    written: list[int] = []

    def full(descriptor: int) -> None:
        if len(written) == written_before:
            raise OSError(28, "No space left on device")
        written.append(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, CURVE}
    whole = tmp_path / "whole"
    whole.mkdir()
    resumed, uncut = tiny(), tiny()
    train(resumed, Samples(), SHORT, seed=0, folder=tmp_path)
    train(uncut, Samples(), SHORT, seed=0, folder=whole)
    assert_same_weights(resumed, uncut)


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    module = tiny()
    with torch.no_grad():
        module.get_parameter("head.out.weight").fill_(torch.inf)
    before = {name: value.clone() for name, value in module.named_parameters()}
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at step 0 of 6, learning rate 2e-05"):
        train(module, Samples(), SHORT, seed=0, folder=tmp_path)
    assert all(torch.equal(before[name], value) for name, value in module.named_parameters())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read as on a GPU, every fourth step."""

    class Rarely(_Losses):
        def __init__(self, steps: int, accelerator: Any) -> None:
            super().__init__(steps, accelerator)
            self.every = 4

    monkeypatch.setattr("stdc_search.training.loop._Losses", Rarely)


def test_losses_that_are_read_rarely_are_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    curves, told = [], []
    for name in ("often", "rarely"):
        (tmp_path / name).mkdir()
        if name == "rarely":
            request.getfixturevalue("rarely")
        spec = SHORT.model_copy(update={"epochs": 1})
        note = lambda done, total, loss: told.append(loss)  # noqa: E731
        curve = train(tiny(), Samples(14), spec, seed=0, folder=tmp_path / name, progress=note)
        curves.append(without_time(curve))
    assert curves[0] == curves[1]
    often, rare = told[:7], told[7:]
    assert rare == [often[0], None, None, None, often[4], None, often[6]]


@pytest.mark.usefixtures("rarely")
def test_a_loss_that_is_not_finite_between_two_looks_is_named_and_nothing_is_saved(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"optimizer": SgdSpec(kind="sgd", learning_rate=1e30)})
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at step 1 of 21, learning rate 3.16e\+28"):
        train(tiny(), Samples(14), spec, seed=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_that_is_far_too_high_is_noticed(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"optimizer": SgdSpec(kind="sgd", learning_rate=1e30), "epochs": 5})
    with pytest.raises(TrainingDiverged):
        train(tiny(), Samples(), spec, seed=0, folder=tmp_path)


def test_a_cosine_falls_to_0_and_a_linear_warm_up_rises_evenly() -> None:
    schedule = CosineSpec(kind="cosine", warmup=10, warmup_start=0.01, warmup_shape="linear")
    factors = [learning_rate_factor(step, 110, schedule) for step in (0, 5, 10, 35, 60, 85, 110)]
    half = 0.5**0.5
    assert factors == pytest.approx([0.01, 0.505, 1, (1 + half) / 2, 0.5, (1 - half) / 2, 0])


def test_imagenets_learning_rate_is_the_papers() -> None:
    """Section 4.2: from 0.001 to 0.1 in 5 epochs, then a cosine over the rest of 300; 20,018 steps an epoch."""
    training = load("specs/stdc1_imagenet.yaml").training
    assert training is not None
    steps, epoch = length(training, 1_281_167)
    assert epoch == 20_018 and steps == 300 * epoch
    rates = [0.1 * learning_rate_factor(step, steps, training.schedule) for step in (0, 5 * epoch, steps)]
    assert training.optimizer.learning_rate == 0.1 and rates == pytest.approx([0.001, 0.1, 0], abs=1e-12)


def test_averaged_weights_are_what_is_scored_saved_and_left(tmp_path: Path) -> None:
    """Against the weights of a training without an average, averaged here."""
    spec = SHORT.model_copy(update={"score_every": 1})
    trained: list[dict[str, Tensor]] = []
    module = tiny()
    note = lambda *_: trained.append({name: value.clone() for name, value in module.state_dict().items()})  # noqa: E731
    (tmp_path / "plain").mkdir()
    train(module, Samples(), spec, seed=0, folder=tmp_path / "plain", progress=note)
    expected = trained[0]
    for step, weights in enumerate(trained[1:], start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {
            name: value.lerp(weights[name], 1 - decay) if value.is_floating_point() else value
            for name, value in expected.items()
        }
    scored: list[dict[str, Tensor]] = []
    averaged = tiny()

    def evaluate(network: nn.Module, last: bool) -> float:
        scored.append({name: value.clone() for name, value in network.state_dict().items()})
        return len(scored)

    (tmp_path / "ema").mkdir()
    spec = spec.model_copy(update={"ema": EmaSpec(decay=0.5)})
    train(averaged, Samples(), spec, seed=0, folder=tmp_path / "ema", evaluate=evaluate)
    names = [name for name in expected if not name.endswith("num_batches_tracked")]
    for result in (averaged.state_dict(), scored[-1], safetensors.torch.load_file(tmp_path / "ema" / BEST)):
        for name in names:
            torch.testing.assert_close(result[name], expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_an_averaged_training_that_was_cut_equals_an_uncut_one(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"ema": EmaSpec(decay=0.9)})
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = tiny(), tiny()
    train(whole, Samples(), spec, seed=0, folder=tmp_path / "whole")
    with pytest.raises(Cut):
        train(tiny(), Samples(), spec, seed=0, folder=tmp_path / "parts", progress=cut_after(5))
    train(parts, Samples(), spec, seed=0, folder=tmp_path / "parts")
    assert_same_weights(whole, parts)
    again = tiny(seed=9)
    train(again, Samples(), spec, seed=0, folder=tmp_path / "parts")  # ended, it gives the average again
    assert_same_weights(whole, again)


def test_fixed_statistics_stay_as_they_are(tmp_path: Path) -> None:
    module, untouched = tiny(), tiny()
    train(module, Samples(), SHORT.model_copy(update={"norm_statistics": "fixed"}), seed=0, folder=tmp_path)
    before, after = untouched.state_dict(), module.state_dict()
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["head.convs.0.conv.weight"], after["head.convs.0.conv.weight"])


def test_checkpoints_come_every_so_many_epochs_and_at_the_end(tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"checkpoint_every": 2})
    epochs: list[int] = []

    def note(done: int, total: int, loss: float) -> None:
        path = tmp_path / CHECKPOINT
        epochs.append(len(torch.load(path, weights_only=True)["curve"]) if path.exists() else 0)

    train(tiny(), Samples(), spec, seed=0, folder=tmp_path, progress=note)
    assert epochs == [0, 0, 0, 0, 2, 2]  # seen in the steps of epochs 1, 2 and 3
    assert len(torch.load(tmp_path / CHECKPOINT, weights_only=True)["curve"]) == 3


def test_the_curve_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    spec = SHORT.model_copy(update={"tensorboard": True, "score_every": 2})
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path, evaluate=lambda module, last: 12.5)
    events = accumulator.EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(p.step, pytest.approx(p.loss)) for p in curve]
    assert [(e.step, e.value) for e in events.Scalars("score")] == [(4, 12.5), (6, 12.5)]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_weights_stay_in_fp32_whatever_convolutions_are_computed_in(precision: str, tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    module = tiny()
    module.head.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    train(module, Samples(), SHORT.model_copy(update={"precision": precision}), seed=0, folder=tmp_path)
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert {value.dtype for value in module.state_dict().values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize("loss", [SegmentationLossSpec(), SegmentationLossSpec(ohem=None, class_weights="log")])
def test_a_batch_of_ignored_pixels_only_is_no_step_into_nonsense(loss: SegmentationLossSpec, tmp_path: Path) -> None:
    data = Samples()
    data.labels[:] = 255
    module = tiny()
    curve = train(module, data, SHORT.model_copy(update={"loss": loss}), seed=0, folder=tmp_path)
    assert all(isfinite(point.loss) for point in curve)
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stdc_search.training import loop as module_of_train

    real, calls = module_of_train.write_atomically, []

    def full(path: Path, content: Any) -> None:
        calls.append(path.name)
        if calls.count(CHECKPOINT) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    (tmp_path / "whole").mkdir()
    (tmp_path / "full").mkdir()
    uncut, gone_on = tiny(), tiny()
    train(uncut, Samples(), SHORT, seed=0, folder=tmp_path / "whole")
    monkeypatch.setattr(module_of_train, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        train(tiny(), Samples(), SHORT, seed=0, folder=tmp_path / "full")
    monkeypatch.setattr(module_of_train, "write_atomically", real)
    assert len(torch.load(tmp_path / "full" / CHECKPOINT, weights_only=True)["curve"]) == 1
    train(gone_on, Samples(), SHORT, seed=0, folder=tmp_path / "full")
    assert_same_weights(uncut, gone_on)


def test_fp16_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UserError, match="fp16 needs a GPU, and PyTorch finds none; use bf16 or fp32"):
        check(SHORT.model_copy(update={"precision": "fp16"}))


def test_a_missing_tensorboard_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    from stdc_search.training import loop as module_of_train

    monkeypatch.setattr(module_of_train, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        check(SHORT.model_copy(update={"tensorboard": True}))
