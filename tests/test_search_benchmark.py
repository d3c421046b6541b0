"""What is kept of the search benchmark is whole, and searches are replayed on it."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from benchmarks import reported
from benchmarks.halving import epochs_needed
from benchmarks.oracles import HERE, formula, surrogate, table, timed
from benchmarks.search import COUNTS, OURS, Course, Search, ask, behind, compared, overhead, quartiles, replay
from stdc_search.network.cost import count_quickly
from stdc_search.search.study import Study
from stdc_search.spec.run import load


def test_the_table_has_every_network_of_its_space_with_its_cost_and_curve():
    oracle = table()
    search = Study(oracle.spec).search
    assert set(oracle.truths) == set(product(*(vary.of for vary in search.vary.values())))
    for key in list(oracle.truths)[::30]:
        spec = oracle.spec.candidate(dict(zip(search.vary, key, strict=True)))
        assert oracle.truths[key].macs == count_quickly(spec.network, spec.image_size).macs
    assert {len(truth.curve) for truth in oracle.truths.values()} == {oracle.spec.training.epochs}


@pytest.mark.slow
def test_thirty_networks_were_trained_with_a_second_seed():
    frame, again = pd.read_csv(HERE / "table.csv"), pd.read_csv(HERE / "seeds.csv")
    names = [*load(HERE / "seeds.yaml").search.vary]
    assert len(frame.merge(again, on=names)) == 30 == len(again)
    assert 0 < surrogate().noise < 5


@pytest.mark.slow
def test_the_surrogate_answers_for_each_network_between_those_of_the_table():
    assert len(surrogate().truths) == 31_752 == Study(surrogate().spec).search.size


def test_a_time_is_kept_for_each_network_of_the_table_and_no_search_knows_it():
    assert [*timed().truths] == [*table().truths]
    truth = next(iter(timed().truths.values()))
    assert truth.cost == truth.ms
    assert truth.known == (None, None)
    assert table().truths[next(iter(timed().truths))].known == (None, truth.macs)


@pytest.mark.parametrize("oracle", ["table", "timed"])
@pytest.mark.parametrize("sampler", ["known_cost", "random"])
@pytest.mark.parametrize("halving", [False, True])
def test_a_replayed_search_finds_more_and_more_and_the_same_again(oracle, sampler, halving):
    search = Search(oracle, sampler, ladder=True, halving=halving, trainings=20, seed=1)
    course = replay(search)
    assert course.shares == sorted(course.shares)
    assert 0 < course.shares[0] < course.shares[-1] <= 1
    assert course.epochs[-1] <= 20 * 12
    if not halving:
        assert course.epochs == [12 * (i + 1) for i in range(20)]
    assert course._replace(seconds=0) == replay(search)._replace(seconds=0)


def test_trainings_of_one_network_differ_as_real_ones_did():
    oracle = formula()
    truth = oracle.truths[next(iter(oracle.truths))]
    score, losses = oracle.trained(truth, 4000, 8, np.random.default_rng(0))
    assert score.miou == pytest.approx(truth.curve[7], abs=0.2)
    assert np.std(score.seed_miou) == pytest.approx(oracle.luck[7, 7] ** 0.5, rel=0.1)
    assert np.mean(losses) == pytest.approx(np.mean(truth.losses[4:8]), rel=0.01)
    _, first = oracle.trained(truth, 4000, 8, np.random.default_rng(0), looked_at=2)
    assert np.mean(first) == pytest.approx(truth.losses[1], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        reported.Way(OURS, epochs=4),
        reported.Way("random", by_score=True),
        reported.Way(OURS, halving={"rungs": [4], "reduction_factor": 3}),
    ],
)
def test_reported_fronts_are_judged_after_the_same_epochs_those_of_finals_included(way):
    ways = [way._replace(budgets=(144, 180), finals=finals) for finals in (False, True)]
    found = reported.fronts("formula", ways, 0)
    assert [[one.epochs for one in several] for several in found] == [[144, 180]] * 2
    assert all(0 < one.share <= 1 and abs(one.bias) < 10 for several in found for one in several)
    assert found[0] != found[1]
    assert found == [reported.fronts("formula", [one], 0)[0] for one in ways]


def test_ways_share_a_search_only_where_they_differ_in_the_choice_of_their_fronts():
    ours = [way for way in reported.WAYS.values() if way.sampler == OURS]
    assert {way.search for way in ours if way.losses and way.epochs == reported.FULL and not way.halving} == {ours[2]}
    assert ours[0].search == ours[1] != ours[2]


def test_a_median_is_the_middle_also_beside_what_never_came():
    assert quartiles([9, 1, 2, 3, 4, 5, 6, 7, 8, math.inf]) == [3, 5.5, 8]
    assert quartiles([1, math.inf, math.inf, math.inf]) == [1, math.inf, math.inf]


def test_being_behind_is_counted_by_quartiles_and_by_medians():
    def rows(sampler, *shares):
        return [
            {"oracle": "table", "ladder": False, "sampler": sampler, **dict.fromkeys(COUNTS, one)} for one in shares
        ]

    found = behind(pd.DataFrame([*rows(OURS, 1, 2, 3), *rows("tpe", 2, 3, 4)]))
    assert found == {"table_behind_at": 0, "table_median_behind_at": 120}
    found = behind(pd.DataFrame([*rows(OURS, 1, 2, 3), *rows("tpe", 4, 5, 6), *rows("gp", 0, 0, 0)]))
    assert found == {"table_behind_at": 120, "table_median_behind_at": 120}


def test_samplers_are_compared_by_the_trainings_to_the_goal():
    rows = [
        {"oracle": "table", "sampler": OURS, "ladder": False, "seed": seed, **dict.fromkeys(COUNTS, 0.5), **later}
        for seed, later in enumerate([{"7": 0.95}, {"9": 0.96}, {}])
    ]
    (row,) = compared(pd.DataFrame(rows)).to_dict("records")
    assert (row["to 95 %"], row["quartiles"], row["at 20 %"]) == ("9", "7 to > 120", 50)


def test_epochs_to_the_goal_are_those_trained_when_it_was_reached():
    courses = [Course([0.5, 0.96, 1], [12, 15, 27], 0), Course([0.9, 0.94], [3, 12], 0), Course([0.95], [21], 0)]
    (row,) = epochs_needed({"random": courses}, every=42).to_dict("records")
    assert row == {"search": "random", "epochs to 95 %": 21, "quartiles": "15 to inf", "of all epochs %": 50}


def test_the_whole_table_is_all_of_its_hypervolume():
    assert table().share([*table().truths.values()]) == pytest.approx(1)


def test_what_the_search_itself_takes_is_measured():
    assert 0 < overhead(trials=20) < 1
    assert 0 < ask(trials=20) < 5
