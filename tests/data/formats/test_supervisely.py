"""Supervisely's projects."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stdc_search.data import DataError
from stdc_search.data.formats.supervisely import mask_of
from tests.data.formats.conftest import Opened

Edit = Callable[[list[dict[str, Any]]], object]
FAULTS: dict[str, tuple[Edit, str]] = {
    "outside": (
        lambda objects: objects[0]["points"].update(exterior=[[1, 1], [90, 1], [9, 9]]),
        r"object 0 \(road\) of a\.jpg has the point \(90, 1\), outside the image of 16 x 12",
    ),
    "another geometry": (
        lambda objects: objects[0].update(geometryType="cuboid"),
        "has the geometry 'cuboid'",
    ),
    "bitmap outside": (
        lambda objects: objects[1]["bitmap"].update(origin=[14, 10]),
        "has a bitmap of 4 x 4 at",
    ),
    "broken bitmap": (lambda objects: objects[1]["bitmap"].update(data="AAAA"), "has a bitmap that cannot be read"),
    "not a picture": (
        lambda objects: objects[1]["bitmap"].update(data=base64.b64encode(zlib.compress(b"no picture")).decode()),
        "has a bitmap that cannot be read",
    ),
    "another tool": (
        lambda objects: objects[0].pop("classTitle"),
        "is not JSON of Supervisely",
    ),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_file(change: Edit, told: str, opened: Opened, root: Path) -> None:
    opened("supervisely")
    path = root / "train/ann/a.jpg.json"
    content = json.loads(path.read_text())
    change(content["objects"])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"a\.jpg\.json: .*{told}"):
        opened("supervisely")
    problems: list[str] = []
    assert len(opened("supervisely", problems=problems)) == 1 and len(problems) == 1


def test_a_class_that_meta_json_lacks_is_an_error(opened: Opened, root: Path) -> None:
    opened("supervisely")
    (root / "meta.json").write_text('{"classes": [{"title": "road"}]}')
    with pytest.raises(DataError, match=r"meta\.json: lacks the class 'car', which objects have"):
        opened("supervisely")
    (root / "meta.json").unlink()
    with pytest.raises(DataError, match=r"meta\.json: no such file"):
        opened("supervisely")


def test_a_hole_is_cut_out_of_a_polygon_with_its_border() -> None:
    square, hole = [[0, 0], [7, 0], [7, 7], [0, 7]], [[2, 2], [5, 2], [5, 5], [2, 5]]
    mask = mask_of(["polygon", {"exterior": square, "interior": [hole]}, None], (8, 8))
    expected = np.ones((8, 8), bool)
    expected[2:6, 2:6] = False
    assert np.array_equal(mask, expected)
