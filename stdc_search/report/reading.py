"""What a run's folder holds, as all reports read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from stdc_search import records
from stdc_search.records import Direction, Record
from stdc_search.report.candidates import candidates
from stdc_search.run_folder import (
    FINALS,
    RESULTS,
    SPEC,
    candidate_folder,
    check_own,
    check_run_folder,
    is_of_finals,
    results,
)
from stdc_search.spec.run import RunSpec, load


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """The results of a search, of its finals, or of a single network."""

    folder: Path
    run: RunSpec
    records: Sequence[Record]
    """All of them; see `complete`."""

    @property
    def complete(self) -> list[Record]:
        """The records of trained candidates; without a training, of those that were counted and timed."""
        return [record for record in self.records if record.state == "complete"]

    @property
    def objectives(self) -> dict[str, Direction]:
        """Those of the search; empty without one."""
        return {**self.run.search.objectives} if self.run.search else {}

    @property
    def are_finals(self) -> bool:
        """Whether these are the finals of a search."""
        return is_of_finals(self.folder)

    @property
    def name(self) -> str:
        """The name of the run's folder; finals are called as the run that they belong to."""
        return (self.folder.parent if self.are_finals else self.folder).resolve().name

    @cached_property
    def before(self) -> list[Record]:
        """The complete records of the search, for its finals."""
        found = records.read(self.folder.parent / RESULTS) if self.are_finals else []
        return [record for record in found if record.state == "complete"]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every trained candidate with every figure (`candidates.candidates`); empty if there is none."""
        if not self.complete:
            return pd.DataFrame()
        return candidates(self.complete, self.objectives, self.run, self.before)

    @cached_property
    def finals(self) -> Results | None:
        """The finals of this search, if at least one network of them is trained."""
        if not (self.folder / FINALS / SPEC).is_file():
            return None
        finals = read_results(self.folder / FINALS)
        return finals if finals.complete else None

    @property
    def left(self) -> pd.DataFrame:
        """The rows of `frame` whose network's folder was not removed."""
        frame = self.frame
        return frame if frame.empty else frame.loc[[self.spec_of(number).is_file() for number in frame["number"]]]

    def spec_of(self, number: int) -> Path:
        """The file of a network's spec, which runs by itself."""
        return candidate_folder(self.folder, number) / SPEC


def read_results(folder: Path) -> Results:
    """Read a run's folder.

    Raises:
        UserError: the folder is not a run folder.
    """
    check_run_folder(folder)
    check_own(folder)
    run = load(folder / SPEC)
    return Results(folder, run, results(folder, run))
