"""How many epochs early stopping saves, on real trainings. `make bench-search` runs it.

    python -m benchmarks.halving [--seeds 10] [--out build/bench/search]

The table of `benchmarks.search` has the mIoU of each network after each epoch. So a search with rungs is replayed as it
would have gone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a search a process

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby, product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure

from benchmarks.oracles import table
from benchmarks.search import GOAL, OURS, Course, Search, band, quartiles, reached, replay
from stdc_search.report.tables import show_table

HALVED = ("random", OURS)


def main(
    seeds: Annotated[int, typer.Option(help="of each sampler")] = 10,
    out: Annotated[Path, typer.Option(help="for the table, the picture and halving_curves.csv")] = Path(
        "build/bench/search"
    ),
) -> None:
    """Replay searches with and without early stopping."""
    whole = table()  # the processes get it
    searches = [
        Search("table", sampler, False, halving, len(whole.truths), seed)
        for sampler, halving, seed in product(HALVED, (False, True), range(seeds))
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        courses = dict(zip(searches, pool.map(replay, searches), strict=True))
    by_label = {label: [courses[one] for one in several] for label, several in groupby(searches, _label)}
    rows = [(label, *point) for label, several in by_label.items() for point in _points(several)]
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["search", "seed", "epochs", "share"]).to_csv(out / "halving_curves.csv", index=False)
    draw_halving(by_label).savefig(out / "halving.png", dpi=150)
    every = len(whole.truths) * len(next(iter(whole.truths.values())).curve)
    show_table(epochs_needed(by_label, every), out / "halving", title="Epochs to 95 %, medians over the seeds")


def _label(search: Search) -> str:
    return f"{search.sampler}{', halving' * search.halving}"


def epochs_needed(halvings: Mapping[str, Sequence[Course]], every: int) -> pd.DataFrame:
    """A row a way to search: epochs to the goal, and their share of those of all trainings."""
    rows = []
    for label, several in halvings.items():
        low, middle, high = quartiles([reached(course.shares, course.epochs) for course in several])
        rows.append(
            {
                "search": label,
                "epochs to 95 %": round(middle),
                "quartiles": f"{low:.0f} to {high:.0f}",
                "of all epochs %": 100 * middle / every,
            }
        )
    return pd.DataFrame(rows)


def _points(several: Sequence[Course]) -> Iterator[tuple[int, int, float]]:
    """Seed, epochs and share, where the share grows."""
    for seed, course in enumerate(several):
        for i, (epochs, share) in enumerate(zip(course.epochs, course.shares, strict=True)):
            if not i or share > course.shares[i - 1]:
                yield seed, epochs, round(share, 4)


def draw_halving(halvings: Mapping[str, Sequence[Course]]) -> Figure:
    """Median share by epochs of training, with the middle half of the seeds."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for i, (label, several) in enumerate(halvings.items()):
        grid = np.arange(1, max(course.epochs[-1] for course in several) + 1)
        shares = np.array(
            [np.r_[0.0, course.shares][np.searchsorted(course.epochs, grid, "right")] for course in several]
        )
        band(axes, grid, 100 * shares, label, f"C{i}")
    axes.set(
        xlabel="epochs trained, of all candidates", ylabel="hypervolume, % of that of all networks", ylim=(50, 100)
    )
    axes.axhline(100 * GOAL, color="grey", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    typer.run(main)
