from __future__ import annotations

import pandas as pd
import pytest

from stdc_search.records import ImageScore
from stdc_search.report.candidates import candidates
from stdc_search.report.words import (
    conditions,
    constant_note,
    doubtful,
    doubts,
    finals_note,
    heading,
    label,
    machine_note,
    short_titles,
    summary,
    ties,
)
from stdc_search.spec.base import replace
from tests.report.fakes import OBJECTIVES, machine, record, spec

HERE, THERE = "a1b2c3d4e5f6", "ffff00001111"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"origin": "start", "name": "stdc1"}, "STDC1"),
        ({"origin": "start", "name": "my_net"}, "my_net"),
        ({"origin": "base"}, "base"),
        ({}, "0007"),
    ],
)
def test_a_candidate_is_called_by_its_name_else_by_its_folder(changes, name):
    assert label(record(7, **changes)) == name


def test_the_heading_names_data_and_image_size():
    after = "on CamVid val at 360 × 480 after 40 epochs"
    assert heading(spec(), [record(0)], "mine") == f"Front of mine {after}"
    assert heading(spec(search=False), [record(0)], "mine") == f"Network of mine {after}"


@pytest.mark.parametrize(("root", "on"), [(".", ""), ("data/mine", ""), ("data/field", "on field ")])
def test_the_heading_names_a_folder_only_if_that_says_more_than_the_run(root, on):
    data = {"kind": "folder", "root": root, "class_names": [f"class {i}" for i in range(11)]}
    assert heading(replace(spec(), {"data": data}), [record(0)], "mine").startswith(f"Front of mine {on}at 360")


def test_the_heading_names_no_image_size_where_it_varies():
    assert heading(spec(), [record(0), record(1, image_size=(180, 240))], "mine").endswith(
        "at several image sizes after 40 epochs"
    )


def test_conditions_name_the_runtime_and_each_machine_that_was_used():
    machines = {HERE: machine(), THERE: machine(THERE, "Xeon"), "unused": machine("unused", "Atom")}
    text = conditions([record(0), record(1), record(2, machine=THERE)], machines)
    assert text == "PyTorch eager to labels, fp32, 2 threads · AMD EPYC 7B13, 2 cores · Xeon, 2 cores"


def test_a_front_of_one_machine_has_no_note():
    assert machine_note(candidates([record(0), record(1)], OBJECTIVES), OBJECTIVES) == ""


def test_a_front_that_mixes_times_of_machines_says_so():
    """Machines of other networks do not count."""
    dominated = record(2, 10, 500, machine="0" * 12)
    frame = candidates([record(0), record(1, 50, 200, machine=THERE), dominated], OBJECTIVES)
    assert machine_note(frame, OBJECTIVES) == (
        "Do not compare the times on this front: they were measured on 2 machines (1 of a1b2c3d4, 1 of ffff0000)"
    )


def test_trainings_of_several_machines_are_not_noted_if_all_times_are_of_one_device():
    device = record(0).latency.model_copy(update={"machine": "d" * 16})
    records = [record(0, latency=device), record(1, 50, latency=device, machine=THERE)]
    assert machine_note(candidates(records, OBJECTIVES), OBJECTIVES) == ""
    frame = candidates([*records, record(2, 60, 300)], OBJECTIVES)
    assert "measured on 2 machines (1 of dddddddd, 1 of a1b2c3d4)" in machine_note(frame, OBJECTIVES)


def test_machines_are_noted_more_calmly_where_no_time_is_an_objective():
    objectives = {"score.miou": "maximize", "cost.macs": "minimize"}
    frame = candidates([record(0), record(1, 50, 200, machine=THERE)], objectives)
    assert machine_note(frame, objectives).startswith("The times were measured on 2 machines")


def test_machines_are_not_noted_where_nothing_was_timed():
    objectives = {"score.miou": "maximize", "cost.macs": "minimize"}
    records = [record(0, latency=None), record(1, 50, latency=None, machine=THERE)]
    assert machine_note(candidates(records, objectives), objectives) == ""


def test_no_rank_correlation_is_reported_where_all_scores_are_the_same():
    same = candidates([record(i, 50.0) for i in range(3)], OBJECTIVES)
    search = candidates([record(i, 40.0 + i) for i in range(3)], OBJECTIVES)
    for finals, before, where in ((same, search, "finals"), (search, same, "search")):
        (note,) = finals_note(finals, before, OBJECTIVES)
        assert f"3 networks: no rank correlation, since all are the same in the {where}; finals minus search" in note


def test_the_summary_counts_each_end_and_gives_the_first_failures_reason():
    failed = record(2, state="failed", score=None, reason="RuntimeError: out of memory", seconds={})
    rejected = record(1, state="rejected", score=None, reason="too slow", seconds={})
    assert summary([record(0, seconds={"train": 5400}), rejected, failed]) == (
        "candidates: 1 complete, 1 rejected by limits, 1 failed (0002: RuntimeError: out of memory); 90.0 minutes"
    )


