from __future__ import annotations

import pandas as pd
import pytest

from stdc_search.ranking import front
from stdc_search.report.candidates import candidates, class_table, ranked, shown
from stdc_search.spec.base import replace
from tests.report.fakes import DEPTH, OBJECTIVES, record, spec

RECORDS = [
    record(0, 45.1, 104.2, origin="start", name="stdc1"),
    record(1, 47.0, 151.3, origin="reference", name="stdc2", values={}),
    record(2, 44.0, 110.0, origin="base"),
    record(3, 41.0, 60.0),
    record(4, 40.0, 70.0),
]


def test_rows_are_in_the_order_of_the_first_objective_that_is_minimised():
    assert candidates(RECORDS, OBJECTIVES)["number"].tolist() == [3, 4, 0, 2, 1]


def test_without_one_to_minimise_the_best_row_is_first():
    assert candidates(RECORDS, {"score.miou": "maximize"})["number"].tolist() == [1, 0, 2, 3, 4]


def test_every_figure_is_there_in_full():
    frame = candidates([record(7, 100 / 3)], OBJECTIVES)
    row = frame.loc[0]
    assert row["score.miou"] == 100 / 3
    assert row["cost.parameters"] == 8_275_111
    assert row["score.iou.sky"] == 100 / 3 - 20
    assert row["seconds.train"] == 600
    assert row["machine"] == "a1b2c3d4e5f6"


def test_varied_whole_numbers_stay_whole_beside_a_reference_without_values():
    frame = candidates(RECORDS, OBJECTIVES)
    assert frame.to_csv().splitlines()[1].split(",")[6:9] == ["4", "928", "64"]


@pytest.mark.parametrize(
    ("objectives", "front"),
    [
        (OBJECTIVES, {0, 3}),
        ({"score.miou": "maximize"}, {0}),
        ({"latency.median_ms": "minimize"}, {3}),
        (OBJECTIVES | {"cost.parameters": "minimize"}, {0, 3}),
    ],
)
def test_the_front_is_of_the_spaces_candidates_by_any_objectives(objectives, front):
    frame = candidates(RECORDS, objectives)
    assert set(frame.loc[frame["front"], "number"]) == front


def test_what_is_shown_is_the_front_and_every_network_with_a_name():
    table = shown(candidates(RECORDS, OBJECTIVES), OBJECTIVES)
    assert table["network"].tolist() == ["0003", "0000", "0002", "0001"]
    assert table["name"].tolist() == ["", "STDC1", "base", "STDC2"]
    assert table["front"].tolist() == ["●", "●", "", "reference"]


def test_what_is_shown_has_units_in_its_titles():
    table = shown(candidates(RECORDS, OBJECTIVES), OBJECTIVES)
    assert table.loc[1, ["mIoU %", "median ms", "GMACs", "params M"]].tolist() == [45.1, 104.2, 5.731, 8.275104]


def test_objectives_stand_before_other_figures():
    objectives = {"cost.fvcore_flops": "minimize", "score.pixel_accuracy": "maximize"}
    table = shown(candidates(RECORDS, objectives), objectives)
    assert table.columns[3:6].tolist() == ["fvcore GFLOPs", "pixel accuracy %", "mIoU %"]


def test_the_weakest_class_stands_beside_the_mean_that_would_hide_it():
    table = shown(candidates(RECORDS, OBJECTIVES), OBJECTIVES)
    assert table["weakest class"].tolist() == ["sky 21.0", "sky 25.1", "sky 24.0", "sky 27.0"]
    assert table.columns.tolist().index("weakest class") == table.columns.tolist().index("mIoU %") + 1


def test_the_table_of_classes_has_a_column_for_each_network_that_is_shown():
    frame = candidates(RECORDS, OBJECTIVES)
    classes = class_table(frame, shown(frame, OBJECTIVES))
    assert classes.columns.tolist() == ["class", "0003 %", "STDC1 %", "base %", "STDC2 %"]
    assert classes["class"].tolist()[:2] == ["sky", "building"]
    assert classes["0003 %"].tolist()[0] == 21.0


