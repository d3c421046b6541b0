"""Who is trained on: the rules, and whole races of candidates whose curves are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdc_search.ranking import front, rank_correlation
from stdc_search.search.halving import Halving, by_rank
from stdc_search.spec.search import HalvingSpec

OBJECTIVES = {"score.miou": "maximize", "cost.macs": "minimize"}
BOTH = [*OBJECTIVES.values()]
SPEC = HalvingSpec(rungs=(1, 3), reduction_factor=2, probation=4)
TRUSTING = SPEC.model_copy(update={"least_correlation": -1.0})


def race(spec: HalvingSpec, curves: np.ndarray, costs: np.ndarray, slots: int = 1) -> tuple[Halving, dict[int, int]]:
    """Run candidates of known curves [candidates, epochs], so many at a time; gives each one's epochs."""
    halving = Halving(spec, OBJECTIVES)
    epochs: dict[int, int] = {}
    fresh, running = iter(range(len(curves))), []
    while True:
        while len(running) < slots:
            if (one := halving.promote()) is not None:
                running.append(one)
            elif (number := next(fresh, None)) is not None:
                halving.begin(number)
                running.append((number, spec.rungs[0]))
            else:
                break
        if not running:
            return halving, epochs
        number, until = running.pop(0)
        epochs[number] = until or curves.shape[1]
        values = curves[number, epochs[number] - 1], costs[number]
        halving.end(number, values) if until is None else halving.reach(number, until, values)


def curves(candidates: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies that grow with the cost and with the epoch, and costs."""
    rng = np.random.default_rng(seed)
    costs = rng.uniform(1, 10, candidates)
    goal = 30 + 10 * np.log(costs) + rng.normal(0, 5, candidates)
    epoch = np.arange(1, 7)
    return goal[:, None] * (1 - 0.5**epoch) + noise * rng.normal(size=(candidates, 6)), costs


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_ranks_are_layers_of_the_front(points):
    order = by_rank(points, BOTH)
    assert sorted(order) == list(range(len(points)))
    left = set(range(len(points)))
    while left:
        some = sorted(left)
        layer = {i for i, best in zip(some, front([points[i] for i in some], BOTH), strict=True) if best}
        assert set(order[: len(layer)]) == layer
        order, left = order[len(layer) :], left - layer


def test_among_equals_the_ends_come_first_and_the_crowded_last():
    points = [(0, 0), (1, 1), (1.1, 1.1), (1.2, 1.2), (5, 5), (9, 9)]
    order = by_rank(points, BOTH)
    assert set(order[:2]) == {0, 5}
    assert order[-1] == 2


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_of_each_rung_one_in_so_many_goes_on(slots):
    halving, epochs = race(TRUSTING, *curves(64, noise=0.5), slots=slots)
    assert [trust.trusted for trust in halving.trust] == [True, True]
    first, second = map(len, halving.rungs)
    assert first == 64
    assert 32 <= second <= 45, "more than half, since some go on before the better ones have come"
    assert second / 2 <= len(halving.ended) <= 32
    assert all(epochs[number] == 6 for number in range(4)), "the first ones are trained to the end"
    assert halving.ended.keys() == {number for number, last in epochs.items() if last == 6}


def test_a_cheap_network_is_not_stopped_because_a_dear_one_is_more_accurate():
    scores, costs = curves(40, noise=0.0)
    scores[7], costs[7] = scores.min(0) - 1, 0.1
    _, epochs = race(TRUSTING, scores, costs)
    assert epochs[7] == 6


def test_a_rung_that_tells_nothing_of_the_end_stops_nobody():
    scores, costs = curves(30, noise=0.1)
    scores[:, 0] = np.random.default_rng(1).normal(size=30)
    halving, epochs = race(SPEC, scores, costs)
    assert [trust.trusted for trust in halving.trust] == [False, True]
    assert all(last >= 3 for last in epochs.values())


def test_a_rung_that_tells_no_more_than_the_costs_stops_nobody():
    scores, costs = curves(40, noise=0.0)
    rng = np.random.default_rng(2)
    early = 30 + 10 * np.log(costs) + rng.normal(0, 1, 40)
    scores[:, 0] = scores[:, 2] = early
    assert rank_correlation(early, scores[:, -1]) > 0.7
    halving, epochs = race(SPEC, scores, costs)
    assert set(epochs.values()) == {6}
    assert halving.trust[0].candidates == 40


def test_the_more_finish_the_surer_a_rung():
    halving, epochs = race(SPEC, *curves(60, noise=4.0))
    needed = halving.trust[0].candidates
    assert 4 < needed < 60 and halving.trust[0].correlation.low >= SPEC.least_correlation
    assert sum(last == 6 for last in epochs.values()) < 60
    few, _ = race(SPEC, *(part[:5] for part in curves(60, noise=4.0)))
    assert not any(trust.trusted for trust in few.trust)


@pytest.mark.parametrize(("rho", "few", "many"), [(0.0, 0.0, 0.04), (0.3, 0.0, 0.1), (0.9, 0.8, 1.0)])
def test_how_often_a_rung_is_trusted_within_20_candidates(rho, few, many):
    rng, spec = np.random.default_rng(0), HalvingSpec(rungs=(1,))
    trusted = 0
    for _ in range(100):
        cost, early, noise = rng.normal(size=(3, 20))
        late = rho * early + math.sqrt(1 - rho**2) * noise
        halving, _ = race(spec, np.column_stack([cost + early, cost + late]), cost)
        trusted += halving.trust[0].trusted
    assert few <= trusted / 100 <= many


def test_one_correlation_of_eight_would_trust_a_rung_that_tells_only_the_costs():
    rng, trusted = np.random.default_rng(0), 0
    for _ in range(300):
        cost, early, late = rng.normal(size=(3, 8))
        trusted += rank_correlation(cost + early, cost + late) >= 0.5
    assert 0.4 < trusted / 300 < 0.6


def test_equal_scores_tell_nothing():
    scores, costs = curves(10, noise=0.5)
    scores[:, 0] = 1.0
    halving, _ = race(SPEC, scores, costs)
    assert math.isnan(halving.trust[0].correlation.value)
    assert not halving.trust[0].trusted


def test_until_the_first_are_at_the_end_the_others_wait():
    halving = Halving(SPEC, OBJECTIVES)
    for number in range(6):
        halving.begin(number)
        halving.reach(number, 1, (number, number))
    promoted = [halving.promote() for _ in range(5)]
    assert promoted == [(0, 3), (1, 3), (2, 3), (3, 3), None]


def test_one_that_fails_is_replaced_and_compared_with_nobody():
    halving = Halving(SPEC, OBJECTIVES)
    for number in range(5):
        halving.begin(number)
        halving.reach(number, 1, (number, number))
    assert 4 not in halving.firsts
    halving.end(0, None)
    assert halving.firsts == [1, 2, 3, 4]
    assert 0 not in halving.rungs[0]


@pytest.mark.parametrize(("rungs", "complaint"), [([3, 1], r"do not increase; write \[1, 3\]"), ([], "at least 1")])
def test_rungs_go_upwards(rungs, complaint):
    with pytest.raises(ValueError, match=complaint):
        HalvingSpec(rungs=rungs)
