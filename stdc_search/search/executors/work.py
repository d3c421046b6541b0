"""The function that worker processes and machines of a cluster run."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stdc_search.latency import this_machine
from stdc_search.run_folder import PROGRESS, note_progress
from stdc_search.search.executors.executor import Outcome
from stdc_search.trial.stopwatch import Progress
from stdc_search.trial.training import Datasets
from stdc_search.trial.trial import TrialJob, run_trial

EVERY = 2.0
"""Seconds between two notes on the progress of a trial, at least."""


def work(job: TrialJob, sharers: int = 1) -> Outcome:
    """Run a trial in a process that does nothing else.

    Args:
        job: the trial.
        sharers: how many such processes share the machine's memory for images.
    """
    spec = job.spec
    datasets = None
    if spec.data is not None and spec.training is not None:
        key = spec.data.model_dump_json(), spec.training.cache_gb, job.data_root
        if key not in _DATASETS:
            _DATASETS[key] = Datasets.open(spec.data, spec.training.cache_gb / sharers, job.data_root)
        datasets = _DATASETS[key]
    return run_trial(job, datasets, _noted(job.folder)), this_machine()


def _noted(folder: Path) -> Progress:
    """A progress that is kept in a trial's folder, where the process of the search reads it."""
    (folder / PROGRESS).unlink(missing_ok=True)
    last = -EVERY

    def told(step: str, done: int, total: int, note: str = "", /) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= EVERY:
            last = now
            with suppress(OSError):  # a full disk stops a trial where it loses something
                note_progress(folder, step, done, total, note)

    return told


_DATASETS: dict[tuple[Any, ...], Datasets] = {}
"""Data sets that this process has opened, for all its trials."""
