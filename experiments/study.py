"""Studies: one run changed in one thing at a time, each variant trained with its seeds.

A study's `run.py` says what it changes and calls `main`. Every variant is an ordinary run in the study's `runs/`, which
goes on where it stopped. One that any study has trained is not trained again, and one that another process trains is
passed over, so that the same command may be started once a core:

    OMP_NUM_THREADS=1 python -m experiments.STUDY.run --data-root FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

import pandas as pd
from rich.console import Console

from stdc_search.commands.run import run
from stdc_search.errors import FolderInUseError
from stdc_search.records import METRICS, Record, Score, read
from stdc_search.report.tables import print_table, save_table
from stdc_search.run_folder import RESULTS, SPEC
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

PROTOCOL = Path("specs/camvid_small.yaml")
KEPT = "*/runs/**"
"""Folders of runs that are not done again, below experiments/."""
Changes = Mapping[str, Any]


def main(folder: Path, variants: Mapping[str, Changes], caption: str, base: Path = PROTOCOL) -> None:
    """A study of one run's variants."""
    study(folder, {name: replace(load(base), changes) for name, changes in variants.items()}, caption)


def study(folder: Path, specs: Mapping[str, RunSpec], caption: str, kept: str = KEPT) -> None:
    """Train what is not trained yet, then write the table of what is.

    Args:
        folder: of the study.
        specs: runs by their names.
        caption: of the table.
        kept: folders of runs that are not done again, below experiments/.
    """
    parser = argparse.ArgumentParser(description=caption)
    parser.add_argument("--data-root", type=Path, help="folder of the data")
    parser.add_argument("--table", action="store_true", help="train nothing, write the table again")
    given = parser.parse_args()
    if not given.table:
        for name, spec in specs.items():
            train(spec, folder / "runs" / name, given.data_root, kept)
    frame = table(specs, kept)
    save_table(frame, folder / "table", caption=caption)
    print_table(frame, caption)


def train(spec: RunSpec, out: Path, data_root: Path | None, kept: str) -> None:
    """Run a variant, unless it is known or another process is at it."""
    if (there := known(spec, kept)) is not None:
        print(f"{out}: is trained, in {there}")
        return
    try:
        run(spec, out, data_root=data_root, console=Console())
    except FolderInUseError as error:
        print(error)


def known(spec: RunSpec, kept: str = KEPT) -> Path | None:
    """The folder of a finished run that equals this one in all that its score depends on."""
    for path in sorted(Path(__file__).parent.glob(f"{kept}/{SPEC}")):
        if trained(path.parent) is not None and load(path).identity == spec.identity:
            return path.parent
    return None


def table(specs: Mapping[str, RunSpec], kept: str) -> pd.DataFrame:
    """A row a trained variant: means over its seeds, with their standard deviations and the IoU of each class."""
    folders = {name: known(spec, kept) for name, spec in specs.items()}
    records = {name: trained(there) for name, there in folders.items() if there is not None}
    return pd.DataFrame([row(name, record) for name, record in records.items() if record is not None])


def trained(folder: Path) -> Record | None:
    """The record of a run of one network; none where it is not done."""
    return next((record for record in read(folder / RESULTS) if record.state == "complete"), None)


def row(name: str, record: Record) -> dict[str, Any]:
    score, cost = record.score, record.cost
    assert isinstance(score, Score) and cost is not None
    return {
        "variant": name.replace("_", " "),
        METRICS["score.miou"].title: score.miou,
        "± %": stdev(score.seed_miou) if len(score.seed_miou) > 1 else None,
        "seeds": len(score.seed_miou),
        METRICS["score.boundary_f"].title: score.boundary_f,
        METRICS["score.pixel_accuracy"].title: score.pixel_accuracy,
        METRICS["cost.macs"].title: cost.macs / METRICS["cost.macs"].scale,
        "minutes a seed": sum(record.seconds.values()) / 60 / len(score.seed_miou),
        **{f"{label} %": value for label, value in score.iou.items()},
    }
