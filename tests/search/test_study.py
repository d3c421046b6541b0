"""What a search proposes, and what it learns from records."""

import random
from typing import Any, get_args

import pytest

from stdc_search.records import Cost, Latency, Record, Score
from stdc_search.search.space import tabulate
from stdc_search.search.study import Proposal, Study
from stdc_search.spec.search import OwnSampler
from stdc_search.spec.vary import FloatRange
from tests.search_specs import tiny_search

SAMPLERS = ["known_cost", "stratified", "tpe", "multivariate_tpe", "nsgaii", "nsgaiii", "gp", "random"]


def finished(proposal: Proposal, state: str = "complete", miou: float = 50.0, macs: int = 10) -> Record:
    cost = Cost(parameters=1, macs=macs, fvcore_flops=1, paper_flops=1)
    iou = {"sky": 100 - miou}
    score = Score(miou=miou, pixel_accuracy=1, iou=iou, constant_miou=1, images=1, seed_miou=(miou,))
    return Record(
        number=proposal.number,
        state=state if proposal.spec else "rejected",
        origin=proposal.origin,
        name=proposal.name,
        repeats=proposal.repeats,
        identity=proposal.spec.identity if proposal.spec else None,
        values=dict(proposal.values),
        sampler_notes=dict(proposal.notes),
        image_size=(48, 64),
        cost=cost if proposal.spec else None,
        score=score if state == "complete" else None,
        started="2026-01-01T00:00:00+00:00",
        machine="m",
    )


def accuracy(values: dict[str, Any]) -> tuple[float, int]:
    """A made-up accuracy and cost of a candidate."""
    depth = values.get("network.backbone.stages.0.depth", 1)
    width = values.get("width", 16)
    return 10.0 * depth + width / 10, depth * width


def go(study: Study, most: int = 1000) -> list[Record]:
    records = []
    while len(records) < most and (proposal := study.propose()) is not None:
        miou, macs = accuracy(dict(proposal.values))
        records.append(finished(proposal, miou=miou, macs=macs))
        study.tell(proposal, records[-1])
    return records


@pytest.mark.parametrize("kind", SAMPLERS)
def test_every_sampler_takes_the_iou_of_a_class_beside_a_limit_of_scores(kind):
    objectives = {"score.iou.sky": "maximize", "cost.macs": "minimize"}
    search = {"objectives": objectives, "limits": {"score.miou": {"at_least": 25}}, "sampler": {"kind": kind}}
    assert len(go(Study(tiny_search(trials=12, **search)))) == 12


@pytest.mark.parametrize("kind", SAMPLERS)
def test_no_candidate_comes_twice_until_the_space_is_exhausted(kind):
    spec = tiny_search(trials=100, sampler={"kind": kind})
    records = go(Study(spec))
    new = [record for record in records if record.repeats is None]
    assert len(new) == 18 == spec.search.size
    assert len({str(record.values) for record in new}) == 18
    assert len({record.identity for record in records}) == len(records)
    assert kind == "known_cost" or records == new


def test_a_repeat_has_seeds_that_its_network_had_not_and_goes_on_with_them():
    spec = tiny_search(trials=100, sampler={"kind": "known_cost"})
    study, seeds = Study(spec), {}
    while (proposal := study.propose()) is not None:
        first = proposal.number if proposal.repeats is None else proposal.repeats
        again = Study(spec, study.records.values()).go_on(finished(proposal, "running"))
        assert again.spec == proposal.spec
        seeds.setdefault(first, []).append(proposal.spec.training.seeds)
        assert proposal.values == (proposal.values if proposal.repeats is None else study.records[first].values)
        miou, macs = accuracy(dict(proposal.values))
        study.tell(proposal, finished(proposal, miou=miou + 9 * random.Random(proposal.number).random(), macs=macs))
    assert any(len(one) > 1 for one in seeds.values())
    assert all(one == [(seed,) for seed in range(len(one))] for one in seeds.values())


@pytest.mark.parametrize("kind", ["known_cost", "tpe", "nsgaii", "random"])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(kind):
    spec = tiny_search(trials=14, sampler={"kind": kind})
    uncut = go(Study(spec))
    first = go(Study(spec), most=5)
    again = [Record.model_validate_json(record.model_dump_json()) for record in first]
    rest = go(Study(spec, again))
    assert [record.values for record in first + rest] == [record.values for record in uncut]
    assert [record.number for record in first + rest] == list(range(14))


def test_start_networks_come_first_and_references_are_not_told():
    spec = tiny_search()
    inside = spec.candidate({"network.backbone.stages.0.depth": 2, "width": 32, "network.detail": None}).network
    start = [{"name": "stdc1", "network": tiny_stdc(256)}, {"name": "mine", "network": inside}]
    study = Study(tiny_search(start=start))
    first = study.propose()
    assert (first.name, first.origin, first.values, first.trial) == ("stdc1", "reference", {}, None)
    assert first.spec.network.backbone.stages[1].width == 256
    assert first.spec.network.classes == 11
    study.tell(first, finished(first))
    second = study.propose()
    assert (second.name, second.origin) == ("mine", "start")
    assert second.values == {"network.backbone.stages.0.depth": 2, "width": 32, "network.detail": None}
    assert second.spec == spec.without_search().model_copy(update={"network": inside})
    study.tell(second, finished(second))
    assert len(study.optuna_study.trials) == 1
    assert study.propose().origin == "sampler"


