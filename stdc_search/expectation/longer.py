"""Scores after longer trainings, given what a process says of shorter ones.

A longer training scores what a shorter one is expected to, plus a gain that all networks share, plus a difference that
neighbours share in part: autoregressive co-kriging (Kennedy and O'Hagan, 2000; recursively: Le Gratiet, 2013).
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from stdc_search.expectation.process import Floats, GaussianProcess

SHARES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variances of the difference that are tried, as shares of the variance between networks."""
NOISES = (0.1, 0.3, 1.0, 3.0)
"""Variances between trainings of a network that are tried, as shares of those of shorter ones."""
USUAL = (0.1, 1.5), (1.0, 1.0)
"""Priors of both: the median, and the standard deviation of the logarithm."""


class Longer(NamedTuple):
    """What longer trainings score."""

    means: Floats
    """[places]."""
    covariance: Floats
    """Covariance of the means: [places, places]."""
    noise: float
    """Standard deviation between trainings of a network."""


def longer(shorter: GaussianProcess, points: Floats, values: Floats, places: Floats) -> Longer:
    """Learn from longer trainings.

    Args:
        shorter: of shorter trainings.
        points: of longer trainings, [trainings, dimensions].
        values: their scores, [trainings].
        places: where to predict, [places, dimensions].
    """
    half = shorter.kernel.signal / 2
    between = shorter.kernel._replace(signal=half, own=half).between  # neighbours share half of a difference
    ones, left = np.ones(len(points)), values - shorter.means(points)
    known, unlike = shorter.covariance(points, points), shorter.scale**2 * between(points, points)

    def solved(share: float, louder: float) -> tuple[float, float, Floats]:
        """Loss of two settings, the gain, and the inverse covariances."""
        factor = cho_factor(known + share * unlike + louder * shorter.noise**2 * np.eye(len(points)), lower=True)
        inverse = cho_solve(factor, np.eye(len(points)))
        gain = ones @ inverse @ left / inverse.sum()
        unusual = sum(
            (np.log(one / median) / deviation) ** 2
            for one, (median, deviation) in zip((share, louder), USUAL, strict=True)
        )
        fit = (left - gain) @ inverse @ (left - gain) + 2 * np.log(np.diag(factor[0])).sum() + np.log(inverse.sum())
        return unusual + fit, gain, inverse

    share, louder = min(product(SHARES, NOISES), key=lambda settings: solved(*settings)[0])
    _, gain, inverse = solved(share, louder)
    across = shorter.covariance(places, points) + share * shorter.scale**2 * between(places, points)
    means = shorter.means(places) + gain + across @ inverse @ (left - gain)
    unsure = 1 - across @ inverse @ ones  # of the gain, where no point is near
    covariance = (
        shorter.covariance(places, places)
        + share * shorter.scale**2 * between(places, places)
        - across @ inverse @ across.T
        + np.outer(unsure, unsure) / inverse.sum()
    )
    return Longer(means, covariance, float(np.sqrt(louder) * shorter.noise))
