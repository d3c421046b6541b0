"""A run's records as tables and pictures; nothing but the run's folder is read."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from stdc_search import records
from stdc_search.expectation import networks, pooled
from stdc_search.palette import Palette
from stdc_search.records import METRICS, Record, Score
from stdc_search.report.candidates import candidates, class_table, label, ranked, shown
from stdc_search.report.overlay import Predictor, draw_overlay, overlay
from stdc_search.report.plots import FrontPicture, draw_front, encode, front_picture
from stdc_search.report.reading import read_results
from stdc_search.report.tables import print_table, save_table
from stdc_search.report.verdict import barred_note, best_notes, limits_note, missed_note
from stdc_search.report.words import (
    DOUBTFUL,
    conditions,
    constant_note,
    doubtful,
    doubtful_rejections,
    expectation_note,
    extent,
    finals_note,
    halving_note,
    heading,
    legend,
    machine_note,
    summary,
)
from stdc_search.run_folder import (
    FINALS,
    FRONT,
    MACHINES,
    OVERLAY,
    SAMPLE,
    SPEC,
    TABLE,
    candidate_folder,
)
from stdc_search.spec.run import RunSpec
from stdc_search.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = "IoU of each class, %"


@dataclass(frozen=True, eq=False)
class Report:
    """What was found in a run's folder and written into its `report/`."""

    candidates: pd.DataFrame
    """Every trained candidate with every figure."""
    shown: pd.DataFrame
    """The front and the named networks, as drawn."""
    classes: pd.DataFrame
    """The IoU of each class with each of them; empty without label maps."""
    title: str
    notes: tuple[str, ...]
    """Lines below the table: what it holds for, what was done, where things are."""
    paths: tuple[Path, ...]
    """Files written."""
    best: int | None
    """Number of the most accurate network on the front whose folder exists."""
    best_spec: Path | None
    """Its `spec.yaml`, which runs by itself; from the finals if there are any."""
    picture: FrontPicture | None = None
    """What the front's picture shows; None without a search."""
    finals: Report | None = None
    """The report of the finals."""
    agreement: tuple[str, ...] = ()
    """How well the search predicted its finals."""

    def print(self, console: Console | None = None) -> None:
        """Print the tables, that of the finals first, and the lines below them."""
        title = self.title
        if self.finals is not None:
            notes = [*self.finals.notes, *self.agreement]
            self.finals._print(f"Finals: {self.finals.title}", notes, console)
            title = f"Search: {title}"
        self._print(title, self.notes, console)

    def _print(self, title: str, notes: Sequence[str], console: Console | None) -> None:
        print_table(self.shown, title, () if len(self.classes) else notes, console)
        if len(self.classes):
            print_table(self.classes, CLASSES, notes, console)


def front_so_far(spec: RunSpec, found: Sequence[Record]) -> tuple[pd.DataFrame, str]:
    """The front of a search that still runs, as drawn, and a title for it; empty before a network is complete."""
    complete = [record for record in found if record.state == "complete"]
    rejected = sum(record.state == "rejected" for record in found)
    title = f"Front so far, of {len(complete)} trained" + f" ({rejected} rejected)" * bool(rejected)
    if not complete:
        return pd.DataFrame(), title
    objectives = spec.required_search.objectives
    frame = candidates(complete, objectives, spec)
    table = shown(frame, objectives)
    figures = [before + METRICS[name].title for name in objectives for before in ("", "expected ", "± ")]
    wanted = {"network", "name", "front", "P(front) %", *figures}
    return table.loc[:, [name for name in table if name in wanted]], title


