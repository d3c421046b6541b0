"""COCO's JSON files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stdc_search.data import DataError
from stdc_search.data.formats import coco
from tests.data.formats.conftest import Opened
from tests.data.formats.scene import label_of

Edit = Callable[[dict[str, Any]], object]
Editor = Callable[[Edit], None]
TRAIN = "annotations/instances_train.json"


@pytest.fixture
def edited(opened: Opened, root: Path) -> Editor:
    """Changes the JSON file of the training images."""

    def edit(change: Edit) -> None:
        opened("coco")
        content = json.loads((root / TRAIN).read_text())
        change(content)
        (root / TRAIN).write_text(json.dumps(content))

    return edit


FAULTS: dict[str, tuple[Edit, str]] = {
    "unknown category": (
        lambda coco: coco["annotations"][0].update(category_id=99),
        r"annotation 0 has category 99; `categories` has 8 \(road\), 9 \(car\)",
    ),
    "unknown image": (
        lambda coco: coco["annotations"][0].update(image_id=99),
        "annotation 0 is of image 99, which `images` lacks",
    ),
    "polygon outside": (
        lambda coco: coco["annotations"][0].update(segmentation=[[1, 1, 90, 1, 9, 9]]),
        r"annotation 0 \(road\) of a\.jpg has the point \(90, 1\), outside the image of 16 x 12",
    ),
    "rle of another size": (
        lambda coco: coco["annotations"][1]["segmentation"].update(size=[16, 12]),
        r"annotation 1 \(car\) of a\.jpg has an RLE of 16 x 12, but the image is 12 x 16",
    ),
    "box alone": (
        lambda coco: coco["annotations"][0].pop("segmentation"),
        r"annotation 0 \(road\) of a\.jpg has no `segmentation`, only a box",
    ),
    "another size": (
        lambda coco: coco["images"][0].update(width=20),
        r"annotates .*a\.jpg as 12 x 20 \(height x width\), but the image is 12 x 16",
    ),
    "an image twice": (
        lambda coco: coco["images"][1].update(file_name="a.jpg"),
        r"has the image a\.jpg more than once",
    ),
    "a path outside": (
        lambda coco: coco["images"][0].update(file_name="../../../z.jpg"),
        r"names the image \.\./\.\./\.\./z\.jpg, which lies outside",
    ),
    "two places of an image": (
        lambda coco: coco["images"][1].update(file_name="../../../a.jpg"),
        "has the image images/a more than once",
    ),
    "another tool": (lambda coco: coco.pop("images"), "is not JSON of COCO: images: Field required"),
    "not a number": (
        lambda coco: coco["annotations"][0].update(segmentation=[[1, 1, float("nan"), 1, 9, 9]]),
        r"is not JSON of COCO: annotations\.0\.segmentation.*finite number",
    ),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_file(change: Edit, told: str, edited: Editor, opened: Opened) -> None:
    edited(change)
    with pytest.raises(DataError, match=rf"instances_train\.json: {told}"):
        opened("coco")


def test_a_broken_annotation_leaves_the_other_images(edited: Editor, opened: Opened) -> None:
    edited(FAULTS["polygon outside"][0])
    problems: list[str] = []
    data = opened("coco", problems=problems)
    assert [data.name(index) for index in range(len(data))] == ["images/b"] and len(problems) == 1


def test_text_that_is_not_json_is_named(opened: Opened, root: Path) -> None:
    opened("coco")
    (root / TRAIN).write_text("no json")
    with pytest.raises(DataError, match=r"instances_train\.json: is not JSON of COCO: Invalid JSON"):
        opened("coco")


def test_a_file_that_is_missing_is_named_with_the_nearest(opened: Opened) -> None:
    split = {"kind": "files", "train": "annotations/instances_trian.json", "val": "annotations/instances_val.json"}
    with pytest.raises(DataError, match=r"instances_trian\.json: no such file; did you mean `instances_train.json`"):
        opened("coco", split=split)


def test_later_annotations_cover_earlier_ones_and_crowds_cover_nothing(edited: Editor, opened: Opened) -> None:
    edited(lambda coco: coco["annotations"].reverse())
    assert opened("coco").label(0).tolist() == label_of("a").tolist(), "the road is a crowd, which is drawn first"
    edited(lambda coco: [one.update(iscrowd=0) for one in coco["annotations"]])
    assert (opened("coco").label(0) == 2).sum() == 4, "the road, which comes later, leaves the car's first row"


def test_an_image_without_annotations_is_background(edited: Editor, opened: Opened) -> None:
    edited(lambda coco: coco.update(annotations=[one for one in coco["annotations"] if one["image_id"]]))
    assert opened("coco").label(0).unique().tolist() == [0]
    assert opened("coco", background="ignore", class_names=("road", "car")).label(0).unique().tolist() == [255]


def test_categories_that_no_annotation_has_need_no_class(edited: Editor, opened: Opened) -> None:
    edited(lambda coco: coco["categories"].insert(0, {"id": 0, "name": "objects", "supercategory": "none"}))
    assert opened("coco").label(0).tolist() == label_of("a").tolist()


@pytest.mark.parametrize("place", ["train", "train/images", "elsewhere"])
def test_images_may_be_beside_the_file_or_in_a_given_folder(place: str, opened: Opened, root: Path) -> None:
    opened("coco")
    for side, names in {"train": "ab", "valid": "cd"}.items():
        folder = root / place.replace("train", side)
        for name in names:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "images" / f"{name}.jpg", folder)
        (root / side).mkdir(exist_ok=True)
    shutil.move(root / TRAIN, root / "train" / "_annotations.coco.json")
    shutil.move(root / "annotations/instances_val.json", root / "valid" / "_annotations.coco.json")
    shutil.rmtree(root / "images")
    split = {"kind": "files", "train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json"}
    given = {} if place == "train" else {"images": place}
    assert opened("coco", split=split, **given).label(0).tolist() == label_of("a").tolist()


def test_label_studio_writes_the_places_of_its_own_machine(edited: Editor, opened: Opened) -> None:
    edited(lambda coco: [one.update(file_name=f"../../../media/upload/1/{one['file_name']}") for one in coco["images"]])
    assert opened("coco").label(0).tolist() == label_of("a").tolist()


def test_images_may_lie_in_the_folder_of_the_subset(opened: Opened, root: Path) -> None:
    opened("coco")
    (root / "images").rename(root / "train")
    (root / "images").mkdir()
    (root / "train").rename(root / "images/train")
    (root / TRAIN).rename(root / "annotations/stuff_train.json")
    split = {"kind": "files", "train": "annotations/stuff_train.json", "val": "annotations/instances_val.json"}
    assert opened("coco", split=split).label(0).tolist() == label_of("a").tolist()


def test_files_beside_the_annotations_are_not_taken_for_them(opened: Opened, root: Path) -> None:
    opened("coco")
    for side in ("train", "val"):
        content = json.loads((root / f"annotations/instances_{side}.json").read_text())
        content |= {"annotations": [], "categories": []}
        (root / f"annotations/image_info_{side}.json").write_text(json.dumps(content))
    section = coco.recognise(root)
    assert section is not None and section["split"]["train"] == TRAIN
    for side in ("train", "val"):
        (root / f"annotations/instances_{side}.json").rename(root / f"annotations/{side}.json")
    section = coco.recognise(root)
    assert section is not None and section["split"]["train"] == "annotations/train.json"
    for side in ("train", "val"):
        (root / f"annotations/{side}.json").unlink()
    with pytest.raises(DataError, match="has no categories; export with labels"):
        coco.recognise(root)


@pytest.mark.parametrize("split", [{"kind": "share", "val": 0.5}, {"kind": "group", "pattern": "images/(.)"}])
def test_one_file_is_split(split: dict[str, Any], opened: Opened) -> None:
    how = {"annotations": TRAIN, "split": split}
    assert {len(opened("coco", "train", **how)), len(opened("coco", "val", **how))} == {1}


def test_drawn_labels_are_kept(opened: Opened, drawn_labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened("coco").label(0)
    assert len([*drawn_labels.glob("*.png")]) == 2
    monkeypatch.setattr("stdc_search.data.drawing.Drawing.label", None)
    assert opened("coco").label(0).equal(before)


def test_an_annotation_that_changes_is_drawn_again(edited: Editor, opened: Opened) -> None:
    before = opened("coco").label(1)
    edited(lambda coco: coco["annotations"][0].update(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]]))
    after = opened("coco")
    assert (after.label(0) == 1).sum() == 16 and after.label(1).equal(before)


def test_a_photo_in_a_format_that_is_not_read_says_how_to_convert_it(
    edited: Editor, opened: Opened, root: Path
) -> None:
    edited(lambda coco: coco["images"][0].update(file_name="a.heic"))
    (root / "images" / "a.heic").write_bytes(b"ftypheic")
    with pytest.raises(DataError, match=r"a\.heic: is a HEIC photo, a format that cannot be read; convert it to JPEG"):
        opened("coco")
