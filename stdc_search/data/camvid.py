"""CamVid in the public 480 x 360 layout: 11 classes and void, lists of image and label paths."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.files import (
    LabelledFiles,
    Sample,
    check_disjoint,
    check_unique,
    hint,
    plain_ids,
    read_list,
    resolve_root,
    several,
)
from stdc_search.spec.data import CamvidSpec

VOID = 11
PLACE = "`data.root`, or --data-root, is the folder that holds train.txt, train and trainannot"


def open_camvid(spec: CamvidSpec, split: Split, data_root: Path | None) -> LabelledFiles:
    """One split; the lists of the other one, where they lie there, must not share an image with it."""
    root = resolve_root(spec.root, data_root)
    lists = {"train": ("train", "val") if spec.train == "trainval" else (spec.train,), "val": (spec.val,)}
    samples = [sample for name in lists[split] for sample in _listed(root / f"{name}.txt")]
    _paired(samples, root)
    check_unique([sample.name for sample in samples], root)

    other = [root / f"{name}.txt" for name in lists["val" if split == "train" else "train"]]
    others = [sample.name for path in other if path.is_file() for sample in _listed(path)]
    remedy = "`train: trainval` goes with `val: test`" if spec.train == "trainval" else "take them out of one list"
    check_disjoint([sample.name for sample in samples], others, root, remedy)
    return LabelledFiles(samples, spec.class_names, plain_ids(len(spec.class_names), VOID))


def _listed(path: Path) -> list[Sample]:
    """Samples of a list. Of each path its last two parts count, since the public lists have a prefix.

    An image may have the other of the endings .png and .jpg: copies are re-encoded. A frame's name is its file's
    stem, since train and val lie in different folders.
    """
    samples = []
    for line in read_list(path, PLACE):
        parts = [PurePosixPath(part.replace("\\", "/")).parts[-2:] for part in line.split()]
        if len(parts) != 2 or any(len(part) != 2 for part in parts):
            raise DataError(f"{path}: {line!r} is not of the form `train/x.png trainannot/x.png`")
        image, label = (path.parent.joinpath(*part) for part in parts)
        there = (file for file in (image, image.with_suffix(".png"), image.with_suffix(".jpg")) if file.is_file())
        samples.append(Sample(image.stem, next(there, image), label))
    return samples


def _paired(samples: list[Sample], root: Path) -> None:
    for kind, paths in (("images", [s.image for s in samples]), ("labels", [s.label for s in samples])):
        missing = [path for path in paths if not path.is_file()]
        if missing:
            folder = missing[0].parent
            remedy = "; copy them there, or take their lines out of the list" if folder.is_dir() else hint(folder)
            names = several([path.relative_to(root).as_posix() for path in missing])
            raise DataError(f"{root}: {len(missing)} of {len(paths)} listed {kind} are missing: {names}{remedy}")
