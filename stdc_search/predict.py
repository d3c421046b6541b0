"""A trained network on people's images: label maps that any viewer shows in colour, and overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stdc_search import metrics
from stdc_search.builder import build
from stdc_search.data.cityscapes import LABEL_IDS
from stdc_search.data.files import IMAGE_ENDINGS, read_image
from stdc_search.models.segmenter import Segmenter
from stdc_search.report.overlay import blend, colours
from stdc_search.spec.base import UserError
from stdc_search.spec.data import CITYSCAPES_CLASSES, ImagenetSpec
from stdc_search.spec.run import RunSpec
from stdc_search.tasks import views
from stdc_search.weights import load_weights


def predict(
    spec: RunSpec,
    weights: Path,
    images: Sequence[Path],
    out: Path,
    *,
    label_ids: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the label map of each image, of the image's own size, and its overlay.

    Args:
        spec: a segmenter's run; its classes are named by its data.
        weights: any file that `load_weights` takes.
        images: files and folders; a folder stands for all images below it.
        out: folder that gets `NAME.png`, whose pixels are class indices with the classes' colours as palette, and
            `NAME_overlay.png`.
        label_ids: write only `NAME.png`, and in it the label ids that the Cityscapes server takes.
        progress: called with the number of images done and of all.

    Returns:
        The files written.

    Raises:
        UserError: the weights do not fit, an image cannot be read, or two images would be written to one file.
    """
    module = build(spec.network)
    if not isinstance(module, Segmenter):
        raise UserError("`network.kind` classifier gives no label maps; use a segmenter")
    if label_ids and (classes := spec.network.classes) != len(CITYSCAPES_CLASSES):
        raise UserError(
            f"label ids are of Cityscapes' {len(CITYSCAPES_CLASSES)} classes, and the network has {classes}"
        )
    load_weights(module, weights)
    how, data = views(spec), spec.data
    assert not isinstance(data, ImagenetSpec)
    names = data.class_names if data else tuple(f"class {i}" for i in range(spec.network.classes))
    palette = colours(names)
    found = list(_found(images))
    if clashing := {name for name, _ in found if [other for other, _ in found].count(name) > 1}:
        raise UserError(f"several images would be written to {out / min(clashing)}.png; predict them into two folders")
    places = {(out / f"{name}{ending}").resolve() for name, _ in found for ending in (".png", "_overlay.png")}
    if own := places & {path.resolve() for _, path in found}:
        raise UserError(f"{min(own)} would be written over; give --out another folder")
    written = []
    for done, (name, path) in enumerate(found, start=1):
        image = read_image(path)
        labels = metrics.predict(module, image, how, image.shape[1:]).to(torch.uint8).numpy()
        place = out / f"{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        if label_ids:
            Image.fromarray(np.asarray(LABEL_IDS, np.uint8)[labels]).save(place)
            written.append(place)
        else:
            mask = Image.fromarray(labels).convert("P")
            mask.putpalette(palette.tobytes())
            mask.save(place)
            over = place.with_name(f"{place.stem}_overlay.png")
            Image.fromarray(blend(image.permute(1, 2, 0).numpy(), labels, palette)).save(over)
            written += [place, over]
        if progress is not None:
            progress(done, len(found))
    return written


def _found(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each image with the name that its label map gets: of one in a folder, its path from there."""
    for path in images:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
            if not inside:
                raise UserError(f"{path}: holds no image that ends in {' or '.join(IMAGE_ENDINGS)}")
            yield from ((file.relative_to(path).with_suffix("").as_posix(), file) for file in inside)
        else:
            yield path.stem, path
