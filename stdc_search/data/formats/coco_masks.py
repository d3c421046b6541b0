"""The pixels of COCO's polygons and run-length encodings (RLE).

They are those of pycocotools to the bit; a test compares them. We do not call it, because a malformed RLE makes it read
and write outside its memory (version 2.0.11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.data.drawing import Size, check_points

UPSAMPLING = 5
"""Polygons are traced on a grid that is finer by this factor."""


def mask_of(geometry: Any, size: Size) -> NDArray[np.bool_]:
    """The pixels of an annotation: those of any of its polygons, or of its RLE."""
    if isinstance(geometry, Mapping):
        if tuple(geometry["size"]) != size:
            height, width = geometry["size"]
            raise ValueError(f"has an RLE of {height} x {width}, but the image is {size[0]} x {size[1]}")
        counts = geometry["counts"]
        return rle_mask(counts_of(counts) if isinstance(counts, str) else counts, size)
    if not geometry:
        raise ValueError("has no `segmentation`, only a box; export masks or polygons")
    mask = np.zeros(size, bool)
    for polygon in geometry:
        if len(polygon) % 2:
            raise ValueError(f"has a polygon of {len(polygon)} numbers; points have two each")
        mask |= polygon_mask(check_points(polygon, size, least=3), size)
    return mask


def polygon_mask(points: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """The pixels of one polygon, N, 2, as pycocotools has them.

    The boundary is traced on a finer grid. Where it passes from one column of pixels to another, the pixels below
    change sides.
    """
    height, width = size
    start = (UPSAMPLING * points + 0.5).astype(np.int64)  # rounds towards 0, as C does
    end = np.roll(start, -1, axis=0)
    u, v = _traced(start, end)
    crossing = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = (np.minimum(u[crossing], u[crossing - 1]) + 0.5) / UPSAMPLING - 0.5
    y = (np.minimum(v[crossing], v[crossing - 1]) + 0.5) / UPSAMPLING - 0.5
    kept = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
    mask = np.zeros(size, bool)
    if not kept.any():
        return mask
    column = x[kept].astype(np.int64)
    first, last = column.min(), min(column.max() + 1, width - 1)  # the lowest place of a column is the next one's top
    flips = (column - first) * height + np.ceil(y[kept].clip(0, height)).astype(np.int64)
    counts = np.bincount(flips, minlength=(last - first + 1) * height)[: (last - first + 1) * height]
    sides = np.cumsum(counts.astype(np.uint8), dtype=np.uint8) & 1  # a sum that overflows keeps its parity
    mask[:, first : last + 1] = sides.reshape(-1, height).T
    return mask


def _traced(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Points of the grid along the edges, both ends included, one step apart on the longer axis of each."""
    steps = np.abs(end - start)
    longer = np.where(steps[:, 0] >= steps[:, 1], 0, 1)
    rows = np.arange(len(start))
    length = steps[rows, longer]
    flipped = start[rows, longer] > end[rows, longer]  # each edge is traced upwards, whatever its direction
    low, high = np.where(flipped[:, None], end, start), np.where(flipped[:, None], start, end)
    slope = (high - low)[rows, 1 - longer] / np.maximum(length, 1)

    edge = np.repeat(rows, length + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(length + 1) - (length + 1), length + 1)
    step = np.where(flipped[edge], length[edge] - step, step)
    along = low[edge, longer[edge]] + step
    across = (low[edge, 1 - longer[edge]] + slope[edge] * step + 0.5).astype(np.int64)
    flat = longer[edge] == 0
    return np.where(flat, along, across), np.where(flat, across, along)


def counts_of(text: str) -> list[int]:
    """Run lengths of a compressed RLE: each in groups of 5 bits, from the third on as a difference to that before last.

    Raises:
        ValueError: the text is not of this form.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for char in text:
        bits = ord(char) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("has a compressed RLE with characters that cannot occur; export it again")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift or any(count < 0 for count in counts):
        raise ValueError("has a compressed RLE that ends too early or has negative runs; export it again")
    return counts


def rle_mask(runs: Sequence[int], size: Size) -> NDArray[np.bool_]:
    """The pixels of runs of 0 and 1 in turn, down the columns.

    Raises:
        ValueError: the runs do not cover the image.
    """
    height, width = size
    if sum(runs) != height * width:
        raise ValueError(f"has an RLE of {sum(runs)} pixels, but the image has {height} x {width} = {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
