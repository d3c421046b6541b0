"""The function that worker processes and machines of a cluster run."""

from __future__ import annotations

from typing import Any

from stdc_search.latency import this_machine
from stdc_search.search.executors.executor import Outcome
from stdc_search.trial.training import Datasets
from stdc_search.trial.trial import TrialJob, run_trial


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
    return run_trial(job, datasets), this_machine()


_DATASETS: dict[tuple[Any, ...], Datasets] = {}
"""Data sets that this process has opened, for all its trials."""
