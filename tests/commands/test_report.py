"""What only PyTorch and Optuna know of a run, for its page."""

from __future__ import annotations

from stdc_search.commands.report import _importances
from tests.report.fakes import record, spec


def test_an_objective_that_is_the_same_for_all_has_no_importances():
    """Optuna would warn, which is an error here."""
    records = [record(number, 40.0, 50.0 + number) for number in range(20)]
    assert [*_importances(spec(), records)] == ["latency.median_ms"]
    assert _importances(spec(), [record(number) for number in range(20)]) == {}


def test_few_candidates_have_no_importances():
    assert _importances(spec(), [record(number, 40.0 + number) for number in range(19)]) == {}
