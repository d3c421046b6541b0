"""Where the curve of a training is shown while it runs: TensorBoard, and the trackers that accelerate supports.

A tracker may be a server that goes away. That costs its curve and no training.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from stdc_search.errors import brief
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
            log = _UntilItFails(spec.log_to)
            # A run that stays open would refuse the start of the next training.
            stack.callback(log.call, _finish, accelerator, even_then=True)
            log.call(_start, accelerator, folder, settings, resumed=done > 0)
            told.append(lambda values, step: log.call(accelerator.log, values, step))

        def tell(values: dict[str, float], step: int) -> None:
            for one in told:
                one(values, step)

        yield tell


class _UntilItFails:
    """Calls functions until one fails, and warns of that: a server that is away would keep each call waiting."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.failed = names, False

    def call(self, function: Callable[..., None], *args: Any, even_then: bool = False, **options: Any) -> None:
        """Call a function with its arguments; `even_then` calls it after a failure, too."""
        if self.failed and not even_then:
            return
        try:
            function(*args, **options)
        except Exception as error:  # each tracker has errors of its own
            if not self.failed:
                names = ", ".join(self.names)
                warnings.warn(f"`log_to` {names}: {brief(error)}; this training logs no more", stacklevel=3)
            self.failed = True


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
