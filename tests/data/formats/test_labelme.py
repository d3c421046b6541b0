"""LabelMe's JSON files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stdc_search.data import DataError
from stdc_search.data.formats.labelme import mask_of
from stdc_search.data.guess import guess
from tests.data.formats.conftest import Opened

Edit = Callable[[dict[str, Any]], object]


def edit(root: Path, change: Edit) -> None:
    content = json.loads((root / "train" / "a.json").read_text())
    change(content)
    (root / "train" / "a.json").write_text(json.dumps(content))


FAULTS: dict[str, tuple[Edit, str]] = {
    "outside": (
        lambda file: file["shapes"][0].update(points=[[1, 1], [90, 1], [9, 9]]),
        r"shape 0 \(road\) of a\.jpg has the point \(90, 1\), outside the image of 16 x 12",
    ),
    "too few points": (lambda file: file["shapes"][0].update(points=[[1, 1]]), "has 1 points, but needs at least 3"),
    "unknown type": (lambda file: file["shapes"][0].update(shape_type="cube"), "has the type 'cube'; supported types"),
    "broken mask": (
        lambda file: file["shapes"][0].update(shape_type="mask", mask="AAAA", points=[[1, 1], [2, 2]]),
        "has a mask that is not a PNG",
    ),
    "another size": (lambda file: file.update(imageWidth=20), r"annotates .*a\.jpg as 12 x 20 .* the image is 12 x 16"),
    "another tool": (lambda file: file.pop("shapes"), "is not JSON of LabelMe: shapes: Field required"),
    "a path outside": (
        lambda file: file.update(imagePath="../../z.jpg"),
        r"names the image \.\./\.\./z\.jpg, which",
    ),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_file(change: Edit, told: str, opened: Opened, root: Path) -> None:
    opened("labelme")
    edit(root, change)
    with pytest.raises(DataError, match=rf"train/a\.json: .*{told}"):
        opened("labelme")
    problems: list[str] = []
    assert len(opened("labelme", problems=problems)) == 1 and len(problems) == 1


def test_an_image_that_is_not_labelled_yet_is_not_used(opened: Opened, root: Path) -> None:
    opened("labelme")
    (root / "train" / "b.json").unlink()
    assert len(opened("labelme")) == 1


def test_a_mask_covers_the_box_between_its_points() -> None:
    picture = BytesIO()
    Image.fromarray(np.array([[0, 255, 255], [255, 0, 255]], np.uint8)).save(picture, "PNG")
    found = mask_of(["mask", [[4, 2], [6, 3]], base64.b64encode(picture.getvalue()).decode()], (6, 8))
    assert np.argwhere(found).tolist() == [[2, 5], [2, 6], [3, 4], [3, 6]]


DRAWN = {
    "polygon": ([[1.5, 2], [20, 4.5], [9, 17]], lambda draw, xy: draw.polygon(xy, outline=1, fill=1)),
    "linestrip": ([[3, 3], [20, 8], [9, 17]], lambda draw, xy: draw.line(xy, fill=1, width=10)),
    "circle": ([[10, 10], [13, 14]], lambda draw, xy: draw.ellipse((5, 5, 15, 15), outline=1, fill=1)),
    "point": ([[10, 10]], lambda draw, xy: draw.ellipse((5, 5, 15, 15), outline=1, fill=1)),
    "rectangle": ([[9, 12], [3, 4]], lambda draw, xy: draw.rectangle((3, 4, 9, 12), outline=1, fill=1)),
}
"""Points of each shape, and how `labelme.utils.shape_to_mask` draws them."""


@pytest.mark.parametrize("kind", DRAWN)
def test_shapes_have_the_pixels_of_labelme(kind: str) -> None:
    points, draw = DRAWN[kind]
    canvas = Image.new("L", (24, 20))
    draw(ImageDraw.Draw(canvas), [tuple(point) for point in points])
    assert np.array_equal(mask_of([kind, points, None], (20, 24)), np.asarray(canvas, bool))


@pytest.mark.parametrize(("other", "background"), [("car", "background"), ("Background", "Background")])
def test_its_own_names_mean_ignored_pixels_and_background(
    other: str, background: str, opened: Opened, root: Path
) -> None:
    opened("labelme")
    labels = ("__ignore__", "road", "_background_", other)
    shapes = [{"label": label, "points": [[0, 2 * y], [15, 2 * y + 1]]} for y, label in enumerate(labels)]
    edit(root, lambda file: file.update(shapes=[{**shape, "shape_type": "rectangle"} for shape in shapes]))
    section = guess(root).section
    assert section["class_names"] == [background, "car", "road"] and section["background"] == background
    assert section["map"] == {"__ignore__": "ignore", "_background_": background}
    label = opened(**section).label(0)[::2, 0]
    assert label.tolist() == [255, 2, 0, section["class_names"].index(other), 0, 0]


@pytest.mark.parametrize("content", ["{}", "[1]", '{"theme": "dark"}'])
def test_json_of_something_else_is_passed_over(content: str, opened: Opened, root: Path) -> None:
    opened("labelme")
    (root / "train" / "0_settings.json").write_text(content)
    assert len(opened("labelme")) == 2
    assert guess(root).section["kind"] == "labelme"


@pytest.mark.parametrize("content", ['{"version": "5', '{"shapes": []}'])
def test_a_broken_file_of_annotations_is_not_passed_over(content: str, opened: Opened, root: Path) -> None:
    opened("labelme")
    (root / "train" / "0.json").write_text(content)
    with pytest.raises(DataError, match=r"0\.json: is not JSON of LabelMe"):
        opened("labelme")
