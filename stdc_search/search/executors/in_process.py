"""Runs one trial at a time in this process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from stdc_search.latency import this_machine
from stdc_search.run_folder import TRIES, killed
from stdc_search.search.executors.executor import GivenUp, Outcome
from stdc_search.storage import write_atomically
from stdc_search.trial.stopwatch import Progress
from stdc_search.trial.training import Datasets
from stdc_search.trial.trial import TrialJob, run_trial

KILLED = 3
"""How often this process may be killed during a trial, with no checkpoint between, before others come first. Then the
trial is tried once more."""


Told = Callable[[TrialJob], AbstractContextManager[Progress]]
"""Shows the progress of a trial in this process."""


class InProcess:
    """Runs one trial at a time in this process.

    A trial may kill this process, for example for lack of memory. The next start would resume it first and be killed
    again, so a file in its folder counts the tries.
    """

    slots = 1

    def __init__(self, datasets: Datasets | None, told: Told) -> None:
        self.datasets, self.told = datasets, told

    def submit(self, job: TrialJob) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        mark = job.folder / TRIES
        tries = killed(job.folder)
        if tries > KILLED:
            future.set_exception(
                GivenUp(f"killed {tries} times during this candidate, before any checkpoint; out of memory?")
            )
            return future
        write_atomically(mark, str(tries + 1))
        try:
            with self.told(job) as progress:
                future.set_result((run_trial(job, self.datasets, progress), this_machine()))
        finally:  # an error or a person's interrupt does not count
            mark.unlink(missing_ok=True)
        return future

    def close(self) -> None:
        pass
