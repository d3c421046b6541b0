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
from stdc_search.storage import write_atomically

FULL = 12
"""Epochs of a full training."""
BUDGETS = (40 * FULL, 80 * FULL, 120 * FULL, 160 * FULL)
"""Epochs of all trainings."""
FEW = BUDGETS[:2]
"""For searches that take long to replay."""
FINALISTS, SEEDS = 6, 3
"""Networks of finals, at most, and full trainings of each. Finals take a third of the epochs, at most."""


class Way(NamedTuple):
    """One way to search, and to choose a front."""

    sampler: str
    epochs: int = FULL
    """Of each of the search's trainings."""
    halving: dict[str, Any] | None = None
    losses: bool = True
    """Whether it learns from training losses, too."""
    budgets: tuple[int, ...] = BUDGETS
    by_score: bool = False
    """Whether the front is that of single scores, as a plain search reports it, in place of expected ones."""
    finals: bool = False

    @property
    def search(self) -> Way:
        """What ways have in common that differ in the choice of their fronts."""
        return self._replace(by_score=False, finals=False)


OURS, SLOW = "known_cost", "gp"
"""The sampler of this project, and one that is replayed only where it is named."""
OTHERS = ("tpe", "multivariate_tpe", "nsgaii", "random", "stratified", SLOW)
WAYS = {
    f"{OURS}, by scores": Way(OURS, losses=False, by_score=True),
    f"{OURS}, without losses": Way(OURS, losses=False),
    OURS: Way(OURS),
    f"{OURS}, finals": Way(OURS, finals=True),
    f"{OURS}, halving": Way(OURS, halving={"rungs": [4], "reduction_factor": 3}, budgets=FEW),
    **{
        f"{OURS}, {epochs} epochs{name}": Way(OURS, epochs, budgets=FEW, finals=bool(name))
        for epochs in (6, 4)
        for name in ("", ", finals")
    },
    **{
        f"{sampler}{name}": way._replace(budgets=FEW if sampler == SLOW else BUDGETS)
        for sampler in OTHERS
        for name, way in {
            ", by scores": Way(sampler, by_score=True),
            "": Way(sampler),
            ", finals": Way(sampler, finals=True),
        }.items()
    },
}
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


def fronts(name: str, ways: Sequence[Way], seed: int) -> list[list[Reported]]:
    """The fronts of ways that search alike, after each budget."""
    oracle, way = ORACLES[name](), ways[0]
    changes = {
        "training.epochs": way.epochs,
        "search.sampler": {"kind": way.sampler, "seed": seed},
        "search.trials": way.budgets[-1] // (way.halving["rungs"][0] if way.halving else way.epochs),
        "search.executor": {"kind": "in_process"},
        "search.halving": way.halving,
    }
    answers, pad = searched(oracle, changes, seed, losses=way.losses)
    complete = [record for record in pad.records if record.state == "complete"]
    trained = [*zip(answers.epochs, complete, strict=True)]
    return [[*_reported(oracle, way, trained, np.random.default_rng([seed, 2]))] for way in ways]


def _reported(
    oracle: Oracle, way: Way, trained: Sequence[tuple[int, Record]], rng: np.random.Generator
) -> Iterator[Reported]:
    """Args: trained: complete candidates, and the epochs that were trained until then."""
    for budget in way.budgets:
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
    alike: dict[str, list[str]] = {}  # names of the ways that share a search
    for name in ways or [name for name, way in WAYS.items() if way.sampler != SLOW]:
        alike.setdefault(repr(WAYS[name].search), []).append(name)
    for oracle in ORACLES.values():  # the processes get them
        oracle()
    out.mkdir(parents=True, exist_ok=True)
    frame, path = pd.DataFrame(), out / "reported_seeds.csv"
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        for names in alike.values():
            ours = [(oracle, names, seed) for oracle, seed in product(ORACLES, range(seeds))]
            rows = [
                {"oracle": oracle, "search": name, "seed": seed, **one._asdict()}
                for (oracle, _, seed), found in zip(ours, pool.map(_fronts, ours), strict=True)
                for name, several in zip(names, found, strict=True)
                for one in several
            ]
            frame = pd.DataFrame(rows).round(4)
            if path.exists():
                before = pd.read_csv(path)
                frame = pd.concat([before[~before["search"].isin(names)], frame])
            frame = frame.sort_values([*KEYS, "seed"])
            write_atomically(path, frame.to_csv(index=False))
    show_table(summarised(frame), out / "reported", title="Reported fronts, means over seeds")


def _fronts(one: tuple[str, list[str], int]) -> list[list[Reported]]:
    oracle, names, seed = one
    return fronts(oracle, [WAYS[name] for name in names], seed)


def summarised(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a way and budget: means over the seeds, with standard errors."""
    several = frame.groupby(KEYS)
    table = pd.DataFrame(
        {
            "seeds": several["seed"].nunique(),
            "true hypervolume %": 100 * several["share"].mean(),
            "± %": 100 * several["share"].sem(),
            "bias mIoU": several["bias"].mean().round(2),
            "±": several["bias"].sem().round(2),
        }
    )
    return table.reset_index()


if __name__ == "__main__":
    typer.run(main)