def tiny_stdc(width: int) -> dict[str, Any]:
    network = tiny_search().network.model_dump()
    for stage in network["backbone"]["stages"][1:]:
        stage["width"] = width
    return network


def test_start_networks_are_not_tried_again_after_a_stop():
    spec = tiny_search(start=[{"name": "a", "network": tiny_stdc(256)}, {"name": "b", "network": tiny_stdc(32)}])
    study = Study(spec)
    records = go(study, most=1)
    assert Study(spec, records).propose().name == "b"


def test_illegal_combinations_are_rejected_with_the_reason_and_do_not_count():
    spec = tiny_search(
        vary={
            "network.backbone.stages.0.width": {"kind": "choice", "of": [16, 24]},
            "network.backbone.stages.0.blocks": {"kind": "choice", "of": [2, 4, 5]},
        },
        trials=100,
    )
    records = go(Study(spec))
    rejected = [record for record in records if record.state == "rejected"]
    assert [record.values for record in rejected] == [
        {"network.backbone.stages.0.width": 24, "network.backbone.stages.0.blocks": 5}
    ]
    assert len(records) == 6


@pytest.mark.parametrize("kind", [kind for kind in SAMPLERS if kind not in get_args(OwnSampler)])
def test_samplers_learn_from_rejections(kind):
    spec = tiny_search(sampler={"kind": kind}, limits={"cost.macs": {"at_most": 60}}, trials=8)
    study = Study(spec)
    while (proposal := study.propose()) is not None:
        miou, macs = accuracy(dict(proposal.values))
        state = "complete" if macs <= 60 else "rejected"
        study.tell(proposal, finished(proposal, state, miou, macs))
    told = [trial for trial in study.optuna_study.trials if trial.user_attrs or trial.constraints]
    assert any(trial.constraints["cost.macs"] > 0 for trial in told)
    assert study.trained == 8


@pytest.mark.parametrize("kind", get_args(OwnSampler))
def test_samplers_that_know_costs_propose_nothing_if_nothing_is_inside_the_limits(kind):
    spec = tiny_search(sampler={"kind": kind}, limits={"cost.parameters": {"at_most": 10}})
    study = Study(spec)
    assert study.hopeless == ""
    assert study.propose() is None
    least = int(tabulate(spec)["cost.parameters"].min())
    looked_at = "none of the 18 combinations looked at is inside `limits`"
    assert study.hopeless == f"{looked_at}: cost.parameters is at least {least:,}"


def test_a_failed_candidate_counts_and_is_not_tried_again():
    spec = tiny_search(trials=2)
    study = Study(spec)
    first = study.propose()
    study.tell(first, finished(first, "failed"))
    second = study.propose()
    assert second.spec.identity != first.spec.identity
    study.tell(second, finished(second))
    assert study.propose() is None


def test_a_range_on_the_logarithm_is_drawn_on_it():
    rng = random.Random(0)
    vary = FloatRange(kind="float", low=1e-4, high=1, log=True)
    draws = [vary.draw(rng) for _ in range(1000)]
    assert 400 < sum(draw < 1e-2 for draw in draws) < 600
    assert 1e-4 <= min(draws) < max(draws) <= 1


def test_a_score_that_is_only_expected_is_held_against_its_limit():
    limits = {"score.miou": {"at_least": 50}, "score.pixel_accuracy": {"at_least": 60}}
    study = Study(tiny_search(epochs=8, halving={"rungs": [1], "probation": 4}, limits=limits))
    for number, expected in enumerate([{"score.miou": 60.0, "cost.macs": 10.0, "score.pixel_accuracy": 70.0}, {}]):
        proposal = study.propose()
        assert proposal is not None and proposal.number == number
        early = finished(proposal, miou=30.0)
        study.tell(proposal, early.model_copy(update={"state": "stopped", "rungs": {1: early.score}}))
        study.relearn({number: expected} if expected else {}, {})
        trial = study.optuna_study.get_trials()[number]
        assert trial.values == ([60.0, 10.0] if expected else None)
        its = {"score.miou": 20.0, "score.pixel_accuracy": 59.0}
        assert trial.constraints == ({"score.miou": -10.0, "score.pixel_accuracy": -10.0} if expected else its)


def test_what_is_rejected_before_anything_is_complete_gets_no_values():
    """A sampler that standardises would get infinities."""
    objectives = {"score.miou": "maximize", "latency.median_ms": "minimize"}
    study = Study(tiny_search(latency={}, objectives=objectives, sampler={"kind": "gp"}, trials=9))
    time = Latency(
        runtime="eager", output="labels", image_size=(48, 64), threads=1, median_ms=3.0, fps=333.0, samples=3
    )
    for state, values in (("rejected", None), ("complete", [50.0, 3.0]), ("rejected", [0.0, 3.0])):
        proposal = study.propose()
        assert proposal is not None
        latency = time if state == "complete" else None
        study.tell(proposal, finished(proposal, state).model_copy(update={"latency": latency}))
        assert study.optuna_study.get_trials()[-1].values == values
