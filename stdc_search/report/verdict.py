"""Which network to take, and what speaks against networks that a front alone would praise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stdc_search.errors import several
from stdc_search.records import METRICS, Direction
from stdc_search.report.candidates import first, ranked
from stdc_search.report.words import REFERENCE
from stdc_search.spec.search import Limited, LimitSpec

FOUND = 0.05
"""IoU in percent below which a table shows 0.0."""


def missed_note(classes: pd.DataFrame) -> str:
    """The classes that no network of a table of classes finds."""
    ious = classes.set_index("class") if len(classes) else classes
    if not (missed := [name for name, row in ious.iterrows() if row.max() < FOUND]):
        return ""
    return f"No network shown finds {', '.join(map(str, missed))} (IoU 0.0 %)"


def barred_note(frame: pd.DataFrame) -> str:
    """The networks that cannot be on the front, by what is wrong with them."""
    if "barred" not in frame:
        return ""
    barred = frame.loc[frame["barred"].fillna("") != ""].sort_values("number")
    parts = [f"{several([*its['name']])} ({why})" for why, its in barred.groupby("barred")]
    return f"Not on the front: {'; '.join(parts)}" if parts else ""


def limits_note(frame: pd.DataFrame, limits: Mapping[Limited, LimitSpec]) -> str:
    """The networks whose times, measured again, lie beyond a limit; of scores `barred_note` tells the same."""
    beyond = [
        (name, limit, row)
        for name, limit in limits.items()
        if not name.startswith("score.") and name in frame
        for row in frame.to_dict("records")
        if row["origin"] != REFERENCE and limit.excess(row[name]) > 0
    ]
    if not beyond:
        return ""
    again = all(name.startswith("latency.") and (row.get("latency.beside") or 0) > 0 for name, _, row in beyond)
    words = "Slower than a limit allows when measured again beside the others" if again else "Beyond a limit"
    return f"{words}: " + ", ".join(f"{row['name']} ({_excess(name, limit, row)})" for name, limit, row in beyond)


def _excess(name: Limited, limit: LimitSpec, row: Mapping[Any, Any]) -> str:
    """A figure and its limit: `p95 99 ms, limit 60 ms`."""
    what, _, unit = METRICS[name].title.rpartition(" ")
    scale = METRICS[name].scale
    return f"{what} {row[name] / scale:.4g} {unit}, limit {limit.bound / scale:g} {unit}".strip()


def best_notes(
    frame: pd.DataFrame, there: pd.DataFrame, objectives: Mapping[str, Direction], spec: Path | None, where: str
) -> list[str]:
    """Which network to take, and what was removed.

    Args:
        frame: all networks.
        there: those whose folders exist.
        objectives: of the search.
        spec: of the best that exists.
        where: what it was found in, ahead of a space; empty if that is clear.
    """
    gone = frame.loc[~frame["number"].isin(there["number"]) & (frame["front"] | (frame["origin"] != "sampler"))]
    notes = [f"removed from the run folder: {several([*gone['name']])}"] if len(gone) else []
    if not ranked(frame, objectives):
        return [*notes, "no best network: none is on the front"]
    if spec is None:
        return [*notes, "no best network: no folder of the front is left"]
    if not objectives:
        return [*notes, f"network: {spec}"]
    return [*notes, f"best network {where}{best_by(frame, objectives, ranked(there, objectives)[0])}: {spec}"]


def best_by(frame: pd.DataFrame, objectives: Mapping[str, Direction], best: int) -> str:
    """By what the best network was chosen, and whether better ones were removed: `by mIoU of those that are left`."""
    by = first(objectives, "maximize") or next(iter(objectives))
    left = "" if ranked(frame, objectives)[0] == best else " of those that are left"
    return "by " + "expected " * (f"expected.{by}" in frame) + METRICS[by].title.removesuffix(" %") + left
