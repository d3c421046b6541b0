"""What a data set holds, in a table and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from stdc_search.data.survey import Survey

SIZES = 3
"""Sizes that are named; of the others, how many there are."""


def class_frame(surveys: Sequence[Survey]) -> pd.DataFrame:
    """A row a class: per split, its share of all that is labelled, and in how many images it occurs."""
    columns: dict[str, Any] = {"class": surveys[0].class_names}
    for survey in surveys:
        unit = "pixels" if _of_pixels(survey) else "images"
        columns[f"{survey.split} % of {unit}"] = survey.shares
        columns[f"{survey.split} images"] = survey.images
    return pd.DataFrame(columns)


def notes(survey: Survey) -> list[str]:
    """How many images a split has, of which sizes, how much of them has no class; a line for a class it lacks."""
    broken = f", {survey.broken} more cannot be used" if survey.broken else ""
    line = f"{survey.split}: {len(survey.whole)} images{broken}"
    if survey.sizes:
        sizes = [f"{height} x {width} in {count}" for (height, width), count in survey.sizes[:SIZES]]
        if rest := [count for _, count in survey.sizes[SIZES:]]:
            sizes.append(f"{len(rest)} other sizes in {sum(rest)}")
        line += f"; height x width: {', '.join(sizes)}"
    if _of_pixels(survey) and survey.whole:
        line += f"; {survey.ignored_share:.2f} % of the pixels have no class"
    return [line, *(f"never seen in {survey.split}: {name}" for name in survey.never_seen)]


def _of_pixels(survey: Survey) -> bool:
    return survey.ignored_share is not None
