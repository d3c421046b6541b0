"""The interactive pictures of the page, in Plotly's JSON: `{data, layout}`. Colours of text and grid are the page's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any

import numpy as np
import pandas as pd

from stdc_search.ranking import compressed, hypervolume, reference_point
from stdc_search.ranking import front as undominated
from stdc_search.records import METRICS, SEEDED, Direction, Record
from stdc_search.report.plots import LOOKS, SEARCHED, Axis, Dot, FrontPicture

FINAL, STOPPED, REJECTED, FAILED = "#b8860b", "#8a63d2", "#b4232c", "#b4232c"
SYMBOLS = {"dominated": "circle", "front": "circle", "base": "square", "start": "star", "reference": "star-open"}
EDGE = "y2"
"""An axis from 0 to 1 over the height, for what has no score."""

Figure = dict[str, Any]


def front(picture: FrontPicture, finals: FrontPicture | None, records: Sequence[Record], frame: pd.DataFrame) -> Figure:
    """Every candidate by cost and accuracy; a click on one selects its network."""
    rows = {row["number"]: row for row in frame.to_dict("records")}
    data = _line(picture, SEARCHED) + (_line(finals, FINAL) if finals is not None else [])
    for kind, look in LOOKS.items():
        if dots := [dot for dot in picture.dots if dot.kind == kind]:
            marker = {
                "color": look.colour,
                "size": 7 if kind == "dominated" else 11,
                "symbol": _symbols(dots, kind, rows),
            }
            data.append(_dots(look.words, dots, marker, rows, picture, bars=kind != "dominated"))
    if finals is not None:
        marker = {"color": FINAL, "size": 12, "symbol": "diamond", "line": {"width": 1, "color": "white"}}
        data.append(_dots("finals", finals.dots, marker, rows, finals, bars=True))
    data += _without_score(picture, records)
    layout: dict[str, Any] = {"hovermode": "closest", "clickmode": "event"}
    layout["xaxis"] = _axis(picture.x, [dot.x for dot in picture.dots])
    layout["yaxis"] = _axis(picture.y, [dot.y for dot in picture.dots])
    layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    layout["shapes"], layout["annotations"] = _lines(picture)
    return {"data": data, "layout": layout}


def _line(picture: FrontPicture, colour: str) -> list[dict[str, Any]]:
    """The line through a front, unless it is of one network."""
    if len(picture.line) < 2:
        return []
    x, y = zip(*picture.line, strict=True)
    shape = "hv" if picture.x.direction == "minimize" else "vh"  # what the better of two neighbours gives
    line = {"color": colour, "width": 1.5, "shape": shape}
    return [_trace("", x, y, mode="lines", line=line, hoverinfo="skip", showlegend=False)]


def _trace(name: str, x: Iterable[Any], y: Iterable[Any], **more: Any) -> dict[str, Any]:
    return {"type": "scatter", "name": escape(name), "x": [*x], "y": [*y], **more}


def _symbols(dots: Sequence[Dot], kind: str, rows: Mapping[int, Mapping[Any, Any]]) -> list[str]:
    """Predicted times have a dot in the middle, where others are measured."""
    predicted = [rows.get(dot.number, {}).get("latency.source") == "predicted" for dot in dots]
    mixed = len({row.get("latency.source") for row in rows.values()} - {None}) > 1
    return [SYMBOLS[kind] + "-dot" * (mixed and its) for its in predicted]


def _dots(
    name: str,
    dots: Sequence[Dot],
    marker: Mapping[str, Any],
    rows: Mapping[int, Mapping[Any, Any]],
    picture: FrontPicture,
    *,
    bars: bool,
) -> dict[str, Any]:
    named = [dot for dot in dots if dot.label]
    more: dict[str, Any] = {"mode": "markers", "marker": dict(marker)}
    if bars and named and len(dots) <= 60:
        more |= {"mode": "markers+text", "text": [escape(dot.label) for dot in dots]}
        more |= {"textposition": "top right", "cliponaxis": False}  # beside the bar
    if bars and any(dot.interval for dot in dots):
        more["error_y"] = {"array": [dot.interval or 0 for dot in dots], "thickness": 1, "width": 0}
    hover = [_hover(dot, rows.get(dot.number, {}), picture) for dot in dots]
    more |= {"hovertext": hover, "hoverinfo": "text", "customdata": [dot.number for dot in dots]}
    return _trace(name, (dot.x for dot in dots), (dot.y for dot in dots), **more)


def _hover(dot: Dot, row: Mapping[Any, Any], picture: FrontPicture) -> str:
    """What a dot says of its network; Plotly reads HTML, so text of people is escaped."""
    interval = f" ± {dot.interval:.1f}" if dot.interval else ""
    lines = [
        f"<b>{escape(str(row.get('name', dot.label)))}</b>",
        f"{escape(picture.y.title)}: {dot.y:.4g}{interval}",
        f"{escape(picture.x.title)}: {dot.x:.4g}"
        + (" (predicted)" if row.get("latency.source") == "predicted" else ""),
    ]
    if picture.third and dot.third is not None:
        lines.append(f"{escape(picture.third.title)}: {dot.third:.4g}")
    for name in ("cost.macs", "cost.parameters"):
        if name in row and name != picture.x.metric:
            lines.append(f"{METRICS[name].title}: {row[name] / METRICS[name].scale:.3g}")
    return "<br>".join(lines)


def _without_score(picture: FrontPicture, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Candidates that were stopped, at the score of their last rung, and those without a score, on the lower edge."""
    looks = {
        "stopped": ("stopped early (its score is that of the last rung)", STOPPED, "triangle-down-open"),
        "rejected": ("rejected by a limit, not trained", REJECTED, "x-thin"),
        "failed": ("failed", FAILED, "hash-open"),
    }
    found = []
    for state, (words, colour, symbol) in looks.items():
        its = [
            (record, x) for record in records if record.state == state and (x := _metric(record, picture.x)) is not None
        ]
        if not its:
            continue
        heights = [_metric(_at_last_rung(record), picture.y) for record, _ in its]
        scored = state == "stopped" and all(height is not None for height in heights)
        marker = {"color": colour, "size": 9, "symbol": symbol, "line": {"width": 1.5, "color": colour}}
        hover = [f"<b>{record.number:04d}</b>, {state}<br>{escape((record.reason or '')[:200])}" for record, _ in its]
        more = {"mode": "markers", "marker": marker, "hovertext": hover, "hoverinfo": "text"}
        more |= {} if scored else {"yaxis": EDGE}
        more["customdata"] = [record.number for record, _ in its]
        found.append(_trace(words, (x for _, x in its), heights if scored else [0.02] * len(its), **more))
    return found


