"""Where trials run: in this process, in other processes of this machine, or on a cluster."""

from __future__ import annotations

from typing import assert_never

from stdc_search.search.executors.cluster import Cluster
from stdc_search.search.executors.executor import Executor, GivenUp, Lost, Outcome
from stdc_search.search.executors.in_process import KILLED, InProcess, Told
from stdc_search.search.executors.processes import Processes
from stdc_search.spec.executor import ExecutorSpec, InProcessSpec, ProcessesSpec, RaySpec
from stdc_search.trial.training import Datasets

__all__ = ["KILLED", "Executor", "GivenUp", "Lost", "Outcome", "make_executor"]


def make_executor(spec: ExecutorSpec, datasets: Datasets | None, told: Told) -> Executor:
    """The executor that a spec names.

    Args:
        spec: of the executor.
        datasets: for trials in this process; other processes open their own.
        told: shows the progress of trials in this process.
    """
    match spec:
        case InProcessSpec():
            return InProcess(datasets, told)
        case ProcessesSpec():
            return Processes(spec)
        case RaySpec():
            return Cluster(spec)
    assert_never(spec)
