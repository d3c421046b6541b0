"""Runs trials in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from pebble import ProcessExpired, ProcessPool

from stdc_search.device.alone import WaitsForMeasurement
from stdc_search.errors import UserError
from stdc_search.search.executors.executor import GivenUp, Lost, Outcome, translated
from stdc_search.search.executors.work import work
from stdc_search.search.parent import end_with_parent
from stdc_search.spec.executor import ProcessesSpec
from stdc_search.trial.trial import TrialJob

TOLD_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that people and schedulers send; a lack of memory, or a crash, sends others."""


class Processes:
    """Processes of this machine, each with its own threads. They end with the process that started them."""

    def __init__(self, spec: ProcessesSpec) -> None:
        self.spec = spec
        self.slots = workers_of(spec)
        self.pool = self._begin()
        self.worked = False
        """Whether any process has begun a candidate."""

    def _begin(self) -> ProcessPool:
        context = multiprocessing.get_context("spawn")  # a fork would lose torch's threads
        return ProcessPool(self.slots, initializer=_begin_worker, initargs=(self.spec.threads,), context=context)

    def submit(self, job: TrialJob) -> Future[Outcome]:
        if not self.pool.active:  # it was broken
            self.close()
            self.pool = self._begin()
        done = self.pool.schedule(_work, (job, self.slots), timeout=self.spec.timeout)
        done.add_done_callback(self._note)
        return translated(done, self._meaning)

    def _note(self, done: Future[Any]) -> None:
        self.worked |= done.cancelled() or not isinstance(done.exception(), BrokenProcessPool)

    def _meaning(self, error: BaseException) -> BaseException:
        match error:
            case TimeoutError():  # Pebble's own: `_work` translates all others
                return GivenUp(f"took longer than `search.executor.timeout`, {self.spec.timeout:g} s")
            case ProcessExpired():
                told = -error.exitcode in TOLD_TO_END or error.exitcode == signal.SIGTERM  # Pebble's workers exit so
                hint = "; out of memory?" if -error.exitcode == signal.SIGKILL else ""
                return Lost(f"its process ended with exit code {error.exitcode}{hint}", from_outside=told)
            case BrokenProcessPool() if self.worked:
                return Lost("a worker process ended between two candidates", from_outside=True)
            case BrokenProcessPool():
                return UserError(
                    "the processes of `search.executor` ended before they started; their output says why; "
                    "a script that calls `run` needs `if __name__ == '__main__':` before it"
                )
        return error

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()


def _work(job: TrialJob, sharers: int) -> Outcome:
    """Run a trial in a worker. `TimeoutError` is Pebble's own timeout, so that of a file system becomes `OSError`."""
    try:
        return work(job, sharers)
    except TimeoutError as error:
        raise OSError(str(error)) from error


def _begin_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", WaitsForMeasurement)  # workers take turns
    warnings.showwarning = lambda message, *_, **__: print(f"Warning: {message}", file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles a person's interrupt
    end_with_parent()


def workers_of(spec: ProcessesSpec) -> int:
    """How many trainings run at a time."""
    return spec.workers or max(torch.get_num_threads() // spec.threads, 1)
