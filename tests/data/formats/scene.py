"""One scene, written as each labelling tool would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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


WRITERS = {"voc": write_voc, "roboflow": write_roboflow}
"""For each kind, a function that writes the scene and returns the section `data`, without `root` and `class_names`."""
