"""Pixels of polygons and run-length encodings, against pycocotools."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdc_search.data.formats.coco_masks import counts_of, mask_of

sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))
points = st.lists(st.tuples(st.floats(-2, 31), st.floats(-2, 31)), min_size=3, max_size=9)
whole = st.lists(st.tuples(st.integers(-2, 31), st.integers(-2, 31)), min_size=3, max_size=9)


def decoded(geometry: object, size: tuple[int, int]) -> np.ndarray:
    parts = pycocotools.mask.frPyObjects(geometry, *size)
    return pycocotools.mask.decode(pycocotools.mask.merge(parts) if isinstance(parts, list) else parts).astype(bool)


@given(st.tuples(st.integers(29, 40), st.integers(29, 40)), st.lists(points | whole, min_size=1, max_size=3))
def test_polygons_are_those_of_pycocotools(size: tuple[int, int], polygons: list[list[tuple[float, float]]]) -> None:
    geometry = [[float(value) for point in polygon for value in point] for polygon in polygons]
    assert np.array_equal(mask_of(geometry, size), decoded(geometry, size))


@given(sizes, st.randoms(use_true_random=False))
def test_both_forms_of_rle_are_those_of_pycocotools(size: tuple[int, int], random: object) -> None:
    mask = np.array([random.random() < 0.4 for _ in range(size[0] * size[1])]).reshape(size)  # pyright: ignore
    rle = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = rle["counts"].decode()
    assert np.array_equal(mask_of({"size": size, "counts": text}, size), mask)
    assert np.array_equal(mask_of({"size": size, "counts": counts_of(text)}, size), mask)


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        ([], "has no `segmentation`, only a box; export masks or polygons"),
        ([[1, 2, 3, 4]], "has 2 points, but needs at least 3"),
        ([[1, 2, 3, 4, 5, 6, 7]], "has a polygon of 7 numbers; points have two each"),
        ([[1, 2, 3, 4, 50, 6]], r"has the point \(50, 6\), outside the image of 12 x 10 \(width x height\)"),
        ({"size": (12, 10), "counts": [120]}, "has an RLE of 12 x 10, but the image is 10 x 12"),
        ({"size": (10, 12), "counts": [60, 61]}, "has an RLE of 121 pixels, but the image has 10 x 12 = 120"),
        ({"size": (10, 12), "counts": [0]}, "has an RLE of 0 pixels, but the image has 10 x 12 = 120"),
        ({"size": (10, 12), "counts": ""}, "has an RLE of 0 pixels"),
        ({"size": (10, 12), "counts": "abc "}, "has a compressed RLE with characters that cannot occur"),
        ({"size": (10, 12), "counts": "zzzz"}, "has a compressed RLE with characters that cannot occur"),
        ({"size": (10, 12), "counts": "`" * 50}, "has a compressed RLE with characters that cannot occur"),
        ({"size": (10, 12), "counts": "l"}, "has a compressed RLE that ends too early or has negative runs"),
        ({"size": (10, 12), "counts": "O"}, "has a compressed RLE that ends too early or has negative runs"),
    ],
)
def test_geometries_that_cannot_be_meant_are_refused(geometry: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mask_of(geometry, (10, 12))
