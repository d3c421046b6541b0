"""The driver of a search: keeps an executor busy with candidates until all trials are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from statistics import mean
from typing import Protocol

from stdc_search.records import Record
from stdc_search.run_folder import candidate_folder, killed, running
from stdc_search.search.candidates import Candidates
from stdc_search.search.executors import KILLED, Executor, GivenUp, Lost, Outcome
from stdc_search.search.halving import Halving, Trust
from stdc_search.search.ladder import LADDER
from stdc_search.search.study import Proposal
from stdc_search.spec.search import SearchSpec
from stdc_search.trial.trial import TrialJob

REJECTIONS = 1000
"""Candidates rejected in a row after which a search gives up."""
ATTEMPTS = 2
"""How often a candidate is tried whose process is lost. Then the others come first, and it is tried once more."""
TOGETHER = 10.0
"""If several candidates are lost within these seconds, the reason is a common one, and none of them is at fault."""
MOST_LOSSES = 10
"""Losses of a candidate after which it is given up, whatever their reasons."""
PATIENCE = 5.0
"""Seconds after which an executor is asked again whether it has become larger."""


class Proposer(Protocol):
    """Proposes candidates: `Study` for a search, `Finals` for its finals."""

    search: SearchSpec
    records: dict[int, Record]

    @property
    def smallest_first(self) -> bool: ...

    def propose(self) -> Proposal | None: ...

    def go_on(self, record: Record) -> Proposal: ...

    def tell(self, proposal: Proposal, record: Record) -> None: ...

    def relearn(self, expected: Mapping[int, Mapping[str, float]], waiting: Mapping[int, Record]) -> None: ...


class Driver:
    """One search.

    Args:
        study: what comes next.
        executor: what runs the trials.
        candidates: the run's, where records are kept.
        say: reports progress.
        learnt: called after each candidate that was tried.
    """

    def __init__(
        self,
        study: Proposer,
        executor: Executor,
        candidates: Candidates,
        say: Callable[[str], None],
        learnt: Callable[[], None],
        look: Callable[[Sequence[TrialJob]], None] = lambda _: None,
    ) -> None:
        self.study, self.executor, self.candidates, self.say, self.learnt = study, executor, candidates, say, learnt
        self.look = look
        self.tried: dict[Future[Outcome], TrialJob] = {}
        self.losses: dict[int, list[float]] = {}
        """When candidates were lost by what may be their own fault."""
        self.lost: dict[int, list[float]] = {}
        """When they were lost at all."""
        self.last: list[TrialJob] = []
        """Candidates that wait until all others are done."""
        self.proposals: dict[int, Proposal] = {}
        self.unfinished: list[Proposal] = []
        self.standing: dict[int, TrialJob] = {}
        """Who waits at a rung, with what they were last tried as."""
        self.trusts: list[Trust] = []
        self.halving = None
        if study.search.halving is not None:
            limited = [name for name in study.search.limits if name.startswith("score.")]
            beside = [name for name in limited if name not in study.search.objectives]
            self.halving = Halving(study.search.halving, study.search.objectives, beside)

    def run(self) -> None:
        """Try candidates until there is nothing left to try, first those that a stopped run was trying."""
        unfinished = self.candidates.unfinished()
        for record in sorted([*self.study.records.values(), *unfinished], key=lambda record: record.number):
            self._climb(record)
        for record in unfinished:
            proposal = self.study.go_on(record)
            if record.rungs and isinstance(job := self._examined(proposal), TrialJob):
                self.standing[record.number] = replace(job, draft=record)
            elif record.rungs:
                continue
            elif killed(candidate_folder(self.candidates.folder, record.number)) < KILLED:
                self.unfinished.append(proposal)
            elif isinstance(job := self._examined(proposal), TrialJob):
                self.last.append(job)
        while True:
            while len(self.tried) < max(self.executor.slots, 1) and self._submit():
                pass
            if not self.tried and self.last:
                self._try(self.last.pop(0))
            if not self.tried:
                break
            done = wait(self.tried, timeout=PATIENCE, return_when=FIRST_COMPLETED).done
            self.look([job for future, job in self.tried.items() if future not in done])
            for future in done:
                self._settle(future)
        for number in [*self.standing]:
            epochs = max(self.standing[number].draft.rungs)
            reason = f"stopped after {epochs} epochs because others had better Pareto ranks"
            self._finish(self.standing[number].draft.model_copy(update={"state": "stopped", "reason": reason}))

    def _submit(self) -> bool:
        """Give the executor something to do, if there is anything."""
        if not self.unfinished and self.halving is not None and (step := self.halving.promote()) is not None:
            number, until = step
            self._try(replace(self.standing.pop(number), until=until))
            return True
        if self.unfinished:
            proposal = self.unfinished.pop(0)
        elif self.candidates.rejected_in_a_row >= REJECTIONS:
            return False
        else:
            if self.halving is not None:
                waiting = {job.draft.number: job.draft for job in (*self.standing.values(), *self.tried.values())}
                self.study.relearn(self._expected(self.halving), waiting)
            proposal = self.study.propose()
        if proposal is None or (proposal.origin == "sampler" and self._hopeless()):
            return False
        if isinstance(job := self._examined(proposal), TrialJob):
            self._try(job)
        return True

    def _hopeless(self) -> bool:
        """Whether a limit rejected all networks that were measured, with the ladder, if its first is the smallest."""
        limited = [one for one in self.candidates.records if one.origin != "reference"]
        measured = [one for one in limited if one.latency is not None and one.latency.source == "measured"]
        ladder = [one for one in measured if (one.name or "").startswith(LADDER)]
        going = [job.draft.name for job in self.tried.values() if (job.draft.name or "").startswith(LADDER)]
        return (
            bool(ladder)
            and not going
            and all(one.state == "rejected" for one in measured)
            and self.study.smallest_first
        )

    def _examined(self, proposal: Proposal) -> TrialJob | None:
        """The trial of a proposal; none of one that is rejected, which is over with that."""
        self.proposals[proposal.number] = proposal
        job = self.candidates.begin(proposal)
        if isinstance(job, Record):
            self.candidates.finish(job)
            self.study.tell(proposal, job)
            return None
        if self.halving is None:
            return job
        job = replace(job, looked_at=self.halving.spec.rungs[0])
        if proposal.origin == "reference" or proposal.repeats is not None:
            return job
        if proposal.number not in self.halving.begun:
            self.halving.begin(proposal.number)
        return replace(job, until=self.halving.spec.rungs[0])

    def _try(self, job: TrialJob) -> None:
        self.tried[self.executor.submit(job)] = job

    def _settle(self, future: Future[Outcome]) -> None:
        """Learn what became of a trial."""
        job = self.tried.pop(future)
        try:
            record, machine = future.result()
            self.candidates.met(machine)
        except Lost as loss:
            losses, name = self._losses(job.draft.number, loss), f"{job.draft.number:04d}"
            if losses < ATTEMPTS:
                self.say(f"{name}: {loss}; it will be tried again")
                self._try(job)
                return
            if losses == ATTEMPTS:
                self.say(f"{name}: {loss}; it will be tried again when all others are done")
                self.last.append(job)
                return
            record = _failed(job, loss)
        except GivenUp as reason:
            record = _failed(job, reason)
        self._climb(record)
        if record.state == "running":
            self.standing[record.number] = replace(job, draft=record)
        else:
            self._finish(record)

    def _losses(self, number: int, loss: Lost) -> int:
        """How often a candidate was lost by what may be its own fault."""
        now, mine = time.monotonic(), self.losses.setdefault(number, [])
        together = [other for other, its in self.lost.items() if other != number and now - its[-1] < TOGETHER]
        for other in together:
            self.losses[other] = [at for at in self.losses[other] if now - at >= TOGETHER]
        if not (loss.from_outside or together):
            mine.append(now)
        every = self.lost.setdefault(number, [])
        every.append(now)
        return len(mine) if len(every) < MOST_LOSSES else MOST_LOSSES

    def _finish(self, record: Record) -> None:
        self.standing.pop(record.number, None)
        self.candidates.finish(record)
        self.study.tell(self.proposals.pop(record.number), record)
        self.learnt()

    def _climb(self, record: Record) -> None:
        """Note how far a candidate has come, and tell what that changes."""
        if self.halving is None:
            return
        self.halving.note(record)
        if (trust := self.halving.trust) is None:
            return
        before = {rung.epochs: rung.trusted for rung in self.trusts}
        self.trusts = trust
        for rung in trust:
            if before.get(rung.epochs) != rung.trusted:
                verdict = "early stopping is active there" if rung.trusted else "no candidate is stopped there yet"
                self.say(
                    f"Rung after {rung.epochs} epoch{'s' * (rung.epochs > 1)}: rank correlation {rung.correlation} "
                    "with final scores after removing what costs explain, "
                    f"over {rung.candidates} candidates; {verdict}."
                )

    def _expected(self, halving: Halving) -> dict[int, dict[str, float]]:
        """Expected final metrics of candidates that have not finished: those at their last rung, plus the average gain
        of others from there."""
        expected = {}
        for rung in halving.rungs:
            both = [n for n in rung if n in halving.ended]
            gains = [
                mean(halving.ended[n][i] - rung[n][i] for n in both) if both and name.startswith("score.") else 0.0
                for i, name in enumerate(halving.metrics)
            ]
            for number, values in rung.items():
                hoped = (value + gain for value, gain in zip(values, gains, strict=True))
                expected[number] = dict(zip(halving.metrics, hoped, strict=True))
        return expected


def _failed(job: TrialJob, error: Exception) -> Record:
    """The record of a candidate whose trial was lost or given up."""
    known = running(job.folder) or job.draft
    return known.model_copy(update={"state": "failed", "reason": str(error)})
