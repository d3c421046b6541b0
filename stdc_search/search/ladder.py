"""Networks from small to large, everything scaled together: what a person would try first."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import log
from typing import Any

import numpy as np

from stdc_search.network.cost import count_quickly
from stdc_search.search.space import values_in_space
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import SearchSpec, broken

LADDER = "ladder"
"""Its networks are named `ladder 1`, `ladder 2`, ..., the smallest first."""
STEPS = 200
"""Scales that are looked at."""


def ladder(spec: RunSpec, rungs: int) -> list[dict[str, Any]]:
    """Varied values of `rungs` networks, ordered by cost; fewer if the space has fewer.

    What has an order goes from its least value to its greatest, all at once. Anything else, and what is no part of the
    network, keeps the value of the file's own network if that lies in the space, else its first or its middle one.

    Args:
        spec: a run with a search.
        rungs: how many, spread evenly over the logarithm of the objective that is a cost, else of multiply-adds.
    """
    search = spec.required_search
    metric = next((name for name in search.objectives if name.startswith("cost.")), "cost.macs")
    own = values_in_space(spec, spec.without_search()) or {}
    costs: list[float] = []
    found: list[dict[str, Any]] = []
    count = len(search.vary)
    for step in range(STEPS + 1):
        values = {
            name: _scaled(search, name, step / STEPS, (i + 0.5) / count, own) for i, name in enumerate(search.vary)
        }
        with suppress(SpecError):
            run = spec.candidate(values)
            counts = {f"cost.{name}": n for name, n in count_quickly(run.network, run.image_size)._asdict().items()}
            if not broken(search.limits, counts) and values not in found:
                costs.append(log(counts[metric]))
                found.append(values)
    left = list(range(len(found)))
    chosen = []
    for target in np.linspace(min(costs), max(costs), rungs) if found else []:
        if left:
            chosen.append(min(left, key=lambda i: abs(costs[i] - target)))
            left.remove(chosen[-1])
    return [found[i] for i in sorted(chosen, key=costs.__getitem__)]


def _scaled(search: SearchSpec, name: str, share: float, lead: float, own: Mapping[str, Any]) -> Any:
    """A value so far from the least to the greatest.

    The lead, a part of a step, differs from one varied thing to the next, so that they do not all step at once.
    """
    vary = search.vary[name]
    if not search.paths(name)[0].startswith("network."):
        return own.get(name, vary.position(0.5))
    if not vary.ordered:
        return own.get(name, vary.position(0))
    return vary.position(share, lead)
