"""A run's folder and report -> everything that its page shows, as JSON."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stdc_search.errors import UserError
from stdc_search.palette import Palette
from stdc_search.records import METRICS, Direction, Machine, PartCost, Record, read, read_machines
from stdc_search.report.candidates import first
from stdc_search.report.page import figures
from stdc_search.report.page.pictures import Pictures
from stdc_search.report.verdict import best_by
from stdc_search.report.words import label, length, short_titles
from stdc_search.report.writing import Report
from stdc_search.run_folder import (
    CURVE,
    FINALS,
    MACHINES,
    RESULTS,
    SPEC,
    WEIGHTS,
    candidate_folder,
    sample_folders,
    seed_folder,
    worst_folders,
)
from stdc_search.spec.run import RunSpec, load

TIME = "latency.median_ms"
DETAILED = 60
"""Networks that the page describes in full, at most: the best one, the finals, the named ones, then the front."""
COLUMNS = ("score.miou", "score.top1", "latency.median_ms", "cost.macs", "cost.parameters")
"""Figures of every network, if they are known, after the objectives."""
REASONS = 3
"""Examples of rejected candidates for each reason."""


class TimedPart(NamedTuple):
    """One part of a network."""

    cost: PartCost
    ms: float | None
    """Its predicted time; none without a table of times."""


@dataclass(frozen=True)
class Extras:
    """What the report cannot know by itself, since it needs neither PyTorch nor Optuna."""

    parts: Callable[[RunSpec], Sequence[TimedPart]] = lambda _: ()
    """The parts of a network in running order."""
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By the objective, how much of it each varied parameter decides, from 0 to 1."""


def gather(folder: Path, report: Report, extras: Extras) -> dict[str, Any]:
    """What the page shows."""
    run, records = load(folder / SPEC), read(folder / RESULTS)
    finals = report.finals
    title = report.title + (f"; finals {length(load(folder / FINALS / SPEC))}" if finals else "")
    rows = {row["number"]: row for row in report.candidates.to_dict("records")}
    final_rows = {row["number"]: row for row in finals.candidates.to_dict("records")} if finals else {}
    pictures = Pictures(Palette.of(run.data, run.network.classes))
    listed = sorted(map(int, report.shown["network"]), key=lambda number: rows[number]["origin"] == "sampler")
    best = [report.best] if report.best is not None else []
    networks = {
        number: _network(folder, run, number, records, rows.get(number), final_rows.get(number), pictures, extras)
        for number in [*dict.fromkeys([*best, *final_rows, *listed])][:DETAILED]
    }
    for number, network in networks.items():  # after the shared images, which matter more, of all networks
        network["worst"] = _worst(_place(folder, number, number in final_rows), number, pictures)
    return {
        "title": title,
        "notes": [
            {"title": title, "lines": lines}
            for title, lines in (
                ("Finals", [*finals.notes, *report.agreement] if finals else []),
                ("Search" if run.search else "Network", [*report.notes]),
            )
            if lines
        ],
        "best": report.best,
        "lead": _lead(folder, run, report),
        "tables": [
            {"title": title, **_table(table)}
            for title, table in (
                ("Finals", finals.shown if finals else pd.DataFrame()),
                ("IoU of each class in the finals, %", finals.classes if finals else pd.DataFrame()),
                ("Search" if finals else "Networks", report.shown),
                ("IoU of each class, %", report.classes),
            )
            if len(table)
        ],
        "figures": _figures(run, records, report, extras),
        "networks": networks,
        "pictures": pictures.kept,
        "colours": pictures.legend(),
        "candidates": _candidates(records, run, rows, final_rows),
        "rejections": _rejections(records),
        "machines": [_machine(one) for one in read_machines(folder / MACHINES).values()],
    }


def _lead(folder: Path, run: RunSpec, report: Report) -> str:
    """A sentence that names the network to take; empty if none is the best."""
    if run.search is None or report.best is None:
        return ""
    objectives = run.search.objectives
    source = report.finals if report.finals is not None and report.finals.best is not None else report
    frame = source.candidates
    row = frame.set_index("number").loc[report.best].to_dict()
    said = [*_said_of_accuracy(row, objectives)]
    if not pd.isna(row.get(TIME)):
        said.append(f"{row[TIME]:.3g} ms" + " (predicted)" * (row.get("latency.source") == "predicted"))
    said.append(f"{row['cost.macs'] / 1e9:.2f} GMACs")
    stage = "the search" if source is report else "the finals"
    lead = f"The best network of {stage} {best_by(frame, objectives, report.best)} is {row['name']}: {', '.join(said)}."
    if first(objectives, "maximize") is None:  # `stdc-search best` would look for the most accurate one
        return lead
    best = f"stdc-search best {shlex.quote(str(folder))} --at-most"
    return f"{lead} For a bound of your own: {best} {'20ms' if TIME in row else '2GMACs'}"


