from __future__ import annotations

from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdc_search.ranking import (
    compressed,
    front,
    hypervolume,
    partial_rank_correlation,
    rank_correlation,
    reference_point,
)
from stdc_search.records import Direction

SIDE = 5
"""Coordinates are 0..SIDE: small, so that ties are common and a volume is a count of unit cells."""


@st.composite
def clouds(draw: st.DrawFn, largest: int = 3) -> tuple[list[list[float]], list[Direction]]:
    objectives = draw(st.integers(1, largest))
    coordinate = st.integers(0, SIDE).map(float)
    points = draw(st.lists(st.lists(coordinate, min_size=objectives, max_size=objectives), max_size=12))
    directions = draw(st.lists(st.sampled_from(get_args(Direction)), min_size=objectives, max_size=objectives))
    return points, directions


def beats(a: float, b: float, direction: Direction) -> bool:
    return a < b if direction == "minimize" else a > b


def dominates(a: list[float], b: list[float], directions: list[Direction]) -> bool:
    worse = any(beats(y, x, d) for x, y, d in zip(a, b, directions, strict=True))
    better = any(beats(x, y, d) for x, y, d in zip(a, b, directions, strict=True))
    return better and not worse


@given(clouds(largest=4))
def test_the_front_holds_exactly_what_no_point_dominates(cloud):
    points, directions = cloud
    expected = [not any(dominates(other, point, directions) for other in points) for point in points]
    assert front(points, directions).tolist() == expected


@settings(max_examples=50)
@given(clouds())
def test_hypervolume_is_the_number_of_unit_cells_that_are_dominated(cloud):
    points, directions = cloud
    worst = [float(SIDE) if direction == "minimize" else 0.0 for direction in directions]
    centres = [list(cell) for cell in product(np.arange(SIDE) + 0.5, repeat=len(directions))]
    cells = sum(any(dominates(point, centre, directions) for point in points) for centre in centres)
    assert hypervolume(points, worst, directions) == cells


@given(clouds())
def test_dominated_points_add_no_volume(cloud):
    points, directions = cloud
    worst = [float(SIDE) if direction == "minimize" else 0.0 for direction in directions]
    undominated = np.array(points)[front(points, directions)]
    assert hypervolume(undominated, worst, directions) == hypervolume(points, worst, directions)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_volumes_of_many_sets_are_those_of_each(objectives):
    sets = np.random.default_rng(0).uniform(0, 1.2, (4, 9, objectives)).round(1)
    directions = ["maximize", *["minimize"] * (objectives - 1)]
    reference = [0.1, *[1.1] * (objectives - 1)]
    assert hypervolume(sets, reference, directions) == pytest.approx(
        [hypervolume(s, reference, directions) for s in sets]
    )


def test_equal_points_stay_on_the_front_together():
    assert front([[1, 2], [1, 2], [2, 2]], ["minimize", "maximize"]).tolist() == [True, True, False]


def test_a_point_with_a_nan_is_not_on_the_front_and_hides_no_other():
    points = [[0.0, np.nan], [1.0, 5.0], [np.nan, np.nan]]
    assert front(points, ["minimize", "maximize"]).tolist() == [False, True, False]


def test_a_point_with_a_nan_adds_no_volume():
    assert hypervolume([[0.0, np.nan], [1.0, 1.0]], [2, 2], ["minimize", "minimize"]) == 1


def test_points_beyond_the_reference_add_nothing():
    assert hypervolume([[3, 0], [1, 1]], [2, 2], ["minimize", "minimize"]) == 1


def test_no_points_have_an_empty_front_and_no_volume():
    assert front([], ["minimize"]).tolist() == []
    assert hypervolume([], [1, 1], ["minimize", "minimize"]) == 0


def test_points_that_do_not_fit_the_directions_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"\[2, 3\] do not fit 2 directions"):
        front([[1, 2, 3], [4, 5, 6]], ["minimize", "maximize"])


def test_rank_correlation_is_spearmans() -> None:
    first, second = [1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 30.0, 20.0, 50.0, 40.0]
    squares = sum((a - b) ** 2 for a, b in zip([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], strict=True))
    assert rank_correlation(first, second) == pytest.approx(1 - 6 * squares / (5 * (5**2 - 1)))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    ranks = np.corrcoef([1.0, 2.5, 2.5, 4.0], [1.0, 2.0, 3.0, 4.0])[0, 1]
    assert rank_correlation([1, 7, 7, 9], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(ranks)


def test_of_several_scores_the_least_correlation_counts() -> None:
    early, late = [[1, 1], [2, 2], [3, 3]], [[1, 3], [2, 2], [3, 1]]
    assert rank_correlation(early, late) == pytest.approx(-1)


def test_equal_scores_have_no_correlation_even_beside_others() -> None:
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank_correlation([[1, 1], [2, 1]], [[1, 1], [2, 2]]))


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_partial_rank_correlation_is_that_of_residuals(others):
    rng = np.random.default_rng(others)
    beside = rng.normal(size=(30, others))
    shared = rng.normal(size=30)
    first, second = shared + beside.sum(1), shared + rng.normal(size=30) + beside.sum(1)
    found = partial_rank_correlation(first, second, beside)
    table = pd.DataFrame(np.column_stack([first, second, beside])).rank()
    inverse = np.linalg.inv(table.corr())
    assert found.value == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    assert -1 < found.low < found.value < found.high < 1


def test_a_partial_rank_correlation_of_too_few_or_equal_values_is_not_known():
    for first, second in (([1, 2, 3], [1, 2, 4]), ([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6])):
        found = partial_rank_correlation(first, second, np.arange(len(first))[:, None] ** 2)
        assert np.isnan(found.value) and (found.low, found.high) == (-1, 1)


def test_the_interval_holds_the_truth_in_95_of_100_samples():
    rng, rho = np.random.default_rng(0), 0.7
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal distribution
    inside = 0
    for _ in range(400):
        first = rng.normal(size=25)
        found = partial_rank_correlation(
            first, rho * first + np.sqrt(1 - rho**2) * rng.normal(size=25), np.empty((25, 0))
        )
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_only_minimised_positive_objectives_count_by_their_logarithms():
    points = np.array([[1.0, 10.0, 0.0], [np.e, 20.0, 5.0]])
    found = compressed(points, ["minimize", "maximize", "minimize"])
    np.testing.assert_allclose(found, [[0.0, 10.0, 0.0], [1.0, 20.0, 5.0]])


def test_a_reference_is_a_quarter_of_the_range_beyond_the_worst():
    points = np.array([[[0.0, 10.0, 7.0]], [[4.0, 30.0, 7.0]]])
    assert reference_point(points, ["minimize", "maximize", "minimize"]) == [5.0, 5.0, 8.0]


def test_an_unknown_correlation_is_called_so():
    assert str(partial_rank_correlation([1, 1, 1], [1, 2, 3], np.empty((3, 0)))) == "unknown"
