"""A training step on a GPU that is not there: on one device, and without a moment where the CPU waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from stdc_search.data.transforms import Finish, TrainingSamples
from stdc_search.deploy.folding import Output, deployed
from stdc_search.evaluation.metrics import boundary_counts, iou, pair_counts
from stdc_search.evaluation.views import Views
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.spec.base import replace
from stdc_search.spec.choices import TrainingPrecision
from stdc_search.spec.decoder import Context, Decoder
from stdc_search.spec.heads import DetailSpec
from stdc_search.spec.network import ClassifierSpec
from stdc_search.spec.peers import AnyPeer
from stdc_search.spec.training import (
    AugmentationSpec,
    ClassificationLossSpec,
    DistillationSpec,
    EmaSpec,
    LossSpec,
    OhemSpec,
    SegmentationLossSpec,
    TrainingSpec,
)
from stdc_search.tasks.classification import Classification
from stdc_search.tasks.segmentation import SegmentationLoss
from stdc_search.training import loop
from stdc_search.training.optimizer import make_average, make_optimizer
from tests.fake_cuda import CUDA, WaitError, backward, counted, fake_cuda, no_waits, to_fake_cuda
from tests.training.test_loop import SHORT, TINY

# Copying a fake module for the average looks at addresses, which fake tensors do not have.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")

CLASSIFIER = ClassifierSpec(kind="classifier", classes=3, backbone=TINY.backbone, width=16, hidden=16)
TEACHER = DistillationSpec.model_construct(network=TINY, weights=None, weight=1.0, temperature=2.0)
LOSSES: dict[str, list[Any]] = {
    "ohem": [None, OhemSpec(threshold=0.3)],
    "class_weights": [(1.0, 2.0, 3.0)],
    "label_smoothing": [0.1],
    "auxiliary_weight": [0.0],
    "detail_weight": [0.0],
    "dice": ["squared"],
    "detail_ignored": ["masked"],
    "distillation": [TEACHER],
}
"""Values that differ from the default, of each field of the loss."""


def members(union: Any) -> tuple[Any, ...]:
    """The classes of a union, whether or not each is annotated."""
    parts = get_args(union)
    if hasattr(union, "__metadata__"):
        return members(parts[0])
    return tuple(one for part in parts for one in (members(part) if get_args(part) else (part,))) or (union,)


OPTIMIZERS = members(TrainingSpec.model_fields["optimizer"].annotation)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fake_cuda(monkeypatch):
        yield


def built(network: Any) -> nn.Module:
    with unset_fake_temporarily(), torch.device("meta"):
        module = build(network)
    return to_fake_cuda(module).train()


def batch(size: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    images = torch.empty(2, 3, *size, device=CUDA).to(memory_format=torch.channels_last)
    return images, torch.empty((2, *size), dtype=torch.int64, device=CUDA)


def segmentation(spec: SegmentationLossSpec | None = None) -> nn.Module:
    spec = spec or SegmentationLossSpec()
    weights = None if spec.class_weights is None else torch.ones(3)
    teacher = built(TINY).eval().requires_grad_(False) if spec.distillation else None
    return to_fake_cuda(SegmentationLoss(spec, weights, teacher))


def step(
    module: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    inputs: tuple[Tensor, Tensor],
    spec: TrainingSpec = SHORT,
    steps: int = 1,
) -> None:
    """What `train` does with a batch, without accelerate, which refuses a GPU that is not there."""
    whole, optimizer = loop._Step(module, loss), make_optimizer(module, spec)
    average = make_average(module, spec.ema) if spec.ema else None
    scaler = torch.amp.GradScaler("cuda", enabled=spec.precision == "fp16")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(spec.precision)
    with no_waits():
        for _ in range(steps):
            optimizer.zero_grad()
            with nullcontext() if dtype is None else torch.autocast("cuda", dtype):
                value = whole(*inputs)
            backward(scaler.scale(value))
            scaler.step(optimizer)
            scaler.update()
            if average is not None:
                average.update_parameters(module)
    assert value.device == CUDA and value.dtype == torch.float32 and value.shape == ()
    assert all(p.grad is None or p.grad.device == CUDA for p in module.parameters())
    assert any(p.grad is not None for p in module.parameters())


# --- The GPU itself: what fails on one fails here.


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device=CUDA) + torch.ones(3)


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: int(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: torch.as_tensor([1.0, 2.0], device=x.device),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]).to(x.device),
        lambda x: x.copy_(torch.zeros(3)),
    ],
)
def test_a_look_at_a_value_and_a_copy_are_waits(look: Callable[[Tensor], object]) -> None:
    with no_waits(), pytest.raises((WaitError, RuntimeError)) as error:
        look(torch.ones(3, device=CUDA))
    assert type(error.value).__name__ in ("WaitError", "DataDependentOutputException", "DynamicOutputShapeException")


def test_numbers_and_copies_that_do_not_block_are_no_waits() -> None:
    with no_waits():
        x = torch.full((3,), 2.0, device=CUDA) * torch.tensor(0.5)
        assert (x + torch.zeros(3).to(CUDA, non_blocking=True)).device == CUDA


def test_gradients_are_those_of_the_graph() -> None:
    """The engine in Python, where values exist."""
    with unset_fake_temporarily():
        module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
        x = torch.randn(5, 3)
        value = (module(x) * module[0](x)).square().mean()
        expected = torch.autograd.grad(value, list(module.parameters()), retain_graph=True)
        backward(value)
        assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), expected, strict=True))


# --- A step.


def test_every_field_of_the_loss_is_tried() -> None:
    assert {*LOSSES, "kind"} == set(SegmentationLossSpec.model_fields)
    assert set(members(LossSpec)) == {SegmentationLossSpec, ClassificationLossSpec}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in LOSSES.items() for value in values])
def test_a_step_of_every_loss_waits_for_nothing(field: str, value: object) -> None:
    spec = SegmentationLossSpec.model_construct(**{**SegmentationLossSpec().__dict__, field: value})
    step(built(TINY), segmentation(spec), batch())


def test_a_step_of_plain_cross_entropy_with_class_weights_waits_for_nothing() -> None:
    step(built(TINY), segmentation(SegmentationLossSpec(ohem=None, class_weights=(1.0, 2.0, 3.0))), batch())


@pytest.mark.parametrize("kernel", get_args(DetailSpec.model_fields["kernel"].annotation))
def test_a_step_of_every_detail_kernel_waits_for_nothing(kernel: str) -> None:
    step(built(replace(TINY, {"detail.kernel": kernel})), segmentation(), batch())


def test_a_step_of_a_classifier_waits_for_nothing() -> None:
    loss = Classification(None).loss(ClassificationLossSpec(kind="classification"), None)  # pyright: ignore
    images, _ = batch()
    step(built(CLASSIFIER), loss, (images, torch.empty(2, dtype=torch.int64, device=CUDA)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("precision", [p for p in get_args(TrainingPrecision) if p != "auto"])
def test_a_step_of_every_optimiser_and_precision_waits_for_nothing(optimizer: Any, precision: str) -> None:
    how = optimizer(kind=get_args(optimizer.model_fields["kind"].annotation)[0])
    spec = SHORT.model_copy(update={"optimizer": how, "precision": precision, "ema": EmaSpec()})
    step(built(TINY), segmentation(), batch(), spec, steps=2)  # the average has another first step


@pytest.mark.parametrize("decoder", members(Decoder), ids=lambda one: one.__name__)
def test_a_step_of_every_decoder_waits_for_nothing(decoder: Any) -> None:
    kind = decoder.model_fields["kind"]
    network = replace(TINY, {"decoder": {"kind": get_args(kind.annotation)[0]}})
    step(built(network), segmentation(), batch())


@pytest.mark.parametrize("context", get_args(Context))
def test_the_loss_of_every_context_waits_for_nothing(context: str) -> None:
    width = 32 if context == "linear_attention" else 4
    module = built(replace(TINY, {"decoder.context": context, "decoder.width": width}))
    with no_waits(), torch.no_grad():
        segmentation()(module, *batch())


@pytest.mark.parametrize("peer", members(AnyPeer), ids=lambda one: one.__name__)
def test_the_loss_of_every_family_waits_for_nothing(peer: Any) -> None:
    module = built(peer(kind=get_args(peer.model_fields["kind"].annotation)[0]))
    assert isinstance(module, Segmenter)
    with no_waits(), torch.no_grad():
        value = segmentation()(module, *batch(size=(64, 128)))
    assert value.device == CUDA


def test_losses_are_read_in_the_first_step_every_tenth_and_the_last() -> None:
    class Alone:
        device = CUDA

        def reduce(self, kept: Tensor, how: str) -> Any:
            return SimpleNamespace(tolist=lambda: [0.0] * len(kept))  # in place of values, which nothing has

    losses = loop._Losses(23, Alone())  # pyright: ignore[reportArgumentType]
    with no_waits(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Tensor", SimpleNamespace)
        told = [len(losses.add(torch.empty((), device=CUDA))) for _ in range(23)]
    assert [(at, count) for at, count in enumerate(told) if count] == [(0, 1), (10, 10), (20, 10), (22, 2)]
    assert len(losses.read) == 23


# --- Around it.


@pytest.mark.parametrize("how", members(AugmentationSpec), ids=lambda one: one.__name__)
def test_augmentation_on_the_device_waits_for_nothing(how: Any) -> None:
    spec = how(kind=get_args(how.model_fields["kind"].annotation)[0], jitter=0.5)
    with unset_fake_temporarily():
        image, label = torch.zeros(3, 40, 60, dtype=torch.uint8), torch.zeros(40, 60, dtype=torch.uint8)
        drawn = TrainingSamples([(image, label)], crop=(32, 48), augmentation=spec, seed=0).drawn((0, 0))
    assert drawn.pivot is not None
    drawn = drawn._replace(
        image=torch.empty(drawn.image.shape, dtype=torch.uint8),
        label=torch.empty(drawn.label.shape, dtype=torch.uint8),
        pivot=torch.empty(()),
    )
    finish = Finish((32, 48), CUDA)
    with no_waits():
        pixels, target = finish(drawn.copied())
    assert pixels.device == target.device == CUDA
    assert pixels.shape == (3, 32, 48) and pixels.dtype == torch.float32 and target.dtype == torch.int64


@pytest.mark.parametrize("views", [Views((64, 96)), Views((64, 96), (0.5, 1.0), True, (48, 64))], ids=["one", "many"])
def test_views_are_scored_on_the_device(views: Views) -> None:
    module = built(TINY).eval()
    images = torch.empty(2, 3, 80, 100, dtype=torch.uint8, device=CUDA)
    with torch.no_grad():
        scores = views.scores(module, images, (80, 100))
    assert scores.device == CUDA and scores.shape == (2, 3, 80, 100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("output", get_args(Output))
def test_a_deployed_network_stays_on_the_device(output: Output, dtype: torch.dtype) -> None:
    with unset_fake_temporarily():
        module = deployed(build(TINY), output, dtype)
    with counted(), torch.no_grad():
        result = to_fake_cuda(module)(batch()[0])
        assert result.device == CUDA
        assert result.shape == ((2, 64, 96) if output == "labels" else (2, 3, 64, 96))


def test_label_maps_are_counted_on_the_device() -> None:
    with counted():
        predicted, truth = (torch.empty(30, 40, dtype=torch.int64, device=CUDA) for _ in range(2))
        assert boundary_counts(predicted, truth, 3, 2).device == CUDA
        pairs = pair_counts(predicted, truth, 3)
        assert pairs.device == CUDA and iou(pairs[:3]).device == CUDA
