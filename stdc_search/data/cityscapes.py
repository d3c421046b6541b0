"""Cityscapes as distributed: `leftImg8bit/` and `gtFine/`, with a folder per split and per city."""

from __future__ import annotations

from pathlib import Path

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import IdMasks
from stdc_search.data.files import LabelledFiles, Sample, hint, keep_paired, resolve_root
from stdc_search.errors import several
from stdc_search.spec.data import CityscapesSpec

IMAGE, LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each of the 19 classes in the files (the data set's own `labels.py`)."""
VOID_IDS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
"""Ids that training and scoring ignore."""


def open_cityscapes(
    spec: CityscapesSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """One split, ordered by city and frame."""
    root = resolve_root(spec.root, data_root)
    chosen = spec.train if split == "train" else spec.val
    folders = ("train", "val") if chosen == "trainval" else (chosen,)
    samples = [sample for folder in folders for sample in _samples(root, folder, problems)]
    ids = {**dict.fromkeys(VOID_IDS), **{id: index for index, id in enumerate(LABEL_IDS)}}
    return LabelledFiles(samples, spec.class_names, IdMasks(spec.class_names, ids))


def _samples(root: Path, split: str, problems: list[str] | None) -> list[Sample]:
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    for folder in (images, labels):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder{hint(folder)}; `data.root` holds leftImg8bit and gtFine")
    paths = sorted(images.glob(f"*/*{IMAGE}"))
    if not paths:
        raise DataError(f"{images}: contains no images; images are named like frankfurt/frankfurt_000000_000294{IMAGE}")
    names = [path.relative_to(images).as_posix().removesuffix(IMAGE) for path in paths]
    samples = [
        Sample(Path(name).name, image, labels / f"{name}{LABEL}") for name, image in zip(names, paths, strict=True)
    ]
    if problems is not None:
        return keep_paired(samples, problems)
    if missing := [sample.label.name for sample in samples if not sample.label.is_file()]:
        raise DataError(f"{labels}: {len(missing)} of {len(samples)} images have no label file: {several(missing)}")
    return samples
