"""Training of a segmentation network: schedule, parameter groups, losses, checkpoints (paper, section 4.2).

Original code: MichaelFan01/STDC-Seg, `train.py` and `optimizer_loss.py`. All that is random is a function of the
seed, the epoch and an image's index, so that a training that was cut and went on equals an uncut one; bit for bit on
a CPU with as many threads.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, assert_never

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, default_collate

from stdc_search import losses
from stdc_search.data import DataError, Dataset
from stdc_search.data.transforms import TrainingSamples
from stdc_search.models.segmenter import Segmenter
from stdc_search.spec.base import UserError, write_atomically
from stdc_search.spec.training import AdamwSpec, LossSpec, ScheduleSpec, SgdSpec, TrainingSpec
from stdc_search.weights import save_weights

CHECKPOINT, BEST, CURVE = "checkpoint.pt", "best.safetensors", "curve.csv"
HEADS = ("fusion", "head", "auxiliary", "detail")
"""Parts of a segmenter that learn at `head_rate` times the rate of the rest."""
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class CurvePoint:
    """One epoch."""

    epoch: int
    """Epochs done: 1 after the first."""
    step: int
    """Optimiser steps done."""
    loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    """Of the epoch's last step, without `head_rate`."""
    miou: float | None
    """What `evaluate` gave; none where the epoch was not scored."""
    seconds: float
    """Wall-clock time of the epoch's steps, loading included, scoring not."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


def train(
    module: Segmenter,
    data: Dataset,
    spec: TrainingSpec,
    *,
    seed: int,
    folder: Path,
    evaluate: Callable[[nn.Module], float] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[CurvePoint]:
    """Train a network in place, or go on where a training in `folder` was cut.

    After each epoch `folder` has the checkpoint, the curve, and the weights that scored best so far, each written
    whole or not at all. What comes after an epoch's checkpoint is done again: it gives the same. Torch's global
    generator is seeded anew for each epoch.

    Args:
        module: the network with its initial weights; left on the device that accelerate finds.
        data: training images and labels.
        spec: the training.
        seed: of order, augmentation and dropout; the initial weights are the caller's.
        folder: an existing folder.
        evaluate: mIoU in percent of the network as it is, asked every `spec.score_every` epochs and after the last.
        progress: called with steps done, steps in all, and the loss.

    Returns:
        The curve, one point an epoch, those before a cut included.

    Raises:
        UserError: fewer images than a batch, a warm-up as long as the training, or a checkpoint in `folder` of
            another training.
        TrainingDiverged: the loss is not finite; the step was not taken.
    """
    steps, epoch_steps = length(spec, len(data))
    device: torch.device = Accelerator().device
    module.to(device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(parameter_groups(module, spec), spec.optimizer)
    origin = _origin(spec, seed, len(data))
    curve = _resume(folder / CHECKPOINT, module, optimizer, origin)
    batches = _batches(data, spec, seed, first_epoch=len(curve), device=device)
    for epoch in range(len(curve), ceil(steps / epoch_steps)):
        torch.manual_seed(int(_randomness(seed, epoch).generate_state(1, np.uint64)[0]))
        module.train()
        begin, step, rate, values = perf_counter(), epoch * epoch_steps, 0.0, []
        for images, labels in islice(batches, epoch_steps):
            rate = spec.optimizer.learning_rate * learning_rate_factor(step, steps, spec.schedule)
            loss = total_loss(module, images, labels, spec.loss)
            values.append(loss.item())
            if not isfinite(values[-1]):
                raise TrainingDiverged(
                    f"the loss is {values[-1]} at step {step} of {steps}, learning rate {rate:.3g}; "
                    "a lower learning rate or a longer warm-up may help"
                )
            _update(optimizer, loss, rate)
            step += 1
            if progress is not None:
                progress(step, steps, values[-1])
        seconds = perf_counter() - begin
        due = step == steps or (spec.score_every is not None and (epoch + 1) % spec.score_every == 0)
        miou = evaluate(module) if evaluate is not None and due else None
        if miou is not None and spec.score_every and all(miou > (point.miou or 0) for point in curve):
            save_weights(module, folder / BEST)
        curve.append(CurvePoint(epoch + 1, step, sum(values) / len(values), rate, miou, seconds))
        write_atomically(folder / CURVE, _csv(curve))
        write_atomically(folder / CHECKPOINT, _checkpoint(module, optimizer, origin, curve))
    return curve


def length(spec: TrainingSpec, images: int) -> tuple[int, int]:
    """Optimiser steps of a whole training, and of an epoch; the last epoch may have fewer.

    Raises:
        UserError: fewer images than a batch, or a warm-up as long as the training.
    """
    epoch_steps = images // spec.batch  # an incomplete batch is dropped
    if epoch_steps == 0:
        raise UserError(
            f"`training.batch` {spec.batch} is more than the {images} training images, and an incomplete batch is "
            f"not trained on; use {images} or less"
        )
    steps = spec.steps if spec.steps is not None else (spec.epochs or 0) * epoch_steps
    if spec.schedule.warmup >= steps:
        raise UserError(
            f"`training.schedule.warmup` {spec.schedule.warmup} is as long as the training or longer, which has "
            f"{steps} steps ({epoch_steps} an epoch); use {steps - 1} or less, or train longer"
        )
    return steps, epoch_steps


def learning_rate_factor(step: int, steps: int, schedule: ScheduleSpec) -> float:
    """Learning rate over its largest: an exponential rise from `warmup_start`, then "poly" towards 0.

    Args:
        step: optimiser steps done, from 0.
        steps: of the whole training, more than the warm-up's.
        schedule: the two parts.
    """
    if step < schedule.warmup:
        return schedule.warmup_start ** (1 - step / schedule.warmup)
    return (1 - (step - schedule.warmup) / (steps - schedule.warmup)) ** schedule.power


def parameter_groups(module: Segmenter, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Parameters as an optimiser takes them, in up to four groups: the rest or the heads, decayed or not.

    Norms and biases are not decayed. Where `spec.backbone_norms` is "frozen", the backbone's norms are in no group
    and need no gradient; their running statistics still move. `rate` of a group multiplies the learning rate.
    """
    for part in module.backbone.modules():
        if isinstance(part, NORMS):
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


