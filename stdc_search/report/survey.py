"""A data set's images and classes, in a table and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from stdc_search.data.survey import Labels, Survey

SIZES = 3
"""Sizes that are named; the others are only counted."""
CLASSES = 24
"""Classes that `summary` names; of more, the commonest and the rarest."""


def class_frame(surveys: Sequence[Survey]) -> pd.DataFrame:
    """A row a class: for each split its share of all that is labelled, and the number of images that show it."""
    columns: dict[str, Any] = {"class": surveys[0].class_names}
    for survey in surveys:
        unit = "pixels" if _of_pixels(survey) else "images"
        columns[f"{survey.split} % of {unit}"] = survey.shares
        columns[f"{survey.split} images"] = survey.images
    return pd.DataFrame(columns)


def line_of(survey: Survey) -> str:
    """The number of images of a split, their sizes and ignored pixels."""
    broken = f", {survey.broken} more cannot be used" if survey.broken else ""
    line = f"{survey.split}: {len(survey.whole)} images{broken}"
    if survey.sizes:
        sizes = [f"{height} x {width} in {count}" for (height, width), count in survey.sizes[:SIZES]]
        if rest := [count for _, count in survey.sizes[SIZES:]]:
            sizes.append(f"{len(rest)} other size{'s' * (len(rest) > 1)} in {sum(rest)}")
        line += f"; height x width: {', '.join(sizes)}"
    if _of_pixels(survey) and survey.whole:
        line += f"; {survey.ignored_share:.2f} % of the pixels have no class"
    if survey.turned:
        line += f"; {survey.turned} images are turned by their EXIF orientation, as viewers show them"
    return line


def summary(train: Labels, val: Labels) -> list[str]:
    """Two lines for the start of a run: how many images, and the share of each class in train and val."""
    images = f"Data: {train.samples:,} training and {val.samples:,} validation images, {len(train.class_names)} classes"
    if train.ignored_share is not None and val.ignored_share is not None:
        images += f"; {_percent(train.ignored_share)} / {_percent(val.ignored_share)} % of the pixels are ignored"
    shares = sorted(zip(train.class_names, train.shares, val.shares, strict=True), key=lambda each: -each[1])
    named = [f"{name} {_percent(a)} / {_percent(b)}" for name, a, b in shares]
    if len(named) > CLASSES:
        ends = CLASSES // 4
        named = [*named[:ends], f"... {len(named) - 2 * ends} classes between ...", *named[-ends:]]
    unit = "labelled pixels" if _of_pixels(train) else "images"
    return [f"{images}.", f"Classes, % of the {unit} in train / val: {', '.join(named)}."]


def _percent(share: float) -> str:
    """0 is nothing at all; the least that there is, is not rounded to it."""
    return "0" if share == 0 else "<0.1" if share < 0.1 else f"{share:.1f}"


def _of_pixels(labels: Labels) -> bool:
    return labels.ignored_share is not None
