"""CamVid, 11 classes and void: the SegNet tutorial's 480 x 360 copy and its lists, or the original 960 x 720 frames."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import ColourMasks, IdMasks
from stdc_search.data.files import (
    LabelledFiles,
    Sample,
    as_spelt,
    check_disjoint,
    check_unique,
    hint,
    keep_paired,
    read_list,
    resolve_root,
)
from stdc_search.errors import several
from stdc_search.spec.data import CamvidSpec

VOID = 11
FRAMES, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
FRAME = re.compile(r"0001TP_\d+|0006R0_f\d+|0016E5_\d+|Seq05VD_f\d+")
COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sky": ((128, 128, 128),),  # Sky
    # Archway, Bridge, Building, Tunnel, Wall
    "building": ((192, 0, 128), (0, 128, 64), (128, 0, 0), (64, 0, 64), (64, 192, 0)),
    "pole": ((192, 192, 128), (0, 0, 64)),  # Column_Pole, TrafficCone
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),  # Sidewalk, ParkingBlock, RoadShoulder
    "tree": ((128, 128, 0), (192, 192, 0)),  # Tree, VegetationMisc
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),  # SignSymbol, Misc_Text, TrafficLight
    "fence": ((64, 64, 128),),  # Fence
    # Car, SUVPickupTruck, Truck_Bus, Train, OtherMoving
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    # Pedestrian, Child, CartLuggagePram, Animal
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "bicyclist": ((0, 128, 192), (192, 0, 192)),  # Bicyclist, MotorcycleScooter
}
"""Colours of the original 31 classes, grouped into the SegNet tutorial's 11; black is void."""
PLACE = "`data.root`, or --data-root, is the folder that holds train.txt, train and trainannot"


def open_camvid(
    spec: CamvidSpec, split: Split, data_root: Path | None, problems: list[str] | None = None
) -> LabelledFiles:
    """Open one split; the lists of the other split, if present, must not share an image with it."""
    root = resolve_root(spec.root, data_root)
    if spec.layout == "original":
        return _original(spec, split, root, problems)
    lists = {"train": ("train", "val") if spec.train == "trainval" else (spec.train,), "val": (spec.val,)}
    listed = [sample for name in lists[split] for sample in _listed(root / f"{name}.txt")]
    samples = _paired(listed, root, problems)
    check_unique([sample.name for sample in samples], root)

    other = [root / f"{name}.txt" for name in lists["val" if split == "train" else "train"]]
    others = [sample.name for path in other if path.is_file() for sample in _listed(path)]
    remedy = "`train: trainval` goes with `val: test`" if spec.train == "trainval" else "remove them from one list"
    check_disjoint([sample.name for sample in samples], others, root, remedy)
    return LabelledFiles(samples, spec.class_names, IdMasks.plain(spec.class_names, VOID))


def split_of(frame: str) -> str:
    """The split of a frame in the SegNet tutorial's lists: 367 train, 101 val, 233 test."""
    sequence, _, number = frame.rpartition("_")
    if sequence == "Seq05VD" or (sequence == "0001TP" and int(number) >= 8550):
        return "test"
    if sequence == "0016E5" and 7959 <= int(number) <= 8159 and int(number) % 2:
        return "val"
    return "train"


def _original(spec: CamvidSpec, split: Split, root: Path, problems: list[str] | None) -> LabelledFiles:
    for folder in (root / FRAMES, root / LABELS):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder{hint(folder)}; `data.root` holds {FRAMES} and {LABELS}")
    chosen = spec.train if split == "train" else spec.val
    splits = ("train", "val") if chosen == "trainval" else (chosen,)
    frames = sorted((root / FRAMES).glob("*.png"))
    odd = [path.name for path in frames if not FRAME.fullmatch(path.stem)]
    if odd:
        raise DataError(
            f"{root / FRAMES}: {several(odd)} is not a CamVid frame (such as 0001TP_006690.png); move it elsewhere"
        )
    samples = [
        Sample(path.stem, path, root / LABELS / f"{path.stem}_L.png")
        for path in frames
        if split_of(path.stem) in splits
    ]
    if not samples:
        raise DataError(f"{root / FRAMES}: contains no frame of {chosen}; frames are named like 0001TP_006690.png")
    samples = _paired(samples, root, problems)
    classes = {colour: index for index, name in enumerate(spec.class_names) for colour in COLOURS[name]}
    return LabelledFiles(samples, spec.class_names, ColourMasks({**classes, (0, 0, 0): None}))


def _listed(path: Path) -> list[Sample]:
    """Samples of a list. Only the last two parts of each path are used, because the public lists have a prefix.

    The image on disk may be a .jpg where the list says .png, or the reverse, because some copies are re-encoded. A
    frame is named by its file's stem, because train and val are in different folders.
    """
    samples = []
    for line in read_list(path, PLACE):
        parts = [PurePosixPath(part.replace("\\", "/")).parts[-2:] for part in line.split()]
        if len(parts) != 2 or any(len(part) != 2 for part in parts):
            raise DataError(f"{path}: {line!r} does not have the form `train/x.png trainannot/x.png`")
        image, label = (as_spelt(path.parent.joinpath(*part)) for part in parts)
        there = (file for file in (image, image.with_suffix(".png"), image.with_suffix(".jpg")) if file.is_file())
        samples.append(Sample(image.stem, next(there, image), label))
    return samples


def _paired(samples: list[Sample], root: Path, problems: list[str] | None) -> list[Sample]:
    if problems is not None:
        return keep_paired(samples, problems)
    for kind, paths in (("images", [s.image for s in samples]), ("labels", [s.label for s in samples])):
        missing = [path for path in paths if not path.is_file()]
        if missing:
            folder = missing[0].parent
            remedy = "; copy them there, or remove their lines from the list" if folder.is_dir() else hint(folder)
            names = several([path.relative_to(root).as_posix() for path in missing])
            raise DataError(f"{root}: {len(missing)} of {len(paths)} listed {kind} are missing: {names}{remedy}")
    return samples
