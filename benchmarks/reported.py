"""How true is the front that a report shows? `make bench-search` runs it.

    python -m benchmarks.reported [WAY ...] [--seeds 10] [--out build/bench/search]

A user deploys a network of that front. On the surrogate of `benchmarks.search`, and by a formula, the true accuracies
are known without luck. So a front counts by the true hypervolume of its networks, and by how far its accuracies lie
above the true ones.
All ways to search are compared after the same epochs of training, those of finals included.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a search a process

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer

from benchmarks.oracles import BOTH, Oracle, Truth, formula, searched, surrogate
from stdc_search.expectation import expected, networks, pooled
from stdc_search.ranking import front
from stdc_search.records import Record
from stdc_search.report.tables import show_table
from stdc_search.search.finals import finalists
from stdc_search.spec.search import FinalsSpec

FULL = 12
"""Epochs of a full training."""
BUDGETS = (40 * FULL, 80 * FULL, 120 * FULL, 160 * FULL)
FINALISTS, SEEDS = 6, 3
"""Networks of finals, at most, and full trainings of each. Finals take a third of the epochs, at most."""


class Way(NamedTuple):
    """One way to search, and to choose a front."""

    sampler: str = "known_cost"
    epochs: int = FULL
    """Of each of the search's trainings."""
    halving: dict[str, Any] | None = None
    losses: bool = True
    """Whether it learns from training losses, too."""
    by_score: bool = False
    """Whether the front is that of single scores, as a plain search reports it, in place of expected ones."""
    finals: bool = False


WAYS = {
    f"{sampler}{name}": way._replace(sampler=sampler)
    for sampler in ("known_cost", "tpe", "multivariate_tpe", "nsgaii", "random", "stratified", "gp")
    for name, way in {
        ", by scores": Way(losses=False, by_score=True),
        ", without losses": Way(losses=False),
        "": Way(),
        ", finals": Way(finals=True),
        ", 6 epochs": Way(epochs=6),
        ", 4 epochs": Way(epochs=4),
        ", 4 epochs, finals": Way(epochs=4, finals=True),
        ", halving": Way(halving={"rungs": [4], "reduction_factor": 3}),
    }.items()
}
SLOW = "gp"
"""Is replayed where it is named."""
ORACLES = {"surrogate": surrogate, "formula": formula}
KEYS = ["oracle", "search", "epochs"]


class Reported(NamedTuple):
    """A front as a report shows it."""

    epochs: int
    """Of all trainings."""
    share: float
    """True hypervolume of the front, divided by the hypervolume of all networks."""
    bias: float
    """How far its accuracies lie above the true ones, on average, in mIoU."""


def fronts(name: str, way: Way, seed: int) -> list[Reported]:
    """Fronts after each budget."""
    oracle = ORACLES[name]()
    changes = {
        "training.epochs": way.epochs,
        "search.sampler": {"kind": way.sampler, "seed": seed},
        "search.trials": BUDGETS[-1] // (way.halving["rungs"][0] if way.halving else way.epochs),
        "search.executor": {"kind": "in_process"},
        "search.halving": way.halving,
    }
    answers, pad = searched(oracle, changes, seed, losses=way.losses)
    complete = [record for record in pad.records if record.state == "complete"]
    return [*_reported(oracle, way, [*zip(answers.epochs, complete, strict=True)], np.random.default_rng([seed, 2]))]


def _reported(
    oracle: Oracle, way: Way, trained: Sequence[tuple[int, Record]], rng: np.random.Generator
) -> Iterator[Reported]:
    """Args: trained: complete candidates, and the epochs that were trained until then."""
    for budget in BUDGETS:
        count = min(FINALISTS, budget // 3 // (SEEDS * FULL)) if way.finals else 0
        some = [record for epochs, record in trained if epochs <= budget - count * SEEDS * FULL]
        if not way.finals:
            yield Reported(budget, *_judged(oracle, some, by_score=way.by_score))
            continue
        search = oracle.spec.required_search.model_copy(update={"finals": FinalsSpec(networks=count)})
        chosen = finalists(some, search)
        finals = [oracle.trained(_truth(oracle, one), SEEDS, FULL, rng) for one in chosen]
        again = [
            one.model_copy(update={"score": score, "training_loss": losses})
            for one, (score, losses) in zip(chosen, finals, strict=True)
        ]
        yield Reported(budget, *_judged(oracle, again, some))


def _judged(
    oracle: Oracle, records: Sequence[Record], before: Sequence[Record] = (), *, by_score: bool = False
) -> tuple[float, float]:
    """Share of the hypervolume, and bias, of the front of some records, which may be the finals of those before."""
    several = networks(records)
    truths = [_truth(oracle, one[0]) for one in several]
    if by_score:
        claimed = np.array([pooled(one).metric("score.miou") for one in several])
    else:
        claimed = expected(several, oracle.spec.required_search, networks(before)).scores["score.miou"]
    on_front = front(np.column_stack([claimed, [truth.cost for truth in truths]]), BOTH)
    shown = [truth for truth, its in zip(truths, on_front, strict=True) if its]
    off = claimed[on_front] - [truth.curve[-1] for truth in shown]
    return oracle.share(shown), float(off.mean())


def _truth(oracle: Oracle, record: Record) -> Truth:
    return oracle.truths[tuple(record.values.values())]


def main(
    ways: Annotated[list[str] | None, typer.Argument(help=f"default: all but those of {SLOW}")] = None,
    seeds: Annotated[int, typer.Option(help="of each way")] = 10,
    out: Annotated[Path, typer.Option(help="for the table and reported_seeds.csv, where other ways are kept")] = Path(
        "build/bench/search"
    ),
) -> None:
    """Replay searches, and judge their fronts."""
    chosen = ways or [name for name, way in WAYS.items() if way.sampler != SLOW]
    for oracle in ORACLES.values():  # the processes get them
        oracle()
    ours = [*product(ORACLES, chosen, range(seeds))]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        found = pool.map(_fronts, ours)
        rows = [
            {"oracle": oracle, "search": name, "seed": seed, **one._asdict()}
            for (oracle, name, seed), several in zip(ours, found, strict=True)
            for one in several
        ]
    frame, path = pd.DataFrame(rows).round(4), out / "reported_seeds.csv"
    if path.exists():
        before = pd.read_csv(path)
        frame = pd.concat([before[~before["search"].isin(chosen)], frame])
    out.mkdir(parents=True, exist_ok=True)
    frame.sort_values([*KEYS, "seed"]).to_csv(path, index=False)
    show_table(summarised(frame), out / "reported", title=f"Reported fronts, means over {seeds} seeds")


def _fronts(one: tuple[str, str, int]) -> list[Reported]:
    oracle, name, seed = one
    return fronts(oracle, WAYS[name], seed)


def summarised(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a way and budget: means over the seeds, with standard errors."""
    several = frame.groupby(KEYS)
    table = pd.DataFrame(
        {
            "true hypervolume %": 100 * several["share"].mean(),
            "± %": 100 * several["share"].sem(),
            "bias mIoU": several["bias"].mean().round(2),
            "±": several["bias"].sem().round(2),
        }
    )
    return table.reset_index()


if __name__ == "__main__":
    typer.run(main)
