"""Where trials run: in this process, in processes beside it, or on a cluster. A further one is a class like these."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol, assert_never

import torch
from pebble import ProcessExpired, ProcessPool

from stdc_search.latency import this_machine
from stdc_search.records import Machine, Record
from stdc_search.spec.base import UserError, brief, write_atomically
from stdc_search.spec.search import ExecutorSpec, InProcessSpec, ProcessesSpec, RaySpec
from stdc_search.train import CHECKPOINT
from stdc_search.trial import Datasets, Progress, TrialJob, run_trial, silent

Outcome = tuple[Record, Machine]
"""What became of a candidate, and where."""


class Lost(Exception):
    """What did a trial is gone, by no fault of the trial's that is known; it can be done again."""


class GivenUp(Exception):
    """A trial is not tried again: it took longer than it may, or takes what does it along each time."""


class Executor(Protocol):
    """Does trials."""

    @property
    def slots(self) -> int:
        """How many at a time; of a cluster it changes as machines come and go."""
        ...

    def submit(self, job: TrialJob) -> Future[Outcome]:
        """Do a trial.

        Returns:
            Its outcome once there is one, else what `run_trial` raises, `Lost` or `GivenUp`.
        """
        ...

    def close(self) -> None:
        """Stop all that is being done."""
        ...


KILLED = 3
"""How often this process may be killed during a trial, with no checkpoint between."""
TRIES = "tries.txt"
"""How often that was so, if the trial that is being done is killed too."""

Told = Callable[[TrialJob], AbstractContextManager[Progress]]
"""What tells a person of a trial in this process."""


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


class InProcess:
    """One trial at a time, here.

    A trial that kills this process, for want of memory say, would be the first to be gone on with at the next start,
    for ever; so it is noted that it is being done.
    """

    slots = 1

    def __init__(self, datasets: Datasets | None, told: Told) -> None:
        self.datasets, self.told = datasets, told

    def submit(self, job: TrialJob) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        mark = job.folder / TRIES
        tries = _tries(job.folder)
        if tries >= KILLED:
            future.set_exception(
                GivenUp(
                    f"the process was killed with it {tries} times, with no checkpoint between; for want of memory?"
                )
            )
            return future
        write_atomically(mark, str(tries + 1))
        try:
            with self.told(job) as progress:
                future.set_result((run_trial(job, self.datasets, progress), this_machine()))
        finally:  # an error, or a person's interrupt, is no kill
            mark.unlink(missing_ok=True)
        return future

    def close(self) -> None:
        pass


