"""A trained network on people's images and videos: label maps that any viewer shows in colour, and overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stdc_search.commands.video import VIDEO_ENDINGS, count_frames, redraw
from stdc_search.data.cityscapes import LABEL_IDS
from stdc_search.data.decoding import read_image
from stdc_search.data.files import IMAGE_ENDINGS, files_below
from stdc_search.errors import UserError
from stdc_search.evaluation import views as evaluation
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.weights import load_weights
from stdc_search.report.palette import Palette
from stdc_search.spec.data import CITYSCAPES_CLASSES
from stdc_search.spec.run import RunSpec
from stdc_search.tasks.segmentation import views


def predict(
    spec: RunSpec,
    weights: Path,
    images: Sequence[Path],
    out: Path,
    *,
    label_ids: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the label map of each image, of the image's own size, and its overlay; of a video, its overlay.

    Args:
        spec: a segmenter's run; its classes are named by its data.
        weights: any file that `load_weights` takes.
        images: files and folders; a folder stands for all images and videos below it.
        out: folder that gets `NAME.png`, whose pixels are class indices with the classes' colours as palette, and
            `NAME_overlay.png`; of a video, `NAME_overlay.mp4`.
        label_ids: write only `NAME.png`, and in it the label ids that the Cityscapes server takes.
        progress: called with the number of images and frames done and of all.

    Returns:
        The files written.

    Raises:
        UserError: the weights do not fit, an image or a video cannot be read, or two would be written to one file.
    """
    module = build(spec.network)
    if not isinstance(module, Segmenter):
        raise UserError("`network.kind` classifier does not output label maps; use a segmenter")
    if label_ids and (classes := spec.network.classes) != len(CITYSCAPES_CLASSES):
        raise UserError(
            f"label ids exist for the {len(CITYSCAPES_CLASSES)} classes of Cityscapes, but the network has {classes}"
        )
    load_weights(module, weights)
    how, palette = views(spec), Palette.of(spec.data, spec.network.classes)
    found = list(_found(images))
    places = [_places(out / name, path, label_ids) for name, path in found]
    _check_places(list(chain.from_iterable(places)), [path for _, path in found])
    lengths = [count_frames(path) if _is_video(path) else 1 for _, path in found]
    done = 0

    def tell(more: int) -> None:
        if progress is not None:
            progress(done + more, sum(lengths))

    def labels_of(image: Tensor) -> NDArray[np.uint8]:
        return evaluation.predict(module, image, how, image.shape[1:]).to(torch.uint8).numpy()

    def drawn(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return palette.blend(frame, labels_of(torch.from_numpy(frame.copy()).permute(2, 0, 1)))

    for (_, path), targets, length in zip(found, places, lengths, strict=True):
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        if _is_video(path):
            redraw(path, targets[0], drawn, lambda frames, length=length: tell(min(frames, length)))
        else:
            image = read_image(path)
            labels = labels_of(image)
            if label_ids:
                Image.fromarray(np.asarray(LABEL_IDS, np.uint8)[labels]).save(targets[0])
            else:
                mask = Image.fromarray(labels).convert("P")
                mask.putpalette(palette.colours.tobytes())
                mask.save(targets[0])
                Image.fromarray(palette.blend(image.permute(1, 2, 0).numpy(), labels)).save(targets[1])
        done += length
        tell(0)
    return list(chain.from_iterable(places))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_ENDINGS


def _places(stem: Path, path: Path, label_ids: bool) -> tuple[Path, ...]:
    """The files to write for an image or a video; a stem may contain dots."""
    if _is_video(path):
        if label_ids:
            raise UserError(f"{path}: is a video, and label ids are written for images only; give its frames as images")
        return (stem.with_name(f"{stem.name}_overlay.mp4"),)
    label_map = stem.with_name(f"{stem.name}.png")
    return (label_map,) if label_ids else (label_map, stem.with_name(f"{stem.name}_overlay.png"))


def _check_places(places: Sequence[Path], sources: Sequence[Path]) -> None:
    seen: set[Path] = set()
    if clashing := {place for place in places if place in seen or seen.add(place)}:
        raise UserError(f"several images would be written to {min(clashing)}; predict them into separate folders")
    if own := {place.resolve() for place in places} & {path.resolve() for path in sources}:
        raise UserError(f"{min(own)} would be overwritten; give another folder with --out")


def _found(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each image and video with the name that its files get: of one in a folder, its path from there."""
    endings = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)
    for path in images:
        if path.is_dir():
            inside = files_below(path, endings)
            if not inside:
                raise UserError(f"{path}: contains no image or video that ends in {' or '.join(endings)}")
            yield from ((file.relative_to(path).with_suffix("").as_posix(), file) for file in inside)
        else:
            yield path.stem, path
