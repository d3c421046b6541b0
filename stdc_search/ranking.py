"""Points with several objectives: Pareto front, hypervolume and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from stdc_search.records import Direction


def front(points: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.bool_]:
    """Tell which points no other point dominates.

    One point dominates another if it is nowhere worse and somewhere better, so of equal points all stay.

    Args:
        points: [points, objectives]; a point with a NaN is not on the front and dominates none.
        directions: One an objective.

    Returns:
        Mask over the points.
    """
    costs = _to_minimize(points, directions)
    mask = np.asarray(~np.isnan(costs).any(axis=1))
    if costs.shape[1] == 2:
        mask[mask] = _front_of_two(costs[mask])
    else:
        different, which = np.unique(costs[mask], axis=0, return_inverse=True)
        mask[mask] = _undominated(different)[which.ravel()]
    return mask


def _front_of_two(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The same for two costs: in the order of the first one, the second falls along the front."""
    order = np.lexsort(costs.T[::-1])
    first, second = costs[order].T
    best = np.minimum.accumulate(second)
    better = np.concatenate([[True], second[1:] < best[:-1]])[: len(order)]
    latest = np.maximum.accumulate(np.where(better, np.arange(len(order)), 0))
    mask = np.empty(len(order), dtype=bool)
    mask[order] = (second == best) & (first == first[latest])  # the latest better one, and those equal to it
    return mask


def _undominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of points that all differ, in lexical order, no other dominates: one that dominates another precedes it."""
    best = np.empty_like(costs)
    mask, found = np.zeros(len(costs), dtype=bool), 0
    for i, point in enumerate(costs):
        if not (best[:found] <= point).all(axis=1).any():
            best[found], mask[i], found = point, True, found + 1
    return mask


def hypervolume(points: ArrayLike, reference: Sequence[float], directions: Sequence[Direction]) -> NDArray[np.float64]:
    """Volumes of what sets of points dominate, up to the reference.

    Exact, by slicing along the last objective: for n points n log n steps with two objectives, n times as many for
    each further one.

    Args:
        points: [..., points, objectives]; those that do not beat the reference in every objective add nothing.
        reference: One value per objective.
        directions: One an objective.

    Returns:
        [...]; of one set a single number.
    """
    bounds = _to_minimize([reference], directions)[0]
    costs = _to_minimize(points, directions)
    if costs.ndim == 2:  # of many points most are dominated
        costs = costs[front(points, directions)]
    return _dominated_volume(np.fmin(costs, bounds), bounds)  # a NaN counts as the reference


def _dominated_volume(costs: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for costs, none above the bounds."""
    if not costs.shape[-2]:
        return np.zeros(costs.shape[:-2])
    if len(bounds) == 1:
        return bounds[0] - costs[..., 0].min(-1)
    costs = np.take_along_axis(costs, np.argsort(costs[..., -1:], axis=-2, kind="stable"), axis=-2)
    heights = np.diff(costs[..., -1], append=np.full([*costs.shape[:-2], 1], bounds[-1]))
    if len(bounds) == 2:
        return (heights * (bounds[0] - np.minimum.accumulate(costs[..., 0], axis=-1))).sum(-1)
    slices = [_dominated_volume(costs[..., : i + 1, :-1], bounds[:-1]) for i in range(costs.shape[-2])]
    return (heights * np.stack(slices, axis=-1)).sum(-1)


MARGIN = 0.25
"""Distance of a reference point from the worst values, as a share of their range. With a quarter, the ends of a front,
among them the most accurate network, count as much as networks in its middle."""


def compressed(points: NDArray[np.float64], directions: Sequence[Direction]) -> NDArray[np.float64]:
    """Points with logarithms in place of minimised objectives that are all positive, such as times.

    So half of the time is worth as much for a slow network as for a fast one.

    Args:
        points: [..., objectives].
        directions: One an objective.
    """
    columns = [
        np.log(column) if direction == "minimize" and (column > 0).all() else column
        for column, direction in zip(np.moveaxis(points, -1, 0), directions, strict=True)
    ]
    return np.stack(columns, axis=-1)


def reference_point(points: NDArray[np.float64], directions: Sequence[Direction]) -> list[float]:
    """A reference for hypervolumes: beyond the worst of points by MARGIN of their range.

    Args:
        points: [..., objectives].
        directions: One an objective.
    """
    flat = points.reshape(-1, points.shape[-1])
    lowest, highest = flat.min(0), flat.max(0)
    extent = highest - lowest
    margin = np.where(extent > 0, MARGIN * extent, 1.0)  # else a volume would be 0 where all values are equal
    minimized = np.array([direction == "minimize" for direction in directions])
    return np.where(minimized, highest + margin, lowest - margin).tolist()


def _to_minimize(points: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.float64]:
    """Points with maximised objectives negated: [..., points, objectives], smaller is better."""
    values = np.asarray(points, dtype=np.float64)
    if values.shape == (0,):
        return np.empty((0, len(directions)))
    if values.ndim < 2 or values.shape[-1] != len(directions):
        raise ValueError(
            f"points of shape {list(values.shape)} do not fit {len(directions)} directions; "
            f"give [points, {len(directions)}]"
        )
    return values * [1.0 if direction == "minimize" else -1.0 for direction in directions]


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where the values of either are all equal.

    Args:
        first: [candidates], or [candidates, scores].
        second: Of the same shape. With several scores the least correlation counts.
    """
    ranks = pd.DataFrame(first).rank(), pd.DataFrame(second).rank()
    return float(ranks[0].corrwith(ranks[1]).min(skipna=False))


class Correlation(NamedTuple):
    """A rank correlation and the ends of its 95 % interval. If it is unknown: NaN, -1 and 1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "unknown" if math.isnan(self.value) else f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def partial_rank_correlation(first: ArrayLike, second: ArrayLike, beside: ArrayLike) -> Correlation:
    """Spearman's rank correlation of two columns after removing what others explain.

    The interval is Fisher's, with the variance that Fieller, Hartley and Pearson (1957) give for ranks.

    Args:
        first: [candidates].
        second: [candidates].
        beside: [candidates, others]; may have no columns.
    """
    ranks = pd.DataFrame(np.column_stack([first, second, beside])).rank().to_numpy()
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    left = [ranked - design @ np.linalg.lstsq(design, ranked, rcond=None)[0] for ranked in ranks[:, :2].T]
    freedom = len(design) - design.shape[1] - 2
    lengths = [np.linalg.norm(one) for one in left]
    if freedom < 1 or min(lengths) < 1e-6 * len(design):
        return Correlation(math.nan, -1.0, 1.0)
    value = float(np.clip(left[0] @ left[1] / (lengths[0] * lengths[1]), -1, 1))
    middle = np.arctanh(np.clip(value, -1 + 1e-9, 1 - 1e-9))
    reach = 1.96 * math.sqrt(1.06 / freedom)
    return Correlation(value, float(np.tanh(middle - reach)), float(np.tanh(middle + reach)))
