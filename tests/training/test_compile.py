"""torch.compile of a whole step: network and loss are one graph, whatever the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stdc_search.spec.training import OhemSpec, SegmentationLossSpec
from stdc_search.tasks.segmentation import SegmentationLoss
from stdc_search.training.loop import _Step
from tests.training.test_loop import tiny


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (2, 64, 64), generator=generator)
    labels[torch.rand(2, 64, 64, generator=generator) < 0.1] = 255
    return torch.randn(2, 3, 64, 64, generator=generator), labels


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch.compiler.reset()


LOSSES = {
    "default": {},
    "few hard pixels": {"ohem": OhemSpec(threshold=0.01, min_kept=0.5)},
    "class weights": {"ohem": None, "class_weights": (1.0, 2.0, 3.0), "label_smoothing": 0.1},
    "masked": {"dice": "squared", "detail_ignored": "masked"},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "loss",
    [pytest.param(fields, id=name, marks=[pytest.mark.slow] * (name != "default")) for name, fields in LOSSES.items()],
)
def test_a_step_is_one_graph_and_gives_the_same_loss(loss: dict[str, Any], precision: str) -> None:
    """The backend `eager` runs the graph as it is, so that a break in it is found without a compiler."""
    module, spec = tiny().train(), SegmentationLossSpec(**loss)
    step = _Step(module, SegmentationLoss(spec, spec.class_weights and torch.tensor(spec.class_weights)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        plain = step(*batch())
        step.compile(fullgraph=True, backend="eager")
        compiled = step(*batch())
    assert torch.equal(compiled, plain)
    compiled.backward()
    assert module.get_parameter("head.out.weight").grad is not None


@pytest.mark.slow
def test_the_gradients_of_a_compiled_step_are_those_of_a_plain_one() -> None:
    """The backend `aot_eager` also makes the backward graph."""
    module = tiny().train()
    step = _Step(module, SegmentationLoss(SegmentationLossSpec()))
    losses, gradients = [], []
    for compiled in (False, True):
        if compiled:
            step.compile(fullgraph=True, backend="aot_eager")
        module.zero_grad()
        losses.append(step(*batch()))
        losses[-1].backward()
        gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
