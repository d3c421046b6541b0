"""By how much a candidate is expected to add to a front, where all but one of its objectives are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from stdc_search.expectation.process import Floats
from stdc_search.ranking import front


def expected_improvement(
    mean: Floats, deviation: Floats, spots: Floats, level: Floats, others: Floats, worst: float, reference: Floats
) -> Floats:
    """Expected growth of the hypervolume by candidates with one normally distributed objective; all are minimised.

    In the space of the known objectives each cell between the coordinates of the front has a level that a candidate
    has to go below; the improvement is the sum, over the cells that it dominates, of their size times how far it goes.

    Args:
        mean: of the unknown objective, [candidates].
        deviation: its standard deviation.
        spots: known objectives, [candidates, known].
        level: the unknown objective of what is there, [points]; the fewer are dominated, the quicker it is.
        others: their known ones, [points, known].
        worst: reference of the unknown objective.
        reference: of the known ones, [known].
    """
    known = spots.shape[1]
    if not known:
        return _below(mean, deviation, min(float(level.min(initial=worst)), worst))
    inside = (others < reference).all(1) & (level < worst)
    others, level = others[inside], level[inside]
    edges = [np.unique(np.append(others[:, i], -np.inf)) for i in range(known)]
    bests = np.full([len(each) for each in edges], worst)
    place = tuple(np.searchsorted(edges[i], others[:, i]) for i in range(known))
    np.minimum.at(bests, place, level)
    for axis in range(known):
        bests = np.minimum.accumulate(bests, axis=axis)
    weights = np.ones((len(spots), 1))
    for i, each in enumerate(edges):
        ends = np.append(each[1:], reference[i])
        lengths = (ends - np.maximum(each, spots[:, i : i + 1])).clip(0)
        weights = (weights[:, :, None] * lengths[:, None, :]).reshape(len(spots), -1)
    levels, cell = np.unique(bests.ravel(), return_inverse=True)
    gains = np.stack([_below(mean, deviation, one) for one in levels], axis=1)
    return (weights * gains[:, cell]).sum(1)


def undominated(known: Floats, level: Floats) -> NDArray[np.bool_]:
    """Which points no other dominates, in the known objectives and the unknown one."""
    points = np.column_stack([known, level])
    return front(points, ["minimize"] * points.shape[1])


def _below(mean: Floats, deviation: Floats, level: float) -> Floats:
    """How far a normal variable is expected to be below a level, counting 0 where it is above."""
    z = (level - mean) / deviation
    return (level - mean) * ndtr(z) + deviation * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def beyond(values: Floats) -> Floats:
    """A reference that is worse than all values, by a tenth of their range."""
    return values.max(0) + 0.1 * (values.max(0) - values.min(0))