def write_report(folder: Path) -> Report:
    """Write `report/` of a run's folder: tables; with a search, the front's picture; with a training, an overlay.

    The finals of a search get a report of their own, in their folder.

    Raises:
        UserError: the folder is not a run folder.
    """
    results = read_results(folder)
    run, found, complete, objectives = results.run, results.records, results.complete, results.objectives
    if not complete:
        notes = filter(None, (doubtful_rejections(found), summary(found)))
        empty = pd.DataFrame()
        return Report(empty, empty, empty, "Nothing to show", tuple(notes), (), None, None)

    limits = run.search.limits if run.search else {}
    frame = results.frame
    table = shown(frame, objectives, every=results.are_finals)
    classes = class_table(frame, table)
    title = heading(run, complete, results.name)
    numbers = {int(number) for number in table["network"]}
    shaky = doubtful([record for record in complete if record.number in numbers], found)
    if shaky:
        names = {record.number: label(record) for record in complete}
        marks = [DOUBTFUL if names[int(number)] in shaky else "" for number in table["network"]]
        table.insert(table.columns.tolist().index("median ms"), "time", marks)
    remarks = [
        conditions(complete, records.read_machines(folder / MACHINES)),
        expectation_note(frame, finals=bool(results.before)),
        constant_note(complete),
        barred_note(frame),
        missed_note(classes),
        limits_note(frame.loc[frame["number"].isin([*numbers])], limits),
        machine_note(frame, objectives),
        f"Doubtful times; do not rank by them: {', '.join(shaky)}" if shaky else "",
        doubtful_rejections(found),
    ]
    remarks = [remark for remark in remarks if remark]
    reasons = [f"{name}: doubtful time: {why}" for name, why in shaky.items()]
    notes = [*remarks, *reasons, legend(table), extent(frame, table), summary(found)]
    if run.search is not None and run.search.halving is not None:
        notes.append(halving_note(found, run.search.halving, run.search.objectives))
    caption = " ".join(
        f"{sentence}." for sentence in [title, *remarks, legend(table), extent(frame, table)] if sentence
    )
    also = {CLASSES: classes} if len(classes) else {}
    paths = save_table(frame, folder / TABLE, caption=caption, drawn=table, also=also)

    picture = None
    if objectives:
        small_print = "\n".join(line for remark in remarks for line in textwrap.wrap(remark, 115))
        rejected = [record for record in found if record.state == "rejected"]
        picture = front_picture(frame, objectives, title, small_print, shaky, limits, rejected)
        figure = draw_front(picture)
        pictures = tuple(_write(figure, folder / f"{FRONT}{ending}") for ending in (".png", ".svg"))
        paths += pictures
        notes.append(f"picture: {pictures[0]}")

    finals = write_report(folder / FINALS) if (folder / FINALS / SPEC).is_file() else None
    finals = finals if finals is not None and not finals.shown.empty else None
    agreement = finals_note(finals.candidates, frame, objectives) if finals is not None else []
    there = results.left
    order = ranked(there, objectives)
    if predictors := _predictors(folder, complete, order or there["number"].tolist()):
        paths += (drawn := _save_overlay(folder, run, predictors))
        missing = f"no overlay: {predictors[0].folder / SAMPLE} is missing or damaged"
        notes.append(f"overlay: {drawn[0]}" if drawn else missing)
    chosen = order[0] if order else None
    spec = results.spec_of(chosen) if chosen is not None else None
    notes += best_notes(frame, there, objectives, spec, "in the search " * (finals is not None))
    if finals is not None and finals.best is not None:
        chosen, spec = finals.best, finals.best_spec
        notes.append(f"best network in the finals: {spec}")
    notes, agreement = tuple(filter(None, notes)), tuple(agreement)
    return Report(frame, table, classes, title, notes, paths, chosen, spec, picture, finals, agreement)


def _predictors(folder: Path, complete: Sequence[Record], numbers: Sequence[int]) -> list[Predictor]:
    """The first, the middle and the last of some networks, as far as they label pixels."""
    by_number = {several[0].number: pooled(several) for several in networks(complete)}
    some = dict.fromkeys(numbers[i] for i in (0, len(numbers) // 2, len(numbers) - 1)) if numbers else ()
    return [
        Predictor(label(record), record.score, candidate_folder(folder, record.number))
        for record in map(by_number.__getitem__, some)
        if isinstance(record.score, Score)
    ]


def _save_overlay(folder: Path, run: RunSpec, predictors: Sequence[Predictor]) -> tuple[Path, ...]:
    """Write the overlay, or remove an earlier one that shows what is gone."""
    if (picture := overlay(predictors, Palette.of(run.data, run.network.classes))) is not None:
        return (_write(draw_overlay(picture), folder / OVERLAY),)
    (folder / OVERLAY).unlink(missing_ok=True)
    return ()


def _write(figure: Figure, path: Path) -> Path:
    write_atomically(path, encode(figure, path.suffix))
    return path
