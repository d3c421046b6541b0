"""Fronts of several runs: what dominates what, shared volumes, and what each attains within a budget."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from stdc_search.report.comparison import Comparison, Front
from stdc_search.report.comparison_plot import draw_comparison
from stdc_search.report.plots import encode

BOTH = {"score.miou": "maximize", "latency.median_ms": "minimize"}


def front(name, points, objectives=BOTH, interval=None):
    """A front of networks with these objectives."""
    frame = pd.DataFrame(
        [
            {"number": i, "name": f"{i:04d}", "front": True, **dict(zip(objectives, point, strict=True))}
            for i, point in enumerate(points)
        ]
    )
    if interval is not None:
        frame["expected.score.miou"], frame["interval.score.miou"] = frame["score.miou"], interval
        frame["score.miou"] += 5.0  # lucky
    return Front(name, frame, np.array(points, dtype=float))


def compared(*fronts, objectives=BOTH):
    return Comparison(fronts, objectives, "Fronts")


def test_a_network_is_dominated_by_the_runs_with_a_better_one():
    frame = compared(
        front("a", [(30, 10), (50, 40)]), front("b", [(40, 20), (45, 40)]), front("c", [(42, 10)])
    ).networks
    told = dict(zip(zip(frame["run"], frame["network"], strict=True), frame["dominated by"], strict=True))
    assert told == {
        ("a", "0000"): "c", ("a", "0001"): "", ("b", "0000"): "c", ("b", "0001"): "a", ("c", "0000"): "",
    }  # fmt: skip
    assert frame["median ms"].is_monotonic_increasing


def test_equal_networks_do_not_dominate_each_other():
    summary = compared(front("a", [(30, 10)]), front("b", [(30, 10)])).summary
    assert summary["dominated by others %"].tolist() == [0.0, 0.0]
    assert summary["of the joint front %"].tolist() == [100.0, 100.0]


def test_volumes_have_one_reference_beyond_the_worst_of_all():
    comparison = compared(front("a", [(30, math.e), (50, math.e**5)]), front("b", [(40, math.e**3)]))
    # Scores from 30 to 50 and logarithms of times from 1 to 5: a quarter of the range beyond is 25 and 6.
    assert comparison.reference == pytest.approx({"score.miou": 25.0, "latency.median_ms": math.e**6})
    assert comparison.summary["hypervolume"].tolist() == pytest.approx([5 * 4 + 25 * 1, 15 * 3])
    assert comparison.summary["of the joint front %"].tolist() == pytest.approx([4500 / 65, 4500 / 65])


def test_fronts_without_extent_have_a_volume():
    assert compared(front("a", [(30, 10)]), front("b", [(30, 10)])).summary["hypervolume"].tolist() == [1.0, 1.0]


def test_what_is_attained_is_the_best_within_a_budget():
    frame = compared(front("a", [(30, 10), (50, 40)]), front("b", [(45, 22)])).attained
    assert frame.columns.tolist() == ["at most median ms", "a %", "b %"]
    assert frame["at most median ms"].iloc[[0, -1]].tolist() == [10.0, 40.0]
    assert frame["a %"].iloc[[0, -2, -1]].tolist() == [30.0, 30.0, 50.0]
    assert math.isnan(frame["b %"].iloc[0]) and frame["b %"].iloc[-1] == 45.0


@pytest.mark.parametrize(
    ("scores", "half", "every"),
    [((30, 31, 32), 31, 30), ((30, 31, 32, 33), 32, 30), ((30, 31, None), 30, None), ((30, None, None), None, None)],
)
def test_repeats_tell_what_half_and_all_of_them_attain(scores, half, every):
    """A run without a network within the budget attains nothing."""
    fronts = [front(f"run {i}", [(20 if score is None else score, 80 if score is None else 10)])
              for i, score in enumerate(scores)]  # fmt: skip
    first = compared(*fronts).attained.iloc[0]
    assert [first["half of the runs %"], first["all runs %"]] == pytest.approx(
        [math.nan if one is None else one for one in (half, every)], nan_ok=True
    )


def test_expected_scores_are_compared_and_not_the_lucky_ones():
    comparison = compared(front("a", [(30, 10)], interval=2.0), front("b", [(40, 20)], interval=1.0))
    assert comparison.networks[["expected mIoU %", "± mIoU %", "mIoU %"]].iloc[0].tolist() == [30.0, 2.0, 35.0]
    assert comparison.attained["b %"].iloc[-1] == 40.0
    assert comparison.picture.lines[0].dots == ((10.0, 30.0, 2.0),)
    assert comparison.picture.y.title == "expected mIoU, %"


def test_every_expected_score_has_its_own_interval():
    objectives = {"score.miou": "maximize", "score.iou.car": "maximize"}
    fronts = [front("a", [(30, 10)], objectives, interval=2.0), front("b", [(40, 20)], objectives, interval=2.0)]
    for one in fronts:
        one.frame["expected.score.iou.car"], one.frame["interval.score.iou.car"] = 10.0, 7.0
    row = compared(*fronts, objectives=objectives).networks.iloc[0]
    assert row[["± mIoU %", "± car IoU %"]].tolist() == [2.0, 7.0]


def test_with_a_third_objective_nothing_is_attained_and_no_line_is_drawn():
    objectives = {**BOTH, "cost.parameters": "minimize"}
    comparison = compared(
        front("a", [(30, 10, 1e6), (30, 20, 0.5e6)], objectives), front("b", [(40, 20, 1e6)], objectives),
        objectives=objectives,
    )  # fmt: skip
    assert comparison.attained.empty and not comparison.picture.connected
    assert comparison.networks["dominated by"].tolist() == ["", "", ""]
    assert encode(draw_comparison(comparison.picture), ".svg")


def test_one_objective_is_compared_by_its_value():
    objectives = {"score.miou": "maximize"}
    fronts = [front("a", [(30,)], objectives), front("b", [(40,)], objectives)]
    for one in fronts:
        one.frame["cost.macs"] = 1e9
    comparison = compared(*fronts, objectives=objectives)
    assert comparison.networks["dominated by"].tolist() == ["b", ""]
    assert comparison.summary["of the joint front %"].tolist()[1] == 100.0
    assert comparison.attained.empty and encode(draw_comparison(comparison.picture), ".png")


def test_the_picture_names_every_run_even_those_with_odd_names(tmp_path):
    names = ["_hidden", "$x^2$", "<b>&", *(f"run {i}" for i in range(9))]
    comparison = compared(*(front(name, [(30 + i, 10 + i)], interval=1.0) for i, name in enumerate(names)))
    comparison.save(tmp_path)
    svg = (tmp_path / "fronts.svg").read_text("utf-8")
    assert all(name in svg for name in ("_hidden", "$x^2$", "&lt;b&gt;&amp;", "run 8"))
    assert "attained by half of the 12 runs" in svg
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{stem}{ending}" for stem in ("networks", "summary", "attained") for ending in (".csv", ".md", ".tex")),
        "fronts.png",
        "fronts.svg",
    }


def test_the_line_of_half_of_the_runs_starts_where_half_of_them_have_a_network():
    fronts = [front("a", [(30, 10), (50, 40)]), front("b", [(35, 20)]), front("c", [(60, 80)])]
    assert compared(*fronts).picture.half == ((20.0, 30.0), (40.0, 35.0), (80.0, 50.0))
    assert compared(*fronts[:2]).picture.half == ()
