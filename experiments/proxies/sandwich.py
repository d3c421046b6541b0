"""The loss of shared weights: the largest, the smallest and random networks of a space learn in each step.

The sandwich rule and in-place distillation: Yu and Huang 2019, "Universally Slimmable Networks and Improved Training
Techniques", arXiv 1903.05134.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.func import functional_call

from experiments.proxies.elastic import Elastic, Plan
from stdc_search.training.loop import Loss
from stdc_search.training.losses import distillation

Draw = Callable[[], nn.Module]


class Sandwich:
    """The sum of the losses of several networks with shared weights.

    Args:
        loss: of one network.
        largest: teaches the others.
        smallest: learns in each step, too.
        draw: gives a random network; torch's global generator decides which.
        random: number of random networks a step.
        soft: share of the others' loss that is their divergence from the largest network; the rest is `loss`.
    """

    def __init__(
        self, loss: Loss, largest: nn.Module, smallest: nn.Module, draw: Draw, *, random: int = 2, soft: float = 0.5
    ) -> None:
        self.loss, self.largest, self.smallest, self.draw = loss, largest, smallest, draw
        self.random, self.soft = random, soft
        self.plans: WeakKeyDictionary[nn.Module, Plan] = WeakKeyDictionary()

    def __call__(self, elastic: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The loss of images float N, 3, H, W and their targets."""
        assert isinstance(elastic, Elastic)
        total, goal = self._one(self.largest, elastic, images, targets)
        goal = goal.detach()
        for module in (self.smallest, *(self.draw() for _ in range(self.random))):
            hard, scores = self._one(module, elastic, images, targets)
            total = total + (1 - self.soft) * hard + self.soft * distillation(scores, goal)
        return total / (2 + self.random)

    def _one(self, module: nn.Module, elastic: Elastic, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of one network, and the scores of its head."""
        if module not in self.plans:
            self.plans[module] = elastic.plan(module)
        state = {f"module.{name}": value for name, value in elastic.weights(self.plans[module]).items()}
        return functional_call(_Lossy(module, self.loss), state, (images, targets))


class _Lossy(nn.Module):
    """A network and its loss as one module, whose weights `functional_call` exchanges."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, images: Tensor, targets: Tensor) -> Any:
        scores: list[Tensor] = []

        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            scores.append(output)

        hook = self.module.get_submodule("head").register_forward_hook(note)
        try:
            return self.loss(self.module, images, targets), scores[0]
        finally:
            hook.remove()
