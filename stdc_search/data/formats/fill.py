"""The pixels inside polygons of whole coordinates, as OpenCV's `fillPoly` has them to the bit (compared with 5.0.0).

Ultralytics and Supervisely draw with it. The boundary belongs to the polygon: each edge is a line of 8-connected
pixels. Inside, a row is filled between the first crossing and the second, the third and the fourth, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stdc_search.data.drawing import Size

Whole = NDArray[np.int64]
Point = tuple[int, int]
"""(x, y)."""
ONE = 1 << 16
"""Crossings are counted in parts of a pixel."""


def filled(contours: Sequence[Whole], size: Size) -> NDArray[np.bool_]:
    """The pixels of contours (N, 2: x and y), whose crossings count together; what lies outside is cut off."""
    mask = np.zeros(size, bool)
    rows, crossings = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for contour in contours:
        points = [(x, y) for x, y in contour.tolist()]
        for start, end in zip([points[-1], *points[:-1]], points, strict=True):
            visible, cut_start, cut_end = _cut(start, end, size)
            if visible:
                x, y = _line(cut_start, cut_end)
                mask[y, x] = True
            inside = all(0 <= x < size[1] and 0 <= y < size[0] for x, y in (start, end))
            row, crossing = _crossings(start, end, cut_start, cut_end, ONE // 2 if inside else 0)
            rows.append(row)
            crossings.append(crossing)
    return mask | _between(np.concatenate(rows), np.concatenate(crossings), size)


def _crossings(start: Point, end: Point, cut_start: Point, cut_end: Point, shift: int) -> tuple[Whole, Whole]:
    """The rows that an edge crosses, without its last, and where. The slope is that of the part within the image."""
    low, high = (start, end) if start[1] < end[1] else (end, start)
    rows = np.arange(low[1], high[1])
    a, b = (start, end) if cut_start[1] == cut_end[1] else (cut_start, cut_end)
    down = b[1] - a[1]
    slope = 0 if down == 0 else abs(b[0] - a[0]) * ONE // abs(down) * (1 if (b[0] >= a[0]) == (down > 0) else -1)
    from_x, from_y = a if low == start else b
    return rows, from_x * ONE + shift + (rows - from_y) * slope


def _between(rows: Whole, crossings: Whole, size: Size) -> NDArray[np.bool_]:
    """Pixels between every other crossing of a row and the next."""
    height, width = size
    kept = (rows >= 0) & (rows < height)
    order = np.lexsort((crossings[kept], rows[kept]))
    row, crossing = rows[kept][order], crossings[kept][order]
    first = (crossing[::2] + ONE // 2) // ONE
    last = (crossing[1::2] - ONE // 2) // ONE
    seen = (last >= np.maximum(first, 0)) & (first < width)
    changes = np.zeros((height, width + 1), np.int64)
    np.add.at(changes, (row[::2][seen], first[seen].clip(min=0)), 1)
    np.add.at(changes, (row[::2][seen], last[seen].clip(max=width - 1) + 1), -1)
    return changes.cumsum(1)[:, :width] > 0


def _line(start: Point, end: Point) -> tuple[Whole, Whole]:
    """Pixels from the left end of a line to its right end, one step apart on the longer axis."""
    (left, y), (right, end_y) = (end, start) if end[0] < start[0] else (start, end)
    across, down = right - left, abs(end_y - y)
    longer, shorter = max(across, down, 1), min(across, down)
    along = np.arange(max(across, down) + 1)
    beside = np.maximum((2 * shorter * along + longer - 1) // (2 * longer), 0)
    right_by, down_by = (along, beside) if across >= down else (beside, along)
    return left + right_by, y + down_by * (1 if end_y >= y else -1)


def _cut(start: Point, end: Point, size: Size) -> tuple[bool, Point, Point]:
    """Whether a line has a part in the image, and its ends: first cut at the top and bottom, then at the sides."""
    bottom, right = size[0] - 1, size[1] - 1
    (x1, y1), (x2, y2) = start, end
    if (y1 < 0 and y2 < 0) or (y1 > bottom and y2 > bottom) or (x1 < 0 and x2 < 0) or (x1 > right and x2 > right):
        return False, start, end
    if not 0 <= y1 <= bottom:
        edge = 0 if y1 < 0 else bottom
        x1, y1 = x1 + int((edge - y1) * (x2 - x1) / (y2 - y1)), edge
    if not 0 <= y2 <= bottom:
        edge = 0 if y2 < 0 else bottom
        x2, y2 = x2 + int((edge - y2) * (x2 - x1) / (y2 - y1)), edge
    if (x1 < 0 and x2 < 0) or (x1 > right and x2 > right):
        return False, (x1, y1), (x2, y2)
    if not 0 <= x1 <= right:
        edge = 0 if x1 < 0 else right
        y1, x1 = y1 + int((edge - x1) * (y2 - y1) / (x2 - x1)), edge
    if not 0 <= x2 <= right:
        edge = 0 if x2 < 0 else right
        y2, x2 = y2 + int((edge - x2) * (y2 - y1) / (x2 - x1)), edge
    return True, (x1, y1), (x2, y2)
