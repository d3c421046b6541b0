"""Images -> how to split them: without the frames of one video on both sides, and with every class on both."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stdc_search.data.dataset import DataError
from stdc_search.data.splits import divided
from stdc_search.spec.splits import SplitByGroup, SplitByShare

LOOKED_AT = 60
"""Pairs of neighbours that are compared."""
ALIKE = 0.6
"""Neighbours are frames of a video if they differ by less than this share of what any two images differ by."""
SEQUENCES = ("(.+)/", "(.*?)[0-9]+$")
"""Patterns that find the video in the name of a frame: its folder, or what stands before a number."""
BLOCKS = tuple(f"(.*?)[0-9]{{1,{digits}}}$" for digits in range(4, 0, -1))
"""Patterns that find a block of frames: all but the last digits of a number. The longest blocks come first."""
FEWEST = 4
"""Fewest groups to split by."""
PHOTO = r"(.+?)(?:\.rf\.|$)"
"""Pattern that finds the photo of Roboflow's augmented copies: `a_jpg` of `a_jpg.rf.0123abcd`."""
END = r"(?:_[a-zA-Z]+\.rf\..*)?$"
"""What follows the number of a frame in such names."""
SEEDS = 100
"""Seeds to try until every class is on both sides."""


def divide(images: Mapping[str, Path], present: Mapping[str, NDArray[np.bool_]]) -> tuple[dict[str, Any], list[str]]:
    """The field `split`, and lines on why.

    Args:
        images: files by name.
        present: for each name, whether each class occurs in the image.
    """
    names = sorted(images, key=_natural)
    photos = [*{re.findall(PHOTO, name)[0]: name for name in names}.values()]
    notes: list[str] = []
    split: dict[str, Any] = {"kind": "share", "val": 0.2}
    if len(photos) < len(names):
        split = {"kind": "group", "pattern": PHOTO, "val": 0.2}
        notes.append("Roboflow has augmented the images (`.rf.` in their names); all copies of a photo are on one side")
    if _frames(photos, images):
        if (grouping := _grouping(photos)) is None:
            notes.append(
                "neighbouring images look alike, as frames of a video do; a random split has such neighbours on both "
                "sides, and its scores are too high. Split them by `list`, or record a second video for validation"
            )
        else:
            pattern, held_back = grouping
            split = {"kind": "group", "pattern": pattern, "val": 0.2}
            notes.append(f"neighbouring images look alike, as frames of a video do, so {held_back}")
    seed, missing = _seed(names, split, present)
    return {**split, "seed": seed}, notes + missing


def _seed(
    names: Sequence[str], split: Mapping[str, Any], present: Mapping[str, NDArray[np.bool_]]
) -> tuple[int, list[str]]:
    """The first seed that leaves most classes on both sides."""
    best, most = 0, -1
    every = int(np.any([present[name] for name in names], axis=0).sum())
    for seed in range(SEEDS):
        how = {**split, "seed": seed}
        drawn = SplitByGroup(**how) if split["kind"] == "group" else SplitByShare(**how)
        sides = divided(names, drawn, Path())
        train, val = (np.any([present[name] for name in side], axis=0) for side in sides.values())
        if (score := 2 * int(train.sum()) + int(val.sum())) > most:
            best, most = seed, score
        if most == 3 * every:
            break
    notes = [] if best == 0 else [f"`seed: {best}` has more of the classes in both train and val than seed 0"]
    return best, notes


def _frames(names: Sequence[str], images: Mapping[str, Path]) -> bool:
    """Whether images with neighbouring names are more alike than others."""
    if len(names) < 6:
        return False
    draw = random.Random(0)
    places = sorted({i * (len(names) - 1) // LOOKED_AT for i in range(LOOKED_AT)})
    others = [
        draw.choice([j for j in (0, len(names) // 3, 2 * len(names) // 3, len(names) - 1) if abs(j - i) > 1])
        for i in places
    ]
    small = {i: _small(images[names[i]]) for i in {*places, *(i + 1 for i in places), *others}}
    near = median(float(np.abs(small[i] - small[i + 1]).mean()) for i in places)
    far = median(float(np.abs(small[i] - small[j]).mean()) for i, j in zip(places, others, strict=True))
    return near < ALIKE * far


def _small(path: Path) -> NDArray[np.float32]:
    """16 x 16 grey pixels of an image."""
    try:
        with Image.open(path) as image:
            image.draft("L", (64, 64))  # decodes JPEG files at a fraction of their size
            return np.asarray(image.convert("L").resize((16, 16)), np.float32)
    except Exception as error:  # decoders raise whatever they like on broken files
        raise DataError(f"{path}: cannot be read; the file is broken or not an image: {error}") from None


def _grouping(names: Collection[str]) -> tuple[str, str] | None:
    """A pattern that finds the sequence in names, else one for the longest blocks; and what is held back."""
    end = END if any(".rf." in name for name in names) else "$"
    for usual in (*SEQUENCES, *BLOCKS):
        pattern = usual.replace("$", end)
        found = [re.search(pattern, name) for name in names]
        groups = {match[1] for match in found if match}
        if not all(found) or not FEWEST <= len(groups) <= len(names) // 3:
            continue
        if usual in SEQUENCES:
            return pattern, "whole sequences are held back"
        return pattern, (
            f"blocks of about {len(names) // len(groups)} frames are held back. A block's first and last frames have "
            "neighbours in train, so scores are somewhat too high"
        )
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame10 after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
