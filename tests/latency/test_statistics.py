"""What samples of times say."""

from itertools import pairwise

import numpy as np
import pytest

from stdc_search.latency.statistics import compare, percentile, ranks, summarise


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 95, 1),
        (3, 95, 3),
        (10, 95, 10),
        (20, 95, 19),
        (30, 95, 29),
        (100, 95, 95),
        (1, 5, 1),
        (20, 5, 1),
        (100, 5, 5),
    ],
)
def test_percentiles_are_the_nearest_rank(count, share, expected):
    assert percentile(list(range(count, 0, -1)), share) == expected


def test_a_summary_by_hand():
    found = summarise([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.median, found.p5, found.p95) == (4.5, 2, 9)
    assert found.cv == pytest.approx(2 / 5)
    assert found.drift == pytest.approx(6 / 4 - 1)


def test_one_sample_is_enough():
    assert summarise([3]) == (3, 3, 3, 0, 0)


def test_a_run_that_becomes_slower_drifts():
    assert summarise([10 + i / 10 for i in range(30)]).drift > 0.1
    assert abs(summarise([10, 10.2, 9.9, 10.1, 9.8] * 6).drift) < 0.01


def noisy(factor: float, rounds: int = 30, spread: float = 0.02, seed: int = 0) -> list[float]:
    """Times of rounds that are up to three times as long as others, the same ones for every run."""
    load = np.random.default_rng(9).uniform(1, 3, rounds)
    return list(factor * load * np.random.default_rng(seed).normal(1, spread, rounds))


def test_what_disturbs_a_round_disturbs_both():
    ratio = compare(noisy(1.1, seed=1), noisy(1.0, seed=2))
    assert ratio.median == pytest.approx(1.1, rel=0.02)
    assert ratio.real
    assert ratio.low < 1.1 < ratio.high


def test_runs_of_one_network_are_not_told_apart():
    told = [compare(noisy(1, seed=seed), noisy(1, seed=seed + 1)).real for seed in range(0, 400, 2)]
    assert sum(told) <= 0.03 * len(told)  # by LEVEL it is 1 % of them


def test_too_few_rounds_tell_nothing_apart():
    assert not compare([1.0] * 5, [2.0] * 5).real


def test_places_are_shared_by_those_that_are_not_told_apart():
    samples = [noisy(1.3, seed=1), noisy(1, seed=2), noisy(1.001, seed=3), noisy(2, seed=4)]
    assert ranks(samples) == [3, 1, 1, 4]


def test_a_chain_of_small_differences_is_no_single_place():
    samples = [noisy(1.004**i, seed=i) for i in range(30)]
    places = [place for _, place in sorted(zip(map(np.median, samples), ranks(samples), strict=True))]
    assert all(before <= after for before, after in pairwise(places))
    assert len(set(places)) > 2
