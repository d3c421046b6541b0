"""One scene, written as each labelling tool would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
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


WRITERS = {"coco": write_coco, "voc": write_voc, "roboflow": write_roboflow}
"""For each kind, a function that writes the scene and returns the section `data`, without `root` and `class_names`."""
