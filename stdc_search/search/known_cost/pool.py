"""The points of a search space, and the acceptable ones among them with their known objectives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from scipy.stats import qmc

from stdc_search.expectation.process import Floats

ENUMERATED = 1_000_000
DRAWN = 100_000
"""Points of the pool, where a space is larger than that, or infinite."""
LOOKED_AT = 2_000
"""Points of the pool that a proposal is chosen among, with the neighbours of the front."""
STEPS = 1024
"""Values that a continuous parameter is thought to have."""

Row = NDArray[np.intp]
"""Index of the choice in each parameter's grid."""


class Space:
    """Parameters as indices of grids; a continuous one has a fine one."""

    def __init__(self, distributions: Mapping[str, BaseDistribution], unordered: Collection[str] = ()) -> None:
        self.distributions = dict(sorted(distributions.items()))
        self.grids = [grid(one) for one in self.distributions.values()]
        self.sizes = [len(grid) for grid in self.grids]
        self.finite = not any(
            isinstance(one, FloatDistribution) and one.step is None and not one.single()
            for one in self.distributions.values()
        )
        self.columns = [
            _columns(one, values, name not in unordered)
            for (name, one), values in zip(self.distributions.items(), self.grids, strict=True)
        ]

    def parameters(self, row: Row) -> dict[str, Any]:
        return {name: values[i] for name, values, i in zip(self.distributions, self.grids, row.tolist(), strict=True)}

    def row(self, parameters: Mapping[str, Any]) -> Row:
        """The nearest point of the grids."""
        return np.array(
            [
                values.index(parameters[name])
                if isinstance(one, CategoricalDistribution)
                else _nearest(values, parameters[name])
                for (name, one), values in zip(self.distributions.items(), self.grids, strict=True)
            ],
            dtype=np.intp,
        )

    @property
    def enumerated(self) -> bool:
        """Whether `rows` gives all points."""
        return self.finite and prod(self.sizes) <= ENUMERATED

    def rows(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """All points, in the order of their indices, or a sample in which each value of a parameter is as frequent."""
        if self.enumerated:
            return np.stack(np.unravel_index(np.arange(prod(self.sizes)), self.sizes), axis=1)
        unit = qmc.LatinHypercube(len(self.sizes), rng=rng).random(DRAWN)
        return (unit * self.sizes).astype(np.intp)

    def features(self, rows: NDArray[np.intp]) -> Floats:
        """[points, dimensions], each 0 to 1; a choice that has no order has a dimension a value."""
        return np.concatenate([columns[rows[:, i]] for i, columns in enumerate(self.columns)], axis=1)

    def neighbours(self, rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        """Points that differ in one parameter: by a step of its grid, or in a random value; and by one of each."""
        found = []
        for i, size in enumerate(self.sizes):
            if size == 1:
                continue
            for value in ({-1, 1} if self.columns[i].shape[1] == 1 else set()) | {0}:
                moved = rows.copy()
                moved[:, i] = moved[:, i] + value if value else rng.integers(size, size=len(rows))
                found.append(moved[(moved[:, i] >= 0) & (moved[:, i] < size)])
        return np.unique(np.concatenate([rows, *found]), axis=0)


class Pool:
    """Acceptable points with their known objectives. All objectives are minimised here."""

    def __init__(
        self,
        space: Space,
        directions: Sequence[StudyDirection],
        rows: NDArray[np.intp],
        known_of_many: Callable[[Sequence[Mapping[str, Any]]], Sequence[Sequence[float | None] | None]],
    ) -> None:
        self.space, self.known_of_many = space, known_of_many
        self.signs = np.array([-1.0 if one == StudyDirection.MAXIMIZE else 1.0 for one in directions])
        answers = known_of_many([space.parameters(row) for row in rows])
        some = next((answer for answer in answers if answer is not None), [None] * len(directions))
        self.unknown = [i for i, value in enumerate(some) if value is None]
        self.given = [i for i, value in enumerate(some) if value is not None]
        wanted = np.array([answer is not None for answer in answers], dtype=bool)
        values = np.array([[answer[i] for i in self.given] for answer in answers if answer is not None], dtype=float)
        self.looked_at = len(rows)
        self.rows = rows[wanted]
        # Costs that are positive, and lower ones better, count by their ratios.
        values = values.reshape(len(self.rows), len(self.given))
        self.logs = (values > 0).all(0) & (self.signs[self.given] > 0)
        self.costs = self.scaled(values)
        self.orders = [np.argsort(cost, kind="stable") for cost in self.costs.T]
        self._places = np.where(wanted, np.cumsum(wanted) - 1, -1) if space.enumerated else None
        """Index of each point of the space among the acceptable ones; -1 for others."""

    def scaled(self, values: Floats) -> Floats:
        """Known values, in the study's order, as they are compared."""
        values = np.where(self.logs, np.log(np.where(self.logs, values, 1).clip(1e-300)), values)
        return values * self.signs[self.given]

    def look_up(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
        """The acceptable points among some, and their known objectives."""
        if self._places is not None:  # all were asked for already
            places = self._places[np.ravel_multi_index(tuple(rows.T), self.space.sizes)]
            return rows[places >= 0], self.costs[places[places >= 0]]
        answers = self.known_of_many([self.space.parameters(row) for row in rows])
        wanted = np.array([answer is not None for answer in answers], dtype=bool)
        values = np.array([[answer[i] for i in self.given] for answer in answers if answer is not None], dtype=float)
        return rows[wanted], self.scaled(values.reshape(wanted.sum(), len(self.given)))

    def features(self, rows: NDArray[np.intp], costs: Floats) -> Floats:
        low, high = self.costs.min(0), self.costs.max(0)
        return np.concatenate([self.space.features(rows), (costs - low) / np.where(high > low, high - low, 1)], axis=1)

    def stratified(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Indices of points whose costs, one after another, are spread evenly."""
        if len(self.rows) <= LOOKED_AT:
            return np.arange(len(self.rows))
        chosen = [rng.integers(len(self.rows), size=LOOKED_AT // 2)]
        for cost, order in zip(self.costs.T, self.orders, strict=True):
            targets = rng.uniform(cost[order[0]], cost[order[-1]], LOOKED_AT // 2 // self.costs.shape[1])
            chosen.append(order[np.searchsorted(cost[order], targets).clip(max=len(order) - 1)])
        return np.unique(np.concatenate(chosen))


def grid(distribution: BaseDistribution, steps: int = STEPS) -> Sequence[Any]:
    """The values of a parameter; `steps` values of a continuous one."""
    match distribution:
        case CategoricalDistribution():
            return list(distribution.choices)
        case IntDistribution():
            return list(range(distribution.low, distribution.high + 1, distribution.step))
        case FloatDistribution(low=low, high=high, step=step, log=log):
            if low == high:
                return [low]
            if step is not None:
                return [low + i * step for i in range(round((high - low) / step) + 1)]
            spread = np.geomspace(low, high, steps) if log else np.linspace(low, high, steps)
            return spread.clip(low, high).tolist()
    raise ValueError(f"{distribution} is not a categorical, int or float distribution of Optuna")


def _columns(distribution: BaseDistribution, values: Sequence[Any], numeric: bool) -> Floats:
    """The coordinates of each value of a grid: one if values have an order, else one per value."""
    if len(values) == 1:
        return np.zeros((1, 0))
    if not numeric or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return np.eye(len(values)) / np.sqrt(2)
    steps = np.array(values, dtype=float)
    if isinstance(distribution, CategoricalDistribution) or getattr(distribution, "log", False):
        steps = np.argsort(np.argsort(steps)).astype(float)
    return ((steps - steps.min()) / (steps.max() - steps.min()))[:, None]


def _nearest(values: Sequence[Any], value: float) -> int:
    return int(np.abs(np.array(values, dtype=float) - value).argmin())
