"""The candidates of a run: each one begins in a folder of its own and ends as a record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from stdc_search.expectation import pooled
from stdc_search.latency import note_machine
from stdc_search.records import Latency, Machine, Record, append
from stdc_search.run_folder import (
    MACHINES,
    RESULTS,
    candidate_folder,
    candidate_folders,
    remove_temporary,
    results,
    running,
)
from stdc_search.search.study import Proposal
from stdc_search.spec.run import RunSpec
from stdc_search.trial.trial import TrialJob, begin, examine


class Candidates:
    """The candidates in a run folder; only this class writes their records.

    Args:
        spec: the run.
        folder: the run's, locked.
        finished: called with each candidate's last record.
        predict: gives the time of a network, or None if it has to be measured.
        data_root: where a relative `data.root` starts.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        finished: Callable[[Record], None],
        *,
        predict: Callable[[RunSpec], Latency | None] | None = None,
        data_root: Path | None = None,
    ) -> None:
        self.spec, self.folder, self.finished, self.data_root = spec, folder, finished, data_root
        self.predict = predict or (lambda _: None)
        self.machine = note_machine(folder / MACHINES)
        self.records = results(folder, spec)
        self._places = {record.number: i for i, record in enumerate(self.records)}

    @property
    def complete(self) -> list[Record]:
        return [record for record in self.records if record.state == "complete"]

    @property
    def rejected_in_a_row(self) -> int:
        """How many of the newest records are rejections."""
        return sum(1 for _ in takewhile(lambda record: record.state == "rejected", reversed(self.records)))

    def unfinished(self) -> list[Record]:
        """Records of candidates that a stopped run was trying, oldest first."""
        known = {record.number for record in self.records}
        begun = {number: running(folder) for number, folder in candidate_folders(self.folder).items()}
        return [record for n, record in begun.items() if record is not None and record.number == n and n not in known]

    def begin(self, proposal: Proposal) -> TrialJob | Record:
        """Make a candidate's folder and return its trial, or the record of a candidate that is rejected."""
        spec = proposal.spec
        draft = Record(
            number=proposal.number,
            state="rejected" if spec is None else "running",
            origin=proposal.origin,
            name=proposal.name,
            repeats=proposal.repeats,
            identity=spec.identity if spec else None,
            values=dict(proposal.values),
            sampler_notes=dict(proposal.notes),
            image_size=(spec or self.spec).image_size,
            reason=proposal.reason,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=self.machine.id,
        )
        if spec is None:
            return draft
        if proposal.known is not None:
            times = {"latency": proposal.known.latency, "latency_also": proposal.known.latency_also}
            draft = draft.model_copy(update=times)
        limits = self.spec.search.limits if self.spec.search and proposal.trial else {}
        draft = examine(spec, draft, limits, self.predict)
        if draft.state == "rejected":
            return draft
        folder = candidate_folder(self.folder, proposal.number).absolute()
        earlier = self._earlier(proposal.number)
        job = TrialJob(spec, folder, draft, limits, self.data_root, first=earlier.trainings if earlier else 0)
        begin(job)
        return job

    def _earlier(self, number: int) -> Record | None:
        """The complete record of a candidate that is trained with more seeds now."""
        return next((record for record in self.complete if record.number == number), None)

    def finish(self, record: Record) -> None:
        """Keep a candidate's last record. Only then remove what the candidate would be resumed from.

        With more seeds, the record is that of all trainings; if these fail, the earlier ones stay.
        """
        earlier = self._earlier(record.number)
        if earlier is not None and record.state == "complete":
            record = with_more_seeds(earlier, record)
        if earlier is None or record.state == "complete":
            self.keep(record)
        remove_temporary(candidate_folder(self.folder, record.number))
        self.finished(record)

    def keep(self, record: Record) -> None:
        """Append a record; it takes the place of an earlier one with its number."""
        append(self.folder / RESULTS, record)
        place = self._places.setdefault(record.number, len(self.records))
        self.records[place : place + 1] = [record]

    def met(self, machine: Machine) -> None:
        """Note the machine that a record comes from."""
        note_machine(self.folder / MACHINES, machine)


def with_more_seeds(earlier: Record, record: Record) -> Record:
    """The record of a network's first trainings and of the further ones, as if all had been trained together."""
    losses = [one.training_loss for one in (earlier, record)]
    steps = dict.fromkeys([*earlier.seconds, *record.seconds])
    changes = {
        "identity": record.identity,
        "training_loss": None if None in losses else tuple(loss for its in losses for loss in its or ()),
        "seconds": {name: round(earlier.seconds.get(name, 0) + record.seconds.get(name, 0), 3) for name in steps},
    }
    return pooled([earlier, record]).model_copy(update=changes)
