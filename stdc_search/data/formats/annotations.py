"""Files of annotations: bounded reading, and the images that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stdc_search.data.dataset import DataError
from stdc_search.data.drawing import report
from stdc_search.data.files import as_spelt


class FromTool(BaseModel):
    """A part of a tool's JSON: what we do not know in it is left alone."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


AnyFile = TypeVar("AnyFile", bound=BaseModel)
Item = TypeVar("Item")
Result = TypeVar("Result")


def read_json(path: Path, model: type[AnyFile], tool: str, most_bytes: int) -> AnyFile:
    """A tool's JSON file.

    Raises:
        DataError: the file is too large, or not JSON of this tool.
    """
    if (size := path.stat().st_size) > most_bytes:
        raise DataError(f"{path}: has {size / 2**20:.0f} MiB, and {most_bytes / 2**20:.0f} MiB is the limit; split it")
    try:
        return model.model_validate_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_input=False, include_context=False)
        place = ".".join(map(str, first["loc"]))
        others = f" ({len(more)} more problems)" if more else ""
        raise DataError(f"{path}: is not JSON of {tool}: {place}: {first['msg']}{others}".replace(": :", ":")) from None


def read_each(items: Iterable[Item], read: Callable[[Item], Result], problems: list[str] | None) -> list[Result]:
    """What is read of each item. The errors of broken ones are raised together, or collected in `problems`."""
    results: list[Result] = []
    faults: list[str] = []
    for item in items:
        try:
            results.append(read(item))
        except DataError as error:
            faults.append(str(error))
    report(faults, problems)
    return results


def image_at(written: str, folders: Sequence[Path], root: Path, source: Path) -> Path:
    """The image that a file of annotations names: the first that exists, relative to one of these folders.

    An absolute path, or one that leads out of its folder, is of another machine, so only its name counts. Label Studio
    writes such paths.

    Raises:
        DataError: the path leads out of the root, and its name to no image.
    """
    path = written.replace("\\", "/")
    name = path.rpartition("/")[2]
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        path = name
    inside = _within(root, path, folders)
    by_name = _within(root, name, folders) if path.startswith("../") else []
    if (found := next((place for place in (*inside, *by_name) if place.is_file()), None)) is not None:
        return found
    if not inside:
        raise DataError(f"{source}: names the image {written}, which lies outside {root}; make that folder `data.root`")
    return inside[0]


def _within(root: Path, path: str, folders: Sequence[Path]) -> list[Path]:
    """The places of a path, relative to each folder, that lie in the root."""
    places = [Path(os.path.normpath(folder / path)) for folder in folders]
    return [as_spelt(place) for place in places if place.is_relative_to(root) and place != root]
