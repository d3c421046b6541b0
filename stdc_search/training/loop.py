"""The training loop, its devices and its checkpoints.

Original code: MichaelFan01/STDC-Seg, `train.py`. Everything random is a function of the seed, the epoch and an image's
index, so resumed training equals uninterrupted training: bit for bit on a CPU with the same number of threads. The task
(`tasks/`) defines the loss and the score.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from itertools import islice
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from stdc_search.errors import UserError
from stdc_search.network.weights import save_weights
from stdc_search.run_folder import BEST, CHECKPOINT, CURVE
from stdc_search.spec.choices import Tracker
from stdc_search.spec.training import MEANS, TrainingSpec
from stdc_search.storage import write_atomically
from stdc_search.training.batches import Samples, batches, length, randomness
from stdc_search.training.optimizer import NORMS, learning_rate_factor, make_average, make_optimizer
from stdc_search.training.parallel import state
from stdc_search.training.precision import precision_here
from stdc_search.training.trackers import trackers

READ_EVERY = 10
"""Steps of a GPU between two looks at its losses: each look waits for all work before it. A CPU's are read in each
step."""

TRACKED_BY: dict[Tracker, str] = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Packages that trackers come with."""

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Network, images float N, 3, H, W, and targets -> the number to minimise."""


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
    """Learning rate of the epoch's last step, without `head_rate`."""
    score: float | None
    """Result of `evaluate`: mIoU or top-1 accuracy, in percent; None if the epoch was not scored."""
    seconds: float
    """Wall-clock time of the epoch's steps, including loading but not scoring."""

    @property
    def values(self) -> dict[str, float]:
        """The numbers that a tracker shows at `step`."""
        shown = asdict(self).items()
        return {name: value for name, value in shown if value is not None and name not in ("epoch", "step")}


class TrainingDiverged(RuntimeError):
    """The loss is not finite."""


class Progress(Protocol):
    """Called after each step.

    Args:
        done: steps done.
        total: steps of the training.
        loss: of this step, if it was read: on a CPU always, on a GPU every `READ_EVERY` steps, else None.
    """

    def __call__(self, done: int, total: int, loss: float | None, /) -> None: ...