def _at_last_rung(record: Record) -> Record:
    """A stopped candidate with the score that it was stopped by."""
    return record.model_copy(update={"score": record.rungs[max(record.rungs)]}) if record.rungs else record


def _metric(record: Record, axis: Axis) -> float | None:
    value = record.figure(axis.metric)
    return None if value is None else value / METRICS[axis.metric].scale


def _axis(axis: Axis, values: Sequence[float]) -> dict[str, Any]:
    """An edge of the picture. Plotly would write 2 for 20 on a logarithmic one, so its ticks are given."""
    title = {"text": escape(axis.title)}
    if not axis.log:
        return {"title": title}
    low, high = min(values), max(values)
    subs = (1, 1.5, 2, 3, 4, 5, 7) if high < 12 * low else (1, 2, 5)
    ticks = [sub * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for sub in subs]
    return {"title": title, "type": "log", "tickvals": ticks, "ticktext": [f"{tick:.6g}" for tick in ticks]}


def _lines(picture: FrontPicture) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines at limits and at the accuracy of a constant prediction, with their words."""
    shapes, words = [], []
    y_limit, x_limit = picture.y.limit, picture.x.limit
    levels = [(picture.constant if picture.constant_in_view else None, "most common class everywhere")]
    levels.append((y_limit, f"limit {y_limit:g}" if y_limit is not None else ""))
    for level, text in levels:
        if level is not None:
            shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level})
            words.append({"xref": "paper", "x": 1, "y": level, "text": text, "xanchor": "right", "yanchor": "bottom"})
    if x_limit is not None:
        shapes.append({"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x_limit, "x1": x_limit})
        place = float(np.log10(x_limit)) if picture.x.log else x_limit  # annotations of a log axis are exponents
        words.append({"yref": "paper", "y": 1, "x": place, "text": f"limit {x_limit:g}", "xanchor": "right"})
    quiet = {"line": {"width": 1, "dash": "dash", "color": REJECTED}}
    return [{**shape, **quiet} for shape in shapes], [{**one, "showarrow": False} for one in words]


def volume(frame: pd.DataFrame, records: Sequence[Record], objectives: Mapping[str, Direction]) -> Figure | None:
    """What the search has found of its final hypervolume, over the hours of its trainings."""
    inside = frame.loc[frame["origin"] != "reference"]
    columns = [f"expected.{name}" if f"expected.{name}" in inside else name for name in objectives]
    values = {row["number"]: [row[name] for name in columns] for row in inside.to_dict("records")}
    points = np.array([*values.values()], dtype=float)
    if len(points) < 2:
        return None
    directions: list[Direction] = [*objectives.values()]
    points = compressed(points, directions)
    reference = reference_point(points, directions)
    order = {number: i for i, number in enumerate(values)}
    whole = float(hypervolume(points, reference, directions))
    hours, shares, best, seconds, share = [0.0], [0.0], points[:0], 0.0, 0.0
    for record in records:
        seconds += sum(record.seconds.values())
        if record.number in order:
            every = np.concatenate([best, points[[order[record.number]]]])
            kept = undominated(every, directions)
            if kept[-1] and whole:  # else nothing grows, which is so for most of thousands
                best = every[kept]
                share = round(100 * float(hypervolume(best, reference, directions)) / whole, 2)
            hours.append(round(seconds / 3600, 4))
            shares.append(share)
    trace = _trace("", hours, shares, mode="lines", line={"shape": "hv", "color": SEARCHED}, showlegend=False)
    layout = {
        "xaxis": {"title": {"text": "hours of all candidates, one after another"}},
        "yaxis": {"title": {"text": "share of the final front found so far (hypervolume), %"}, "range": [0, 103]},
    }
    return {"data": [trace], "layout": layout}


def agreement(search: pd.DataFrame, finals: pd.DataFrame, accuracy: str) -> Figure | None:
    """The accuracy that the search expected of each network of the finals, and what the finals gave."""
    column = f"expected.{accuracy}" if f"expected.{accuracy}" in search else accuracy
    if column not in search or accuracy not in finals:
        return None
    both = finals[["number", "name", accuracy, *(["error"] if "error" in finals else [])]].merge(
        search[["number", column]].set_axis(["number", "search"], axis=1), on="number"
    )
    errors = (2 * both["error"]).fillna(0).tolist() if "error" in both and accuracy in SEEDED else [0] * len(both)
    trace = _trace(
        "networks of the finals",
        both["search"],
        both[accuracy],
        mode="markers+text",
        text=[escape(str(name)) for name in both["name"]],
        textposition="top right",
        cliponaxis=False,
        error_y={"array": errors, "thickness": 1, "width": 0},
        marker={"color": FINAL, "size": 10, "symbol": "diamond"},
        customdata=both["number"].tolist(),
        hoverinfo="text+x+y",
        showlegend=False,
    )
    title = escape(METRICS[accuracy].axis)
    layout = {"xaxis": {"title": {"text": f"search: {title}"}}, "yaxis": {"title": {"text": f"finals: {title}"}}}
    return {"data": [trace], "layout": layout}


def importances(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """How much of each objective each varied parameter decides."""
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": escape(METRICS[objective].axis),
            "y": [escape(name) for name in shares],
            "x": [round(share, 4) for share in shares.values()],
        }
        for objective, shares in found.items()
    ]
    layout = {
        "xaxis": {"title": {"text": "importance (PED-ANOVA)"}},
        "yaxis": {"autorange": "reversed", "automargin": True},
    }
    return {"data": data, "layout": {**layout, "barmode": "group"}}
