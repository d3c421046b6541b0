"""The interface of executors, and their errors for trials that did not end normally."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from stdc_search.records import Machine, Record
from stdc_search.trial.trial import TrialJob

Outcome = tuple[Record, Machine]
"""What became of a candidate, and where."""


class Lost(Exception):
    """What did a trial is gone, by no fault of the trial's that is known; it can be done again.

    Args:
        reason: what is known.
        from_outside: whether the trial is certainly not the reason.
    """

    def __init__(self, reason: str, from_outside: bool = False) -> None:
        super().__init__(reason)
        self.from_outside = from_outside


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


def translated(done: Future[Any], meaning: Callable[[BaseException], BaseException]) -> Future[Outcome]:
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
