"""A run's records as tables and pictures; nothing but the run's folder is read."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from stdc_search import records
from stdc_search.errors import UserError
from stdc_search.records import METRICS, Direction, Score
from stdc_search.report.candidates import best, candidates, first, label, shown
from stdc_search.report.overlay import draw_overlay, overlay
from stdc_search.report.plots import draw_front, encode, front_picture
from stdc_search.report.tables import print_table, save_table
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
    RESULTS,
    SAMPLE,
    SPEC,
    TABLE,
    candidate_folder,
    is_of_finals,
)
from stdc_search.spec.data import ImagenetSpec
from stdc_search.spec.run import load
from stdc_search.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Report:
    """What was found in a run's folder and written into its `report/`."""

    candidates: pd.DataFrame
    """Every trained candidate with every figure."""
    shown: pd.DataFrame
    """The front and the named networks, as drawn."""
    title: str
    notes: tuple[str, ...]
    """Lines below the table: what it holds for, what was done, where things are."""
    paths: tuple[Path, ...]
    """Files written."""
    best: int | None
    """Number of the most accurate network on the front."""
    best_spec: Path | None
    """Its `spec.yaml`, which runs by itself; from the finals if there are any."""
    finals: Report | None = None
    """The report of the finals."""
    agreement: tuple[str, ...] = ()
    """How well the search predicted its finals."""

    def print(self, console: Console | None = None) -> None:
        """Print the tables, that of the finals first, and the lines below them."""
        title = self.title
        if self.finals is not None:
            notes = [*self.finals.notes, *self.agreement]
            print_table(self.finals.shown, f"Finals: {self.finals.title}", notes, console)
            title = f"Search: {title}"
        print_table(self.shown, title, self.notes, console)


def write_report(folder: Path) -> Report:
    """Write `report/` of a run's folder: tables; with a search, the front's picture; with a training, an overlay.

    The finals of a search get a report of their own, in their folder.

    Raises:
        UserError: the folder is not a run folder.
    """
    if not (folder / SPEC).is_file():
        raise UserError(f"{folder}: has no `{SPEC}`, so it is not a run folder; give one such as runs/quickstart")
    run = load(folder / SPEC)
    found = records.read(folder / RESULTS)
    complete = [record for record in found if record.state == "complete"]
    if not complete:
        notes = filter(None, (doubtful_rejections(found), summary(found)))
        return Report(pd.DataFrame(), pd.DataFrame(), "Nothing to show", tuple(notes), (), None, None)

    objectives: dict[str, Direction] = {**run.search.objectives} if run.search else {}
    before = records.read(folder.parent / RESULTS) if is_of_finals(folder) else []
    frame = candidates(complete, objectives, run, [record for record in before if record.state == "complete"])
    table = shown(frame, objectives, every=is_of_finals(folder))
    title = heading(run, complete)
    numbers = {int(number) for number in table["network"]}
    shaky = doubtful([record for record in complete if record.number in numbers], found)
    if shaky:
        names = {record.number: label(record) for record in complete}
        marks = [DOUBTFUL if names[int(number)] in shaky else "" for number in table["network"]]
        table.insert(table.columns.tolist().index("median ms"), "time", marks)
    remarks = [
        conditions(complete, records.read_machines(folder / MACHINES)),
        expectation_note(frame, finals=bool(before)),
        constant_note(complete),
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
    paths = save_table(frame, folder / TABLE, caption=caption, drawn=table)

    if objectives:
        small_print = "\n".join(line for remark in remarks for line in textwrap.wrap(remark, 115))
        figure = draw_front(front_picture(frame, objectives, title, small_print, shaky))
        pictures = tuple(_write(figure, folder / f"{FRONT}{ending}") for ending in (".png", ".svg"))
        paths += pictures
        notes.append(f"picture: {pictures[0]}")

    finals = write_report(folder / FINALS) if (folder / FINALS / SPEC).is_file() else None
    finals = finals if finals is not None and not finals.shown.empty else None
    agreement = finals_note(finals.candidates, frame, objectives) if finals is not None else []
    number = best(frame, objectives)
    winner = next((record for record in complete if record.number == number), None)
    spec = None
    if winner is not None:
        network = candidate_folder(folder, winner.number)
        spec = network / SPEC
        if isinstance(winner.score, Score) and run.data is not None and not isinstance(run.data, ImagenetSpec):
            if (network / SAMPLE).is_dir():
                picture = overlay(network / SAMPLE, run.data.class_names, winner.score, label(winner))
                paths += (_write(draw_overlay(picture), folder / OVERLAY),)
                notes.append(f"overlay: {paths[-1]}")
            else:
                notes.append(f"no overlay: {network / SAMPLE} is missing")
        by = first(objectives, "maximize") or next(iter(objectives), None)
        title_of_best = "expected " * (f"expected.{by}" in frame) + METRICS[by].title.removesuffix(" %") if by else ""
        where = "in the search " * (finals is not None)
        notes.append(f"best network {where}by {title_of_best}: {spec}" if by else f"network: {spec}")
    if finals is not None and finals.best is not None:
        number, spec = finals.best, finals.best_spec
        notes.append(f"best network in the finals: {spec}")
    return Report(frame, table, title, tuple(filter(None, notes)), paths, number, spec, finals, tuple(agreement))


def _write(figure: Figure, path: Path) -> Path:
    write_atomically(path, encode(figure, path.suffix))
    return path
