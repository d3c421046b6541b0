from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from stdc_search.report.candidates import candidates
from stdc_search.report.labels import place_label
from stdc_search.report.plots import FrontPicture, draw_front, encode, front_picture, literal
from stdc_search.spec.search import LimitSpec
from tests.report.fakes import OBJECTIVES, record, spec

RECORDS = [
    record(0, 45.1, 104.2, origin="start", name="stdc1"),
    record(1, 47.0, 151.3, origin="reference", name="stdc2", values={}),
    record(2, 44.0, 110.0, origin="base"),
    record(3, 41.0, 60.0),
    record(4, 40.0, 70.0),
]


def picture(records=RECORDS, objectives=OBJECTIVES) -> FrontPicture:
    return front_picture(candidates(records, objectives), objectives, "Front", "small print")


@pytest.mark.parametrize(
    ("objectives", "x", "y", "third"),
    [
        ({"score.miou": "maximize", "latency.median_ms": "minimize"}, "latency.median_ms", "score.miou", None),
        ({"cost.macs": "minimize", "score.miou": "maximize"}, "cost.macs", "score.miou", None),
        ({"score.miou": "maximize"}, "cost.macs", "score.miou", None),
        ({"latency.p95_ms": "minimize"}, "latency.p95_ms", "score.miou", None),
        ({"cost.macs": "minimize", "latency.median_ms": "minimize"}, "cost.macs", "latency.median_ms", None),
        ({"score.miou": "maximize", "score.pixel_accuracy": "maximize"}, "score.pixel_accuracy", "score.miou", None),
        (OBJECTIVES | {"cost.parameters": "minimize"}, "latency.median_ms", "score.miou", "cost.parameters"),
    ],
)
def test_objectives_find_their_axes(objectives, x, y, third):
    shown = picture(objectives=objectives)
    assert (shown.x.metric, shown.y.metric, shown.third and shown.third.metric) == (x, y, third)


def test_dots_are_in_the_units_of_their_axes():
    shown = picture(objectives={"score.miou": "maximize", "cost.macs": "minimize"})
    assert (shown.dots[0].x, shown.dots[0].y) == (3.3, 41.0)
    assert "GMACs" in shown.x.title


def test_the_front_and_named_networks_have_labels_and_others_none():
    assert {dot.number: dot.label for dot in picture().dots} == {3: "3", 4: "", 0: "STDC1", 2: "base", 1: "STDC2"}


def test_a_search_is_drawn_by_expected_scores_with_their_intervals():
    records = [record(number, 40.0 + number + 3 * (number % 2), 50.0 + 8 * number) for number in range(8)]
    frame = candidates(records, OBJECTIVES, spec())
    shown = front_picture(frame, OBJECTIVES, "Front", "small print", doubtful=["0000"])
    assert shown.y.title == "expected mIoU, %"
    assert [dot.y for dot in shown.dots] == frame["expected.score.miou"].tolist()
    assert [dot.interval for dot in shown.dots] == frame["interval.score.miou"].tolist()
    assert {dot.label for dot in shown.dots if dot.number == 0} == {"0?"}
    bars = [c for c in draw_front(shown).axes[0].collections if type(c).__name__ == "LineCollection"]
    assert len(bars) == len([dot for dot in shown.dots if dot.on_front]) > 0


def test_a_named_network_beside_the_front_has_its_interval_too():
    records = [record(number, 40.0 + number, 50.0 + 8 * number) for number in range(8)]
    records[7] = record(7, 30.0, 120.0, origin="reference", name="stdc1")
    (bar,) = [
        bar
        for bar in front_picture(candidates(records, OBJECTIVES, spec()), OBJECTIVES, "", "").bars
        if bar[0].number == 7
    ]
    assert bar[1] < 30.0 < bar[2]


def test_the_line_joins_the_front_and_passes_by_references():
    assert picture().line == [(60.0, 41.0), (104.2, 45.1)]


def test_with_a_third_objective_there_is_no_line():
    assert picture(objectives=OBJECTIVES | {"cost.parameters": "minimize"}).line == []


@pytest.mark.parametrize(("slowest", "log"), [(390.0, False), (410.0, True)])
def test_an_axis_is_logarithmic_beyond_a_factor_of_four(slowest, log):
    assert picture([record(0, 40, 100.0), record(1, 45, slowest)]).x.log is log


def test_scores_are_never_on_a_logarithmic_axis():
    assert not picture([record(0, 2, 100.0), record(1, 45, 120.0)]).y.log


@pytest.mark.parametrize(("best", "in_view"), [(16.0, True), (16.5, True), (9.0, False)])
def test_the_commonest_class_is_in_view_where_it_does_not_squeeze_the_dots(best, in_view):
    assert picture([record(0, 9.0, 10), record(1, best, 20)]).constant_in_view is in_view


LIMITS = {"latency.median_ms": LimitSpec(at_most=80), "score.miou": LimitSpec(at_least=42)}
TOO_SLOW = [record(9, median_ms=time, state="rejected", score=None) for time in (90.0, 9000.0)]


def limited(records=RECORDS, rejected=TOO_SLOW, limits=LIMITS) -> FrontPicture:
    return front_picture(candidates(records, OBJECTIVES), OBJECTIVES, "Front", "", (), limits, rejected)


