"""What samples of times say: how long, how sure, and which of two is faster."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import NamedTuple

from scipy.stats import quantile_test

LEVEL = 0.99
"""Confidence level of the intervals that decide whether differences are real."""


class Summary(NamedTuple):
    """Samples of one run, in the order in which they were taken."""

    median: float
    p5: float
    p95: float
    cv: float
    """Coefficient of variation: standard deviation over mean."""
    drift: float
    """By which share the second half's median lies above the first one's."""


def summarise(samples: Sequence[float]) -> Summary:
    """What at least one sample says."""
    half = len(samples) // 2
    first, second = samples[:half] or samples, samples[-half:]
    return Summary(
        median=median(samples),
        p5=percentile(samples, 5),
        p95=percentile(samples, 95),
        cv=pstdev(samples) / fmean(samples),
        drift=median(second) / median(first) - 1,
    )


def percentile(samples: Sequence[float], share: int) -> float:
    """Percentile by nearest rank: the smallest sample that at least `percent` % of the samples do not exceed."""
    rank = -(-share * len(samples) // 100)
    return sorted(samples)[rank - 1]


class Ratio(NamedTuple):
    """How much longer one run takes than another."""

    median: float
    low: float
    high: float
    """Ends of the interval that holds the true median by `LEVEL`."""

    @property
    def real(self) -> bool:
        """Whether one run is significantly faster than the other."""
        return self.low > 1 or self.high < 1


def compare(samples: Sequence[float], others: Sequence[float]) -> Ratio:
    """Samples over other samples of the same rounds.

    What disturbs a round disturbs both, so that ratios of a round spread less than times do. The interval is the exact
    one of a median, which supposes no distribution; with too few rounds it has no end.
    """
    ratios = [mine / other for mine, other in zip(samples, others, strict=True)]
    low, high = quantile_test(ratios, q=1, p=0.5).confidence_interval(LEVEL)
    return Ratio(median(ratios), float(low), float(high))


def ranks(samples: Sequence[Sequence[float]]) -> list[int]:
    """Place of each run, 1 for the fastest; runs that do not differ significantly from the fastest of a place share
    it."""
    places = [0] * len(samples)
    leader = None
    for place, i in enumerate(sorted(range(len(samples)), key=lambda i: median(samples[i])), start=1):
        if leader is None or compare(samples[i], samples[leader]).low > 1:
            leader, places[i] = i, place
        else:
            places[i] = places[leader]
    return places
