"""Images to classify, with one folder per class, as in ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import read_image
from stdc_search.data.files import IMAGE_ENDINGS, check_links, hint, nfc, resolve_root
from stdc_search.errors import several
from stdc_search.spec.data import ImagenetSpec


class ClassedImage(NamedTuple):
    image: Path
    label: int


class ClassFolders:
    """A data set of image files and their classes; files are read at each access.

    Args:
        samples: the images and their classes, in order.
        class_names: one per class.
    """

    def __init__(self, samples: Sequence[ClassedImage], class_names: tuple[str, ...]) -> None:
        self.samples, self.class_names = samples, class_names

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        path = self.samples[index].image
        return f"{path.parent.name}/{path.stem}"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        return read_image(sample.image), self.label(index)

    def label(self, index: int) -> Tensor:
        return torch.tensor(self.samples[index].label)

    def files(self, index: int) -> tuple[Path, ...]:
        return (self.samples[index].image,)


def open_imagenet(
    spec: ImagenetSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> ClassFolders:
    """Open one split. Both splits have the same class folders, in alphabetical order."""
    root = resolve_root(spec.root, data_root)
    class_names = tuple(_classes(root / spec.train))
    if len(class_names) != spec.classes:
        raise DataError(
            f"{root / spec.train}: has {len(class_names)} folders, one per class; `data.classes` is {spec.classes}; "
            f"write {len(class_names)} there and in `network.classes`, or correct the folder"
        )
    if (root / spec.train).resolve() == (root / spec.val).resolve():
        raise DataError(
            f"{root / spec.val}: is used for both training and validation; give another folder in `data.val`"
        )
    folder = root / (spec.train if split == "train" else spec.val)
    folders = _classes(folder)
    if (there := tuple(folders)) != class_names:
        odd = sorted({*there} ^ {*class_names})
        raise DataError(
            f"{folder}: {several(odd)} is not a class in both {spec.train} and {spec.val}; a class has a folder in "
            "each. ImageNet's validation images come without folders: sort them by their class first"
        )
    samples = []
    for label, place in enumerate(folders.values()):
        inside = sorted(path for path in place.iterdir() if not path.name.startswith("."))
        images = [path for path in inside if path.suffix.lower() in IMAGE_ENDINGS and path.is_file()]
        check_links(inside)
        if nested := [path for path in inside if path.is_dir()]:
            raise DataError(
                f"{nested[0]}: is a folder inside a class folder; images must be in the class folder itself"
            )
        if not images:
            message = f"{place}: contains no image; a class without images cannot be learned or scored"
            if problems is None:
                raise DataError(message)
            problems.append(message)
        samples += [ClassedImage(path, label) for path in images]
    return ClassFolders(samples, class_names)


def _classes(folder: Path) -> dict[str, Path]:
    """The folder of each class, in alphabetical order."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{hint(folder)}; it needs one folder per class")
    inside = {nfc(path.name): path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if not inside:
        raise DataError(f"{folder}: contains no folder; images must be in one folder per class")
    return dict(sorted(inside.items()))