def _said_of_accuracy(row: Mapping[Any, Any], objectives: Mapping[str, Direction]) -> Iterator[str]:
    """The expected accuracy with its interval, else the mean of its trainings."""
    by = first(objectives, "maximize")
    if by is None or by not in row:
        return
    title = METRICS[by].title.removesuffix(" %")
    if f"expected.{by}" in row:
        yield f"{title} {row[f'expected.{by}']:.1f} ± {row[f'interval.{by}']:.1f} %"
    else:
        yield f"{title} {row[by]:.1f} %"


def _table(frame: pd.DataFrame) -> dict[str, Any]:
    """A drawn table: titles and rows; the first column has numbers of networks, if it is called so."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {"columns": [*map(str, frame.columns)], "rows": rows}


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(f"{value:.4g}")
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def _figures(run: RunSpec, records: Sequence[Record], report: Report, extras: Extras) -> dict[str, Any]:
    """The interactive pictures, by their place in the page."""
    found: dict[str, Any] = {}
    if report.picture is not None:
        finals = report.finals.picture if report.finals else None
        found["front"] = figures.front(report.picture, finals, records, report.candidates)
    if run.search is not None and len(report.candidates) > 1:
        found["volume"] = figures.volume(report.candidates, records, run.search.objectives)
    if report.finals is not None and (accuracy := first(run.required_search.objectives, "maximize")):
        found["agreement"] = figures.agreement(report.candidates, report.finals.candidates, accuracy)
    if extras.importances:
        titles = short_titles([*run.required_search.vary])
        shares = {
            name: {titles.get(varied, varied): share for varied, share in its.items()}
            for name, its in extras.importances.items()
        }
        found["importances"] = figures.importances(shares)
    return {name: figure for name, figure in found.items() if figure is not None}


def _network(
    folder: Path,
    run: RunSpec,
    number: int,
    records: Sequence[Record],
    row: Mapping[Any, Any] | None,
    final: Mapping[Any, Any] | None,
    pictures: Pictures,
    extras: Extras,
) -> dict[str, Any]:
    """All about one network. Its last training counts: that of the finals, if there is one."""
    shown = final or row or {}
    place = _place(folder, number, bool(final))
    path, spec = place / SPEC, _spec(place)
    again = [candidate_folder(folder, record.number) for record in records if record.repeats == number]
    ious = {name.removeprefix("score.iou."): value for name, value in shown.items() if name.startswith("score.iou.")}
    return {
        "name": shown.get("name", f"{number:04d}"),
        "facts": _facts(final, row),
        "values": {title: shown.get(f"values.{name}") for name, title in _varied(shown).items()},
        "spec": path.read_text("utf-8") if spec else None,
        "commands": _commands(path, place / WEIGHTS, spec) if spec else {},
        "parts": [_part(part) for part in extras.parts(spec)] if spec else [],
        "curves": [
            *(_curves(place, spec or run, "finals") if final else ()),
            *_curves(candidate_folder(folder, number), run, "search"),
            *(curve for one in again for curve in _curves(one, _spec(one) or run, "search")),
        ],
        "ious": {name: _cell(value) for name, value in ious.items() if not pd.isna(value)},
        "samples": pictures.of(sample_folders(place), number),
    }


def _place(folder: Path, number: int, in_finals: bool) -> Path:
    """The folder of a network's last training."""
    return candidate_folder(folder / FINALS if in_finals else folder, number)


def _worst(place: Path, number: int, pictures: Pictures) -> list[dict[str, str]]:
    """The images with the lowest mIoU of a network; none in older runs."""
    return [
        {**names, "about": f"{name}: {score:.1f} %"}
        for folder, name, score in worst_folders(place)
        for names in pictures.of([folder], number)
    ]


def _varied(row: Mapping[Any, Any]) -> dict[str, str]:
    return short_titles([name.removeprefix("values.") for name in row if str(name).startswith("values.")])


