"""Exports that are not read lead to one that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from stdc_search.data.dataset import DataError
from stdc_search.data.guess import guess
from tests.data.conftest import write_image
from tests.data.formats.scene import SIZE, label_of, save, write_text

STUDIO, CVAT = "export `COCO with Images` or `YOLO with Images`", "in CVAT, export `Segmentation mask 1.1`"
TASKS = '[{"id": 1, "annotations": [{"completed_by": 1, "result": []}], "data": {"image": "/data/upload/1/a.jpg"}}]'
SHORT = '[\n {"image": "/data/upload/1/a.jpg", "id": 1, "label": [{"points": [], "polygonlabels": [\n"car"]}]}]'
EXPORTS = {
    "Label Studio": ("project-1-at-2026.json", TASKS, STUDIO),
    "Label Studio, short": ("result.json", SHORT, STUDIO),
    "Datumaro": ("annotations/default.json", '{"dm_format_version":"1.0","categories":{},"items":[]}', CVAT),
    "panoptic": (
        "annotations/panoptic_val.json",
        '{"images": [], "annotations": [{"segments_info": []}]}',
        "instances",
    ),
    "CVAT": ("annotations.xml", '<?xml version="1.0"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<job>', CVAT),
    "LabelMe": ("Annotations/a/b.xml", "<annotation>\n<imagesize>\n<nrows>60</nrows>", CVAT),
    "VIA": ("via.json", '{"a.jpg1": {"regions": [{"shape_attributes": {"all_points_x": [1]}}]}}', "convert it to COCO"),
    "YOLO": ("labels/a.txt", "0 0.5 0.5 0.25 0.25\n", "write `data.yaml`"),
    "boxes": ("Annotations/a.xml", "<annotation>\n<object>\n<bndbox>", "label pixels or polygons"),
}


@pytest.mark.parametrize(("name", "text", "told"), EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("images", [0, 2])
def test_the_message_says_which_export_to_take(images: int, name: str, text: str, told: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, text)
    for number in range(images):
        write_image(tmp_path / f"images/{number}.jpg", SIZE)
    with pytest.raises(DataError, match=f"{Path(name).name}: is .*, which is not read; .*{told}"):
        guess(tmp_path)


@pytest.mark.parametrize(
    ("name", "folders", "told"),
    [
        ("task-1-annotation-2-by-a@b.c-tag-car-0.png", "images", STUDIO),
        ("gtFine/train/a_gtFine_labelIds.png", "leftImg8bit gtFine", CVAT),
        ("train/semantic_rgb/a.png", "train/image_2 train/semantic train/instance", CVAT),
    ],
)
def test_so_do_masks_of_tools(name: str, folders: str, told: str, tmp_path: Path) -> None:
    write_text(tmp_path / "label_colors.txt", "0 0 0 background\n")
    for folder in folders.split():
        write_image(tmp_path / folder / "a.png", SIZE)
    write_image(tmp_path / name, SIZE)
    with pytest.raises(DataError, match=f"is .*, which is not read; .*{told}"):
        guess(tmp_path)


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (
            ("image_2", "semantic", "semantic_rgb", "instance"),
            "several masks for an image, in training/",
        ),
        (("gtFine",), "holds 1 images .* and no masks"),
    ],
    ids=["KITTI", "Cityscapes"],
)
def test_the_data_sets_themselves_are_not_taken_for_exports(
    folders: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    for folder in folders:
        write_image(tmp_path / "training" / folder / "a_labelIds.png", SIZE)
    if "gtFine" in folders:
        (tmp_path / "training/gtFine").rename(tmp_path / "gtFine")
    with pytest.raises(DataError, match=told):
        guess(tmp_path)


def test_boxes_beside_masks_do_no_harm(tmp_path: Path) -> None:
    write_text(tmp_path / "Annotations/a.xml", "<annotation>\n<object>\n<bndbox>")
    for name in "ab":
        write_image(tmp_path / f"images/{name}.jpg", SIZE)
        save(label_of(name), tmp_path / f"masks/{name}.png")
    assert guess(tmp_path).section["masks"] == "masks"
