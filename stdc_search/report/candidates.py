"""Records as frames: every trained candidate with all its figures, and the rows that a person is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import stdev
from typing import Any

import pandas as pd

from stdc_search.expectation import DEVIATIONS, expected, networks, pooled
from stdc_search.ranking import front
from stdc_search.records import IOU, METRICS, SEEDED, Direction, Latency, Record
from stdc_search.report.tables import MARK
from stdc_search.report.words import REFERENCE, label, short_titles, timed_on
from stdc_search.spec.run import RunSpec

ALWAYS = (
    "score.miou",
    "score.top1",
    "latency.median_ms",
    "latency.p95_ms",
    "latency.fps",
    "cost.macs",
    "cost.parameters",
)
"""Figures that are drawn whether they are objectives or not."""
LOOKED_UP = ("name", "front", "time")
"""Columns that only some tables have, and that are looked for by these titles."""


def candidates(
    records: Sequence[Record],
    objectives: Mapping[str, Direction],
    run: RunSpec | None = None,
    before: Sequence[Record] = (),
) -> pd.DataFrame:
    """Every network with every figure, in full precision.

    Columns are named as in the record (`score.miou`, `cost.macs`, `values.blocks`). Scores of a network that was
    trained several times are means, and their seconds are sums. Beside them stand:

    - `seeds`: trainings behind a score, and `error`: the standard error of its mean, from two on.
    - `expected.score.miou`, `interval.score.miou`: what a model of all networks expects of it, and half of the width of
      its 95 % interval; `noise.score.miou`: standard deviation between trainings of one network; with training losses,
      `explained.score.miou`: share of the variance between networks that they explain.
    - `front`: no other network of the space dominates it in the objectives, by expected scores where there are some. A
      reference is outside of the space, so never on its front.
    - `probability`: of being on the front of true scores.
    - `barred`: what keeps a network off the front, whatever others are like; empty for most.

    Rows are in the order of the first objective that is minimised, else of the first.

    Args:
        records: Complete ones, at least one.
        objectives: Of the search.
        run: With a search, whose networks are modelled.
        before: Complete records of the search, for a report of its finals.
    """
    several = networks(records)
    rows = [_row(pooled(one)) | _seconds(one) for one in several]
    frame = pd.DataFrame(
        {
            # As objects, varied whole numbers stay whole beside a reference, which has none.
            name: pd.Series([row.get(name) for row in rows], dtype=object if name.startswith("values.") else None)
            for name in dict.fromkeys(name for row in rows for name in row)
        }
    )
    inside = frame["origin"] != "reference"
    on_front = inside.copy()
    within, earlier = _within(several), _within(networks(before))
    if run is not None and run.search is not None and within:
        model = expected(within, run.search, earlier)
        on_front[inside] = model.on_front
        frame.loc[inside, "barred"] = model.barred
        for name, scores in model.scores.items():
            # A reference has no neighbours in the space: nothing but its own trainings is known of it.
            frame[f"expected.{name}"] = frame[name]
            frame[f"interval.{name}"] = DEVIATIONS * model.noise[name] / frame["seeds"] ** 0.5
            frame[f"noise.{name}"] = model.noise[name]
            if name in model.explained:
                frame[f"explained.{name}"] = model.explained[name]
            frame.loc[inside, f"expected.{name}"] = scores
            frame.loc[inside, f"interval.{name}"] = model.intervals[name]
        if model.scores:
            frame.loc[inside, "probability"] = model.probability
    elif objectives:
        points = frame.loc[inside, list(objectives)].to_numpy(dtype=float)
        on_front[inside] = front(points, list(objectives.values()))
    frame.insert(2, "front", on_front)
    by = first(objectives, "minimize") or next(iter(objectives), "number")
    return frame.sort_values([by, "number"], ascending=objectives.get(by) != "maximize", ignore_index=True)


def _within(several: Sequence[list[Record]]) -> list[list[Record]]:
    """The networks within the space."""
    return [one for one in several if one[0].origin != "reference"]


def shown(frame: pd.DataFrame, objectives: Mapping[str, Direction], *, every: bool = False) -> pd.DataFrame:
    """The front and all networks that have a name, or every network, as where there is no front; columns titled with
    their units."""
    named = frame["origin"] != "sampler"
    every = every or not any(frame["front"])
    frame = frame.loc[every | frame["front"] | named]
    columns: dict[str, Any] = {"network": frame["number"].map("{:04d}".format)}
    if objectives:
        if set(frame["origin"]) != {"sampler"}:
            columns["name"] = frame["name"].where(named, "")
        columns["front"] = [
            MARK if on_front else REFERENCE if origin == "reference" else ""
            for on_front, origin in zip(frame["front"], frame["origin"], strict=True)
        ]
    bounded = (name.removeprefix("expected.") for name in frame if name.startswith("expected."))
    for name in dict.fromkeys([*objectives, *bounded, *ALWAYS]):
        if f"expected.{name}" in frame:
            columns[f"expected {METRICS[name].title}"] = frame[f"expected.{name}"]
            columns[f"± {METRICS[name].title}"] = frame[f"interval.{name}"]
            columns["P(front) %"] = 100 * frame["probability"]
        if name in frame:
            columns[METRICS[name].title] = frame[name] / METRICS[name].scale
            if name.startswith("score.") and "error" in frame:
                columns["seeds"] = frame["seeds"]
            if name in SEEDED and "error" in frame:
                columns["SE %"] = frame["error"]
            if name == "score.miou" and not _ious(frame).empty:
                columns["weakest class"] = _weakest(frame)
    for name in frame:
        if name.startswith("latency_also.") and name.endswith(".median_ms"):
            columns[f"{name.split('.')[1]} ms"] = frame[name]
    if len(set(timed_on(frame))) > 1:
        columns["machine"] = timed_on(frame).str[:8]
    varied = [name.removeprefix("values.") for name in frame if name.startswith("values.")]
    for name, title in short_titles(varied).items():
        while title in columns or title in LOOKED_UP:
            title += " (varied)"
        columns[title] = frame[f"values.{name}"]
    return pd.DataFrame(columns).reset_index(drop=True)


def class_table(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A row a class: its IoU with each network of a drawn table. Empty where nothing has an IoU."""
    ious = _ious(frame)
    rows = ious.set_axis(frame["number"]).loc[[int(number) for number in table["network"]]]
    names = table["network"].where(table["name"] == "", table["name"]) if "name" in table else table["network"]
    table = rows.T.astype(float).round(1).set_axis([f"{name} %" for name in names], axis=1)
    return table.rename_axis("class").reset_index()