def test_varied_names_are_shortened_while_they_differ():
    names = ["network.backbone.stages.1.width", "network.backbone.stages.2.width", "network.head.width", "blocks"]
    assert list(short_titles(names).values()) == ["stages 1 width", "stages 2 width", "head width", "blocks"]


def test_a_time_is_doubted_where_it_spreads_drifts_or_was_not_warm():
    timed = record(0).latency
    assert timed is not None
    assert doubts(timed) == doubts(timed.model_copy(update={"cv": 0.02, "drift": 0.01, "steady": True})) == ""
    shaky = timed.model_copy(update={"cv": 0.21, "drift": -0.08, "steady": False})
    assert doubts(shaky) == (
        "calls kept getting faster, samples spread by 21%, so their median may be off by 9%, they drifted by -8%"
    )
    assert "spread" not in doubts(shaky.model_copy(update={"samples": 200}))


def timed(number=0, machine=HERE, name=None, **changes):
    found = record(number, machine=machine, name=name)
    assert found.latency is not None
    return found.model_copy(update={"latency": found.latency.model_copy(update=changes)})


def reasons(fastest=None, **changes):
    found = timed(**changes).latency
    assert found is not None
    return doubts(found, fastest)


def test_a_time_is_doubted_where_other_processes_used_the_cpu_though_its_samples_agree():
    assert reasons(cv=0.01, drift=0.0, other_load=0.05) == ""
    assert reasons(cv=0.01, drift=0.0, other_load=0.45) == (
        "other processes used 45% of the CPU while this was measured"
    )


def test_a_time_is_doubted_where_fixed_work_was_slow_meanwhile():
    assert reasons(reference_ms=2.3, reference_fastest_ms=2.0) == ""
    assert reasons(reference_ms=4.2, reference_fastest_ms=2.0) == (
        "a fixed computation took 2.1 times as long as when it ran undisturbed"
    )


def test_the_fixed_work_is_compared_with_the_fastest_that_is_known_of_a_machine():
    assert reasons(2.0, reference_ms=4.2, reference_fastest_ms=4.0) != ""
    assert reasons(4.0, reference_ms=4.2, reference_fastest_ms=4.0) == ""
    assert reasons(9.0, reference_ms=4.2, reference_fastest_ms=4.0) == ""


def test_a_fixed_work_that_took_no_time_says_nothing():
    assert reasons(reference_ms=0.0, reference_fastest_ms=0.0) == ""


def test_doubtful_networks_are_named_with_the_reason():
    records = [timed(1), timed(2, other_load=0.5), timed(3, name="stdc1", cv=0.3)]
    assert doubtful(records, records) == {
        "0002": "other processes used 50% of the CPU while this was measured",
        "STDC1": "samples spread by 30%, so their median may be off by 13%",
    }


def test_one_quiet_measurement_shows_that_others_of_its_machine_were_not():
    busy = timed(1, reference_ms=4.2, reference_fastest_ms=4.0)
    quiet = timed(2, reference_ms=2.1, reference_fastest_ms=2.0)
    assert doubtful([busy], [busy]) == {}
    assert list(doubtful([busy], [busy, quiet])) == ["0001"]


def test_fixed_work_is_not_compared_between_machines_nor_between_cpu_and_gpu():
    busy = timed(1, reference_ms=4.2, reference_fastest_ms=4.0)
    elsewhere = timed(2, machine=THERE, reference_ms=2.1, reference_fastest_ms=2.0)
    gpu = timed(3, device="cuda", reference_ms=0.5, reference_fastest_ms=0.5)
    assert doubtful([busy], [busy, elsewhere, gpu]) == {}


def test_places_are_explained_and_ties_where_there_are_any():
    places = "Places: by the ratio of times in the same round, with 99 % confidence"
    assert ties(pd.DataFrame({"place": [1, 2]})) == f"{places}."
    assert ties(pd.DataFrame({"place": [1, 1]})).startswith(f"{places}; networks with the same place")


@pytest.mark.parametrize(("top1", "end"), [(60.0, "60.0 %, and no network has more: train longer"), (60.1, "60.0 %")])
def test_classifiers_that_are_no_better_than_a_constant_prediction_are_pointed_out(top1, end):
    score = ImageScore(top1=top1, top5=80, constant_top1=60.0, images=10, seed_top1=(top1,))
    assert constant_note([record(0, score=score)]).endswith(f"gives top-1 {end}")


def test_a_score_over_fewer_classes_than_there_are_says_so():
    one = record(0)  # has no IoU of fence
    note = "mIoU is the mean over 10 of 11 classes; the labels lack fence"
    assert constant_note([one]).endswith(note)
    whole = one.score.model_copy(update={"iou": {"road": 50.0, "tree": 30.0}})
    assert constant_note([record(0, score=whole)]) == "Predicting the most common class everywhere gives mIoU 3.4 %"
