"""A folder that nobody has described -> the section `data` of a spec."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from stdc_search.data import formats, open_dataset
from stdc_search.data.dataset import DataError
from stdc_search.data.formats import voc
from stdc_search.data.formats.unread import unread
from stdc_search.data.guess import layouts
from stdc_search.data.guess.codes import encoding_of, names_of_colours
from stdc_search.spec.data import DataSpec


class Guess(NamedTuple):
    """What a folder seems to be."""

    section: dict[str, Any]
    """The section `data`, without `root`."""
    notes: list[str]
    """What a person should check."""
    pairs: str | None
    """Text of the file that `pairs` shall name, if no two folders hold all images and masks."""


def guess(folder: Path, told: Callable[[int, int], None] | None = None) -> Guess:
    """Describe a folder of labelled images: as a labelling tool wrote it, or images and masks in any usual order.

    Args:
        folder: absolute.
        told: called with the number of masks that were looked at, and of all.

    Raises:
        DataError: the folder has no images, no masks, or masks that mean nothing.
    """
    if (section := layouts.known(folder) or formats.recognise(folder)) is not None:
        if section["kind"] == "hub" and "id2label.json" not in {path.name for path in folder.iterdir()}:
            names, encoding, notes = encoding_of(_masks_of_hub(folder, section), told)
            return Guess({**section, "class_names": names, **encoding}, [*notes, *layouts.stands_in(section)], None)
        doubts = voc.doubts(folder) if section["kind"] == "voc" else []
        return Guess(section, [*layouts.stands_in(section), *doubts], None)
    if inside := _export_in(folder):
        raise DataError(f"{inside}: this folder is the export; type: stdc-search init {shlex.quote(str(inside))}")
    try:
        found = layouts.paired(folder)
    except DataError as error:
        raise unread(folder) or error from None
    names, encoding, notes = encoding_of([mask for _, mask in found.pairs], told, names_of_colours(folder))
    section = {"kind": "folder", **found.places, "class_names": names, **encoding, **found.split}
    notes = [*found.notes, *layouts.stands_in(found.split), *notes]
    return Guess(section, notes, None if found.places else _table(found, folder))


def _export_in(folder: Path) -> Path | None:
    """The only folder in this one, if it is a tool's export: archives are often unpacked into one more folder."""
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    with suppress(DataError):
        return inside[0] if len(inside) == 1 and formats.recognise(inside[0]) else None
    return None


def _masks_of_hub(folder: Path, section: dict[str, Any]) -> list[Path]:
    data = open_dataset(TypeAdapter[DataSpec](DataSpec).validate_python({**section, "root": folder}), "train")
    return [data.files(index)[1] for index in range(len(data))]


def _table(found: layouts.Found, folder: Path) -> str:
    """A list of pairs as CSV."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not found.split:
        writer.writerows([("image", "mask"), *found.pairs])
        return text.getvalue()
    parts = layouts.parts_of([image.relative_to(folder) for image, _ in found.pairs], folder)
    writer.writerow(("image", "mask", "split"))
    writer.writerows((*pair, part) for pair, part in zip(found.pairs, parts, strict=True))
    return text.getvalue()
