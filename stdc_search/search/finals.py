"""The finals of a search: chooses the networks to train again and proposes them to the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stdc_search.errors import UserError
from stdc_search.expectation import expected, networks
from stdc_search.expectation.process import Floats
from stdc_search.ranking import compressed, hypervolume, reference_point
from stdc_search.records import Direction, Record
from stdc_search.run_folder import WEIGHTS, candidate_folder
from stdc_search.search.study import Proposal
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import SearchSpec

DRAWS = 50
"""Joint draws of all scores that the choice of finalists looks at."""


def finalists(records: Sequence[Record], search: SearchSpec) -> list[Record]:
    """The networks of a search's finals, in the order of their numbers: its start networks and the most promising.

    Networks are chosen one by one. Each has the largest expected gain in hypervolume over those already chosen, so they
    spread over the front. Rungs of a ladder compete, too.

    Args:
        records: complete ones.
        search: the search; without finals the result is empty.
    """
    if search.finals is None or not search.finals.networks:
        return []
    several = networks(records)
    chosen = [one[0] for one in several if one[0].origin == "reference"]
    inside = [one for one in several if one[0].origin != "reference"]
    if inside:
        starts = {start.name for start in search.networks}
        found = expected(inside, search)
        hopeful = [inside[i][0] for i in found.drawn]
        named = [i for i, record in enumerate(hopeful) if record.name in starts]
        directions: list[Direction] = [*search.objectives.values()]
        count, probability = search.finals.networks, found.probability[found.drawn]
        picked = _most_promising(found.draws, probability, directions, named, count, found.eligible)
        chosen += [hopeful[i] for i in picked]
    return sorted(chosen, key=lambda record: record.number)


def _most_promising(
    draws: Floats,
    probability: Floats,
    directions: Sequence[Direction],
    chosen: Sequence[int],
    count: int,
    eligible: NDArray[np.bool_] | None = None,
) -> list[int]:
    """Indices of the chosen networks and of further ones.

    Args:
        draws: [draws, networks, objectives].
        probability: of being on the front, [networks].
        directions: of the objectives.
        chosen: networks that are chosen already.
        count: number of networks to add.
        eligible: whether a network could be on the front in a draw, [draws, networks]; default: all could.
    """
    every = slice(None, None, max(len(draws) // DRAWS, 1))
    some = compressed(draws[every], directions)
    reference = reference_point(some, directions)
    if eligible is not None and eligible[every].any():  # else longer trainings may still make some eligible
        some = np.where(eligible[every][..., None], some, np.nan)

    def volume(indices: Sequence[int]) -> float:
        return float(hypervolume(some[:, [*indices]], reference, directions).sum())

    picked = [*chosen]
    left = np.argsort(-probability, kind="stable").tolist()
    for _ in range(min(count, len(left) - len(picked))):
        picked.append(max((i for i in left if i not in picked), key=lambda i: volume([*picked, i])))
    return picked


class Finals:
    """Proposes finalists to the driver, each once, as `Study` proposes candidates.

    Args:
        spec: the run of the finals.
        finalists: records of the search.
        records: of finished finals.
        folder: the search's run folder, which has the weights for `warm_start`.

    Raises:
        UserError: weights for `warm_start` are missing.
    """

    def __init__(self, spec: RunSpec, finalists: Sequence[Record], records: Iterable[Record], folder: Path) -> None:
        self.spec, self.search, self.folder = spec, spec.required_search, folder
        self.finalists = {record.number: record for record in finalists}
        self.records = {record.number: record for record in records}
        self.begun = {number for number, record in self.records.items() if not self.lacks(record)}
        self.warm = self.search.finals is not None and self.search.finals.warm_start
        for number in self.finalists.keys() - self.begun if self.warm else ():
            if not (weights := candidate_folder(folder, number) / WEIGHTS).is_file():
                raise UserError(f"{weights} is missing, and `warm_start` needs it; restore it, or give a new --out")

    def lacks(self, record: Record) -> int:
        """The number of seeds that a finalist is still to be trained with."""
        assert self.spec.training is not None
        return len(self.spec.training.seeds) - record.trainings if record.state == "complete" else 0

    def propose(self) -> Proposal | None:
        """The next finalist; none if all are done or tried now."""
        left = (record for number, record in self.finalists.items() if number not in self.begun)
        return self.go_on(record) if (record := next(left, None)) else None

    def go_on(self, record: Record) -> Proposal:
        """The proposal of a finalist, by its record of the search or of the finals."""
        self.begun.add(record.number)
        known = self.finalists.get(record.number)
        return Proposal(record.number, record.values, self.run_of(record), record.origin, record.name, known=known)

    def tell(self, proposal: Proposal, record: Record) -> None:
        """Note a finished finalist."""
        self.records[record.number] = record

    smallest_first = False
    """Finals have no ladder."""

    def relearn(self, expected: Mapping[int, Mapping[str, float]], waiting: Mapping[int, Record]) -> None:
        """Does nothing, since finals have no sampler."""

    def run_of(self, record: Record) -> RunSpec:
        """The run of a finalist, by its record of the search or of the finals."""
        starts = {start.name: start for start in self.search.networks}
        if record.origin == "reference" and record.name in starts:
            run = self.spec.start_candidate(starts[record.name])
        else:
            run = self.spec.candidate(record.values)
        weights = candidate_folder(self.folder, record.number) / WEIGHTS
        return replace(run, {"training.start_from": weights.absolute()}) if self.warm else run
