"""What a folder of images and masks is taken for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stdc_search.data.dataset import DataError
from stdc_search.data.guess import guess

SIZE = (8, 10)


def ids(*values: int) -> Image.Image:
    """A mask with equal stripes of ids."""
    return Image.fromarray(np.resize(np.repeat(np.array(values, np.uint8), SIZE[1]), SIZE))


def colours(*values: tuple[int, int, int]) -> Image.Image:
    rows = np.array([values[row % len(values)] for row in range(SIZE[0])], np.uint8)
    return Image.fromarray(np.repeat(rows[:, None], SIZE[1], axis=1))


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes images, and masks as given, at relative paths."""

    def write(images: list[str], masks: list[str], mask: Image.Image | None = None) -> Path:
        for name in (*images, *masks):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(images):
            Image.new("RGB", SIZE[::-1], (number, 90, 30)).save(tmp_path / name)
        for name in masks:
            (mask or ids(0, 1, 2)).save(tmp_path / name)
        return tmp_path

    return write


def section(folder: Path) -> dict[str, Any]:
    return guess(folder).section


@pytest.mark.parametrize(
    ("images", "masks", "places"),
    [
        ("images/{}.jpg", "masks/{}.png", ("images", "masks")),
        ("imgs/{}.png", "labels/{}_label.png", ("imgs", "labels")),
        ("JPEGImages/{}.jpg", "gt_masks/{}.png", ("JPEGImages", "gt_masks")),
        ("{}.jpg", "masks/{}.png", (".", "masks")),
        ("data/photos/{}.jpg", "data/SegmentationLabels/{}.tif", ("data/photos", "data/SegmentationLabels")),
        ("images/site/{}.jpg", "annotations/site/{}.png", ("images", "annotations")),
        ("{}.jpg", "{}.png", (".", ".")),
        ("{}.png", "{}_mask.png", (".", ".")),
        ("photos/{}.jpg", "photos/{}_seg.png", (".", ".")),
    ],
)
def test_two_folders_or_one_are_found(
    tree: Callable[..., Path], images: str, masks: str, places: tuple[str, str]
) -> None:
    names = [f"img{n}" for n in range(4)]
    got = section(tree([images.format(n) for n in names], [masks.format(n) for n in names]))
    assert (got["kind"], got["images"], got["masks"]) == ("folder", *places)
    assert got["class_names"] == ["class_0", "class_1", "class_2"]


def test_folders_that_name_the_splits_split(tree: Callable[..., Path]) -> None:
    files = [f"{side}/{n}" for side in ("train", "valid") for n in "ab"]
    got = section(tree([f"images/{name}.jpg" for name in files], [f"masks/{name}.png" for name in files]))
    assert got["split"] == {"kind": "folders"}


def test_splits_with_folders_of_their_own_become_a_list_of_pairs(tree: Callable[..., Path]) -> None:
    files = [(side, n) for side in ("train", "val", "test") for n in "ab"]
    folder = tree([f"{s}/images/{n}.jpg" for s, n in files], [f"{s}/masks/{n}.png" for s, n in files])
    found = guess(folder)
    assert found.section["split"] == {"kind": "column"}
    assert "images" not in found.section and found.pairs is not None
    lines = found.pairs.splitlines()
    assert lines[0] == "image,mask,split" and len(lines) == 7
    assert f"{folder}/val/images/a.jpg,{folder}/val/masks/a.png,val" in lines


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{side}/{n}.png", "{side}_labels/{n}_L.png"),
        ("{side}/{n}.jpg", "{side}annot/{n}.png"),
        ("{side}_images/{n}.jpg", "{side}_masks/{n}.png"),
    ],
)
def test_folders_of_masks_go_with_those_of_their_name(tree: Callable[..., Path], images: str, masks: str) -> None:
    files = [{"side": side, "n": n} for side in ("train", "val", "test") for n in "ab"]
    folder = tree([images.format(**one) for one in files], [masks.format(**one) for one in files])
    found = guess(folder)
    assert found.section["split"] == {"kind": "column"} and found.pairs is not None
    of_val = {"side": "val", "n": "b"}
    assert f"{folder / images.format(**of_val)},{folder / masks.format(**of_val)},val\n" in found.pairs


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("label_colors.txt", "0 0 0 soil\n4 5 6 sugar beet\n1 2 3 weed\n9 9 9 none of these\n"),
        ("label_colors.txt", "0 0 0\t\tsoil\n4 5 6\tsugar beet\n1 2 3\tweed\n"),
        ("class_dict.csv", "name,r,g,b\nsoil,0,0,0\nsugar beet,4,5,6\nweed, 1, 2, 3\n"),
    ],
)
def test_a_file_beside_the_masks_names_the_colours(tree: Callable[..., Path], file: str, text: str) -> None:
    mask = colours((0, 0, 0), (1, 2, 3), (4, 5, 6))
    folder = tree(["train/a.jpg", "val/b.jpg"], ["trainannot/a.png", "valannot/b.png"], mask)
    (folder / "train.txt").write_text("/train/a.jpg trainannot/a.png\n")
    (folder / file).write_text(text)
    if file != "label_colors.txt":
        (folder / "train.txt").unlink()
    got = section(folder)
    assert got["class_names"] == ["soil", "sugar beet", "weed"]
    assert got["encoding"] == {"kind": "colours", "colours": [[0, 0, 0], [4, 5, 6], [1, 2, 3]]}
    (folder / file).write_text(text.replace("soil", "Void").replace("weed", "unlabelled"))
    mask = colours((0, 0, 0), (1, 2, 3), (4, 5, 6), (7, 8, 9))
    for path in folder.glob("*annot/*"):
        mask.save(path)
    got = section(folder)
    assert got["class_names"] == ["sugar beet", "colour_7_8_9"]
    assert got["encoding"]["ignore"] == [[0, 0, 0], [1, 2, 3]]


