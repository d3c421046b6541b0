"""YOLO's polygons in text files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stdc_search.data import DataError
from stdc_search.data.formats import recognise
from tests.data.formats.conftest import Opened
from tests.data.formats.scene import label_of

FAULTS = {
    "x 0.1 0.1 0.5 0.5 0.1 0.5": "has class x; `names` has 0 to 1",
    "2 0.1 0.1 0.5 0.5 0.1 0.5": "has class 2; `names` has 0 to 1",
    "0 0.1 0.1 0.5 0.5": "has a box; export polygons",
    "0 0.1 0.1 0.5 0.5 0.1": "has 5 numbers after the class; points have two finite numbers each",
    "0 0.1 nan 0.5 0.5 0.1 0.5": "has 6 numbers after the class; points have two finite numbers each",
    "0 0.1 a 0.5 0.5 0.1 0.5": "'0 0.1 a 0.5 0.5 0.1 0.5' is not `class x y x y ...`",
    "0": "has 0 points, but needs at least 3",
    "0 0.1 0.1 40 0.5 0.1 0.5": r"has the point \(640, 6\), outside the image of 16 x 12",
}


@pytest.mark.parametrize(("line", "told"), FAULTS.items())
def test_a_line_that_cannot_be_used_is_named(line: str, told: str, opened: Opened, root: Path) -> None:
    opened("yolo")
    (root / "train/labels/a.txt").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=rf"train/labels/a\.txt:(2:| line 2 \(road\) of a\.jpg) {told}"):
        opened("yolo")
    problems: list[str] = []
    assert len(opened("yolo", problems=problems)) == 1 and len(problems) == 1


def test_an_image_without_a_label_is_an_error_and_with_an_empty_one_is_background(opened: Opened, root: Path) -> None:
    opened("yolo")
    (root / "train/labels/a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt: no such file, .* it is empty without objects"):
        opened("yolo")
    (root / "train/labels/a.txt").write_text("")
    assert opened("yolo").label(0).unique().tolist() == [0]


@pytest.mark.parametrize(
    "text",
    [
        "path: /content/export\ntrain: train/images\nval: valid/images\nnames: {0: road, 1: car}\n",
        "train: /content/export/train/images\nval: [valid/images]\nnames:\n  0: road\n  1: car\n",
        "path: .\ntrain: train.txt\nval: val.txt\nnames: [road, car]\n",
    ],
    ids=["path", "absolute", "lists"],
)
def test_data_yaml_may_have_other_forms(text: str, opened: Opened, root: Path) -> None:
    opened("yolo")
    (root / "data.yaml").write_text(text)
    (root / "train.txt").write_text("./train/images/a.jpg\nexport/train/images/b.jpg\n")
    (root / "val.txt").write_text("valid/images/c.jpg\nvalid/images/d.jpg\n")
    assert opened("yolo").label(0).tolist() == label_of("a").tolist()


def test_without_val_a_share_is_held_back(opened: Opened, root: Path) -> None:
    opened("yolo")
    for kind in ("images", "labels"):
        for path in (root / "valid" / kind).iterdir():
            shutil.move(path, root / "train" / kind)
    (root / "data.yaml").write_text("train: train/images\nnames: [road, car]\n")
    with pytest.raises(DataError, match=r"data\.yaml: has no `val`; write `split: \{kind: share\}`"):
        opened("yolo")
    assert len(opened("yolo", split={"kind": "share", "val": 0.25})) == 3


def test_label_studio_names_the_classes_in_a_list(opened: Opened, root: Path) -> None:
    opened("yolo")
    for side in ("train", "valid"):
        for kind in ("images", "labels"):
            (root / kind).mkdir(exist_ok=True)
            for path in (root / side / kind).iterdir():
                path.rename(root / kind / path.name)
        shutil.rmtree(root / side)
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("road\ncar\n")
    (root / "notes.json").write_text('{"categories": [{"id": 0, "name": "road"}, {"id": 1, "name": "car"}]}')
    section = recognise(root)
    assert section is not None and (section["kind"], section["file"]) == ("yolo", "classes.txt")
    with pytest.raises(DataError, match=r"classes\.txt: has no `val`; write `split: \{kind: share\}`"):
        opened("yolo", file="classes.txt")
    data = opened("yolo", file="classes.txt", split={"kind": "share", "val": 0.25})
    first = next(index for index in range(len(data)) if data.name(index) == "images/a")
    assert len(data) == 3 and data.label(first).tolist() == label_of("a").tolist()
    (root / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match=r"classes\.txt: has no `names`"):
        opened("yolo", file="classes.txt")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: train/images\nval: valid/images\n", "has no `names`"),
        ("train: other\nval: valid/images\nnames: [road, car]\n", "names other, which is not in"),
        ("train: train/images\nval: train/images\nnames: [road, car]\n", "2 images are in both train and val"),
        ("a: [\n", r"data\.yaml"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_named(text: str, told: str, opened: Opened, root: Path) -> None:
    opened("yolo")
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=told):
        opened("yolo")


def test_an_object_of_joined_parts_is_as_large_as_its_pixels(opened: Opened, root: Path) -> None:
    """Tools join the parts of an object by a line there and back, so its corners may turn both ways."""
    opened("yolo")
    truck = "0 0.1 0.1 0.4 0.1 0.4 0.9 0.1 0.9 0.1 0.1 0.6 0.1 0.6 0.9 0.9 0.9 0.9 0.1 0.6 0.1"
    (root / "train/labels/a.txt").write_text(f"1 0.2 0.3 0.3 0.3 0.3 0.6 0.2 0.6\n{truck}\n")
    label = opened("yolo").label(0)
    road, car = (int((label == index).sum()) for index in (1, 2))
    assert 0 < car < road
