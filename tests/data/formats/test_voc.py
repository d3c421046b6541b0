"""Pascal VOC, and CVAT's masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError
from stdc_search.data.formats.voc import VOC_CLASSES, read_labelmap, voc_colour
from stdc_search.data.guess import guess
from tests.data.formats.conftest import Opened
from tests.data.formats.scene import COLOURS, NAMES, label_of, save


def test_a_palette_image_is_read_as_its_colours(opened: Opened, root: Path) -> None:
    opened("voc")
    mask = Image.fromarray(label_of("a"))
    mask.putpalette([part for colour in COLOURS.values() for part in colour])
    mask.save(root / "SegmentationClass" / "a.png")
    assert opened("voc").label(0).tolist() == label_of("a").tolist()


def test_without_a_labelmap_the_colours_are_those_of_pascal_voc(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "labelmap.txt").unlink()
    palette = {15: (192, 128, 128), 255: (224, 224, 192)}
    for name in "abcd":
        mask = Image.fromarray(np.where(label_of(name) == 2, 255, label_of(name) * 15).astype(np.uint8))
        mask.putpalette([part for id in range(256) for part in palette.get(id, (0, 0, 0))])
        mask.save(root / "SegmentationClass" / f"{name}.png")
    rest = {name: "ignore" for name in VOC_CLASSES if name not in ("background", "person")}
    label = opened("voc", class_names=("background", "person"), map=rest).label(0)
    assert label.tolist() == [[{0: 0, 1: 1, 2: 255}[id] for id in row] for row in label_of("a").tolist()]


def test_names_of_labelme2voc_have_the_colours_of_pascal_voc_in_their_order(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "labelmap.txt").unlink()
    (root / "class_names.txt").write_text("_background_\nroad\ncar\n")
    for name in "abcd":
        mask = Image.fromarray(np.where(label_of(name) == 1, 255, label_of(name)))
        mask.putpalette([part for id in range(256) for part in voc_colour(id)])
        mask.save(root / "SegmentationClass" / f"{name}.png")
    found = guess(root)
    assert found.section["class_names"] == ["_background_", "road", "car"] and found.notes == []
    label = opened("voc", class_names=found.section["class_names"]).label(0)
    assert label.tolist() == [[{0: 0, 1: 255, 2: 2}[id] for id in row] for row in label_of("a").tolist()]


@pytest.mark.parametrize(("form", "notes"), [("2007_00003{}", 0), ("photo_{}", 1)])
def test_names_of_pascal_voc_for_other_frames_are_to_be_checked(form: str, notes: int, tmp_path: Path) -> None:
    for number in range(3):
        save(label_of("a"), tmp_path / "SegmentationClass" / f"{form.format(number)}.png")
    found = guess(tmp_path)
    assert found.section["class_names"] == [*VOC_CLASSES]
    assert ["labelmap.txt" in note for note in found.notes] == [True] * notes


def test_the_colours_of_pascal_voc_are_the_published_ones() -> None:
    colours = dict(zip(VOC_CLASSES, map(voc_colour, range(21)), strict=True))
    assert [colours[name] for name in ("background", "aeroplane", "car", "person", "tvmonitor")] == [
        (0, 0, 0), (128, 0, 0), (128, 128, 128), (192, 128, 128), (0, 64, 128)
    ]  # fmt: skip


def test_labels_without_colours_have_those_of_pascal_voc_in_their_order(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:::\nroad:::\ncar:::\n")
    palette = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
    for name in "abcd":
        Image.fromarray(palette[label_of(name)]).save(root / "SegmentationClass" / f"{name}.png")
    assert opened("voc").label(0).tolist() == label_of("a").tolist()
    (root / "labelmap.txt").write_text("background:0,0,0::\nroad:::\n")
    with pytest.raises(DataError, match="'road:::' does not have the form"):
        read_labelmap(root / "labelmap.txt")


def test_cvat_writes_one_list_if_a_task_is_not_split(opened: Opened, root: Path) -> None:
    opened("voc")
    for side in ("train", "val"):
        (root / f"ImageSets/Segmentation/{side}.txt").unlink()
    (root / "ImageSets/Segmentation/default.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(DataError, match=r"train\.txt: no such list; .*default\.txt.*`split: \{kind: share\}`"):
        opened("voc")
    assert len(opened("voc", split={"kind": "share", "val": 0.5})) == 2


@pytest.mark.parametrize(
    ("written", "kept"),
    [("trainval test", ("trainval", "test")), ("train val trainval test", ("train", "val")), ("trainval", None)],
)
def test_images_of_the_list_of_test_are_not_trained_on(
    written: str, kept: tuple[str, str] | None, opened: Opened, root: Path
) -> None:
    opened("voc")
    for list in (root / "ImageSets/Segmentation").iterdir():
        list.unlink()
    for name in written.split():
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("a\n")
    found = guess(root)
    lists = [f"ImageSets/Segmentation/{name}.txt" for name in kept or ()]
    assert found.section["split"] == (
        {"kind": "list", "train": lists[0], "val": lists[1]} if lists else {"kind": "share"}
    )
    assert ["the images of test are scored" in note for note in found.notes] == [True] * (written == "trainval test")


def test_images_that_were_not_exported_are_a_box_that_was_not_ticked(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "JPEGImages").rename(root / "other")
    with pytest.raises(DataError, match=r"JPEGImages: no such folder; .* tick `Save images` when you export"):
        opened("voc")


def test_a_name_on_a_list_without_a_mask_is_an_error(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "SegmentationClass" / "a.png").unlink()
    with pytest.raises(DataError, match=r"train\.txt: 1 of 2 names are not in .*SegmentationClass: a; names there are"):
        opened("voc")


def test_a_colour_of_no_name_is_an_error(opened: Opened, root: Path) -> None:
    opened("voc")
    Image.new("RGB", (16, 12), (1, 2, 3)).save(root / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 192 pixels have a colour of no class, most often \[1, 2, 3\]"):
        opened("voc").label(0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("road 1 2 3\n", "'road 1 2 3' does not have the form `name:red,green,blue:parts:actions`"),
        ("road:1,2,300::\n", "does not have the form"),
        ("road:1,2,3::\ncar:1,2,3::\n", "'car' and 'road' have the same name or colour"),
        ("# label:color_rgb:parts:actions\n", "names no class"),
    ],
)
def test_a_labelmap_that_cannot_be_used_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(DataError, match=rf"labelmap\.txt: .*{told}"):
        read_labelmap(tmp_path / "labelmap.txt")


def test_a_share_may_be_used_in_place_of_the_lists(opened: Opened) -> None:
    how = {"split": {"kind": "share", "val": 0.25}, "class_names": NAMES}
    assert (len(opened("voc", **how)), len(opened("voc", "val", **how))) == (3, 1)


def test_images_without_a_mask_are_told_where_no_list_says_which_are_meant(opened: Opened, root: Path) -> None:
    opened("voc")
    (root / "SegmentationClass" / "b.png").unlink()
    with pytest.warns(UserWarning, match=r"JPEGImages: 1 image has no mask in SegmentationClass, so not used: b$"):
        assert len(opened("voc", split={"kind": "share", "val": 0.5})) < 3


def test_a_colour_of_no_class_is_to_be_added_to_the_labelmap(opened: Opened, root: Path) -> None:
    data = opened("voc")
    Image.new("RGB", label_of("a").shape[::-1], (12, 34, 56)).save(root / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match=r"\[12, 34, 56\] .*add it to `labelmap\.txt` \(a line `NAME:"):
        data.label(0)
