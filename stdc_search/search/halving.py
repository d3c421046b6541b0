"""Which candidates are trained on: asynchronous successive halving (Li et al., 2020, arXiv 1810.05934) by Pareto rank
(Schmucker et al., 2021, arXiv 2106.12639), so that a small network is not stopped because a large one is more accurate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stdc_search.ranking import Correlation, front, partial_rank_correlation
from stdc_search.records import Direction, Record
from stdc_search.spec.search import HalvingSpec


class Trust(NamedTuple):
    """How well a rung predicts final scores."""

    epochs: int
    candidates: int
    correlation: Correlation
    """Of scores at the rung and at the end, beside the objectives that training does not change; that of the score
    with the lowest interval. Costs are known without training, so a rung must tell more than they do."""
    trusted: bool


class Halving:
    """Candidates, by their numbers, on their way from rung to rung.

    The first candidates are always trained to the end; they show how well rungs predict final scores. Until then the
    others wait on their first rung. All pass a rung that is not trusted, so they show more.

    Args:
        spec: the rungs, and the share of candidates that continues at each.
        objectives: of the search.
        beside: further metrics, which are noted and not compared.
    """

    def __init__(self, spec: HalvingSpec, objectives: Mapping[str, Direction], beside: Sequence[str] = ()) -> None:
        self.spec, self.metrics = spec, [*objectives, *beside]
        self.directions: list[Direction] = [*objectives.values()]
        self.scored = [i for i, name in enumerate(objectives) if name.startswith("score.")]
        """Indices of the objectives that training changes."""
        self.rungs: list[dict[int, Sequence[float]]] = [{} for _ in spec.rungs]
        """Metrics of the candidates that reached it."""
        self.ended: dict[int, Sequence[float]] = {}
        self.passed: list[set[int]] = [set() for _ in spec.rungs]
        self.begun: list[int] = []
        self.judged: list[Trust] = []
        self.looked = 0
        """Number of candidates that rungs were judged by."""

    def note(self, record: Record) -> None:
        """Note how far a candidate has come. References, repeats and trainings without these rungs are not compared."""
        if record.origin == "reference" or record.repeats is not None:
            return
        if record.state == "complete" and not record.rungs.keys() >= {*self.spec.rungs}:  # another run trained it
            return
        if record.state == "rejected":
            if record.number in self.begun:  # by its measured time
                self.end(record.number, None)
            return
        if record.number not in self.begun:
            self.begin(record.number)
        for epochs, score in record.rungs.items():
            if epochs in self.spec.rungs:
                self.reach(record.number, epochs, self._values(record.model_copy(update={"score": score})))
        if record.state in ("complete", "failed"):
            self.end(record.number, self._values(record) if record.state == "complete" else None)
        elif record.state == "stopped":
            self.leave(record.number)

    def _values(self, record: Record) -> list[float]:
        return [record.metric(name) for name in self.metrics]

    def _objectives(self, several: Iterable[Sequence[float]]) -> list[Sequence[float]]:
        return [values[: len(self.directions)] for values in several]

    def begin(self, number: int) -> None:
        """Note a new candidate, which is trained up to the first rung at first."""
        self.begun.append(number)

    def reach(self, number: int, epochs: int, values: Sequence[float]) -> None:
        """Note a candidate's metrics at the rung after `epochs`; it waits there."""
        place = self.spec.rungs.index(epochs)
        self.rungs[place][number] = values
        for passed in self.passed[:place]:
            passed.add(number)

    def end(self, number: int, values: Sequence[float] | None) -> None:
        """Note a candidate's metrics at the end; none of one that failed or was rejected, with which nobody is
        compared."""
        if values is not None:
            self.ended[number] = values
            for passed in self.passed:
                passed.add(number)
            return
        for rung in self.rungs:
            rung.pop(number, None)
        self.begun.remove(number)

    def leave(self, number: int) -> None:
        """Note a candidate that was stopped: others are compared with it, but it does not continue."""
        for passed in self.passed:
            passed.add(number)

    def promote(self) -> tuple[int, int | None] | None:
        """The next candidate to continue and the epoch until which it is trained (None: to the end); None if there is
        none."""
        trust = self.trust
        for i, rung in reversed([*enumerate(self.rungs)]):
            if trust is None:
                deserving = [number for number in rung if number in self.firsts]
            elif not trust[i].trusted:
                deserving = [*rung]
            else:
                numbers = [*rung]
                ranked = [numbers[k] for k in by_rank(self._objectives(rung.values()), self.directions)]
                deserving = ranked[: int(len(rung) / self.spec.reduction_factor)]
            for number in deserving:
                if number not in self.passed[i]:
                    self.passed[i].add(number)
                    return number, self.spec.rungs[i + 1] if i + 1 < len(self.rungs) else None
        return None

    @property
    def firsts(self) -> list[int]:
        """Those that are trained to the end in any case."""
        return self.begun[: self.spec.probation]

    @property
    def trust(self) -> list[Trust] | None:
        """Whether each rung predicts final scores well enough; None until the first candidates have finished.

        Judged by the candidates that began before the first one that is not at the end, since later ones are chosen by
        their scores at rungs; again with each further one, until the rung is trusted.
        """
        ended = [*takewhile(self.ended.__contains__, self.begun)]
        for count in range(max(self.spec.probation, self.looked + 1), len(ended) + 1):
            old = self.judged or [None] * len(self.rungs)
            self.judged = [
                one if one and one.trusted else self._judge(place, ended[:count]) for place, one in enumerate(old)
            ]
            self.looked = count
        return self.judged or None

    def _judge(self, place: int, ended: Sequence[int]) -> Trust:
        both = (self.rungs[place], self.ended)
        early, late = (np.array(self._objectives(values[number] for number in ended)) for values in both)
        costs = np.delete(late, self.scored, axis=1)
        several = [partial_rank_correlation(early[:, i], late[:, i], costs) for i in self.scored]
        least = min(several, key=lambda correlation: correlation.low)
        return Trust(self.spec.rungs[place], len(ended), least, least.low >= self.spec.least_correlation)


def by_rank(values: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """Indices of points, the best first: those that no other dominates, then those that only these dominate, and so on.

    Among equals the lonelier come first (crowding distance: Deb et al., 2002), where what is positive and minimised
    counts by its ratios.
    """
    points = np.array(values, dtype=float)
    for column, direction in zip(points.T, directions, strict=True):
        if direction == "minimize" and (column > 0).all():
            column[:] = np.log(column)
    left, order = np.arange(len(points)), []
    while len(left):
        best = front(points[left], directions)
        layer = left[best]
        order += layer[np.argsort(-_loneliness(points[layer]), kind="stable")].tolist()
        left = left[~best]
    return order


def _loneliness(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart the neighbours of each point are, over all objectives; infinite at the ends."""
    total = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        total[order[[0, -1]]] = np.inf
        span = column[order[-1]] - column[order[0]] or 1.0
        total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return total
