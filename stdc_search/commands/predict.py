"""A trained network on people's images, videos and cameras: label maps that any viewer shows in colour; overlays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from PIL import Image

from stdc_search.commands.camera import is_camera, name_of, watch
from stdc_search.commands.labeller import Labeller, Rgb, Speed
from stdc_search.commands.video import VIDEO_ENDINGS, count_frames, redraw
from stdc_search.data.cityscapes import LABEL_IDS
from stdc_search.data.decoding import read_image
from stdc_search.data.files import IMAGE_ENDINGS, files_below
from stdc_search.errors import UserError
from stdc_search.spec.data import CITYSCAPES_CLASSES

Told = Callable[[int, int | None, str], None]
"""Called with the number of images and frames done, of all (None: a camera has no end), and the speed so far."""


class Predicted(NamedTuple):
    """What was written."""

    files: list[Path]
    speeds: dict[str, Speed]
    """By the name of a video or camera."""


class _Input(NamedTuple):
    """An image, a video or a camera."""

    source: str
    stem: Path
    """Where its files go, without what their names end with; it may contain dots."""

    @property
    def is_camera(self) -> bool:
        return is_camera(self.source)

    @property
    def is_video(self) -> bool:
        return Path(self.source).suffix.lower() in VIDEO_ENDINGS

    @property
    def moves(self) -> bool:
        return self.is_camera or self.is_video

    @property
    def name(self) -> str:
        return name_of(self.source) if self.is_camera else self.source

    def files(self, label_ids: bool) -> tuple[Path, ...]:
        """The files to write."""
        if self.moves:
            return (self.stem.with_name(f"{self.stem.name}_overlay.mp4"),)
        label_map = self.stem.with_name(f"{self.stem.name}.png")
        return (label_map,) if label_ids else (label_map, self.stem.with_name(f"{self.stem.name}_overlay.png"))


def predict(
    labeller: Labeller,
    sources: Sequence[Path | str],
    out: Path,
    *,
    label_ids: bool = False,
    told: Told = lambda done, total, speed: None,
) -> Predicted:
    """Write the label map of each image, of the image's own size, and its overlay; of a video or camera, its overlay.

    Args:
        labeller: a network.
        sources: images, videos, and folders, which stand for all of these below them; or a camera, until Ctrl-C.
        out: folder that gets `NAME.png`, whose pixels are class indices with the classes' colours as palette, and
            `NAME_overlay.png`; of a video, `NAME_overlay.mp4`; of a camera, the same with the time of its start.
        label_ids: write only `NAME.png`, and in it the label ids that the Cityscapes server takes.
        told: called after each image and frame.

    Raises:
        UserError: a source cannot be read, or two would be written to one file.
    """
    if label_ids and (classes := len(labeller.palette.names)) != len(CITYSCAPES_CLASSES):
        raise UserError(
            f"label ids exist for the {len(CITYSCAPES_CLASSES)} classes of Cityscapes, but the network has {classes}"
        )
    found = _apart(list(_found(dict.fromkeys(map(str, sources)), out)), out, label_ids)
    _check(found, label_ids)
    lengths = [None if one.is_camera else count_frames(Path(one.source)) if one.is_video else 1 for one in found]
    total = None if None in lengths else sum(length or 0 for length in lengths)
    speeds: dict[str, Speed] = {}
    done = 0
    for one, length in zip(found, lengths, strict=True):
        files = one.files(label_ids)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        if one.moves:
            speeds[one.name] = _play(one, files[0], labeller, partial(_tell, told, done, total))
        else:
            _draw(Path(one.source), files, labeller)
        done += length or 0
        told(done, total, "")
    return Predicted(list(chain.from_iterable(one.files(label_ids) for one in found)), speeds)


def _tell(told: Told, before: int, total: int | None, frames: int, speed: str) -> None:
    told(before + frames, total, speed)


def _play(one: _Input, target: Path, labeller: Labeller, told: Callable[[int, str], None]) -> Speed:
    """Write the overlay of a video or a camera, and time it."""
    before = len(labeller.seconds)
    start = 0.0

    def speed(dropped: int = 0) -> Speed:
        return Speed(labeller.seconds[before:], perf_counter() - start, dropped)

    def draw(frame: Rgb) -> Rgb:
        nonlocal start
        start = start or perf_counter()
        return labeller.palette.blend(frame, labeller.labels(frame))

    if one.is_camera:
        dropped = watch(one.source, target, draw, lambda frames: told(frames, speed().recent()))
        return speed(dropped)
    redraw(Path(one.source), target, draw, lambda frames: told(frames, speed().recent()))
    return speed()


def _draw(path: Path, files: Sequence[Path], labeller: Labeller) -> None:
    """Write the files of an image; only one is the map of label ids."""
    image = read_image(path).permute(1, 2, 0).numpy()
    labels = labeller.labels(image)
    if len(files) == 1:
        Image.fromarray(np.asarray(LABEL_IDS, np.uint8)[labels]).save(files[0])
        return
    mask = Image.fromarray(labels).convert("P")
    mask.putpalette(labeller.palette.colours.tobytes())
    mask.save(files[0])
    Image.fromarray(labeller.palette.blend(image, labels)).save(files[1])


def _found(sources: Iterable[str], out: Path) -> Iterator[_Input]:
    """Each image, video and camera; the files of one in a folder get its path from there."""
    endings = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for source in sources:
        path = Path(source)
        if is_camera(source):
            yield _Input(source, out / f"{name_of(source)}_{now}")  # else it would replace an earlier recording
        elif _is_folder(path):
            inside = files_below(path, endings)
            if not inside:
                raise UserError(f"{path}: contains no image or video that ends in {' or '.join(endings)}")
            for file in inside:
                yield _Input(str(file), out / file.relative_to(path).with_suffix(""))
        else:
            yield _Input(source, out / path.stem)


def _apart(found: list[_Input], out: Path, label_ids: bool) -> list[_Input]:
    """The inputs; those that would be written to one file go into their folders, or else get their endings."""
    if clashing := _clashing(found, label_ids):
        top = os.path.commonpath([Path(one.source).absolute().parent for one in clashing])
        stems = {one: out / os.path.relpath(one.source, top) for one in clashing}
        found = [one._replace(stem=stems[one].with_suffix("")) if one in stems else one for one in found]
    clashing = _clashing(found, label_ids)
    ends = {one: one.stem.with_name(f"{one.stem.name}_{Path(one.source).suffix[1:]}") for one in clashing}
    return [one._replace(stem=ends[one]) if one in ends else one for one in found]


def _clashing(found: list[_Input], label_ids: bool) -> list[_Input]:
    """The inputs of which a file would be written twice."""
    counts = Counter(file for one in found for file in one.files(label_ids))
    return [one for one in found if any(counts[file] > 1 for file in one.files(label_ids))]


def _is_folder(path: Path) -> bool:
    try:
        return path.resolve(strict=True).is_dir()
    except FileNotFoundError:
        return False  # which its reader tells
    except (OSError, RuntimeError):  # Python 3.13 raises an OSError
        raise UserError(f"{path}: is a link that leads to itself; give a file or a folder") from None


def _check(found: Sequence[_Input], label_ids: bool) -> None:
    if label_ids and (moving := next((one.name for one in found if one.moves), None)):
        raise UserError(f"{moving}: label ids are written for images only; give the frames as images")
    if sum(one.is_camera for one in found) > 1:
        raise UserError("a camera is watched until Ctrl-C; start the command once for each camera")
    files = [file for one in found for file in one.files(label_ids)]
    seen: set[Path] = set()
    if clashing := {file for file in files if file in seen or seen.add(file)}:
        raise UserError(f"several images would be written to {min(clashing)}; predict them into separate folders")
    if own := {file.resolve() for file in files} & {Path(one.source).resolve() for one in found}:
        raise UserError(f"{min(own)} would be overwritten; give another folder with --out")
