"""Data-parallel training in several processes, started by `accelerate launch` or `torchrun`.

The first process leads: it decides, measures and writes, as a single process would. The others only help to train and
score.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list


class Job(NamedTuple):
    """A training that several processes run together, in plain values."""

    spec: dict[str, Any]
    """The candidate's run, as `model_dump` returns it."""
    seed: int
    folder: str
    until: int | None = None
    """Number of epochs after which to pause."""


Counts = TypeVar("Counts", bound=tuple[torch.Tensor, ...])


def state() -> PartialState:
    """Which process this is; on CPUs accelerate needs to know that there are several."""
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.accelerator.is_available())


@atexit.register
def _leave() -> None:
    """Stop the group's threads: an interpreter that exits while they run sometimes aborts."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def leads() -> bool:
    """Whether this is the first process, or the only one."""
    return state().is_main_process


def announce(job: Job | None) -> None:
    """Send the other processes their next job, or None at the end."""
    if state().num_processes > 1:
        broadcast_object_list([job and tuple(job)])


def announced() -> Iterator[Job]:
    """The jobs that the first process announces, until there are no more."""
    while True:
        told: list[Any] = [None]
        broadcast_object_list(told)
        if told[0] is None:
            return
        yield Job(*told[0])


def share(items: Sequence[int]) -> Sequence[int]:
    """This process's share of the items."""
    return items[state().process_index :: state().num_processes]


def add_up(counts: Counts) -> Counts:
    """The sum over all processes."""
    if state().num_processes == 1:
        return counts
    parts = [part.to(state().device) for part in counts]
    for part in parts:
        torch.distributed.all_reduce(part)
    return type(counts)(*(part.cpu() for part in parts))
