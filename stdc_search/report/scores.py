"""Scores of trained weights as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from stdc_search.records import ImageScore, Score
from stdc_search.spec.measurement import RuntimeSpec


def score_frame(scores: Iterable[tuple[RuntimeSpec, Score | ImageScore]]) -> pd.DataFrame:
    """A row a runtime and precision."""
    return pd.DataFrame(
        [{"runtime": runtime.runtime, "precision": runtime.precision, **_figures(score)} for runtime, score in scores]
    )


def _figures(score: Score | ImageScore) -> dict[str, float | None]:
    match score:
        case Score():
            return {
                "mIoU %": score.miou,
                "boundary F %": score.boundary_f,
                "pixel accuracy %": score.pixel_accuracy,
                **{f"{name} %": value for name, value in score.iou.items()},
            }
        case ImageScore():
            return {"top-1 %": score.top1, "top-5 %": score.top5}