class Processes:
    """Processes of this machine, each with threads of its own. They end with the process that started them."""

    def __init__(self, spec: ProcessesSpec) -> None:
        self.spec = spec
        self.slots = spec.workers or max(torch.get_num_threads() // spec.threads, 1)
        self.pool = self._begin()
        self.worked = False
        """Whether a process has ever come as far as a candidate."""

    def _begin(self) -> ProcessPool:
        context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would not take along
        return ProcessPool(self.slots, initializer=_begin_worker, initargs=(self.spec.threads,), context=context)

    def submit(self, job: TrialJob) -> Future[Outcome]:
        if not self.pool.active:  # it was broken
            self.close()
            self.pool = self._begin()
        done = self.pool.schedule(work, (job, self.slots), timeout=self.spec.timeout)
        done.add_done_callback(self._note)
        return _translated(done, self._meaning)

    def _note(self, done: Future[Any]) -> None:
        self.worked |= done.cancelled() or not isinstance(done.exception(), BrokenProcessPool)

    def _meaning(self, error: BaseException) -> BaseException:
        match error:
            case TimeoutError(args=("Task timeout", _)):  # Pebble's, no file system's
                return GivenUp(f"took longer than `search.executor.timeout`, {self.spec.timeout:g} s")
            case ProcessExpired():
                return Lost(f"its process ended with exit code {error.exitcode}; killed for want of memory?")
            case BrokenProcessPool() if self.worked:
                return Lost("a process ended between two candidates")
            case BrokenProcessPool():
                return UserError(
                    "the processes of `search.executor` end before they begin, which their own output tells more of; "
                    "a script that calls `run` needs `if __name__ == '__main__':` before it"
                )
        return error

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()


class Cluster:
    """Machines that Ray joins. What a lost one did is done again on another, from its last checkpoint."""

    def __init__(self, spec: RaySpec) -> None:
        try:
            import ray
            from ray.exceptions import RayError
        except ModuleNotFoundError:
            raise UserError("the executor `ray` needs a package; type: pip install 'stdc-search[cluster]'") from None
        self.ray, self.spec = ray, spec
        try:
            ray.init(address=spec.address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise UserError(
                f"no Ray cluster at `search.executor.address` {spec.address!r} ({brief(error)}); "
                "start one with: ray start --head"
            ) from None
        self.task = ray.remote(work).options(
            num_cpus=spec.cpus_per_trial, num_gpus=spec.gpus_per_trial, max_retries=spec.retries
        )
        if not self.slots:
            needs = f"{spec.cpus_per_trial:g} CPUs and {spec.gpus_per_trial:g} GPUs"
            there = self.ray.cluster_resources()
            has = f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}"
            message = f"no room for a candidate in the cluster: it needs {needs}, all machines together have {has}"
            warnings.warn(f"{message}; it waits for a machine, or stop it and ask for less", stacklevel=2)

    @property
    def slots(self) -> int:
        there = self.ray.cluster_resources()
        needs = {"CPU": self.spec.cpus_per_trial, "GPU": self.spec.gpus_per_trial}
        return int(min(there.get(name, 0) / need for name, need in needs.items() if need))

    def submit(self, job: TrialJob) -> Future[Outcome]:
        reference = self.task.remote(job)
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.ray.cancel(reference, force=True)

        timer = threading.Timer(self.spec.timeout or threading.TIMEOUT_MAX, stop)
        timer.daemon = True
        timer.start()

        def meaning(error: BaseException) -> BaseException:
            timer.cancel()
            if late.is_set():
                return GivenUp(f"took longer than `search.executor.timeout`, {self.spec.timeout:g} s")
            if isinstance(error, self.ray.exceptions.RayTaskError):
                return getattr(error, "cause", error)
            if isinstance(error, self.ray.exceptions.RayError):
                return Lost(f"{type(error).__name__}: {brief(error)}")
            return error

        done = _translated(reference.future(), meaning)
        done.add_done_callback(lambda _: timer.cancel())
        return done

    def close(self) -> None:
        self.ray.shutdown()


def _tries(folder: Path) -> int:
    """How often a trial's process was killed since its last checkpoint."""
    mark = folder / TRIES
    try:
        since = mark.stat().st_mtime_ns
        if any(file.stat().st_mtime_ns > since for file in folder.rglob(CHECKPOINT)):
            return 0
        return int(mark.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def work(job: TrialJob, sharers: int = 1) -> Outcome:
    """A trial in a process that does nothing else.

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
    return run_trial(job, datasets, silent), this_machine()


_DATASETS: dict[tuple[Any, ...], Datasets] = {}
"""Of this process, for all its trials."""


def _begin_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", "another process measures")  # they take turns
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's interrupt is the first process's business
    multiprocessing.current_process()._config["daemon"] = False  # pyright: ignore  # or its loader could not have workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # what it does goes on elsewhere, in the same folder


def _translated(done: Future[Any], meaning: Callable[[BaseException], BaseException]) -> Future[Outcome]:
    """A future with its exceptions in this module's words."""
    future: Future[Outcome] = Future()

    def settle(done: Future[Any]) -> None:
        if done.cancelled():
            future.set_exception(Lost("it was cancelled"))
        elif (error := done.exception()) is not None:
            try:
                future.set_exception(meaning(error))
            except Exception as mistake:  # in a callback it would be lost, and waited for
                future.set_exception(mistake)
        else:
            future.set_result(done.result())

    done.add_done_callback(settle)
    return future