def test_limits_of_both_axes_are_lines():
    texts = [text.get_text() for text in draw_front(limited()).axes[0].texts]
    assert {"limit 80", "limit 42"} <= {*texts}


def test_rejected_candidates_are_on_the_lower_edge_and_those_far_to_the_right_are_counted():
    shown = limited()
    assert (shown.near, shown.rejected_words) == ([90.0], "rejected by a limit, not trained (1 more to the right)")
    assert shown.rejected_words in [text.get_text() for text in draw_front(shown).legends[0].get_texts()]


def test_a_limit_far_from_all_networks_does_not_squeeze_them():
    axes = draw_front(limited(rejected=(), limits={"latency.median_ms": LimitSpec(at_most=5000)})).axes[0]
    assert axes.get_xlim()[1] < 200


def test_a_rejected_candidate_without_a_time_is_not_drawn():
    illegal = record(9, state="rejected", score=None, latency=None, cost=None)
    assert limited(rejected=[illegal]).rejected == ()


def labels_of(figure) -> list[Annotation]:
    texts = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    return [text for text in texts if text.get_text().isdigit() or text.get_text().startswith(("STDC", "base"))]


def test_crowded_labels_hardly_touch_and_named_ones_are_all_there():
    rng = np.random.default_rng(0)
    crowd = [record(i + 5, 44 + i / 20 + rng.normal() / 50, 100 + i / 5) for i in range(30)]
    figure = draw_front(picture(RECORDS[:3] + crowd))
    labels = labels_of(figure)
    assert {"STDC1", "STDC2", "base"} < {label.get_text() for label in labels}
    boxes = [label.get_window_extent() for label in labels]
    assert all(shared(a, b) < 0.1 * max(a.width * a.height, b.width * b.height) for a, b in combinations(boxes, 2))


def shared(a: Bbox, b: Bbox) -> float:
    both = Bbox.intersection(a, b)
    return both.width * both.height if both else 0.0


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5),
    st.sampled_from([(-1, 1), (1, 1), (-1, -1), (1, -1)]),
)
def test_a_label_covers_its_dot_never_and_others_as_little_as_it_says(places, better):
    centre, size = np.array([50.0, 50.0]), np.array([20.0, 10.0])
    taken = np.array([[x, y, x + 1, y + 1] for x, y in places], dtype=float).reshape(-1, 4)
    box, _, covered = place_label(centre, size, np.array([5.0, 15.0]), taken, np.array([0.0, 0, 100, 100]), better)
    assert not (box[0] < 50 < box[2] and box[1] < 50 < box[3])
    low, high = np.maximum(box[:2], taken[:, :2]), np.minimum(box[2:], taken[:, 2:])
    assert covered == pytest.approx(np.clip(high - low, 0, None).prod(axis=1).sum() / 200)


def test_a_label_with_room_is_on_the_better_side():
    nothing = np.empty((0, 4))
    bounds = np.array([0.0, 0, 100, 100])
    box, far, covered = place_label(
        np.array([50.0, 50]), np.array([20.0, 10]), np.array([5.0]), nothing, bounds, (-1, 1)
    )
    assert box[2] < 50 < box[1]
    assert (far, covered) == (False, 0)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(RECORDS[3:4], id="one"),
        pytest.param([record(0), record(1)], id="two of the same place"),
        pytest.param([record(i, 30 + i, 10.0**i) for i in range(6)], id="six decades"),
        pytest.param(RECORDS[1:2], id="a reference alone"),
    ],
)
def test_odd_fronts_are_drawn(records):
    axes = draw_front(picture(records)).axes[0]
    assert all(low < high for low, high in (axes.get_xlim(), axes.get_ylim()))
    assert sum(len(artist.get_offsets()) for artist in axes.collections) == len(records)


def test_the_legend_names_what_is_there_and_no_more():
    assert legend_of(RECORDS) == [
        "trained, not on the front",
        "on the front",
        "base",
        "start network",
        "reference, outside the search space",
    ]
    assert legend_of(RECORDS[3:4]) == ["on the front"]


def legend_of(records) -> list[str]:
    return [text.get_text() for text in draw_front(picture(records)).legends[0].get_texts()]


def test_start_networks_have_markers_of_their_own_and_references_are_hollow():
    axes = draw_front(picture([RECORDS[0], RECORDS[1], record(6, 42, 80, origin="start", name="mine")])).axes[0]
    markers = {artist.get_paths()[0].vertices.tobytes() for artist in axes.collections}
    assert len(markers) == 3
    faces = [artist.get_facecolor()[0].tolist() for artist in axes.collections]
    assert faces.count([1, 1, 1, 1]) == 1


def test_a_third_objective_has_a_colour_bar():
    objectives = OBJECTIVES | {"cost.parameters": "minimize"}
    assert draw_front(picture(objectives=objectives)).axes[1].get_ylabel() == "parameters, millions"


def test_an_svg_keeps_its_text():
    svg = ElementTree.fromstring(encode(draw_front(picture()), ".svg"))
    texts = {node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Front", "small print", "STDC1", "3", "mIoU, %"} <= texts


def test_a_dollar_sign_is_no_formula():
    assert literal("$x_1$ and $") == r"\$x_1\$ and \$"
