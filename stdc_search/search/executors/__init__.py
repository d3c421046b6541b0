"""Where trials run: in this process, in processes beside it, or on a cluster. A further one is a class like these."""

from __future__ import annotations

from typing import assert_never

from stdc_search.search.executors.cluster import Cluster
from stdc_search.search.executors.executor import Executor, GivenUp, Lost, Outcome
from stdc_search.search.executors.in_process import InProcess, Told
from stdc_search.search.executors.processes import Processes
from stdc_search.spec.search import ExecutorSpec, InProcessSpec, ProcessesSpec, RaySpec
from stdc_search.trial.training import Datasets

__all__ = ["Executor", "GivenUp", "Lost", "Outcome", "make_executor"]


def make_executor(spec: ExecutorSpec, datasets: Datasets | None, told: Told) -> Executor:
    """What a spec names.

    Args:
        spec: an executor's.
        datasets: for this process; others open their own.
        told: of trials in this process.
    """
    match spec:
        case InProcessSpec():
            return InProcess(datasets, told)
        case ProcessesSpec():
            return Processes(spec)
        case RaySpec():
            return Cluster(spec)
    assert_never(spec)
