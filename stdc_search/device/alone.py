"""The exclusive use of a machine: one measurement at a time, on its own cores, while trainings pause between steps.

All by locks on files, which the system frees when the process that holds them is killed. All users of a machine share
them.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stdc_search.device.hardware import capacity, one_thread_a_core
from stdc_search.errors import UserError

try:
    import fcntl

    FREE, SHARED, EXCLUSIVE, AT_ONCE = fcntl.LOCK_UN, fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_NB
except ModuleNotFoundError:  # Windows: nobody waits
    fcntl, FREE, SHARED, EXCLUSIVE, AT_ONCE = None, 0, 0, 0, 0


PATIENCE, LONGEST = 60.0, 600.0
"""Seconds after which a wait for others is reported, and after which a measurement no longer waits: they may be
suspended. Trainings pause after each step, but not while they load their data."""
SHORTEST = 5.0
"""The same after a wait in vain, so that a measurement that is repeated does not wait as long again."""
POLL = 0.02


class WaitsForMeasurement(UserWarning):
    """A measurement waits for another one, or for a training, on its machine."""


@contextmanager
def alone() -> Iterator[bool]:
    """Wait until no other process measures or trains with this package here, then keep them waiting.

    Other programs go on running. After LONGEST seconds the block begins even if others still measure or train.

    Yields:
        Whether no other process measures or trains.
    """
    global _longest
    with _open("measures") as measures, _open("entrance") as entrance, _open("room") as room:
        try:
            _lock(measures, EXCLUSIVE | AT_ONCE)
        except BlockingIOError:
            message = "another process measures on this machine; waiting for it"
            warnings.warn(message, WaitsForMeasurement, stacklevel=4)
        began = time.monotonic()
        free = all(_locked(one, began, _longest or LONGEST) for one in (measures, entrance, room))
        _longest = None if free else SHORTEST
        if not free:
            text = f"others have used this machine for {time.monotonic() - began:.0f} s without a pause"
            warnings.warn(f"{text}; measuring beside them, so the times are doubtful", stacklevel=4)
        yield free


_longest: float | None = None
"""How long the next measurement of this process waits, if that is not LONGEST."""


def _locked(file: IO[bytes], began: float, longest: float) -> bool:
    """Wait for a lock; tell whether it was free in time."""
    told = False
    while True:
        try:
            _lock(file, EXCLUSIVE | AT_ONCE)
            return True
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited >= longest:
            return False
        if waited >= PATIENCE and not told:
            told = True
            text = f"others on this machine have not paused for {PATIENCE:g} s; still waiting. Are they suspended?"
            warnings.warn(text, stacklevel=4)
        time.sleep(POLL)


@contextmanager
def beside() -> Iterator[Callable[[], None]]:
    """Yield a function that a training calls between steps; it waits while another process measures.

    Many trainings may be in the room. Each leaves it for a moment between steps and comes back through the entrance. A
    process that wants to measure stands in the entrance until the room is empty.
    """
    with _open("entrance") as entrance, _open("room") as room:

        def give_way() -> None:
            _lock(room, FREE)
            _lock(entrance, EXCLUSIVE)
            _lock(room, SHARED)
            _lock(entrance, FREE)

        give_way()
        yield give_way


def _open(name: str) -> IO[bytes]:
    """The file of a lock, opened for reading: Linux lets nobody open another user's file in /tmp for creation.

    Raises:
        UserError: something else lies there.
    """
    path = Path(tempfile.gettempdir()) / f"stdc-search-{name}.lock"
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise UserError(f"{path}: the lock of measurements cannot be opened: {error.strerror}; remove it") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{path}: is not a file, so it cannot be the lock of measurements; remove it")
    return os.fdopen(file, "rb")


def _lock(file: IO[bytes], how: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, how)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Keep all threads of this process, and those that they start, on one hardware thread of each of some cores, the
    fastest where they differ.

    Linux only; elsewhere the system decides.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = {}
    for thread in _threads():
        with suppress(ProcessLookupError):  # it may have ended
            before[thread] = os.sched_getaffinity(thread)
    _bind(before, sorted(one_thread_a_core(), key=lambda cpu: (-capacity(cpu), cpu))[:cores])
    try:
        yield
    finally:
        everywhere = set().union(*before.values())
        for thread in _threads():
            _bind([thread], before.get(thread, everywhere))


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _bind(threads: Iterable[int], cpus: Iterable[int]) -> None:
    for thread in threads:
        with suppress(ProcessLookupError):  # it may have ended
            os.sched_setaffinity(thread, cpus)
