"""Samplers against one another, on real trainings. `make bench-search` runs it.

    python -m benchmarks.search [SAMPLER ...] [--seeds 10] [--out build/bench/search]

The table has every network of a small space, really trained (experiments/search_benchmark); `timed` is the same with
measured times, which a search does not know beforehand, in place of multiply-adds. What a search has found counts by
the hypervolume of accuracy and the logarithm of the cost, as a share of what all networks of the space have together.
Each network has one training there, which counts as its truth; `benchmarks.reported` asks how true the fronts are.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a search a process

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import numpy as np
import optuna
import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.bench import report
from benchmarks.oracles import (
    HERE,
    Answers,
    Oracle,
    left_out,
    searched,
    surrogate,
    table,
    timed,
)
from stdc_search.commands import run as runner
from stdc_search.report.tables import show_table
from stdc_search.search.known_cost.sampler import KnownCostSampler
from stdc_search.search.mirror import Mirror
from stdc_search.search.study import Study, distribution
from stdc_search.spec.base import replace

ORACLES: dict[str, Callable[[], Oracle]] = {"table": table, "timed": timed}
SAMPLERS = ("random", "stratified", "tpe", "multivariate_tpe", "nsgaii", "gp", "known_cost")
TRAININGS = 120
SLOW = {"gp": 80}
"""Takes several times as long as all others together: it is replayed where it is named, for so many trainings."""
RUNGS = 6
"""Networks of the ladder."""
HALVING = {"rungs": [3, 6], "reduction_factor": 2}
OURS = "known_cost"
LIMITS = {"cost.macs": {"at_most": 10**9}}
DATA = {"kind": "scenes", "size": [96, 128], "train": 64, "val": 2}
"""Of the run whose overhead is measured; nothing of it is looked at."""
GOAL = 0.95
KEPT = HERE / "curves.csv"
KEYS = ["oracle", "sampler", "ladder"]
COUNTS = [str(count) for count in range(1, TRAININGS + 1)]


class Search(NamedTuple):
    """One that is replayed."""

    oracle: str
    sampler: str
    ladder: bool
    halving: bool
    trainings: int
    seed: int


class Course(NamedTuple):
    """What came of it."""

    shares: list[float]
    """Of the hypervolume, after each training that came to its end."""
    epochs: list[int]
    """Trained until then, those of candidates that were stopped included."""
    seconds: float


def replay(search: Search) -> Course:
    """Do a search without a training, by the driver that does the real ones."""
    oracle = ORACLES[search.oracle]()
    changes: dict[str, Any] = {
        "search.sampler": {"kind": search.sampler, "seed": search.seed},
        "search.trials": search.trainings,
        "search.executor": {"kind": "in_process"},
        "search.start": [{"ladder": RUNGS}] if search.ladder else [],
        "search.halving": HALVING if search.halving else None,
    }
    start = time.perf_counter()
    answers, _ = searched(oracle, changes, search.seed)
    seconds = time.perf_counter() - start
    shares = [oracle.share(answers.found[: i + 1]) for i in range(len(answers.found))]
    return Course(shares, answers.epochs, seconds)


def overhead(trials: int = 1000) -> float:
    """Median seconds that a run spends on each of its last trials, from a proposal to a line in its results, besides
    what the sampler and the copy in the database take. Its trials are looked up."""
    submitted: list[float] = []
    apart = [0.0]

    class Noted(Answers):
        def submit(self, job: Any) -> Any:
            submitted.append(time.perf_counter() - apart[0])
            return super().submit(job)

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                apart[0] += time.perf_counter() - start

        return call

    oracle = surrogate()
    changes = {
        "search.trials": trials,
        "search.sampler": {"kind": "random"},
        "search.limits": LIMITS,
        "data": DATA,
        "training.precision": "auto",
    }
    with (
        TemporaryDirectory() as folder,
        patch.object(runner, "make_executor", lambda *_: Noted(oracle, 0)),
        patch.object(Study, "_propose_sampled", timed(Study._propose_sampled)),
        patch.object(Mirror, "add", timed(Mirror.add)),
    ):
        runner.run(replace(oracle.spec, changes), folder)
    return float(np.median(np.diff(submitted)[-trials // 10 :]))


def ask(trials: int) -> float:
    """Median seconds of an ask of ours after so many trials."""
    oracle, rng = surrogate(), np.random.default_rng(0)
    study = Study(replace(oracle.spec, {"search.sampler": {"kind": "known_cost"}}))
    space = {name: distribution(vary) for name, vary in study.search.vary.items()}

    def known(parameters: Any) -> tuple[float | None, float]:
        return None, oracle.truths[tuple(study.values(parameters).values())].macs

    asked = optuna.create_study(directions=["maximize", "minimize"], sampler=KnownCostSampler(space, known))
    keys = [*oracle.truths]
    for i in rng.choice(len(keys), trials, replace=False):
        truth = oracle.truths[keys[i]]
        values = [truth.curve[-1] + oracle.noise * rng.normal(), truth.macs]
        params = dict(zip(study.search.vary, keys[i], strict=True))
        asked.add_trial(optuna.trial.create_trial(params=params, distributions=space, values=values))
    times = []
    for _ in range(11):
        start = time.perf_counter()
        trial = asked.ask(space)
        times.append(time.perf_counter() - start)
        truth = oracle.truths[tuple(study.values(trial.params).values())]
        asked.tell(trial, [truth.curve[-1] + oracle.noise * rng.normal(), truth.macs])
    return float(np.median(times[1:]))  # the first one reads the space


def main(
    samplers: Annotated[list[str] | None, typer.Argument(help="default: all but gp, which takes half an hour")] = None,
    seeds: Annotated[int, typer.Option(help="of each sampler")] = 10,
    out: Annotated[
        Path, typer.Option(help="for tables, pictures and curves.csv; samplers that are not named are as they are kept")
    ] = Path("build/bench/search"),
) -> None:
    """Replay samplers, and measure what the search itself takes."""
    chosen = samplers or [sampler for sampler in SAMPLERS if sampler not in SLOW]
    whole = table()
    timed()  # the processes get both
    ours = [
        Search(oracle, sampler, ladder, False, SLOW.get(sampler, TRAININGS), seed)
        for sampler, oracle, ladder, seed in product(chosen, ORACLES, (False, True), range(seeds))
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        courses = dict(zip(ours, pool.map(replay, ours), strict=True))
    heads = pd.DataFrame(ours)[[*KEYS, "seed"]]
    curves = pd.concat([heads, pd.DataFrame([courses[one].shares for one in ours]).round(4)], axis=1)
    curves = curves.rename(columns={i: count for i, count in enumerate(COUNTS)}).reindex(columns=[*heads, *COUNTS])
    before = pd.read_csv(out / "curves.csv" if (out / "curves.csv").exists() else KEPT)
    curves = pd.concat([before[~before["sampler"].isin(chosen)], curves]).sort_values([*KEYS, "seed"])
    out.mkdir(parents=True, exist_ok=True)
    curves.to_csv(out / "curves.csv", index=False)
    draw_samplers(curves).savefig(out / "samplers.png", dpi=150)
    show_table(compared(curves), out / "samplers", title="Shares of the hypervolume, medians over the seeds")
    error, ranks = left_out()
    report(
        "search",
        {
            "networks_in_table": len(whole.truths),
            "networks_in_surrogate": len(surrogate().truths),
            "noise_miou": surrogate().noise,
            "surrogate_left_out_rmse_miou": error,
            "surrogate_left_out_rank_correlation": ranks,
            **behind(curves),
            "driver_overhead_at_1000_trials_ms": 1e3 * overhead(),
            "ask_at_1000_trials_s": ask(1000),
            "ask_at_10000_trials_s": ask(10_000),
        },
    )


def compared(curves: pd.DataFrame) -> pd.DataFrame:
    """A row an oracle, sampler and ladder: trainings to the goal, and shares after some."""
    rows = []
    for key, several in curves.groupby(KEYS, sort=False):
        shares = several[COUNTS].dropna(axis=1).to_numpy()
        needed = [reached(one, range(1, len(one) + 1)) for one in shares]
        low, middle, high = (_told(count, shares.shape[1]) for count in quartiles(needed))
        medians = {f"at {count} %": 100 * several[str(count)].median() for count in (20, 40, 80, 120)}
        rows.append(
            {**dict(zip(KEYS, key, strict=True)), "to 95 %": middle, "quartiles": f"{low} to {high}", **medians}
        )
    return pd.DataFrame(rows)


def behind(curves: pd.DataFrame) -> dict[str, int]:
    """Of how many numbers of trainings the upper quartile of ours lies below the lower one of another sampler's, and of
    how many the median of ours below another's."""
    found = {}
    for (oracle, ladder), several in curves.groupby(["oracle", "ladder"]):
        low, middle, high = (several.groupby("sampler")[COUNTS].quantile(share) for share in (0.25, 0.5, 0.75))
        name = f"{oracle}{'_ladder' * bool(ladder)}"
        found[f"{name}_behind_at"] = int((low.drop(index=OURS).max() > high.loc[OURS]).sum())
        found[f"{name}_median_behind_at"] = int((middle.drop(index=OURS).max() > middle.loc[OURS]).sum())
    return found


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower, median, upper; some values are infinite, between which nothing can be interpolated but the middle."""
    low, high = np.quantile(values, (0.25, 0.75), method="inverted_cdf")
    return [float(low), float(np.median(values)), float(high)]


def _told(count: float, most: int) -> str:
    return f"{count:g}" if count < inf else f"> {most}"


def reached(shares: Sequence[float], spent: Sequence[int]) -> float:
    """What was spent when the goal was reached."""
    return next((cost for share, cost in zip(shares, spent, strict=True) if share >= GOAL), inf)


def draw_samplers(curves: pd.DataFrame) -> Figure:
    """Median share by trainings with the middle half of the seeds, a panel an oracle, with and without the ladder."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(len(ORACLES), 2, sharex=True, sharey="row")
    for (row, oracle), (column, ladder) in product(enumerate(ORACLES), enumerate((False, True))):
        axes = panels[row, column]
        axes.set_title(f"{oracle}, {'with' if ladder else 'without'} a ladder of {RUNGS}")
        for i, sampler in enumerate(SAMPLERS):
            chosen = curves.query("oracle == @oracle and sampler == @sampler and ladder == @ladder")
            if len(chosen):
                shares = 100 * chosen[COUNTS].to_numpy()
                band(axes, np.arange(1, TRAININGS + 1), shares, sampler, f"C{i}")
        axes.set_ylim(50, 100)
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel("hypervolume, % of that of all networks")
    for axes in panels[-1]:
        axes.set_xlabel("trainings")
    panels[-1, 1].legend(loc="lower right")
    return figure


def band(axes: Axes, spent: NDArray[Any], shares: NDArray[np.float64], label: str, colour: str) -> None:
    low, median, high = np.quantile(shares, (0.25, 0.5, 0.75), axis=0)
    axes.plot(spent, median, color=colour, label=label.replace("_", " "))
    axes.fill_between(spent, low, high, color=colour, alpha=0.15, linewidth=0)


if __name__ == "__main__":
    typer.run(main)
