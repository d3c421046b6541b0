"""The table of a space equals counting its networks one by one."""

import itertools

import numpy as np
import pytest

from stdc_search.cost import count
from stdc_search.search import space
from stdc_search.search.space import COSTS, landmarks, tabulate
from stdc_search.spec.base import SpecError, replace
from tests.search_specs import tiny_search

VARY = {
    "network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 2},
    "network.backbone.stages.1.blocks": {"kind": "int", "low": 3, "high": 5},
    "network.backbone.stages.1.width": {
        "kind": "int",
        "low": 8,
        "high": 24,
        "step": 8,
    },
    "network.detail": {"kind": "choice", "of": [None, {"strides": [1], "width": 4}]},
    "image_size": {"kind": "choice", "of": [[48, 64], [33, 35]]},
}


def test_every_network_of_a_space_is_counted_as_by_itself():
    limit = int(tabulate(tiny_search(vary=VARY))["parameters"].quantile(0.6))
    spec = tiny_search(vary=VARY, limits={"cost.parameters": {"at_most": limit}})
    table = tabulate(spec)
    assert len(table) == spec.search.size == 2 * 3 * 3 * 2 * 2
    combinations = itertools.product(*(space._grid(vary) for vary in spec.search.vary.values()))
    for row, values in zip(table.itertuples(index=False), combinations, strict=True):
        try:
            run = spec.candidate(dict(zip(VARY, values, strict=True)))
        except SpecError:
            assert not row.legal
            assert not row.inside
            continue
        cost = count(run.network, run.image_size)
        assert row.legal
        assert [getattr(row, name) for name in COSTS] == [getattr(cost, name) for name in COSTS]
        assert row.inside == (cost.parameters <= limit)
    assert 0 < table["inside"].sum() < table["legal"].sum() < len(table)
    assert list(table)[: len(VARY)] == list(VARY)


def test_processes_change_nothing(monkeypatch):
    spec = tiny_search(vary=VARY)
    monkeypatch.setattr(space, "CHUNK", 10)
    assert tabulate(spec, processes=2).equals(tabulate(spec, processes=1))


def test_a_sample_has_each_value_as_often_and_depends_on_its_seed_alone():
    spec = tiny_search(vary=VARY)
    table = tabulate(spec, 30)
    for name in VARY:
        counts = table[name].value_counts()
        assert counts.max() - counts.min() <= 1
    assert tabulate(spec, 30).equals(table)
    assert not tabulate(spec, 30, seed=1).equals(table)


def test_a_range_of_real_numbers_is_sampled_evenly_on_its_scale():
    vary = {"training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
    rates = tabulate(tiny_search(vary=vary), 100)["training.optimizer.learning_rate"]
    assert np.sum(rates < 1e-3) == 50
    assert len(set(rates)) == 100


def test_an_infinite_space_is_sampled_without_being_asked(monkeypatch):
    monkeypatch.setattr(space, "SAMPLE", 7)
    vary = {"training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2}}
    assert len(tabulate(tiny_search(vary=vary))) == 7


def test_progress_ends_with_all():
    seen = []
    tabulate(tiny_search(), progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (18, 18)


def test_landmarks_are_the_presets_as_the_search_would_train_them():
    spec = replace(tiny_search(), {"image_size": (64, 64)})
    found = landmarks(spec)
    assert list(found) == ["stdc1", "stdc2"]
    assert found["stdc2"].macs > found["stdc1"].macs
    assert found["stdc1"].macs < 1e9, "only what varies is STDC1's"


@pytest.mark.slow
def test_half_a_million_networks_are_exact():
    from stdc_search.spec.run import load

    spec = load("specs/stdc_space.yaml")
    table = tabulate(spec)
    assert len(table) == 512_000
    for row in table.sample(200, random_state=0).itertuples(index=False):
        run = spec.candidate(dict(zip(spec.search.vary, row, strict=False)))
        cost = count(run.network, run.image_size)
        assert [getattr(row, name) for name in COSTS] == [getattr(cost, name) for name in COSTS]
