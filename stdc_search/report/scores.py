"""Scores of trained weights as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from stdc_search.records import IMAGE_METRICS, METRICS, PIXEL_METRICS, ImageScore, Score
from stdc_search.spec.measurement import RuntimeSpec


def score_frame(scores: Iterable[tuple[RuntimeSpec, Score | ImageScore]]) -> pd.DataFrame:
    """A row a runtime and precision."""
    return pd.DataFrame(
        [{"runtime": runtime.runtime, "precision": runtime.precision, **_figures(score)} for runtime, score in scores]
    )


def _figures(score: Score | ImageScore) -> dict[str, float | None]:
    names = PIXEL_METRICS if isinstance(score, Score) else IMAGE_METRICS
    figures = {METRICS[name].title: getattr(score, name.removeprefix("score.")) for name in names}
    return {
        **figures,
        **({f"{name} %": value for name, value in score.iou.items()} if isinstance(score, Score) else {}),
    }
