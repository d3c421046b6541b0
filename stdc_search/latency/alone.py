"""The exclusive use of a machine: one measurement at a time, on its own cores, while trainings pause between steps.

All by locks on files, which the system frees when the process that holds them is killed.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from stdc_search.latency.machine import one_thread_a_core

try:
    import fcntl

    FREE, SHARED, EXCLUSIVE = fcntl.LOCK_UN, fcntl.LOCK_SH, fcntl.LOCK_EX
except ModuleNotFoundError:  # Windows: trainings do not pause
    fcntl, FREE, SHARED, EXCLUSIVE = None, 0, 0, 0


PATIENCE = 60.0
"""Seconds after which a wait for trainings is reported. They pause after each step, but not while they load their
data."""


class WaitsForMeasurement(UserWarning):
    """Another process measures on this machine, and this one waits for it."""


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of this user measures or trains with this package here, then keep them waiting.

    What else runs here is not kept from running.
    """
    lock = FileLock(_lock_file("measures"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = "another process measures on this machine; waiting for it"
        warnings.warn(message, WaitsForMeasurement, stacklevel=4)
        lock.acquire()
    try:
        with _open("entrance") as entrance, _open("room") as room:
            with _said(
                f"training on this machine has not paused for {PATIENCE:g} s; still waiting. Is that process suspended?"
            ):
                _lock(entrance, EXCLUSIVE)
                _lock(room, EXCLUSIVE)
            yield
    finally:
        lock.release()


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


def _lock_file(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"stdc-search-{getpass.getuser()}-{name}.lock"


def _open(name: str) -> IO[bytes]:
    return _lock_file(name).open("ab")


def _lock(file: IO[bytes], how: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, how)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Keep all threads of this process, and those that they start, on one hardware thread of each of some cores.

    Linux only; elsewhere the system decides.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = {}
    for thread in _threads():
        with suppress(ProcessLookupError):  # it may have ended
            before[thread] = os.sched_getaffinity(thread)
    _bind(before, sorted(one_thread_a_core())[:cores])
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
