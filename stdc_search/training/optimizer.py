"""What a step does to weights: learning rates, parameter groups, the optimiser and the average (paper, section 4.2).

Original code: MichaelFan01/STDC-Seg, `optimizer_loss.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi
from typing import Any, assert_never

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stdc_search.spec.training import AdamwSpec, CosineSpec, EmaSpec, PolySpec, ScheduleSpec, SgdSpec, TrainingSpec

HEADS = ("fusion", "head", "auxiliary", "detail")
"""Parts of a segmenter that learn at `head_rate` times the rate of the rest."""
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def learning_rate_factor(step: int, steps: int, schedule: ScheduleSpec) -> float:
    """Learning rate over its largest: a rise from `warmup_start`, then a fall towards 0.

    Args:
        step: optimiser steps done, from 0.
        steps: of the whole training, more than the warm-up's.
        schedule: the two parts.
    """
    if step < schedule.warmup:
        done = step / schedule.warmup
        match schedule.warmup_shape:
            case "exponential":
                return schedule.warmup_start ** (1 - done)
            case "linear":
                return schedule.warmup_start + (1 - schedule.warmup_start) * done
    done = (step - schedule.warmup) / (steps - schedule.warmup)
    match schedule:
        case PolySpec():
            return (1 - done) ** schedule.power
        case CosineSpec():
            return (1 + cos(pi * done)) / 2
    assert_never(schedule)


def parameter_groups(module: nn.Module, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Parameters as an optimiser takes them, in up to four groups: the rest or the heads, decayed or not.

    Norms and biases are not decayed. Where `spec.backbone_norms` is "frozen", the backbone's norms are in no group
    and need no gradient; their running statistics still move. `rate` of a group multiplies the learning rate.
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
    """The optimiser of a network's parameter groups."""
    groups, how = parameter_groups(module, spec), spec.optimizer
    match how:
        case SgdSpec():
            return SGD(groups, lr=how.learning_rate, momentum=how.momentum, fused=True)
        case AdamwSpec():
            return AdamW(groups, lr=how.learning_rate, betas=how.betas, fused=True)
    assert_never(how)


def make_average(module: nn.Module, spec: EmaSpec) -> AveragedModel:
    """A copy of a network that becomes the moving average of its weights and statistics, an update a step."""
    return AveragedModel(module, multi_avg_fn=_ema(spec.decay), use_buffers=True)


def _ema(decay: float) -> Callable[[Any, Any, Any], None]:
    def update(averages: Any, current: Any, steps: Tensor) -> None:
        share = min(decay, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(share)(averages, current, steps)

    return update
