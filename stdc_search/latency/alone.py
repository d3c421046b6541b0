"""A machine to oneself: one measurement at a time, on cores of its own."""

from __future__ import annotations

import getpass
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from stdc_search.latency.machine import one_thread_a_core


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of this user measures on this machine, then keep them waiting.

    What else runs here is not kept from running, such as trainings.
    """
    lock = FileLock(Path(tempfile.gettempdir()) / f"stdc-search-{getpass.getuser()}-measures.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn("another process measures on this machine; waiting for it", stacklevel=4)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Keep all threads of this process, and those that they start, on one hardware thread of each of some cores.

    Linux only; elsewhere the system decides.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = {thread: os.sched_getaffinity(thread) for thread in _threads()}
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