def total_loss(module: Segmenter, images: Tensor, labels: Tensor, spec: LossSpec) -> Tensor:
    """OHEM cross-entropy of the head and of each auxiliary head, BCE and dice of the detail head, weighted.

    Args:
        module: the network, in the mode that it is to be used in.
        images: float N, 3, H, W.
        labels: int64 N, H, W; 255 is ignored.
        spec: the losses.
    """

    def hard(logits: Tensor) -> Tensor:
        return losses.ohem(logits, labels, spec.ohem_threshold, spec.ohem_min_kept)

    output = module.forward_training(images)
    loss = hard(output.logits) + spec.auxiliary_weight * sum(map(hard, output.auxiliary))
    if output.detail is not None and (how := module.detail_target) is not None:
        target = losses.detail_target(labels, how.strides, how.weights, how.threshold, how.soft)
        loss = loss + spec.detail_weight * sum(losses.detail(output.detail, target, spec.dice))
    return loss


def _optimizer(groups: list[dict[str, Any]], spec: SgdSpec | AdamwSpec) -> Optimizer:
    match spec:
        case SgdSpec():
            return SGD(groups, lr=spec.learning_rate, momentum=spec.momentum, fused=True)
        case AdamwSpec():
            return AdamW(groups, lr=spec.learning_rate, betas=spec.betas, fused=True)
    assert_never(spec)


def _update(optimizer: Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _batches(
    data: Dataset, spec: TrainingSpec, seed: int, *, first_epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """All batches from an epoch on to the last, on the device: one loader, so that no epoch waits for workers."""
    samples = _Told(data, crop=spec.crop, augmentation=spec.augmentation, seed=seed)
    on_gpu = device.type == "cuda"
    workers = spec.workers if spec.workers is not None else on_gpu * min(8, os.cpu_count() or 1)
    loader = DataLoader(
        samples,
        batch_sampler=_keys(len(data), spec, seed, first_epoch),  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # else it moves the global one when it starts, which is another epoch after a cut
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        images, labels = batch
        yield (
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(device, non_blocking=True),
        )


class _Told(TrainingSamples):
    """Gives an error in place of a sample: raised in a worker it would come with that process's traceback."""

    def __getitem__(self, key: tuple[int, int]) -> Any:
        try:
            return super().__getitem__(key)
        except DataError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, DataError)), None) or default_collate(samples)


def _keys(images: int, spec: TrainingSpec, seed: int, first_epoch: int) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of each image of each batch."""
    steps, epoch_steps = length(spec, images)
    for epoch in range(first_epoch, ceil(steps / epoch_steps)):
        order = np.random.default_rng(_randomness(seed, epoch)).permutation(images).tolist()
        for step in range(min(epoch_steps, steps - epoch * epoch_steps)):
            yield [(epoch, index) for index in order[step * spec.batch : (step + 1) * spec.batch]]


def _randomness(seed: int, epoch: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(epoch,))  # that of an image has (epoch, index)


def _origin(spec: TrainingSpec, seed: int, images: int) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from."""
    told = spec.model_dump(mode="json", exclude={"seeds", "score_every", "workers", "start_from"})
    return {**told, "seed": seed, "images": images}


def _checkpoint(module: nn.Module, optimizer: Optimizer, origin: dict[str, Any], curve: list[CurvePoint]) -> bytes:
    buffer = io.BytesIO()
    state = {
        "origin": origin,
        "curve": [asdict(point) for point in curve],
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, buffer)
    return buffer.getvalue()


def _resume(path: Path, module: nn.Module, optimizer: Optimizer, origin: dict[str, Any]) -> list[CurvePoint]:
    """The curve of a checkpoint, whose weights and optimiser are loaded; empty if there is none to go on from."""
    if not path.exists():
        return []
    content = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(content, weights_only=True, map_location="cpu")
        curve = [CurvePoint(**point) for point in state["curve"]]
        made_by = state["origin"]
    except Exception as error:  # a damaged file raises almost anything
        warnings.warn(f"{path} is damaged ({error}); the training starts over", stacklevel=3)
        return []
    differences = [
        f"{name} {made_by.get(name)} there and {value} here"
        for name, value in origin.items()
        if made_by.get(name) != value
    ]
    if differences:
        raise UserError(f"{path}: is of another training ({'; '.join(differences)}); use another folder")
    module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return curve


def _csv(curve: list[CurvePoint]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(CurvePoint)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(point) for point in curve)
    return text.getvalue()
