"""Bounds as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdc_search.errors import UserError
from stdc_search.report.bounds import Bound, amount, make_bounds, read_bounds


@pytest.mark.parametrize(
    ("text", "metric", "value"),
    [
        ("30ms", "latency.median_ms", 30),
        (" 30 MS ", "latency.median_ms", 30),
        ("2.5ms", "latency.median_ms", 2.5),
        (".5ms", "latency.median_ms", 0.5),
        ("2GMACs", "cost.macs", 2e9),
        ("2 gmac", "cost.macs", 2e9),
        ("500 MMACs", "cost.macs", 5e8),
        ("3M", "cost.parameters", 3e6),
        ("1e-1 M", "cost.parameters", 1e5),
    ],
)
def test_a_bound_is_a_number_and_its_unit(text, metric, value):
    (bound,) = read_bounds([text])
    assert bound.metric == metric and bound.at_most == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "30", "ms", "3m", "3 MB", "-3ms", "nan ms", "inf ms", "1e400ms", "3ms ms", "٣ms"])
def test_other_words_are_refused_with_examples(text):
    with pytest.raises(UserError, match=r"cannot read .*30ms \(time\), 2GMACs \(multiply-adds\) or 3M \(parameters\)"):
        read_bounds([text])


def test_a_decimal_comma_is_named():
    with pytest.raises(UserError, match="write a decimal point, not a comma"):
        read_bounds(["2,5 GMACs"])


def test_nothing_takes_no_time():
    with pytest.raises(UserError, match="'0ms' is not positive"):
        read_bounds(["0ms"])


def test_a_metric_has_one_bound():
    with pytest.raises(UserError, match="2 GMACs and 1 GMACs bound the same"):
        read_bounds(["2 GMACs", "30ms", "1000 MMACs"])


@pytest.mark.parametrize("value", [0, -1.0, math.nan, True, "30ms"])
def test_a_bound_in_python_is_a_positive_number(value):
    with pytest.raises(UserError, match=r"at_most_ms: .* is not a positive number"):
        make_bounds(value, None, None)


def test_no_bound_in_python_is_none():
    assert make_bounds(None, 2e9, 3_000_000) == [Bound("cost.macs", 2e9), Bound("cost.parameters", 3e6)]


@given(st.sampled_from(["latency.median_ms", "cost.macs", "cost.parameters"]), st.floats(1e-2, 1e12))
def test_a_network_is_within_its_own_amount_rounded_up(metric, value):
    text = amount(metric, value, up=True).replace(",", "").removesuffix(" parameters")
    (bound,) = read_bounds([text])
    assert bound.metric == metric and value * (1 - 1e-12) <= bound.at_most <= 1.002 * value