def train(
    module: nn.Module,
    samples: Samples,
    loss: Loss,
    spec: TrainingSpec,
    *,
    seed: int,
    folder: Path,
    evaluate: Callable[[nn.Module, bool], float] | None = None,
    progress: Progress | None = None,
    until: int | None = None,
) -> list[CurvePoint]:
    """Train a network in place, or resume an interrupted training in `folder`.

    After each epoch `folder` has the curve, the weights that scored best so far, and every `spec.checkpoint_every`
    epochs the checkpoint, each written whole or not at all. What comes after a checkpoint is done again: it gives the
    same. Torch's global generator is seeded anew for each epoch. Where several processes train together, each takes
    its share of every batch and the first one writes.

    Args:
        module: the network with its initial weights; left on the device that accelerate finds, with the weights of
            the last step, or with their average where `spec.ema` has one.
        samples: what it learns from.
        loss: what it lowers.
        spec: the training.
        seed: of order and dropout; the initial weights and the samples are the caller's.
        folder: an existing folder.
        evaluate: network as it is, whether its training ends or pauses -> score in percent; asked every
            `spec.score_every` epochs and after the last.
        progress: called after each step.
        until: epochs after which it pauses, scored and with a checkpoint, as if it were to go on at once.

    Returns:
        The curve, one point an epoch, those before a cut included.

    Raises:
        UserError: fewer images than a batch, a batch that the processes cannot share, a warm-up as long as the
            training, or a checkpoint in `folder` of another training.
        TrainingDiverged: the loss is not finite. On a CPU the step was not taken. On a GPU up to `READ_EVERY` steps
            were. In both cases nothing was saved since then.
    """
    check(spec)
    steps, epoch_steps = length(spec, len(samples))
    accelerator = _accelerator(spec)
    _synchronise_norms(module, accelerator)
    module.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(module, spec)
    average = make_average(module, spec.ema) if spec.ema else None
    run = _State(module, optimizer, average, accelerator.scaler, _origin(spec, seed, len(samples)))
    curve = run.resume(folder / CHECKPOINT)
    step_module = _Step(module, loss)
    if spec.compile:  # with one process, CUDA graphs replay the compiled step without its launches
        graphs = accelerator.device.type == "cuda" and accelerator.num_processes == 1
        step_module.compile(mode="reduce-overhead" if graphs else None)
    step_loss, stepper = accelerator.prepare(step_module, optimizer)
    loaded = batches(samples, spec, seed, first_epoch=len(curve), accelerator=accelerator)
    epochs = ceil(steps / epoch_steps)
    pause = min(until or epochs, epochs)
    done = curve[-1].step if curve else 0
    with trackers(accelerator, spec, folder, run.origin, done) as tell:
        for epoch in range(len(curve), pause):
            torch.manual_seed(int(randomness(seed, epoch).generate_state(1, np.uint64)[0]))
            _train_mode(module, spec)
            begin, step, rate = perf_counter(), epoch * epoch_steps, 0.0
            losses = _Losses(min(epoch_steps, steps - step), accelerator)
            for images, targets in islice(loaded, epoch_steps):
                stepper.zero_grad()  # before the network runs: CUDA graphs overwrite the gradients then
                value = step_loss(images, targets)
                read = losses.add(value)
                for at, loss_at in enumerate(read, start=step + 1 - len(read)):
                    if not isfinite(loss_at):
                        raise TrainingDiverged(
                            f"the loss is {loss_at} at step {at} of {steps}, "
                            f"learning rate {_rate(spec, at, steps):.3g}; "
                            "a lower learning rate or a longer warm-up may help"
                        )
                rate = _rate(spec, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["rate"]
                accelerator.backward(value)
                stepper.step()
                if average is not None:
                    average.update_parameters(module)
                step += 1
                if progress is not None:
                    progress(step, steps, read[-1] if read else None)
            if accelerator.device.type != "cpu":
                torch.accelerator.synchronize()
            seconds = perf_counter() - begin
            last = epoch + 1 == pause
            due = last or (spec.score_every is not None and (epoch + 1) % spec.score_every == 0)
            score = None
            if evaluate is not None and due:
                _take_over_statistics(run.scored, accelerator)
                score = evaluate(run.scored, last)
            best = (
                score is not None
                and spec.score_every
                and all(point.score is None or score > point.score for point in curve)
            )
            curve.append(CurvePoint(epoch + 1, step, losses.mean(), rate, score, seconds))
            if accelerator.is_main_process:
                if best:
                    save_weights(run.scored, folder / BEST)
                write_atomically(folder / CURVE, _csv(curve))
                tell(curve[-1].values, step)
                if last or (epoch + 1) % spec.checkpoint_every == 0:
                    write_atomically(folder / CHECKPOINT, run.checkpoint(curve))
    if average is not None:
        module.load_state_dict(average.module.state_dict())
    accelerator.free_memory()
    return curve


def check(spec: TrainingSpec) -> None:
    """Check that this machine can run the training.

    Raises:
        UserError: it cannot, or not with this number of processes.
    """
    processes = state().num_processes
    if spec.batch % processes or spec.batch < 2 * processes:
        raise UserError(
            f"`training.batch` {spec.batch} is shared by {processes} processes; use a multiple of {processes} that "
            "gives each at least 2"
        )
    if spec.precision == "fp16" and not torch.accelerator.is_available():
        raise UserError("`training.precision` fp16 needs a GPU, and PyTorch finds none; use bf16 or fp32")
    if spec.tensorboard and find_spec("tensorboard") is None:
        raise UserError("`training.tensorboard` needs a package; type: pip install tensorboard")
    for name in spec.log_to:
        if find_spec(name) is None:
            raise UserError(f"`training.log_to` {name} needs a package; type: pip install {TRACKED_BY[name]}")


def _rate(spec: TrainingSpec, step: int, steps: int) -> float:
    """Learning rate of a step, without `head_rate`."""
    return spec.optimizer.learning_rate * learning_rate_factor(step, steps, spec.schedule)


class _Step(nn.Module):
    """Network and loss as one module, which accelerate wraps for autocast and several processes."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.module, images, targets)


def _accelerator(spec: TrainingSpec) -> Accelerator:
    """A new accelerator for each training: precisions may differ, and it keeps everything it has prepared."""
    state()
    AcceleratorState._reset_state()
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # the classifier's norm is never called
    precision = precision_here(spec.precision)
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=[unused],
        log_with=[*spec.log_to] or None,  # an empty list is warned about
    )


def _synchronise_norms(module: nn.Module, accelerator: Accelerator) -> None:
    """On several GPUs, norms of decoder and heads are synchronised, as in the released code."""
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        for name, part in module.named_children():
            if name != "backbone":
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(part))


def _take_over_statistics(module: nn.Module, accelerator: Accelerator) -> None:
    """Copy norm statistics from the first process, which saves the weights, to the others, which also score."""
    if accelerator.num_processes > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


class _Losses:
    """Losses of an epoch's steps. They stay on the device, because each look at them waits for a GPU."""

    def __init__(self, steps: int, accelerator: Accelerator) -> None:
        self.every = 1 if accelerator.device.type == "cpu" else READ_EVERY
        self.accelerator, self.added = accelerator, 0
        self.kept = torch.zeros(steps, device=accelerator.device)
        self.read: list[float] = []

    def add(self, value: Tensor) -> list[float]:
        """Keep a step's loss.

        Returns:
            Means over all processes, of the steps since the last look; nothing between two looks. The first step and
            the last one are always looked at.
        """
        self.kept[self.added] = value.detach()
        self.added += 1
        if self.added < len(self.kept) and (self.added - 1) % self.every:
            return []
        means = self.accelerator.reduce(self.kept[len(self.read) : self.added], "mean")
        assert isinstance(means, Tensor)
        new = means.tolist()
        self.read += new
        return new

    def mean(self) -> float:
        """Mean over the steps."""
        return sum(self.read) / len(self.read)


def _train_mode(module: nn.Module, spec: TrainingSpec) -> None:
    module.train()
    if spec.norm_statistics == "fixed":
        for part in module.modules():
            if isinstance(part, NORMS):
                part.eval()


def _origin(spec: TrainingSpec, seed: int, images: int) -> dict[str, Any]:
    """Settings that must match for a checkpoint to be resumed."""
    told = spec.model_dump(mode="json", exclude={"seeds", *MEANS, "start_from"})
    return {**told, "seed": seed, "images": images}


@dataclass
class _State:
    """The state that a training resumes from."""

    module: nn.Module
    optimizer: Optimizer
    average: AveragedModel | None
    scaler: Any
    """The gradient scaler, with fp16."""
    origin: dict[str, Any]

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and saved."""
        return self.module if self.average is None else self.average.module

    def parts(self) -> dict[str, Any]:
        parts = {"model": self.module, "optimizer": self.optimizer, "average": self.average, "scaler": self.scaler}
        return {name: part for name, part in parts.items() if part is not None}

    def checkpoint(self, curve: list[CurvePoint]) -> bytes:
        buffer = io.BytesIO()
        state: dict[str, Any] = {"origin": self.origin, "curve": [asdict(point) for point in curve]}
        torch.save(state | {name: part.state_dict() for name, part in self.parts().items()}, buffer)
        return buffer.getvalue()

    def resume(self, path: Path) -> list[CurvePoint]:
        """The curve of a checkpoint, whose state is loaded; empty if there is no usable checkpoint."""
        if not path.exists():
            return []
        content = io.BytesIO(path.read_bytes())
        try:
            state = torch.load(content, weights_only=True, map_location="cpu")
            curve = [CurvePoint(**point) for point in state["curve"]]
            made_by = {"augment_on": "cpu", **state["origin"]}  # older checkpoints lack this field
        except Exception as error:  # a damaged file can raise almost anything
            warnings.warn(f"{path} is damaged ({error}); training starts over", stacklevel=3)
            return []
        differences = [
            f"{name} {made_by.get(name)} there, {value} here"
            for name, value in self.origin.items()
            if made_by.get(name) != value
        ]
        if differences:
            raise UserError(f"{path}: was made with other settings ({'; '.join(differences)}); use another folder")
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        return curve


def _csv(curve: list[CurvePoint]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(CurvePoint)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(point) for point in curve)
    return text.getvalue()
