"""Where the curve of a training is shown while it runs: TensorBoard, and the trackers that accelerate supports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from stdc_search.run_folder import TENSORBOARD, TRACKERS, place_of
from stdc_search.spec.training import TrainingSpec
from stdc_search.storage import write_atomically

Tell = Callable[[dict[str, float], int], None]
"""Called with values by name, and the step that they belong to."""


@contextmanager
def trackers(
    accelerator: Accelerator, spec: TrainingSpec, folder: Path, settings: Mapping[str, Any], done: int
) -> Iterator[Tell]:
    """Open what `spec` asks for, in the first process only.

    Args:
        accelerator: made with the trackers of `spec.log_to`.
        spec: the training.
        folder: of the training.
        settings: what trackers show beside the curve; the same whenever the training is resumed.
        done: steps done before; 0 for a new training. Runs of trackers are continued then.
    """
    told: list[Tell] = []
    with ExitStack() as stack:
        if spec.tensorboard and accelerator.is_main_process:
            told.append(stack.enter_context(_board(folder / TENSORBOARD, done)))
        if spec.log_to and accelerator.is_main_process:
            stack.callback(_finish, accelerator)
            _start(accelerator, folder, settings, resumed=done > 0)
            told.append(accelerator.log)

        def tell(values: dict[str, float], step: int) -> None:
            for one in told:
                one(values, step)

        yield tell


@contextmanager
def _board(folder: Path, done: int) -> Iterator[Tell]:
    """TensorBoard's writer; points after the steps that are done, left by an interrupted run, are purged."""
    from torch.utils.tensorboard import SummaryWriter

    def tell(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    with SummaryWriter(folder, purge_step=done + 1) as writer:
        yield tell


def _start(accelerator: Accelerator, folder: Path, settings: Mapping[str, Any], resumed: bool) -> None:
    """Begin a run in each tracker, or continue the one that `folder` names."""
    path, (project, name) = folder / TRACKERS, place_of(folder)
    ids = json.loads(path.read_text("utf-8")) if resumed and path.exists() else {}
    options = {
        "mlflow": {"run_name": name, "run_id": ids.get("mlflow")},
        "wandb": {"name": name, "id": ids.get("wandb"), "resume": "allow"},
    }
    accelerator.init_trackers(re.sub(r"[^\w.-]", "_", project), dict(settings), options)
    runs = {one.name: one.tracker for one in accelerator.trackers}
    ids = {name: run.info.run_id if name == "mlflow" else run.id for name, run in runs.items()}
    write_atomically(path, json.dumps(ids))


def _finish(accelerator: Accelerator) -> None:
    for one in accelerator.trackers:  # `end_training` would also end the group of processes
        one.finish()
