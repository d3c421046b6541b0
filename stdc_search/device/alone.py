"""The exclusive use of a machine: one measurement at a time, on its own cores, while trainings pause between steps.

All by locks on files, which the system frees when the process that holds them is killed. All users of a machine share
them.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
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


PATIENCE = 60.0
"""Seconds after which a wait for trainings is reported. They pause after each step, but not while they load their
data."""


class WaitsForMeasurement(UserWarning):
    """A measurement waits for another one, or for a training, on its machine."""


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process measures or trains with this package here, then keep them waiting.

    What else runs here is not kept from running.
    """
    with _open("measures") as measures, _open("entrance") as entrance, _open("room") as room:
        try:
            _lock(measures, EXCLUSIVE | AT_ONCE)
        except BlockingIOError:
            message = "another process measures on this machine; waiting for it"
            warnings.warn(message, WaitsForMeasurement, stacklevel=4)
            _lock(measures, EXCLUSIVE)
        with _said(
            f"training on this machine has not paused for {PATIENCE:g} s; still waiting. Is that process suspended?"
        ):
            _lock(entrance, EXCLUSIVE)
            _lock(room, EXCLUSIVE)
        yield


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


@contextmanager
def _said(text: str) -> Iterator[None]:
    """Warn if the block takes long."""
    timer = threading.Timer(PATIENCE, warnings.warn, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # its thread must not be pinned with the others


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
