"""What masks hold -> names of classes, and `encoding`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stdc_search.data.dataset import DataError
from stdc_search.data.decoding import Code, Codes, mask_codes
from stdc_search.data.files import read_text
from stdc_search.data.reading import read_all
from stdc_search.errors import several
from stdc_search.records import IGNORED

MOST = 255
"""Most ids or colours of masks: a label is a byte, and 255 is no class."""
THIN = 0.02
"""Smaller shares of pixels lie among their like where smoothing made an id. The poles of CamVid, its thinnest class,
have 0.35."""
REMEDY = (
    "Resize masks with nearest neighbour and save them as PNG; in black-and-white masks, threshold the grey borders"
)
"""What to do with smoothed masks."""

NAMES = ("label_colors.txt", "class_dict.csv")
"""Files with a line per colour: `red green blue name`, as CVAT writes it, or `name,red,green,blue`."""
BETWEEN = r"[\s,;]+"
RGB = BETWEEN.join(rf"(?P<{part}>\d{{1,3}})" for part in "rgb")
LINES = (re.compile(rf"{RGB}\b[\s,;]*(?P<name>.*)"), re.compile(rf"(?P<name>.+?){BETWEEN}{RGB}"))
VOID = ("void", "ignore", "unlabelled", "unlabeled", "unknown")
"""Names of pixels without a class."""

Colour = tuple[int, ...]
Found = tuple[list[str], dict[str, Any], list[str]]


def names_of_colours(folder: Path) -> dict[Colour, str]:
    """The names that a file in the folder gives to colours; none without such a file."""
    file = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    lines = read_text(file).splitlines() if file else []
    matches = (next(filter(None, (form.fullmatch(line.strip()) for form in LINES)), None) for line in lines)
    named = {tuple(map(int, match.group("r", "g", "b"))): match["name"].strip(" \t\"'") for match in matches if match}
    return {colour: name for colour, name in named.items() if name and max(colour) < 256}


def encoding_of(
    masks: Sequence[Path], told: Callable[[int, int], None] | None = None, named: Mapping[Colour, str] | None = None
) -> Found:
    """Names for the classes, the field `encoding` (none for plain ids), and lines on what they stand for.

    Args:
        masks: files.
        named: names of colours.
        told: called with the number of masks that were read, and of all.

    Raises:
        DataError: a mask is broken; masks are of ids and of colours; borders are smoothed; there is one
            class only, or too many.
    """
    pixels: Counter[Code] = Counter()
    inner: Counter[Code] = Counter()
    files: dict[Code, Path] = {}
    binary = True
    for path, found in zip(masks, read_all(masks, _codes, told), strict=True):
        pixels.update(found.pixels)
        inner.update(found.inner)
        for code in found.pixels:
            files.setdefault(code, path)
        binary = binary and any({code.id for code in found.pixels} <= {0, white} for white in (1, IGNORED))
    part = "colour" if _are_colours(pixels, files, named or {}) else "id"
    counts = _sums(pixels, part)
    _check_number(len(counts), f"{masks[0]}: this and other masks have")
    _check_sharp(counts, _sums(inner, part), {getattr(code, part): files[code] for code in reversed(files)})
    if part == "id":
        return _of_ids(counts, masks[0], binary)
    names, encoding, notes = _of_colours(counts, masks[0], named or {})
    ids = [code.id for code in pixels if code.id is not None]
    if len(ids) > len({*ids}):
        notes.append("the palettes of masks give an id several colours, so the colours count, not the ids")
    return names, encoding, notes


def _codes(path: Path) -> Codes:
    found = mask_codes(path)
    _check_number(len(found.pixels), f"{path}: has")
    return found


def _check_number(count: int, who: str) -> None:
    if count > MOST:
        raise DataError(f"{who} {count} ids or colours, but masks have one per class. Are they photos? {REMEDY}")


def _are_colours(codes: Iterable[Code], files: Mapping[Code, Path], named: Collection[Colour]) -> bool:
    """Whether colours tell the classes: some have no id, a file names them all, or an id has several colours."""
    painted = [code for code in codes if code.colour]
    bare = [code for code in codes if not code.colour]
    one_each = len(painted) == len({code.id for code in painted} - {None})
    if one_each and (bare or not {code.colour for code in painted} <= {*named}):
        return False
    if bare:
        ids, colours = files[bare[0]], files[painted[0]]
        raise DataError(f"{ids}: holds class ids, but {colours} holds colours; save all masks alike")
    return True


def _sums(codes: Mapping[Code, int], part: Literal["id", "colour"]) -> Counter[Any]:
    """Pixels of each id, or of each colour."""
    sums: Counter[Any] = Counter()
    for code, count in codes.items():
        sums[getattr(code, part)] += count
    return sums


def _check_sharp(counts: Counter[Any], inner: Counter[Any], files: Mapping[Any, Path]) -> None:
    """Raise an error if smoothing made most of these ids or colours: they lie between others, and are thin."""
    solid = [value for value, count in counts.items() if inner[value] > THIN * count]
    if not solid:
        return
    low, high = np.min(solid, axis=0), np.max(solid, axis=0)
    mixed = [value for value in counts if value not in solid and np.all((low <= value) & (value <= high))]
    if len(mixed) > len(solid):
        raise DataError(
            f"{files[mixed[0]]}: this and other masks have {len(counts)} ids or colours; {len(mixed)} occur only at "
            f"borders, as after smoothing or in a JPEG. {REMEDY}"
        )


def _of_ids(counts: Counter[int], first: Path, binary: bool) -> Found:
    total = sum(counts.values())
    share = {id: 100 * count / total for id, count in sorted(counts.items())}
    if binary and {0, IGNORED} <= {*counts}:
        note = f"masks hold {', '.join(f'{id} ({share[id]:.1f} %)' for id in share)}, read as black and white"
        if 1 in counts:
            note += "; no mask holds both 1 and 255, so both are white"
        return ["background", "foreground"], {"encoding": {"kind": "binary"}}, [note]
    void = IGNORED in share and _stands_apart([*share])
    ids = [id for id in share if id != IGNORED or not void]
    if len(ids) < 2:
        raise DataError(
            f"{first}: all masks hold the id {several([*share])} only; a network learns to tell 2 or more apart"
        )
    notes = [f"masks hold the ids {', '.join(f'{id} ({share[id]:.1f} %)' for id in ids)}"]
    if void:
        notes[0] += f"; 255 ({share[IGNORED]:.1f} %) is ignored"
    elif IGNORED in share:
        notes.append("255 is a class, because ids are spread up to it; to ignore it, write `255: ignore` in `map`")
    notes.append("if 0 means unlabelled, remove its name and write `encoding: {map: {0: ignore, 1: 0, 2: 1, ...}}`")
    names = [f"class_{id}" for id in ids]
    if ids == [*range(len(ids))]:
        return names, {}, notes
    return names, {"encoding": {"kind": "ids", "map": {id: index for index, id in enumerate(ids)}}}, notes


def _stands_apart(ids: Sequence[int]) -> bool:
    """Whether the last id is far above the others. Ids that a program stretched for the eye (0, 127, 255) are not."""
    *gaps, last = np.diff(ids, prepend=ids[0]).tolist()
    return last > 2 * max(gaps, default=0)


def _of_colours(counts: Counter[Colour], first: Path, named: Mapping[Colour, str]) -> Found:
    total = sum(counts.values())
    black = (0, 0, 0)
    void = {colour for colour, name in named.items() if name.lower() in VOID} | {black} - {*named}
    known = [colour for colour in named if colour in counts and colour not in void]
    others = known + [colour for colour, _ in counts.most_common() if colour not in void and colour not in known]
    if black in counts and black not in known and len(others) == 1:
        return ["background", "foreground"], {"encoding": {"kind": "binary"}}, [f"masks are black and {[*others[0]]}"]
    if len(others) < 2:
        raise DataError(f"{first}: all masks have one colour only; a network learns to tell 2 classes or more apart")
    notes = [f"colours by their share: {', '.join(f'{[*c]} {100 * counts[c] / total:.1f} %' for c in others)}"]
    for colour in sorted(void & {*counts}):
        name = named.get(colour, "black" if colour == black else "")
        notes.append(f"{name} ({100 * counts[colour] / total:.1f} %) is ignored; if it is a class, add it to `colours`")
    if named and (unnamed := [str([*colour]) for colour in others if colour not in named]):
        notes.append(f"the file with the names of colours lacks {several(unnamed)}")
    if unseen := [name for colour, name in named.items() if colour not in counts]:
        notes.append(f"no mask has the colour of {several(unseen)}")
    names = [named.get(colour, "colour_{}_{}_{}".format(*colour)) for colour in others]
    ignore = {} if void <= {black} else {"ignore": [[*colour] for colour in sorted(void & {*counts})]}
    return names, {"encoding": {"kind": "colours", "colours": [[*colour] for colour in others], **ignore}}, notes
