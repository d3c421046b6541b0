"""A tabulated space in words, numbers and a picture."""

import pandas as pd
import pytest

from stdc_search.report.space import INSIDE, LEGAL, draw_space, quantile_frame, show_space, space_note
from stdc_search.spec.search import LimitSpec
from tests.search_specs import tiny_search


@pytest.fixture
def table() -> pd.DataFrame:
    numbers = range(1, 101)
    return pd.DataFrame(
        {
            LEGAL: [i < 100 for i in numbers],
            "cost.parameters": [i * 10**6 for i in numbers],
            "cost.macs": [i * 10**9 for i in numbers],
            INSIDE: [i < 50 for i in numbers],
        }
    )


def test_quantiles_are_of_legal_networks_and_landmarks_have_their_rank(table):
    frame = quantile_frame(table, {"stdc1": (25 * 10**6, 75 * 10**9, 0, 0)}).set_index("network")
    assert frame.loc["smallest", "GMACs"] == 1
    assert frame.loc["largest", "GMACs"] == 99
    assert frame.loc["median", "params M"] == 50
    assert frame.loc["STDC1", "fewer GMACs %"] == pytest.approx(100 * 74 / 99)
    assert frame.loc["STDC1", "fewer params %"] == pytest.approx(100 * 24 / 99)


def test_the_note_counts_legal_networks_and_those_inside(table):
    limits = {"cost.macs": LimitSpec(at_most=5e10), "latency.median_ms": LimitSpec(at_most=5)}
    assert space_note(table, 100, limits) == (
        "all 100 combinations: 99 are legal networks; 49 (49.5 %) are within the limits on cost.macs; "
        "latency.median_ms is not counted"
    )
    assert space_note(table, 5000, {}) == "a sample of 100 combinations of 5,000: 99 are legal networks"
    assert space_note(table, float("inf"), {}) == "a sample of 100 combinations: 99 are legal networks"


def test_the_picture_marks_landmarks_and_limits(table):
    limits = {"cost.macs": LimitSpec(at_most=5e10), "cost.parameters": LimitSpec(at_most=5e7)}
    figure = draw_space(table, {"stdc1": (25 * 10**6, 75 * 10**9, 0, 0), "mine": (10**6, 10**9, 0, 0)}, limits, "t")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == ["STDC1", "limit", "limit", "mine"]


def test_everything_is_saved(table, tmp_path):
    show_space(table, {}, tiny_search().search, tmp_path, "t")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"quantiles.csv", "quantiles.md", "quantiles.tex", "networks.csv", "space.png", "space.svg"}
    assert len(pd.read_csv(tmp_path / "networks.csv")) == 100


def test_a_space_without_a_legal_network_has_no_picture(table, tmp_path):
    show_space(
        table.assign(**{LEGAL: False, INSIDE: False}), {"stdc1": (1, 1, 1, 1)}, tiny_search().search, tmp_path, "t"
    )
    assert not (tmp_path / "space.png").exists()
