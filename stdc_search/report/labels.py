"""Finds places for labels beside crowded dots."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray


def place_label(
    centre: NDArray[np.float64],
    size: NDArray[np.float64],
    gaps: NDArray[np.float64],
    taken: NDArray[np.float64],
    bounds: NDArray[np.float64],
    better: tuple[int, int],
) -> tuple[NDArray[np.float64], bool, float]:
    """Find the place beside a dot where a label covers the least.

    Of equally free places the nearest is used, and of these the one towards the better corner, where a front
    has no dots. All lengths are pixels, boxes are left, bottom, right, top.

    Args:
        gaps: Distances from the dot's centre to the label to be tried, nearest first.
        taken: [boxes, 4] that a label should not cover.
        bounds: Box to stay in.
        better: Signs of the direction of the better corner.

    Returns:
        The label's box, whether it is further away than the first gap, and the share of it that covers something.
    """
    sides = np.array([side for side in product((-1, 0, 1), repeat=2) if any(side)])
    sides = sides[np.argsort(-sides @ np.array(better), kind="stable")]
    unit = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    middles = centre + (gaps[:, None, None] * unit + sides * size / 2).reshape(-1, 2)
    boxes = np.concatenate([middles - size / 2, middles + size / 2], axis=1)
    area = size.prod()
    outside = 1 - _overlap(boxes, bounds[None])[:, 0] / area
    covered = np.minimum(_overlap(boxes, taken).sum(axis=1) / area + outside, 1)
    place = int(np.argmin(covered.round(2)))
    return boxes[place], place >= len(sides), float(covered[place])


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that each box shares with each other: [boxes, others]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)
