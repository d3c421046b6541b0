"""Known objectives of candidates before they are tried: their costs, and their times predicted by a table."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from stdc_search.latency.predictor import UnknownPartError
from stdc_search.network.cost import count_quickly
from stdc_search.records import Latency
from stdc_search.search.known_cost.pool import grid
from stdc_search.search.space import COSTS, ILLEGAL, SEVERAL, count_many, maker
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import broken

TIME = "latency.median_ms"


class KnownObjectives:
    """Objectives of candidates, as far as they are known, in their order; none of a candidate that breaks a limit, or
    has a part that is not in the table of times.

    Args:
        spec: a run with a search.
        distributions: Optuna's, of the varied things.
        value: name and Optuna's parameter -> varied value.
        predict: gives times, if there is a table.
    """

    def __init__(
        self,
        spec: RunSpec,
        distributions: Mapping[str, BaseDistribution],
        value: Callable[[str, Any], Any],
        predict: Callable[[RunSpec], Latency | None] | None = None,
    ) -> None:
        self.spec, self.search, self.predict = spec, spec.required_search, predict
        grids = {name: grid(one) for name, one in distributions.items()}
        self.options = {name: [value(name, parameter) for parameter in grids[name]] for name in self.search.vary}
        self.index = {name: {parameter: i for i, parameter in enumerate(each)} for name, each in grids.items()}
        self.make = maker(spec, self.options)
        self.least: dict[str, float] = {}
        """The least figure that was seen, by the metric that has a limit."""

    def __call__(self, many: Sequence[Mapping[str, Any]]) -> list[tuple[float | None, ...] | None]:
        rows = np.array([[self.index[name][one[name]] for name in self.options] for one in many], dtype=np.intp)
        rows = rows.reshape(len(many), len(self.options))
        if self.predict is None and len(many) > SEVERAL:
            counts = count_many(self.spec, self.options, rows, os.cpu_count() or 1)
            found = [None if one[0] == ILLEGAL else dict(zip(COSTS, one, strict=True)) for one in counts.tolist()]
        else:
            found = [self._figures(row) for row in rows]
        for name in self.search.limits:
            self.least[name] = min(
                [self.least.get(name, math.inf), *(one[name] for one in found if one and name in one)]
            )
        return [self._answer(one) for one in found]

    def _figures(self, row: Any) -> dict[str, float] | None:
        with suppress(SpecError, UnknownPartError):
            run = self.make(row.tolist())
            figures: dict[str, float] = dict(zip(COSTS, count_quickly(run.network, run.image_size), strict=True))
            if self.predict is not None:
                latency = self.predict(run)
                if latency is None:
                    return None
                figures[TIME] = latency.median_ms
            return figures
        return None

    def _answer(self, figures: Mapping[str, float] | None) -> tuple[float | None, ...] | None:
        if figures is None or broken(self.search.limits, figures):
            return None
        return tuple(figures.get(name) for name in self.search.objectives)
