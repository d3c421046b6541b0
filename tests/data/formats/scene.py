"""One scene, written as each labelling tool would."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
import pytest
from numpy.typing import NDArray
from PIL import Image

from stdc_search.data.dataset import Split
from tests.data.conftest import write_image

SIZE = (12, 16)
"""(height, width)."""
NAMES = ("background", "road", "car")
COLOURS = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (0, 0, 142)}
SPLITS: dict[Split, tuple[str, ...]] = {"train": ("a", "b"), "val": ("c", "d")}


class Box(NamedTuple):
    """All pixels from the first corner to the last, both included."""

    name: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def corners(self) -> list[list[int]]:
        return [[self.left, self.top], [self.right, self.top], [self.right, self.bottom], [self.left, self.bottom]]


BOXES = {
    "a": (Box("road", 1, 6, 14, 10), Box("car", 4, 5, 7, 8)),
    "b": (Box("road", 0, 4, 15, 11), Box("car", 9, 0, 12, 5), Box("car", 2, 6, 4, 9)),
    "c": (Box("road", 2, 2, 13, 9), Box("car", 10, 8, 14, 11)),
    "d": (Box("road", 0, 8, 11, 11), Box("car", 0, 0, 3, 3)),
}
"""The boxes of each image; later ones cover earlier ones, and each box is smaller than those that it covers."""


def label_of(name: str) -> NDArray[np.uint8]:
    """Ids of the pixels."""
    label = np.zeros(SIZE, np.uint8)
    for box in BOXES[name]:
        label[box.top : box.bottom + 1, box.left : box.right + 1] = NAMES.index(box.name)
    return label


def each(folders: dict[Split, str]) -> Iterator[tuple[Split, str, str]]:
    """Split, name and folder of each image."""
    for split, names in SPLITS.items():
        for name in names:
            yield split, name, folders[split]


def save(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def write_voc(root: Path) -> dict[str, Any]:
    """CVAT's `Segmentation mask 1.1`."""
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in COLOURS.items()]
    write_text(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    palette = np.array([*COLOURS.values()], np.uint8)
    for split, name, _ in each({"train": "", "val": ""}):
        write_image(root / "JPEGImages" / f"{name}.jpg", SIZE)
        save(palette[label_of(name)], root / "SegmentationClass" / f"{name}.png")
        write_text(root / f"ImageSets/Segmentation/{split}.txt", "\n".join(SPLITS[split]) + "\n")
    return {"kind": "voc"}


def write_roboflow(root: Path) -> dict[str, Any]:
    for _, name, folder in each({"train": "train", "val": "valid"}):
        write_image(root / folder / f"{name}.jpg", SIZE)
        save(label_of(name), root / folder / f"{name}_mask.png")
        rows = "".join(f"{id}, {named}\n" for id, named in enumerate(NAMES))
        write_text(root / folder / "_classes.csv", f"Pixel Value, Class\n{rows}")
    return {"kind": "roboflow"}


def write_coco(root: Path) -> dict[str, Any]:
    """Polygons, and both forms of RLE, as `instances_train.json` and `instances_val.json`."""
    for split, names in SPLITS.items():
        images, annotations = [], []
        for id, name in enumerate(names):
            write_image(root / "images" / f"{name}.jpg", SIZE)
            images.append({"id": id, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
            for box in BOXES[name]:
                number = len(annotations)
                form = (polygon, runs, compressed)[number % 3](box)
                crowd = {"iscrowd": int(box is BOXES[name][0]), "bbox": [0, 0, 1, 1], "area": 1.0}
                annotations.append({"id": number, "image_id": id, "category_id": 7 + NAMES.index(box.name)})
                annotations[-1] |= {"segmentation": form, **crowd}
        categories = [{"id": 7 + id, "name": name} for id, name in enumerate(NAMES) if id]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_text(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    files = {side: f"annotations/instances_{side}.json" for side in SPLITS}
    return {"kind": "coco", "background": "background", "split": {"kind": "files", **files}}


def polygon(box: Box) -> list[list[float]]:
    """COCO's coordinates are those of the corners of pixels."""
    left, top, right, bottom = box.left, box.top, box.right + 1.0, box.bottom + 1.0
    return [[left, top, right, top, right, bottom, left, bottom]]


def compressed(box: Box) -> dict[str, Any]:
    """RLE by pycocotools."""
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[box.top : box.bottom + 1, box.left : box.right + 1] = 1
    rle = pycocotools.mask.encode(mask)
    return {"size": [*SIZE], "counts": rle["counts"].decode()}


def runs(box: Box) -> dict[str, Any]:
    """RLE as plain numbers."""
    mask = np.zeros(SIZE, np.uint8)
    mask[box.top : box.bottom + 1, box.left : box.right + 1] = 1
    flat = np.concatenate([[0], mask.T.ravel(), [2]])
    ends = np.flatnonzero(np.diff(flat)) if flat[1] == 0 else np.concatenate([[0], np.flatnonzero(np.diff(flat))[1:]])
    return {"size": [*SIZE], "counts": np.diff(ends, prepend=0).tolist()}


def write_labelme(root: Path) -> dict[str, Any]:
    """Rectangles and polygons; LabelMe's coordinates are those of the outermost pixels."""
    for _, name, folder in each({"train": "train", "val": "val"}):
        image = write_image(root / folder / f"{name}.jpg", SIZE)
        shapes = [
            {"label": box.name, "shape_type": "rectangle", "points": [box.corners[0], box.corners[2]], "group_id": None}
            if number % 2
            else {"label": box.name, "shape_type": "polygon", "points": box.corners, "flags": {}}
            for number, box in enumerate(BOXES[name])
        ]
        content = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": f"C:\\photos\\{image.name}"}
        content |= {"imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        write_text(image.with_suffix(".json"), json.dumps(content))
    return {"kind": "labelme", "background": "background", "split": {"kind": "folders"}}


def write_yolo(root: Path) -> dict[str, Any]:
    """`data.yaml` as Roboflow writes it. Coordinates are cut to whole pixels, so they lie within them."""
    for _, name, folder in each({"train": "train", "val": "valid"}):
        write_image(root / folder / "images" / f"{name}.jpg", SIZE)
        lines = []
        for box in reversed(BOXES[name]):
            points = [f"{(x + 0.5) / SIZE[1]:.6f} {(y + 0.5) / SIZE[0]:.6f}" for x, y in box.corners]
            lines.append(" ".join([str(NAMES.index(box.name) - 1), *points]))
        write_text(root / folder / "labels" / f"{name}.txt", "\n".join(lines))
    write_text(root / "data.yaml", "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['road', 'car']\n")
    return {"kind": "yolo", "background": "background"}


def write_supervisely(root: Path) -> dict[str, Any]:
    """Polygons with a hole that a later object covers, rectangles and bitmaps."""
    for _, name, folder in each({"train": "train", "val": "val"}):
        image = write_image(root / folder / "img" / f"{name}.jpg", SIZE)
        forms = (sly_polygon, sly_bitmap, sly_rectangle)
        objects = [forms[number % 3](box) | {"classTitle": box.name} for number, box in enumerate(BOXES[name])]
        content = {"description": "", "tags": [], "size": {"height": SIZE[0], "width": SIZE[1]}, "objects": objects}
        write_text(root / folder / "ann" / f"{image.name}.json", json.dumps(content))
    classes = [{"title": name, "shape": "any", "color": "#FF0000"} for name in NAMES[1:]]
    write_text(root / "meta.json", json.dumps({"classes": classes, "tags": [], "projectType": "images"}))
    return {"kind": "supervisely", "background": "background", "split": {"kind": "folders"}}


def sly_polygon(box: Box) -> dict[str, Any]:
    return {"geometryType": "polygon", "points": {"exterior": box.corners, "interior": []}}


def sly_rectangle(box: Box) -> dict[str, Any]:
    return {"geometryType": "rectangle", "points": {"exterior": [box.corners[0], box.corners[2]], "interior": []}}


def sly_bitmap(box: Box) -> dict[str, Any]:
    buffer = BytesIO()
    Image.new("1", (box.right - box.left + 1, box.bottom - box.top + 1), 1).save(buffer, "PNG", transparency=0)
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [box.left, box.top]}}


def write_hub(root: Path) -> dict[str, Any]:
    """Parquet as `datasets` writes it: a struct of bytes and path in each cell."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for split, named in (("train", "train"), ("val", "validation")):
        rows = []
        for name in SPLITS[split]:
            image, mask = write_image(root / f"{name}.jpg", SIZE), save(label_of(name), root / f"{name}.png")
            rows.append({"image": cell(image), "label": cell(mask)})
        (root / "data").mkdir(exist_ok=True)
        parquet.write_table(arrow.Table.from_pylist(rows), root / "data" / f"{named}-00000-of-00001.parquet")
    return {"kind": "hub"}


def cell(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    path.unlink()
    return {"bytes": content, "path": path.name}


WRITERS = {
    "voc": write_voc,
    "roboflow": write_roboflow,
    "coco": write_coco,
    "labelme": write_labelme,
    "yolo": write_yolo,
    "supervisely": write_supervisely,
    "hub": write_hub,
}
"""For each kind, a function that writes the scene and returns the section `data`, without `root` and `class_names`."""
