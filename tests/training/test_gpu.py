"""What only a GPU can show: `make test-gpu` runs these. `test_fake_cuda.py` checks the rest everywhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import isfinite
from pathlib import Path

import pytest
import torch

from stdc_search.data.transforms import Finish, TrainingSamples
from stdc_search.spec.training import AdamwSpec, EmaSpec, SegmentationLossSpec
from stdc_search.tasks.segmentation import SegmentationLoss
from stdc_search.training import losses
from stdc_search.training.loop import TrainingDiverged, _Step
from stdc_search.training.optimizer import make_average, make_optimizer
from tests.training.test_loop import FORKS, SHORT, Samples, tiny, train
from tests.training.test_losses import random_batch

pytestmark = pytest.mark.gpu


@contextmanager
def no_waits() -> Iterator[None]:
    """Raise where the CPU waits for the GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # each call warns that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "loss", [SegmentationLossSpec(), SegmentationLossSpec(ohem=None, class_weights=(1.0, 2.0, 3.0))], ids=["ohem", "ce"]
)
@pytest.mark.parametrize("optimizer", [SHORT.optimizer, AdamwSpec(kind="adamw")], ids=["sgd", "adamw"])
def test_a_step_waits_for_nothing(precision: str, loss: SegmentationLossSpec, optimizer) -> None:
    module = tiny().to("cuda").to(memory_format=torch.channels_last).train()
    weights = None if loss.class_weights is None else torch.tensor(loss.class_weights)
    step = _Step(module, SegmentationLoss(loss, weights)).to("cuda")
    stepper = make_optimizer(module, SHORT.model_copy(update={"optimizer": optimizer}))
    average = make_average(module, EmaSpec())
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    images = torch.randn(2, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.randint(3, (2, 64, 64), device="cuda")
    for warm in (True, True, False):
        with nullcontext() if warm else no_waits():
            stepper.zero_grad()
            with nullcontext() if dtype is None else torch.autocast("cuda", dtype):
                value = step(images, labels)
            scaler.scale(value).backward()
            scaler.step(stepper)
            scaler.update()
            average.update_parameters(module)
    assert isfinite(value.item())


@FORKS
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("where", ["cpu", "device"])
def test_a_training_lowers_the_loss(precision: str, where: str, tmp_path: Path) -> None:
    spec = SHORT.model_copy(update={"precision": precision, "epochs": 15, "augment_on": where, "workers": 0})
    curve = train(tiny(), Samples(), spec, seed=0, folder=tmp_path)
    assert curve[-1].loss < 0.9 * curve[0].loss


def test_a_loss_that_is_not_finite_is_noticed_before_anything_is_saved(tmp_path: Path) -> None:
    module = tiny()
    with torch.no_grad():
        module.get_parameter("head.out.weight").fill_(torch.inf)
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at step 0 of 6"):
        train(module, Samples(), SHORT, seed=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threshold", [0.05, 0.999])
def test_ohem_is_that_of_the_cpu(threshold: float) -> None:
    logits, labels = random_batch(scale=2)
    found = losses.ohem(logits.cuda(), labels.cuda(), threshold, 0.5)
    expected = losses.ohem(logits, labels, threshold, 0.5)
    torch.testing.assert_close(found.cpu(), expected)
    torch.testing.assert_close(*(torch.autograd.grad(one, logits)[0] for one in (found, expected)))


def test_a_sample_made_on_the_gpu_differs_by_rounding() -> None:
    samples = TrainingSamples(Samples(), crop=(32, 32), augmentation=SHORT.augmentation, seed=0)
    for index in range(5):
        image, label = samples[0, index]
        on_gpu, its_label = Finish((32, 32), "cuda")(samples.drawn((0, index)))
        assert (its_label.cpu() != label).float().mean() < 0.01
        assert (on_gpu.cpu() - image).abs().max() < 0.1  # a level of 255, normalised, with more contrast and colour