def _ious(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of IoUs, named by the classes, in their order."""
    names = [name for name in frame if name.startswith(IOU)]
    return pd.DataFrame({name.removeprefix(IOU): frame[name] for name in names}, index=frame.index)


def _weakest(frame: pd.DataFrame) -> list[str]:
    """The class with the least IoU of each network, and that IoU."""
    rows = [row.dropna() for _, row in _ious(frame).iterrows()]
    return [f"{row.idxmin()} {row.min():.1f}" if len(row) else "" for row in rows]


def ranked(frame: pd.DataFrame, objectives: Mapping[str, Direction]) -> list[int]:
    """Numbers of the front's networks, first the one with most of the first objective that is maximised, by expectation
    where there is one; without such an objective in the order of their rows."""
    rows = frame.loc[frame["front"]].to_dict("records")
    by = first(objectives, "maximize")
    if by:
        by = f"expected.{by}" if f"expected.{by}" in frame else by
        rows.sort(key=lambda row: -row[by])
    return [row["number"] for row in rows]


def first(objectives: Mapping[str, Direction], direction: Direction) -> str | None:
    """The first objective of a direction."""
    return next((name for name, other in objectives.items() if other == direction), None)


def _row(record: Record) -> dict[str, Any]:
    not_figures = {"format", "state", "reason", "name", "sampler_notes"}
    content = record.model_dump(mode="json", exclude=not_figures, exclude_none=True)
    content["image_size"] = "{}x{}".format(*record.image_size)
    content["values"] = {name: "null" if value is None else _plain(value) for name, value in record.values.items()}
    content["latency_also"] = {
        " ".join(_conditions(timed)): timed.model_dump(mode="json") for timed in record.latency_also
    }
    return {"number": record.number, "name": label(record)} | _flat(content) | _trainings(record)


def _conditions(timed: Latency) -> list[str]:
    """What tells one time of a network from another."""
    parts = [timed.runtime, timed.output, f"{timed.threads} threads"]
    parts += [timed.precision] if timed.precision != "fp32" else []
    parts += [timed.device] if timed.device != "cpu" else []
    parts += [timed.memory_format] if timed.memory_format != "contiguous" else []
    parts += [f"batch {timed.batch}"] if timed.batch > 1 else []
    return [*parts, f"on {timed.machine[:8]}"] if timed.machine else parts


def _seconds(records: Sequence[Record]) -> dict[str, float]:
    """How long each step of a network took, over all its trainings."""
    steps = dict.fromkeys(step for record in records for step in record.seconds)
    return {f"seconds.{step}": sum(record.seconds.get(step, 0.0) for record in records) for step in steps}


def _trainings(record: Record) -> dict[str, Any]:
    """How many trainings are behind a score, and the standard error of their mean."""
    scores = getattr(record.score, "seed_miou", None) or getattr(record.score, "seed_top1", ())
    error = {"error": stdev(scores) / sqrt(len(scores))} if len(scores) > 1 else {}
    return {"seeds": len(scores), **error} if scores else {}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    row = {}
    for name, value in content.items():
        row |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: _plain(value)}
    return row


def _plain(value: Any) -> Any:
    """A sub-spec or a list as one cell."""
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value
