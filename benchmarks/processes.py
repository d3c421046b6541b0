"""Which process tells from scores and losses of few trainings what other networks reach? Ours, and BoTorch's.

    python -m benchmarks.processes [--seeds 10] [--out build/bench/search]    # needs `pip install botorch`

A process learns from random networks of an oracle, each trained once, and predicts the true mIoU of others. BoTorch's
processes of several tasks are coregional: scores and losses share latent processes (Bonilla et al., 2007).
"""

from __future__ import annotations

from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from botorch import fit_gpytorch_mll  # pyright: ignore[reportMissingImports]
from botorch.models import MultiTaskGP, SingleTaskGP  # pyright: ignore[reportMissingImports]
from gpytorch.constraints import GreaterThan  # pyright: ignore[reportMissingImports]
from gpytorch.mlls import ExactMarginalLogLikelihood  # pyright: ignore[reportMissingImports]
from gpytorch.priors import LogNormalPrior  # pyright: ignore[reportMissingImports]
from scipy.stats import kendalltau, norm

from benchmarks.oracles import Oracle, formula, surrogate
from stdc_search.expectation import DEVIATIONS
from stdc_search.expectation.linked import beside_losses
from stdc_search.expectation.process import NOISE, Floats, GaussianProcess
from stdc_search.report.tables import show_table

COUNTS = (12, 40, 120)
"""Trainings that a process learns from."""
OTHERS = 400
"""Networks that it predicts."""
Predicted = tuple[Floats, Floats]
"""Mean and standard deviation of noiseless scores."""


def ours(points: Floats, scores: Floats, skills: Floats, places: Floats) -> Predicted:
    return beside_losses(GaussianProcess(points, skills), points, scores).predict(places)


def ours_of_scores(points: Floats, scores: Floats, skills: Floats, places: Floats) -> Predicted:
    return GaussianProcess(points, scores).predict(places)


def botorch(points: Floats, scores: Floats, skills: Floats, places: Floats, noise: Any = None) -> Predicted:
    tasks = np.repeat([[0.0], [1.0]], len(points), axis=0)
    inputs = torch.from_numpy(np.hstack([np.vstack([points, points]), tasks]))
    values = torch.from_numpy(np.concatenate([_standard(skills), _standard(scores)])[:, None])
    model = MultiTaskGP(inputs, values, task_feature=-1, output_tasks=[1], outcome_transform=None)
    return _fitted(model, places, scores, noise)


def botorch_of_scores(points: Floats, scores: Floats, skills: Floats, places: Floats, noise: Any = None) -> Predicted:
    values = torch.from_numpy(_standard(scores)[:, None])
    return _fitted(SingleTaskGP(torch.from_numpy(points), values, outcome_transform=None), places, scores, noise)


def _fitted(model: Any, places: Floats, scores: Floats, noise: Any) -> Predicted:
    if noise is not None:
        covariance = getattr(model.likelihood, "noise_covar", model.likelihood)
        covariance.register_prior("noise_prior", noise, lambda module: module.noise, lambda module, value: None)
        covariance.register_constraint("raw_noise", GreaterThan(1e-4, transform=None, initial_value=noise.mode))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        found = model.posterior(torch.from_numpy(places))
    means, deviations = found.mean.numpy()[:, 0], found.variance.sqrt().numpy()[:, 0]
    return scores.mean() + scores.std() * means, scores.std() * deviations


def _standard(values: Floats) -> Floats:
    return (values - values.mean()) / values.std()


PROCESSES = {
    "ours, scores": ours_of_scores,
    "ours, scores and losses": ours,
    "BoTorch, scores": botorch_of_scores,
    "BoTorch, scores and losses": botorch,
    "BoTorch, scores; our prior of noise": lambda *its: botorch_of_scores(*its, LogNormalPrior(*NOISE)),
    "BoTorch, scores and losses; our prior of noise": lambda *its: botorch(*its, LogNormalPrior(*NOISE)),
}


def rows(name: str, oracle: Oracle, seed: int) -> list[dict[str, Any]]:
    """How each process predicts, a row a process and number of trainings."""
    rng = np.random.default_rng([seed, 3])
    every = np.array([*oracle.truths], dtype=float)
    places = np.column_stack([every, np.log([truth.macs for truth in oracle.truths.values()])])
    places = (places - places.min(0)) / np.ptp(places, axis=0)
    truths, found = [*oracle.truths.values()], []
    chosen = rng.choice(len(truths), COUNTS[-1] + OTHERS, replace=False)
    trained = [oracle.trained(truths[one], 1, oracle.epochs, rng) for one in chosen[:-OTHERS]]
    scores, skills = np.array([(score.miou, -np.log(losses[0])) for score, losses in trained]).T
    unseen = chosen[-OTHERS:]
    true = np.array([truths[one].curve[-1] for one in unseen])
    for count in COUNTS:
        for process, predict in PROCESSES.items():
            start = process_time()
            means, deviations = predict(places[chosen[:count]], scores[:count], skills[:count], places[unseen])
            found.append(
                {
                    "oracle": name,
                    "trainings": count,
                    "process": process,
                    "seconds": process_time() - start,
                    "rmse mIoU": np.sqrt(np.mean((means - true) ** 2)),
                    "tau": kendalltau(means, true).statistic,
                    "in 95 % interval %": 100 * np.mean(np.abs(means - true) < DEVIATIONS * deviations),
                    "log density": norm.logpdf(true, means, deviations).mean(),
                }
            )
    return found


def main(
    seeds: Annotated[int, typer.Option(help="random choices of networks")] = 10,
    out: Annotated[Path, typer.Option(help="for the table")] = Path("build/bench/search"),
) -> None:
    """Compare processes."""
    oracles = {"surrogate": surrogate(), "formula": formula()}
    every = [row for name, its in oracles.items() for seed in range(seeds) for row in rows(name, its, seed)]
    means = pd.DataFrame(every).groupby(["oracle", "trainings", "process"]).mean().reset_index()
    out.mkdir(parents=True, exist_ok=True)
    show_table(means.round(2), out / "processes", title=f"Predictions of networks, means over {seeds} choices")


if __name__ == "__main__":
    typer.run(main)
