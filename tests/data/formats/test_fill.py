"""Pixels inside polygons of whole coordinates. They were compared with OpenCV, which the tests do without."""

from __future__ import annotations

import numpy as np
import pytest

from stdc_search.data.formats.fill import filled

CASES = {
    "a triangle": ([[[0, 0], [6, 2], [1, 5]]], "##..... #####.. ####### .#####. .###... .#....."),
    "crossing edges": ([[[0, 0], [5, 5], [5, 0], [0, 5]]], "#....#. ##..##. ######. ######. ##..##. #....#."),
    "a hole": (
        [[[0, 0], [6, 0], [6, 5], [0, 5]], [[2, 2], [4, 2], [4, 4], [2, 4]]],
        "####### ####### ####### ###.### ####### #######",
    ),
    "outside": ([[[-2, 1], [8, 1], [8, 2], [-2, 2]]], "....... ####### ####### ....... ....... ......."),
    "a point": ([[[3, 2]]], "....... ....... ...#... ....... ....... ......."),
}
"""Contours, and the pixels of `cv2.fillPoly` 5.0.0."""


@pytest.mark.parametrize(("contours", "rows"), CASES.values(), ids=CASES)
def test_pixels_are_those_of_opencv(contours: list[list[list[int]]], rows: str) -> None:
    mask = filled([np.array(contour) for contour in contours], (6, 7))
    assert ["".join(".#"[pixel] for pixel in row) for row in mask.astype(int)] == rows.split()


def test_random_polygons_are_those_of_opencv() -> None:
    """The comparison of docs/data.md; it needs opencv-python-headless, which is not among the development tools."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = (int(side) for side in rng.integers(20, 500, 2))
        points = rng.integers(0, (width, height), (int(rng.integers(1, 40)), 2))
        expected = np.zeros((height, width), np.uint8)
        cv2.fillPoly(expected, [points.astype(np.int32)], 1)
        assert np.array_equal(filled([points], (height, width)), expected)
