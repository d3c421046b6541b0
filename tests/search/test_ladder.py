"""Scaled networks that a search starts with."""

from itertools import pairwise
from pathlib import Path

import pytest

from stdc_search.network.cost import count_quickly
from stdc_search.search.ladder import ladder
from stdc_search.search.space import values_in_space
from stdc_search.search.study import Study
from stdc_search.spec.run import RunSpec, load
from tests.search.test_study import SAMPLERS, go
from tests.search_specs import tiny_search

ROOT = Path(__file__).parents[2]


def macs(spec: RunSpec, values) -> int:
    run = spec.candidate(values)
    return count_quickly(run.network, run.image_size).macs


@pytest.mark.parametrize("name", ["quickstart", "stdc_space"])
def test_rungs_are_networks_of_the_space_from_cheap_to_dear(name):
    spec = load(ROOT / "specs" / f"{name}.yaml")
    rungs = ladder(spec, 6)
    costs = [macs(spec, values) for values in rungs]
    assert len(costs) == 6
    assert all(low < high for low, high in pairwise(costs))
    assert all(values_in_space(spec, spec.candidate(values)) == values for values in rungs)
    limits = spec.search.limits
    assert "cost.macs" not in limits or costs[-1] <= limits["cost.macs"].at_most


def test_rungs_are_spread_evenly_over_the_logarithm_of_the_cost():
    spec = load(ROOT / "specs" / "quickstart.yaml")
    costs = [macs(spec, values) for values in ladder(spec, 6)]
    even = [costs[0] * (costs[-1] / costs[0]) ** (i / 5) for i in range(6)]
    assert all(0.75 < cost / aim < 1.33 for cost, aim in zip(costs, even, strict=True))


def test_what_has_no_order_and_what_is_no_network_stay_as_in_the_file():
    vary = {
        "network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 3},
        "network.detail": {"kind": "choice", "of": [None, {"strides": [1], "width": 4}]},
        "training.epochs": {"kind": "int", "low": 1, "high": 9},
        "training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    }
    rungs = ladder(tiny_search(vary=vary), 3)
    assert [values["network.backbone.stages.0.depth"] for values in rungs] == [1, 2, 3]
    assert {values["training.epochs"] for values in rungs} == {5}, "the file's network lies outside: the middle"
    assert {values["network.detail"] for values in rungs} == {None}
    vary["network.detail"]["of"].append({"width": 4})  # the file's own
    vary["training.optimizer.learning_rate"]["high"] = 0.01
    inside = ladder(tiny_search(vary=vary), 3)
    assert {values["training.epochs"] for values in inside} == {1}
    assert [values["network.detail"] for values in inside] == [{"width": 4}] * 3


def test_a_space_with_fewer_networks_has_a_shorter_ladder():
    rungs = ladder(tiny_search(vary={"network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 2}}), 6)
    assert [list(values.values()) for values in rungs] == [[1], [2]]
    assert ladder(tiny_search(limits={"cost.macs": {"at_most": 1}}), 4) == []


@pytest.mark.parametrize("kind", SAMPLERS)
def test_every_sampler_begins_with_them_also_after_a_stop(kind):
    spec = tiny_search(trials=8, start=[{"ladder": 4}], sampler={"kind": kind})
    records = go(Study(spec))
    assert [record.name for record in records] == ["ladder 1", "ladder 2", "ladder 3", "ladder 4", *[None] * 4]
    assert {record.origin for record in records[:4]} == {"start"}
    again = Study(spec, records[:2]).propose()
    assert (again.name, again.values) == ("ladder 3", records[2].values)


def test_a_network_that_stands_before_them_is_not_trained_twice():
    spec = tiny_search(trials=6, start=[{"ladder": 3}])
    first = spec.candidate(ladder(spec, 3)[0]).network.model_dump(mode="json")
    records = go(Study(tiny_search(trials=6, start=[{"name": "mine", "network": first}, {"ladder": 3}])))
    assert [record.name for record in records[:4]] == ["mine", "ladder 2", "ladder 3", None]


@pytest.mark.parametrize(
    ("start", "trials", "complaint"),
    [
        ([{"ladder": 1}], 4, "greater than or equal to 2"),
        ([{"ladder": 2}, {"ladder": 3}], 9, "a second network is called ladder"),
        ([{"ladder": 6}], 5, "5 is fewer than the 6 networks of `start`"),
        ([{"ladder": 3, "name": "x"}], 5, "name"),
    ],
)
def test_mistakes_are_refused(start, trials, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiny_search(start=start, trials=trials)