def test_lists_of_the_images_split(tree: Callable[..., Path]) -> None:
    folder = tree([f"images/{n}.jpg" for n in "abc"], [f"masks/{n}.png" for n in "abc"])
    (folder / "train.txt").write_text("a.jpg\nb.jpg\n")
    (folder / "val.txt").write_text("c.jpg\n")
    assert section(folder)["split"] == {"kind": "list", "train": "train.txt", "val": "val.txt"}
    (folder / "train.txt").write_text("something else\n")
    assert "split" not in section(folder)


@pytest.mark.parametrize(
    ("mask", "names", "encoding"),
    [
        (ids(0, 1), ["class_0", "class_1"], None),
        (ids(0, 1, 255), ["class_0", "class_1"], None),
        (ids(0, 255), ["background", "foreground"], {"kind": "binary"}),
        (ids(3, 7, 255), ["class_3", "class_7"], {"kind": "ids", "map": {3: 0, 7: 1}}),
        (colours((0, 0, 0), (9, 9, 90)), ["background", "foreground"], {"kind": "binary"}),
        (
            colours((0, 0, 0), (1, 2, 3), (4, 5, 6)),
            ["colour_1_2_3", "colour_4_5_6"],
            {"kind": "colours", "colours": [[1, 2, 3], [4, 5, 6]]},
        ),
    ],
)
def test_what_masks_hold_tells_the_encoding(
    tree: Callable[..., Path], mask: Image.Image, names: list[str], encoding: dict[str, Any] | None
) -> None:
    got = section(tree(["images/a.jpg", "images/b.jpg"], ["masks/a.png", "masks/b.png"], mask))
    assert (got["class_names"], got.get("encoding")) == (names, encoding)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (ids(1), "all masks hold the id 1 only"),
        (ids(255), "all masks hold the id 255 only"),
        (colours((1, 2, 3)), "all masks have one colour only"),
        (
            Image.fromarray(np.random.default_rng(0).integers(256, size=(20, 20, 3), dtype=np.uint8)),
            "has 400 ids or colours",
        ),
        (Image.fromarray(np.zeros(SIZE, np.uint16)), "more than 8 bits"),
    ],
)
def test_masks_that_mean_nothing_are_an_error(tree: Callable[..., Path], mask: Image.Image, message: str) -> None:
    with pytest.raises(DataError, match=message):
        guess(tree(["images/a.jpg", "images/b.jpg"], ["masks/a.png", "masks/b.png"], mask))


def test_masks_of_ids_beside_masks_of_colours_are_an_error(tree: Callable[..., Path]) -> None:
    folder = tree(["images/a.jpg", "images/b.jpg"], ["masks/a.png", "masks/b.png"])
    colours((0, 0, 0), (1, 2, 3)).save(folder / "masks/b.png")
    with pytest.raises(DataError, match=r"class ids.*colours"):
        guess(folder)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ([], [], "holds no image"),
        (["a.jpg", "b.jpg"], [], "holds 2 images .* and no masks"),
        ([], ["masks/a.png"], "holds masks .*, but no images"),
        (["images/a.jpg"], ["masks/x.png"], "no mask belongs to an image .* images/a.jpg, masks masks/x.png"),
        (["images/a.jpg"], ["masks/a.jpg"], "JPEG"),
    ],
)
def test_what_is_missing_is_said(tree: Callable[..., Path], images: list[str], masks: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        guess(tree(images, masks))


@pytest.mark.parametrize("places", ["{side}/{kind}/{n}", "{kind}/{side}/{n}"])
def test_images_of_test_stand_in_for_those_of_val(tree: Callable[..., Path], places: str) -> None:
    files = [{"side": side, "n": n} for side in ("train", "test") for n in "ab"]
    images = [places.format(kind="images", **one) + ".jpg" for one in files]
    found = guess(tree(images, [places.format(kind="masks", **one) + ".png" for one in files]))
    assert "nothing is named val, so the images of test are scored" in found.notes[0]
    if found.pairs is None:
        assert found.section["split"] == {"kind": "folders", "val": ["test"]}
    else:
        assert [line.rsplit(",")[-1] for line in found.pairs.splitlines()] == ["split", "val", "val", "train", "train"]


def test_images_without_a_mask_are_left_out_by_a_list(tree: Callable[..., Path]) -> None:
    found = guess(tree([f"images/{n}.jpg" for n in "abc"], [f"masks/{n}.png" for n in "ab"]))
    assert found.pairs is not None and found.pairs.count("\n") == 3
    assert found.notes[0] == "1 images have no mask and are left out"


def test_two_masks_for_an_image_are_an_error(tree: Callable[..., Path]) -> None:
    masks = [f"{folder}/{n}.png" for folder in ("masks", "labels") for n in "ab"]
    with pytest.raises(DataError, match="several masks for an image, in labels, masks"):
        guess(tree(["images/a.jpg", "images/b.jpg"], masks))