def test_without_label_maps_there_is_no_table_of_classes():
    frame = candidates([record(0, score=None)], {})
    assert class_table(frame, shown(frame, {})).empty


def test_a_class_may_be_an_objective():
    objectives = {"score.iou.sky": "maximize", "latency.median_ms": "minimize"}
    table = shown(candidates(RECORDS, objectives), objectives)
    assert table.loc[0, "sky IoU %"] == 21.0
    assert ranked(candidates(RECORDS, objectives), objectives)[0] == 0


def test_a_network_no_better_than_a_constant_prediction_is_not_on_the_front_however_fast_it_is():
    frame = candidates([record(0, 3.3, 10.0), record(1, 30.0, 50.0)], OBJECTIVES, spec()).set_index("number")
    assert frame["front"].to_dict() == {0: False, 1: True}
    assert frame["probability" if "probability" in frame else "front"].loc[1] == 1
    assert frame.loc[0, "barred"] == "no better than predicting the most common class everywhere"


def test_where_nothing_is_on_the_front_every_network_is_shown():
    run = replace(spec(), {"search.limits": {"score.miou": {"at_least": 50}}})
    frame = candidates([record(0, 33.0, 10.0), record(1, 30.0, 50.0)], OBJECTIVES, run)
    assert shown(frame, OBJECTIVES)["network"].tolist() == ["0000", "0001"]
    assert ranked(frame, OBJECTIVES) == []


def test_if_every_network_is_no_better_than_a_constant_prediction_there_is_a_front_all_the_same():
    frame = candidates([record(0, 3.3, 50.0), record(1, 3.0, 10.0)], OBJECTIVES, spec())
    assert frame["front"].tolist() == [True, True]


def test_further_runtimes_have_a_column_each():
    also = record(0).latency.model_copy(update={"runtime": "onnxruntime", "median_ms": 55.5})
    table = shown(candidates([record(0, latency_also=(also,))], OBJECTIVES), OBJECTIVES)
    assert table["onnxruntime labels 2 threads ms"].tolist() == [55.5]


def test_runtimes_that_differ_in_batch_or_memory_format_have_a_column_each():
    first = record(0).latency
    also = [first.model_copy(update={"batch": 4}), first.model_copy(update={"memory_format": "channels_last"})]
    table = shown(candidates([record(0, latency_also=(first, *also))], OBJECTIVES), OBJECTIVES)
    assert [name for name in table if name.startswith("eager")] == [
        "eager labels 2 threads ms",
        "eager labels 2 threads batch 4 ms",
        "eager labels 2 threads channels_last ms",
    ]


@pytest.mark.parametrize("name", ["network", "name", "front", "GMACs", "seeds", "machine", "time", "network (varied)"])
def test_what_varies_never_takes_the_place_of_another_column(name):
    frame = candidates([record(0, values={name: 7, "network": 8})], OBJECTIVES)
    table = shown(frame, OBJECTIVES)
    assert table["network"].tolist() == ["0000"] and table["GMACs"].tolist() == [5.5]
    assert table.iloc[0, -1] == 8 and (name == "network" or 7 in table.iloc[0].tolist())
    assert class_table(frame, table).columns.tolist() == ["class", "0000 %"]


def test_a_sub_spec_that_varies_is_one_cell():
    frame = candidates([record(0, values={"block": {"kind": "stdc", "width": 8}, "detail": None})], OBJECTIVES)
    assert frame.loc[0, "values.block"] == '{"kind": "stdc", "width": 8}'
    assert frame.loc[0, "values.detail"] == "null"


def test_machines_are_told_apart_only_where_there_are_several():
    one, other = record(0), record(1, 50.0, 200.0, machine="ffff00001111")
    assert "machine" not in shown(candidates([one], OBJECTIVES), OBJECTIVES)
    table = shown(candidates([one, other], OBJECTIVES), OBJECTIVES)
    assert table["machine"].tolist() == ["a1b2c3d4", "ffff0000"]


