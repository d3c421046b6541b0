"""Odd but real folders: no label goes to a wrong image, no image is lost, no test image is trained on in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import open_splits
from stdc_search.data.dataset import DataError
from stdc_search.data.guess import guess
from tests.data.formats.conftest import SPEC

SIZE = (12, 16)
Layout = Callable[[str], Path]


def picture(path: Path, *ids: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(ids or (0, 90), np.uint8), SIZE)).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def coco(path: Path, images: list[str], names: tuple[str, ...] = ("road", "car")) -> None:
    """Each image has a polygon of each of the first two classes."""
    points = [1, 1, 9, 1, 9, 9, 1, 9]
    boxes = [{"image_id": i, "category_id": c, "segmentation": [points]} for i in range(len(images)) for c in (0, 1)]
    sized = [{"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(images)]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    text(path, json.dumps({"images": sized, "annotations": boxes, "categories": categories}))


def yolo(folder: Path, names: str, *images: str) -> None:
    text(folder / "classes.txt", names)
    for image in images:
        picture(folder / "images" / image)
        text(folder / "labels" / Path(image).with_suffix(".txt"), "0 0.1 0.1 0.5 0.1 0.5 0.5\n")


def opened(folder: Path) -> dict[str, list[str]]:
    """Names of the images of each split, as `init` would open them."""
    found = guess(folder)
    section: dict[str, Any] = {**found.section, "root": folder}
    if found.pairs:
        text(folder / "pairs.csv", found.pairs)
        section["pairs"] = "pairs.csv"
    return {
        str(side): [one.name(i) for i in range(len(one))]
        for side, one in open_splits(SPEC.validate_python(section)).items()
    }


@pytest.mark.parametrize(("train", "val"), [("Train", "Validation"), ("train", "Test"), ("training_set", "valid")])
def test_files_of_coco_are_told_apart_by_words_in_any_case(train: str, val: str, tmp_path: Path) -> None:
    for side in {train, val, "Test"}:
        picture(tmp_path / f"images/{side}.jpg")
        coco(tmp_path / f"annotations/instances_{side}.json", [f"{side}.jpg"])
    found = guess(tmp_path)
    files = [f"annotations/instances_{side}.json" for side in (train, val)]
    assert found.section["split"] == {"kind": "files", "train": files[0], "val": files[1]}
    assert [line for line in found.notes if "test" in line] == found.notes[: val == "Test"]


def test_files_of_coco_that_say_no_split_are_an_error(tmp_path: Path) -> None:
    for job in ("all_training_interval", "retrain_old"):
        coco(tmp_path / f"annotations/{job}.json", ["a.jpg"])
    with pytest.raises(DataError, match=r"has 2 files of annotations .*do not say which one is for training"):
        guess(tmp_path)


def test_an_image_in_both_files_of_coco_is_an_error(tmp_path: Path) -> None:
    for side, names in (("train", "ab"), ("val", "bc")):
        coco(tmp_path / f"{side}.json", [f"{name}.jpg" for name in names])
        for name in names:
            picture(tmp_path / f"{name}.jpg")
    with pytest.raises(DataError, match="1 images are in both train and val: b"):
        opened(tmp_path)


def test_a_broken_file_of_one_split_leaves_the_other(tmp_path: Path) -> None:
    for side, name in (("train", "a"), ("val", "b")):
        coco(tmp_path / f"{side}.json", [f"{name}.jpg"])
        picture(tmp_path / f"{name}.jpg")
    section = {**guess(tmp_path).section, "root": tmp_path}
    text(tmp_path / "val.json", "{")
    problems: list[str] = []
    assert [*open_splits(SPEC.validate_python(section), problems=problems)] == ["train"]
    assert len(problems) == 1 and "val.json: is not JSON of COCO" in problems[0]


@pytest.mark.parametrize(
    "content",
    [
        {"images": 6, "name": "x"},
        {"images": ["a.jpg"]},
        {"annotations": "masks"},
        {"images": [f"{i}.jpg" for i in range(9999)]},
    ],
    ids=["count", "names", "folder", "many names"],
)
def test_json_about_the_images_is_not_coco(content: dict[str, Any], tmp_path: Path) -> None:
    text(tmp_path / "dataset.json", json.dumps(content))
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg")
        picture(tmp_path / f"masks/{name}.png", 0, 1)
    assert guess(tmp_path).section["kind"] == "folder"


def test_a_large_file_of_coco_is_known_by_its_first_list(tmp_path: Path) -> None:
    names = [f"{name}.jpg" for name in "ab"]
    coco(tmp_path / "all.json", names)
    text(
        tmp_path / "all.json", (tmp_path / "all.json").read_text().replace('"file_name"', f'{" " * 50_000}"file_name"')
    )
    for name in names:
        picture(tmp_path / name)
    assert guess(tmp_path).section["kind"] == "coco"


def test_a_box_without_pixels_is_named(tmp_path: Path) -> None:
    coco(tmp_path / "all.json", ["a.jpg", "b.jpg"])
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
    text(tmp_path / "all.json", (tmp_path / "all.json").read_text().replace("[[1, 1, 9, 1, 9, 9, 1, 9]]", "null"))
    with pytest.raises(DataError, match="has no `segmentation`, only a box"):
        opened(tmp_path)


def test_yolo_keeps_test_images_for_a_last_test(tmp_path: Path) -> None:
    yolo(tmp_path, "road\ncar\n", *(f"train/{i}.jpg" for i in range(4)), "test/0.jpg")
    assert opened(tmp_path)["val"] == ["images/test/0"]
    (tmp_path / "classes.txt").unlink()
    text(tmp_path / "data.yaml", "train: images/train\nval:\ntest: images/test\nnames: [road, car]\n")
    found = opened(tmp_path)
    assert sorted(found["train"] + found["val"]) == [f"images/train/{i}" for i in range(4)]


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "label studio"])
def test_folders_of_a_split_are_kept_apart_in_an_export_without_one(kind: str, tmp_path: Path) -> None:
    images = [f"{side}/{side}{number}.jpg" for side in ("train", "val") for number in range(2)]
    match kind:
        case "coco":
            coco(tmp_path / "annotations/instances_default.json", images)
        case "voc":
            text(tmp_path / "labelmap.txt", "road:0,0,0::\ncar:1,1,1::\n")
        case _:
            yolo(tmp_path, "road\ncar\n", *images)
    if kind == "yolo":
        (tmp_path / "classes.txt").rename(tmp_path / "all.txt")
        text(tmp_path / "data.yaml", "train: images\nnames: [road, car]\n")
    for image in images:
        picture(tmp_path / ("JPEGImages" if kind == "voc" else "images") / image)
        if kind == "voc":
            picture(tmp_path / "SegmentationClass" / Path(image).with_suffix(".png"), 0, 1)
    assert [name[-4:] for name in opened(tmp_path)["val"]] == ["val0", "val1"]


@pytest.mark.parametrize(
    ("names", "images", "told"),
    [
        ("car\n\nroad\n", ["a.jpg", "b.jpg"], "the name of class 1 is empty"),
        ("car\nroad\ncar\n", ["a.jpg", "b.jpg"], "class 2 is empty or that of another class"),
        ("car\nroad\n", ["a.jpg", "a.png"], r"a\.jpg and a\.png have the same name"),
    ],
)
def test_what_yolo_leaves_open_is_an_error(names: str, images: list[str], told: str, tmp_path: Path) -> None:
    yolo(tmp_path, names, *images)
    with pytest.raises(DataError, match=told):
        opened(tmp_path)


def test_ids_of_yolo_may_begin_anywhere(tmp_path: Path) -> None:
    yolo(tmp_path, "", *(f"{side}/{i}.jpg" for side in ("train", "val") for i in range(2)))
    (tmp_path / "classes.txt").unlink()
    for path in tmp_path.rglob("labels/*/*.txt"):
        text(path, "7 0.1 0.1 0.5 0.1 0.5 0.5\n")
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: {2: road, 7: car}\n")
    assert opened(tmp_path)["val"] == ["images/val/0", "images/val/1"]


def test_a_table_may_name_images_by_absolute_paths(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
        picture(tmp_path / f"{name}.png", 0, 1)
    rows = "".join(f"/data/{name}.jpg,{name}.png\n" for name in "ab")
    text(tmp_path / "metadata.csv", f"file_name,label_file_name\n{rows}")
    assert guess(tmp_path).section["split"] == {"kind": "share"}


def test_masks_beside_a_list_of_classes_are_masks(tmp_path: Path) -> None:
    text(tmp_path / "classes.txt", "road\ncar\n")
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg")
        picture(tmp_path / f"labels/{name}.png", 0, 1)
    assert guess(tmp_path).section["kind"] == "folder"


@pytest.mark.parametrize(
    ("line", "mark"),
    [("{}.jpg", " "), ("{}", " "), ("{0}.jpg,{0}.png", " "), ("images/{0}.jpg masks/{0}.png", "_")],
)
def test_lists_are_kept_however_they_name_images(line: str, mark: str, tmp_path: Path) -> None:
    names = [f"photo{mark}{number}" for number in range(3)]
    for name in names:
        picture(tmp_path / f"images/{name}.jpg")
        picture(tmp_path / f"masks/{name}.png", 0, 1)
    text(tmp_path / "train.txt", "".join(f"{line.format(name)}\n" for name in names[:2]))
    text(tmp_path / "val.txt", line.format(names[2]))
    assert len(opened(tmp_path)["val"]) == 1 and guess(tmp_path).section["split"]["kind"] == "list"
    text(tmp_path / "val.txt", "z.jpg\n")
    assert "do not name these images, so they are not used" in guess(tmp_path).notes[0]


def test_an_image_in_no_folder_of_a_split_is_an_error(tmp_path: Path) -> None:
    for side in ("train", "val", "extra"):
        picture(tmp_path / side / "images/a.jpg")
        picture(tmp_path / side / "masks/a.png", 0, 1)
    with pytest.raises(DataError, match=r"1 of 3 images lie in no folder of a split: extra/images/a\.jpg"):
        guess(tmp_path)


def test_splits_are_found_among_the_words_of_folders(tmp_path: Path) -> None:
    for side in ("train", "test"):
        picture(tmp_path / f"images_prepped_{side}/a.png")
        picture(tmp_path / f"annotations_prepped_{side}/a.png", 0, 1)
    assert opened(tmp_path) == {
        side: [f"images_prepped_{name}/a"] for side, name in (("train", "train"), ("val", "test"))
    }


def test_a_folder_that_is_a_split_counts_more_than_a_word(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for name in "ab":
            picture(tmp_path / f"train_station/{side}/images/{name}.png")
            picture(tmp_path / f"train_station/{side}/masks/{name}.png", 0, 1)
    assert opened(tmp_path)["val"] == [f"train_station/val/images/{name}" for name in "ab"]


def test_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"images/{name}.jpg")
    for name in "abz":
        picture(tmp_path / f"masks/{name}.png", 0, 1)
    assert guess(tmp_path).notes[:2] == [
        "1 images have no mask and are left out",
        "1 masks have no image and are left out",
    ]


def test_beside_each_other_too(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    for name in ("a.PNG", "b.png"):
        picture(tmp_path / name, 0, 1)
    assert guess(tmp_path).notes[0] == "1 images have no mask and are left out"


def test_a_folder_whose_name_begins_like_one_of_masks_holds_images(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"anna/{name}.jpg")
        picture(tmp_path / f"masks/{name}.png", 0, 1)
    assert guess(tmp_path).section["images"] == "anna"


def test_two_annotations_of_labelme_for_an_image_are_an_error(tmp_path: Path) -> None:
    shape = {"label": "car", "points": [[1, 1], [9, 1], [9, 9]]}
    for name, image in (("a", "a.jpg"), ("b", "a.jpg"), ("c", "c.jpg")):
        picture(tmp_path / f"{name}.jpg")
        about = {"imagePath": image, "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": [shape]}
        text(tmp_path / f"{name}.json", json.dumps(about))
    with pytest.raises(DataError, match=r"annotates a\.jpg, as .* does; correct its `imagePath`"):
        opened(tmp_path)


def test_own_images_in_camvids_layout_are_not_camvid(tmp_path: Path) -> None:
    for side in ("train", "val"):
        picture(tmp_path / f"{side}/a{side}.png")
        picture(tmp_path / f"{side}annot/a{side}.png", 0, 1, 2)
    text(tmp_path / "train.txt", "train/atrain.png trainannot/atrain.png\n")
    assert guess(tmp_path).section["class_names"] == ["class_0", "class_1", "class_2"]
    (tmp_path / "train/atrain.png").rename(tmp_path / "train/0001TP_006690.png")
    assert guess(tmp_path).section == {"kind": "camvid"}
    (tmp_path / "701_StillsRaw_full").mkdir()
    text(tmp_path / "label_colors.txt", "64 128 64\tAnimal\n")
    assert guess(tmp_path).section == {"kind": "camvid", "layout": "original"}


def test_an_export_in_a_folder_of_its_own_is_named(tmp_path: Path) -> None:
    yolo(tmp_path / "my export", "road\ncar\n", "a.jpg", "b.jpg")
    with pytest.raises(DataError, match=r"my export: this folder is the export; type: stdc-search init '.*my export'"):
        guess(tmp_path)


@pytest.mark.parametrize("content", ['{"0": "road",}', '{"road": 0}', "[]"])
def test_a_broken_file_of_names_is_named(content: str, tmp_path: Path) -> None:
    text(tmp_path / "metadata.csv", "file_name,label_file_name\na.jpg,a.png\n")
    text(tmp_path / "id2label.json", content)
    with pytest.raises(DataError, match=r"id2label\.json: is not a mapping from ids to names"):
        guess(tmp_path)


@pytest.mark.parametrize("place", ["semantic_drone_dataset", "a/segmentation_data/b"])
def test_a_folder_of_images_and_masks_may_be_named_like_masks(place: str, tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{place}/original_images/{name}.jpg")
        picture(tmp_path / f"{place}/label_images_semantic/{name}.png", 0, 1)
    found = guess(tmp_path).section
    assert (found["images"], found["masks"]) == (f"{place}/original_images", f"{place}/label_images_semantic")


def test_classes_are_used_where_masks_of_objects_lie_beside_them(tmp_path: Path) -> None:
    for side in ("training", "validation"):
        for name in "ab":
            picture(tmp_path / f"{side}/images/{name}.jpg")
            for kind in ("labels", "instances", "panoptic"):
                picture(tmp_path / f"{side}/v2.0/{kind}/{name}.png", 0, 1, 2)
    found = guess(tmp_path)
    assert (
        len(found.notes) == 5 + 1
        and "training/v2.0/panoptic: holds objects and is not used, because classes lie beside it" in found.notes
    )
    assert found.pairs is not None and found.pairs.count("v2.0/labels") == 4
    assert opened(tmp_path)["val"] == [f"validation/images/{name}" for name in "ab"]


def test_masks_without_images_do_not_go_with_those_of_another_split(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"train_set/masks/{name}.png", 0, 1)
        picture(tmp_path / f"val_set/{name}.jpg")
    with pytest.raises(DataError, match=r"train_set: holds masks \(masks\), but no images"):
        guess(tmp_path)


@pytest.mark.parametrize("also", ["c", "abc"])
def test_several_masks_beside_an_image_are_an_error(also: str, tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"benign/x ({name}).png")
        picture(tmp_path / f"benign/x ({name})_mask.png", 0, 255)
    for name in also:
        picture(tmp_path / f"benign/x ({name})_mask_1.png", 0, 255)
    with pytest.raises(DataError, match=r"_mask_1\.png: is a second mask beside x \(.\)_mask\.png; merge"):
        guess(tmp_path)


def test_masks_of_gif_are_to_be_converted(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"train/{name}.jpg")
        picture(tmp_path / f"train_masks/{name}_mask.gif", 0, 255)
    with pytest.raises(DataError, match=r"a_mask\.gif: is a GIF, .* convert such masks to PNG"):
        guess(tmp_path)


def test_a_folder_of_images_without_masks_is_counted(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"train/images/{name}.jpg")
        picture(tmp_path / f"train/masks/{name}.png", 0, 1)
        picture(tmp_path / f"test/images/{name}.jpg")
    assert "test/images: no masks lie beside this folder; its 2 images are left out" in guess(tmp_path).notes
