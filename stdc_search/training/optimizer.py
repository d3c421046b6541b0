"""Learning rates, parameter groups, the optimiser and averaged weights (paper, section 4.2).

Original code: MichaelFan01/STDC-Seg, `optimizer_loss.py`.
"""

from __future__ import annotations

from itertools import chain
from math import cos, pi
from typing import Any, assert_never

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stdc_search.spec.training import AdamwSpec, CosineSpec, EmaSpec, PolySpec, ScheduleSpec, SgdSpec, TrainingSpec

HEADS = ("fusion", "head", "auxiliary", "detail")
"""Parts of a segmenter whose learning rate is `head_rate` times that of the rest."""
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def learning_rate_factor(step: int, steps: int, schedule: ScheduleSpec) -> float:
    """Ratio of the learning rate to its maximum: it rises from `warmup_start`, then falls towards 0.

    Args:
        step: optimiser steps done, from 0.
        steps: total number of steps, more than those of the warm-up.
        schedule: the spec of warm-up and decay.
    """
    warmup = schedule.warmup_steps(steps)
    if step < warmup:
        done = step / warmup
        match schedule.warmup_shape:
            case "exponential":
                return schedule.warmup_start ** (1 - done)
            case "linear":
                return schedule.warmup_start + (1 - schedule.warmup_start) * done
    done = (step - warmup) / (steps - warmup)
    match schedule:
        case PolySpec():
            return (1 - done) ** schedule.power
        case CosineSpec():
            return (1 + cos(pi * done)) / 2
    assert_never(schedule)


def parameter_groups(module: nn.Module, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Up to four parameter groups for an optimiser: heads or the rest, with or without weight decay.

    Norms and biases have no weight decay. If `spec.backbone_norms` is "frozen", the backbone's norms are in no group
    and get no gradient, but their running statistics still change. The `rate` of a group multiplies the learning rate.
    """
    for name, part in module.named_modules():
        if isinstance(part, NORMS) and name.startswith("backbone."):
            part.requires_grad_(spec.backbone_norms == "trained")
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (head, decayed): [] for head in (False, True) for decayed in (True, False)
    }
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[name.split(".")[0] in HEADS, parameter.ndim > 1].append(parameter)
    return [
        {
            "params": parameters,
            "rate": spec.head_rate if head else 1.0,
            "weight_decay": spec.optimizer.weight_decay if decayed else 0.0,
        }
        for (head, decayed), parameters in groups.items()
        if parameters
    ]


def make_optimizer(module: nn.Module, spec: TrainingSpec) -> Optimizer:
    """The optimiser of a network, with its parameter groups."""
    groups, how = parameter_groups(module, spec), spec.optimizer
    match how:
        case SgdSpec():
            return SGD(groups, lr=how.learning_rate, momentum=how.momentum, fused=True)
        case AdamwSpec():
            return AdamW(groups, lr=how.learning_rate, betas=how.betas, fused=True)
    assert_never(how)


class Average(AveragedModel):
    """A copy of a network that keeps a moving average of its weights and statistics; update it after each step.

    The number of averaged steps stays on the CPU, so that an update waits for no GPU; torch's own copies it there and
    reads it back.

    Args:
        module: the network.
        decay: highest share of the average that a step keeps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module, use_buffers=True)
        self.decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        steps = int(self.n_averaged)
        kept = min(self.decay, (1 + steps) / (10 + steps)) if steps else 0.0
        mine, its = (chain(part.parameters(), part.buffers()) for part in (self.module, model))
        pairs = [(average.detach(), value.detach()) for average, value in zip(mine, its, strict=True)]
        for floating in (True, False):  # counts of batches are integers
            chosen = [pair for pair in pairs if pair[0].is_floating_point() == floating]
            if chosen:
                averages, values = map(list, zip(*chosen, strict=True))
                get_ema_multi_avg_fn(kept)(averages, values, steps)
        self.n_averaged += 1


def make_average(module: nn.Module, spec: EmaSpec) -> Average:
    """The average of a network's weights, before its first step."""
    return Average(module, spec.decay)