def test_a_single_network_has_its_figures_and_no_front():
    record_of_base = record(0, origin="base", values={}, latency=None, score=None)
    table = shown(candidates([record_of_base], {}), {})
    assert table.columns.tolist() == ["network", "GMACs", "params M"]


@pytest.mark.parametrize(("objectives", "number"), [(OBJECTIVES, 0), ({"latency.median_ms": "minimize"}, 3), ({}, 0)])
def test_the_best_is_the_fronts_most_accurate_else_its_first(objectives, number):
    assert ranked(candidates(RECORDS, objectives), objectives)[0] == number


def test_a_reference_alone_is_not_the_best():
    assert ranked(candidates([RECORDS[1]], OBJECTIVES), OBJECTIVES) == []


def test_varied_columns_follow_the_figures():
    table = shown(candidates(RECORDS, OBJECTIVES), OBJECTIVES)
    assert table.columns[-3:].tolist() == ["stages 2 depth", "stages 2 width", "head"]
    assert pd.isna(table.iloc[-1, -3]) and DEPTH not in RECORDS[1].values


SEARCHED = [record(0, 52.0, 170.0, origin="reference", name="stdc2", values={})] + [
    record(number, 40.0 + number + 3 * (number % 2), 50.0 + 8 * number) for number in range(1, 13)
]


def test_the_front_of_a_search_is_that_of_expected_scores():
    frame = candidates([*SEARCHED, record(13, 30.0, 58.0, repeats=1)], OBJECTIVES, spec())
    rows = frame.set_index("number")
    assert len(frame) == 13
    assert rows.loc[1, "seeds"] == 2
    assert rows.loc[1, "score.miou"] == 37.0
    assert rows.loc[1, "error"] == pytest.approx(7.0)
    assert rows.loc[1, "seconds.train"] == 1200
    inside = rows.drop(index=0)
    points = inside[["expected.score.miou", "latency.median_ms"]]
    assert inside["front"].tolist() == front(points, ["maximize", "minimize"]).tolist()
    assert inside["probability"].between(0, 1).all()
    assert (inside["interval.score.miou"] > 0).all()


def test_of_a_reference_its_own_trainings_alone_are_known():
    reference = candidates(SEARCHED, OBJECTIVES, spec()).set_index("number").loc[0]
    assert reference["expected.score.miou"] == 52.0
    assert reference["interval.score.miou"] == pytest.approx(1.96 * reference["noise.score.miou"])
    assert not reference["front"]


def test_the_best_network_is_the_one_that_is_expected_to_be():
    lucky = [*SEARCHED[1:], record(13, 60.0, 60.0)]
    frame = candidates(lucky, OBJECTIVES, spec())
    expected = frame.loc[frame["front"]].sort_values("expected.score.miou")["number"].iloc[-1]
    assert ranked(frame, OBJECTIVES)[0] == expected


def test_what_is_expected_stands_before_what_was_scored():
    table = shown(candidates(SEARCHED, OBJECTIVES, spec()), OBJECTIVES)
    assert table.columns[3:7].tolist() == ["expected mIoU %", "± mIoU %", "P(front) %", "mIoU %"]
    assert "seeds" not in table
    again = shown(candidates([*SEARCHED, record(13, 30.0, 58.0, repeats=1)], OBJECTIVES, spec()), OBJECTIVES)
    assert again.columns[7:9].tolist() == ["seeds", "SE %"]


def test_every_expected_score_has_its_own_interval():
    run = replace(spec(), {"search.limits": {"score.iou.car": {"at_least": 10}}})
    found = [
        one.model_copy(update={"score": one.score.model_copy(update={"iou": {"car": 20 + 8.0 * (i * 13 % 8)}})})
        for i, one in enumerate(SEARCHED)
    ]
    frame = candidates(found, OBJECTIVES, run)
    table = shown(frame, OBJECTIVES)
    assert table["± mIoU %"].tolist() == frame["interval.score.miou"].tolist()
    assert table["± car IoU %"].tolist() == frame["interval.score.iou.car"].tolist()
