"""What masks hold -> names of classes, and `encoding`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stdc_search.data.dataset import DataError
from stdc_search.data.decoding import mask_codes
from stdc_search.data.reading import read_all
from stdc_search.errors import several
from stdc_search.records import IGNORED

MOST = 2000
"""Masks to look at; of more, they are evenly spaced."""
COLOURS = 64
"""Most colours that masks are expected to have: more come from smoothed borders."""

Found = tuple[list[str], dict[str, Any], list[str]]


def encoding_of(masks: Sequence[Path], told: Callable[[int, int], None] | None = None) -> Found:
    """Names for the classes, the field `encoding` (none for plain ids), and lines on what they stand for.

    Args:
        masks: files.
        told: called with the number of masks that were looked at, and of all.

    Raises:
        DataError: a mask is broken; masks are of ids and of colours; there is one class only; there are too many.
    """
    most = min(len(masks), MOST)
    chosen = [masks[i * len(masks) // most] for i in range(most)]
    ids: Counter[int] = Counter()
    colours: Counter[tuple[int, ...]] = Counter()
    seen: dict[type, Path] = {}
    for path, found in zip(chosen, read_all(chosen, mask_codes, told), strict=True):
        for code, count in found.items():
            seen.setdefault(type(code), path)
            if isinstance(code, tuple):
                colours[code] += count
            else:
                ids[code] += count
    if len(seen) == 2:
        raise DataError(f"{seen[int]}: holds class ids, but {seen[tuple]} holds colours; save all masks alike")
    return _of_colours(colours, chosen[0]) if colours else _of_ids(ids, chosen[0])


def _of_ids(counts: Counter[int], first: Path) -> Found:
    total = sum(counts.values())
    share = {id: 100 * count / total for id, count in sorted(counts.items())}
    if {*counts} <= {0, IGNORED} and len(counts) == 2:
        note = f"masks hold 0 ({share[0]:.1f} %) and 255 ({share[IGNORED]:.1f} %), read as black and white"
        return ["background", "foreground"], {"encoding": {"kind": "binary"}}, [note]
    ids = [id for id in share if id != IGNORED]
    if len(ids) < 2:
        raise DataError(
            f"{first}: all masks hold the id {several([*share])} only; a network learns to tell 2 or more apart"
        )
    notes = [f"masks hold the ids {', '.join(f'{id} ({share[id]:.1f} %)' for id in ids)}"]
    if IGNORED in share:
        notes[0] += f"; 255 ({share[IGNORED]:.1f} %) is ignored"
    notes.append("if 0 means unlabelled, remove its name and write `encoding: {map: {0: ignore, 1: 0, 2: 1, ...}}`")
    names = [f"class_{id}" for id in ids]
    if ids == [*range(len(ids))]:
        return names, {}, notes
    return names, {"encoding": {"kind": "ids", "map": {id: index for index, id in enumerate(ids)}}}, notes


def _of_colours(counts: Counter[tuple[int, ...]], first: Path) -> Found:
    total = sum(counts.values())
    if len(counts) > COLOURS:
        raise DataError(
            f"{first}: this and other masks have {len(counts)} colours; a mask has one per class. Were borders "
            "smoothed, or are these the photos?"
        )
    black = (0, 0, 0)
    others = [colour for colour, _ in counts.most_common() if colour != black]
    if black in counts and len(others) == 1:
        return ["background", "foreground"], {"encoding": {"kind": "binary"}}, [f"masks are black and {[*others[0]]}"]
    if len(others) < 2:
        raise DataError(f"{first}: all masks have one colour only; a network learns to tell 2 classes or more apart")
    notes = [f"colours by their share: {', '.join(f'{[*c]} {100 * counts[c] / total:.1f} %' for c in others)}"]
    if black in counts:
        notes.append(f"black ({100 * counts[black] / total:.1f} %) is ignored; if it is a class, add it to `colours`")
    names = [f"colour_{red}_{green}_{blue}" for red, green, blue in others]
    return names, {"encoding": {"kind": "colours", "colours": [[*colour] for colour in others]}}, notes
