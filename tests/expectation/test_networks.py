"""What is expected of networks, against what their records were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from stdc_search.expectation import expected, networks, pooled, process
from stdc_search.expectation.networks import features
from stdc_search.ranking import front
from stdc_search.records import Record
from stdc_search.spec.search import SearchSpec
from tests.report.fakes import record

SEARCH = SearchSpec.model_validate(
    {
        "vary": {
            "depth": {"kind": "int", "low": 1, "high": 12, "sets": ["network.backbone.stages.0.depth"]},
            "width": {"kind": "choice", "of": [16, 32, 64, 128, 256], "sets": ["network.head.width"]},
        },
        "objectives": {"score.miou": "maximize", "cost.macs": "minimize"},
        "trials": 60,
    }
)
NOISE = 2.0


def truth(depth: int, width: int) -> float:
    return 40 + 4 * np.log(depth) + 1.5 * np.log2(width / 16)


def one(number: int, depth: int, width: int, miou: float, **changes) -> Record:
    return record(number, miou, depth * width, values={"depth": depth, "width": width}, **changes)


def trainings(seed: int, noise: float = NOISE) -> list[Record]:
    """One of each network of the space, whose scores differ from the truth by luck."""
    rng = np.random.default_rng(seed)
    every = [(depth, width) for depth in range(1, 13) for width in (16, 32, 64, 128, 256)]
    return [one(i, *each, truth(*each) + noise * rng.normal()) for i, each in enumerate(every)]


@pytest.fixture(scope="module")
def trained() -> list[Record]:
    return trainings(0)


def test_the_front_of_what_is_expected_is_not_lucky():
    lucky, sober = [], []
    for seed in range(8):
        trained = trainings(seed)
        true = np.array([truth(**record.values) for record in trained])
        raw = np.array([record.metric("score.miou") for record in trained])
        costs = np.array([record.metric("cost.macs") for record in trained])
        on_front = front(np.column_stack([raw, costs]), ["maximize", "minimize"])
        found = expected(networks(trained), SEARCH)
        lucky.append((raw - true)[on_front].mean())
        sober.append((found.scores["score.miou"] - true)[found.on_front].mean())
        assert found.noise["score.miou"] == pytest.approx(NOISE, rel=0.3)
    assert np.mean(lucky) > 1.5
    assert abs(np.mean(sober)) < 0.5


def test_intervals_hold_the_truth_as_often_as_they_say(trained):
    found = expected(networks(trained), SEARCH)
    true = np.array([truth(**record.values) for record in trained])
    inside = abs(found.scores["score.miou"] - true) <= found.intervals["score.miou"]
    assert inside.mean() > 0.8


def test_chances_of_the_front_add_up_to_its_expected_size(trained):
    found = expected(networks(trained), SEARCH)
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    assert found.probability[found.on_front].mean() > 2 * found.probability[~found.on_front].mean()


def test_of_many_networks_those_far_from_the_front_are_told_by_others(monkeypatch):
    trained = trainings(0, noise=0.3)
    whole = expected(networks(trained), SEARCH)
    monkeypatch.setitem(expected.__globals__, "MODELLED", 40)
    found = expected(networks(trained), SEARCH)
    assert 10 < len(found.drawn) <= 40 < len(trained)
    assert found.draws.shape == (2000, len(found.drawn), 2) and found.eligible.shape == found.draws.shape[:2]
    left = np.setdiff1d(np.arange(len(trained)), found.drawn)
    assert whole.probability[left].max() < 0.1  # by a model of all
    assert not found.probability[left].any() and not found.on_front[left].any()
    true = np.array([truth(**record.values) for record in trained])
    errors = {len(one.drawn): np.sqrt(((one.scores["score.miou"] - true) ** 2).mean()) for one in (whole, found)}
    assert errors[len(found.drawn)] < 1.5 * errors[len(trained)]
    inside = abs(found.scores["score.miou"] - true) <= found.intervals["score.miou"]
    assert inside.mean() > 0.8


def test_of_many_networks_finals_keep_what_was_trained_longest(trained, monkeypatch):
    again = [one(i, **trained[i].values, miou=truth(**trained[i].values) + 10) for i in (3, 17, 44)]
    whole = expected(networks(again), SEARCH, networks(trained))
    monkeypatch.setitem(expected.__globals__, "MODELLED", 25)
    found = expected(networks(again), SEARCH, networks(trained))
    assert found.drawn.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.scores["score.miou"], whole.scores["score.miou"], atol=1.0)


def test_trainings_of_one_network_are_one_entry_and_narrow_its_interval(trained):
    twelve = [one(100 + i, 6, 64, truth(6, 64), repeats=27) for i in range(12)]
    assert trained[27].values == {"depth": 6, "width": 64}
    several = networks([*trained, *twelve])
    assert [len(records) for records in several].count(13) == 1
    assert len(several) == len(trained)
    before, after = (expected(some, SEARCH).intervals["score.miou"][27] for some in (networks(trained), several))
    assert after < before


def test_pooled_scores_are_means_over_all_seeds():
    first = record(3, 40.0)
    two = first.score.model_copy(update={"miou": 50.0, "seed_miou": (49.0, 51.0), "boundary_f": 10.0})
    found = pooled([first, record(7, repeats=3, score=two)])
    assert found.number == 3
    assert found.score.miou == pytest.approx((40 + 2 * 50) / 3)
    assert found.score.seed_miou == (40.0, 49.0, 51.0)
    assert found.score.boundary_f is None
    assert found.score.iou["fence"] is None
    assert found.score.images == first.score.images


def test_few_networks_or_objectives_without_a_score_have_the_front_of_their_own_figures(trained):
    few = expected(networks(trained[:3]), SEARCH)
    points = [[record.metric(name) for name in SEARCH.objectives] for record in trained[:3]]
    assert few.scores == {}
    assert few.on_front.tolist() == front(points, ["maximize", "minimize"]).tolist()
    costs_alone = SEARCH.model_copy(update={"objectives": {"cost.macs": "minimize"}})
    found = expected(networks(trained), costs_alone)
    assert found.scores == {}
    assert found.on_front.nonzero()[0].tolist() == [0]


def searching(**changes) -> SearchSpec:
    return SearchSpec.model_validate(SEARCH.model_dump() | changes)


def test_a_network_that_is_expected_to_break_a_limit_of_scores_is_not_on_the_front(trained):
    found = expected(networks(trained), searching(limits={"score.miou": {"at_least": 48}}))
    scores = found.scores["score.miou"]
    assert found.on_front.any() and (scores[found.on_front] >= 48).all()
    assert [bool(why) for why in found.barred] == (scores < 48).tolist()
    assert found.probability[scores < 44].max() < 0.05
    assert set(filter(None, found.barred)) == {"expected mIoU below 48 %"}


def test_a_limit_may_be_of_a_score_that_is_no_objective(trained):
    search = searching(objectives={"score.iou.sky": "maximize"}, limits={"score.miou": {"at_least": 45}})
    found = expected(networks(trained), search)
    assert {*found.scores} == {"score.iou.sky", "score.miou"}
    assert (found.scores["score.miou"][found.on_front] >= 45).all()


@pytest.mark.parametrize("count", [3, 6])  # without and with a model
def test_what_is_no_better_than_a_constant_prediction_is_not_on_the_front(count):
    found = expected(networks([one(i, 1 + i, 16, 2.0 + 3 * i) for i in range(count)]), SEARCH)
    assert not found.on_front[0] and found.on_front[1:].all()
    assert [why != "" for why in found.barred] == [True] + [False] * (count - 1)


def test_a_network_stays_on_the_front_if_any_of_its_scores_beats_a_constant_prediction():
    search = searching(objectives={"score.miou": "maximize", "score.iou.pole": "maximize"})
    low = one(0, 1, 16, 2.0)
    finds = low.score.model_copy(update={"iou": low.score.iou | {"pole": 5.0}})
    misses = low.score.model_copy(update={"iou": low.score.iou | {"pole": 0.0}})
    several = networks([low.model_copy(update={"score": finds}), one(1, 2, 16, 2.5, score=misses)])
    assert expected(several, search).on_front.tolist() == [True, False]


def test_a_kernel_is_learnt_from_some_of_many_networks(monkeypatch):
    learnt = []
    monkeypatch.setattr(
        process,
        "learn",
        lambda points, values, learn=process.learn: (learnt.append(len(points)), learn(points, values))[1],
    )
    rng = np.random.default_rng(0)
    many = [one(i, 1 + i % 12, 16, 40 + rng.normal()) for i in range(500)]
    assert len(expected(networks(many), SEARCH).scores["score.miou"]) == 500
    assert learnt == [process.LEARNT]


def test_networks_are_compared_by_what_varies_and_by_their_costs():
    several = networks([one(0, 1, 16, 40.0), one(1, 12, 256, 50.0), one(2, 12, 16, 45.0)])
    assert features(several, SEARCH).round(3).tolist() == [[0, 0, 0], [1, 1, 1], [1, 0, pytest.approx(0.473, abs=2e-3)]]
