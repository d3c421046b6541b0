"""Optuna's samplers by their name in a spec."""

from __future__ import annotations

import warnings
from typing import assert_never

from optuna import samplers
from optuna.exceptions import ExperimentalWarning

from stdc_search.spec.search import OptunaSampler


def make_sampler(kind: OptunaSampler, seed: int) -> samplers.BaseSampler:
    """A new sampler for each proposal, so an interrupted run continues as if it had not stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match kind:
            case "tpe":
                return samplers.TPESampler(seed=seed)
            case "multivariate_tpe":
                return samplers.TPESampler(seed=seed, multivariate=True, group=True)
            case "nsgaii":
                return samplers.NSGAIISampler(seed=seed)
            case "nsgaiii":
                return samplers.NSGAIIISampler(seed=seed)
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "random":
                return samplers.RandomSampler(seed=seed)
    assert_never(kind)
