"""Data set -> contents, faults, and a page of samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stdc_search.data.dataset import Dataset, Split
from stdc_search.data.survey import Survey, faults, open_what_can_be, remarks, survey
from stdc_search.errors import UserError
from stdc_search.palette import Palette
from stdc_search.report.samples import sample_page, save_samples
from stdc_search.spec.base import located
from stdc_search.spec.run import RunSpec, load
from stdc_search.tasks import preview

SAMPLES = 12
"""Images on the page."""


@dataclass(frozen=True)
class Inspection:
    """What reading a whole data set found."""

    surveys: tuple[Survey, ...]
    """One for each split that can be opened."""
    page: Path | None
    """A picture of training samples; none if no training image can be read."""
    remarks: tuple[str, ...]
    """What makes scores on it mean less than they seem to, one line each."""
    problems: tuple[str, ...]
    """Everything that is wrong, one line each."""


def inspect_data(
    path: Path,
    folder: Path,
    *,
    data_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read every image and label of both splits, and draw training samples into `samples.png`.

    Args:
        path: a spec file; its `data` is read, its `training` decides how samples look.
        folder: gets the picture.
        data_root: folder that a relative `data.root` starts from.
        progress: called with the number of images read and of all images.

    Raises:
        UserError: the spec has no data, or no split can be opened.
    """
    spec = load(path)
    if spec.data is None:
        raise UserError(f"{path}: the section `data` is missing; add one, such as `data: {{kind: camvid}}`")
    opened, problems = open_what_can_be(spec.data, data_root)
    if not opened:
        raise UserError("\n".join(problems))
    total, done = sum(map(len, opened.values())), 0
    surveys: dict[Split, Survey] = {}
    for split, images in opened.items():
        told = progress and (lambda read, _, before=done: progress(before + read, total))
        surveys[split] = survey(images, split, told)
        done += len(images)
        problems += surveys[split].problems
    problems += map(str, located(faults(spec.data, surveys), path).problems)
    picture: Path | None = folder / "samples.png"
    if "train" in surveys and (chosen := surveys["train"].spread(SAMPLES)):
        _draw(spec, opened["train"], chosen, path.stem, picture)
    else:
        picture.unlink(missing_ok=True)  # an earlier call may have drawn images that are gone
        picture = None
    return Inspection(tuple(surveys.values()), picture, tuple(remarks(spec.data, surveys)), tuple(problems))


def _draw(spec: RunSpec, images: Dataset, chosen: list[int], name: str, picture: Path) -> None:
    samples = preview(spec, images, chosen)
    height, width = samples[0][0].shape[:2]
    shown = f"{height} x {width} crops, as in training" if spec.training else f"resized to {height} x {width}"
    beside = "" if isinstance(samples[0][1], int) else ", each beside its labels"
    title = f"{name}: {len(chosen)} of {len(images)} training images, {shown}{beside}"
    palette = replace(Palette.of(spec.data, spec.network.classes), names=images.class_names)
    save_samples(sample_page(title, [images.name(i) for i in chosen], samples, palette), picture)
