"""Seconds of a trial by step, and its progress as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called with the running step of a trial, how much of it is done, and a note for people."""

    def __call__(self, step: str, done: int, total: int, note: str = "", /) -> None: ...


def silent(step: str, done: int, total: int, note: str = "", /) -> None:
    """A progress that shows nothing."""


class Stopwatch:
    """Adds up the seconds of each step.

    Args:
        progress: called when a step begins.
        seconds: of steps that are done already.
    """

    def __init__(self, progress: Progress = silent, seconds: Mapping[str, float] | None = None) -> None:
        self.progress = progress
        self.seconds = dict(seconds or {})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 1)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