def _facts(final: Mapping[Any, Any] | None, row: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Figures of a network as a table, with a column for the finals and one for the search."""
    columns = {where: dict(_figures_of(its)) for where, its in (("finals", final), ("search", row)) if its}
    names = dict.fromkeys(name for its in columns.values() for name in its)
    return {
        "columns": ["figure", *columns],
        "rows": [[name, *(its.get(name, "") for its in columns.values())] for name in names],
    }


def _figures_of(row: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Figures with their units and intervals."""
    expected = (str(name).removeprefix("expected.") for name in row if str(name).startswith("expected."))
    for name in dict.fromkeys([*METRICS, *expected]):
        metric = METRICS[name]
        if not pd.isna(row.get(f"expected.{name}", math.nan)):
            yield f"expected {metric.title}", f"{row[f'expected.{name}']:.1f} ± {row[f'interval.{name}']:.1f}"
        if not pd.isna(row.get(name, math.nan)):
            source = f" {row['latency.source']}" if name == "latency.median_ms" else ""
            yield metric.title, f"{row[name] / metric.scale:.4g}{source}"
    if not pd.isna(row.get("seeds", math.nan)):
        yield "trainings", f"{row['seeds']:.0f}"
    if not pd.isna(row.get("probability", math.nan)):
        yield "P(front) %", f"{100 * row['probability']:.0f}"
    if isinstance(row.get("barred"), str) and row["barred"]:
        yield "barred from the front", row["barred"]


def _commands(path: Path, weights: Path, spec: RunSpec) -> dict[str, str]:
    """What to do with a network, as lines for a shell."""
    quoted = shlex.quote(str(path))
    commands = {"train it again": f"stdc-search run {quoted} --out runs/again"}
    if weights.is_file():
        both = f"{quoted} {shlex.quote(str(weights))}"
        if spec.network.task == "segmentation":
            commands["label photos"] = f"stdc-search predict {both} photo.jpg"
        commands["export it"] = f"stdc-search export {both} --to onnx"
    return {**commands, "time it": f"stdc-search time {quoted}"}


def _part(part: TimedPart) -> dict[str, Any]:
    cost = part.cost
    size = {"name": cost.name, "kind": cost.kind, "output": "×".join(map(str, cost.output))}
    return {**size, "macs": cost.cost.macs, "parameters": cost.cost.parameters, "ms": part.ms}


def _spec(place: Path) -> RunSpec | None:
    """The spec of a network's folder; None if it is missing or damaged."""
    try:
        return load(place / SPEC)
    except (OSError, UserError):
        return None


def _curves(place: Path, run: RunSpec, where: str) -> Iterator[dict[str, Any]]:
    """Loss and score of each epoch, a curve a seed; a file that is missing or damaged is left out."""
    if run.training is None:
        return
    first_seed, *_ = seeds = run.training.seeds
    for seed in seeds:
        try:
            curve = pd.read_csv(seed_folder(place, seed, first_seed) / CURVE)
            score = curve["score"] if "score" in curve else pd.Series(dtype=float)
            columns = {
                "epochs": curve["epoch"].astype(int).tolist(),
                "loss": _line(pd.Series(curve["loss"])),
                "score": _line(pd.Series(score)),
            }
        except (OSError, KeyError, ValueError):
            continue
        yield {"where": where, "seed": seed, **columns}


def _line(values: pd.Series) -> list[float | None]:
    """A column of numbers, with None for what has no height in a picture."""
    return [value if math.isfinite(value) else None for value in values.astype(float).round(4).tolist()]


def _candidates(
    records: Sequence[Record],
    run: RunSpec,
    rows: Mapping[int, Mapping[Any, Any]],
    finals: Mapping[int, Mapping[Any, Any]],
) -> dict[str, Any]:
    """A row for every candidate, however it ended."""
    objectives = run.search.objectives if run.search else ()
    names = [name for name in dict.fromkeys([*objectives, *COLUMNS]) if any(name in row for row in rows.values())]
    titles = short_titles([*run.search.vary]) if run.search else {}
    found = []
    for record in records:
        row, final = rows.get(record.number, {}), finals.get(record.number, {})
        figures = [_figure(record, name) for name in names]
        again = record.repeats is not None and record.state == "complete"
        state = "front" if row.get("front") else "repeat" if again else record.state
        its = [record.number, label(record), "finals" if final else state, *figures]
        found.append([*its, *(_cell(record.values.get(name)) for name in titles), record.reason or ""])
    columns = ["number", "name", "state", *(METRICS[name].title for name in names), *titles.values(), "reason"]
    return {"columns": columns, "rows": found}


def _figure(record: Record, name: str) -> float | None:
    value = record.figure(name)
    return None if value is None else _cell(float(value) / METRICS[name].scale)


def _rejections(records: Sequence[Record]) -> list[list[Any]]:
    """Reasons of candidates that were not completed: [state, reason, number of candidates, examples]."""
    ended = [record for record in records if record.state in ("rejected", "failed", "stopped")]
    kinds = Counter((record.state, _kind(record.reason or "")) for record in ended)
    return [
        [
            state,
            kind,
            count,
            [one.number for one in ended if (one.state, _kind(one.reason or "")) == (state, kind)][:REASONS],
        ]
        for (state, kind), count in kinds.most_common()
    ]


def _kind(reason: str) -> str:
    """A reason without the figures of one candidate."""
    metrics = [name for name in METRICS if reason.startswith(f"{name} ")]
    return f"{metrics[0]} is beyond its limit" if metrics else reason.split("; ")[0][:120]


def _machine(machine: Machine) -> dict[str, Any]:
    content = machine.model_dump(mode="json", exclude_none=True)
    return {
        name: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        for name, value in content.items()
    }
