"""Limits on times: which doubtful times are worth another measurement, and how a rejection names them."""

import pytest

from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.search import LimitSpec
from stdc_search.trial import trial
from stdc_search.trial.limits import Rejected, check_limits, undecided
from stdc_search.trial.trial import time_network
from tests.report.fakes import record

LIMITS = {"latency.median_ms": LimitSpec(at_most=14), "cost.macs": LimitSpec(at_most=1e9)}
QUIET = record(0).latency


def timed(median, **signs):
    return QUIET.model_copy(update={"median_ms": median, **signs})


@pytest.mark.parametrize(("median", "worth"), [(13.9, False), (14.3, True), (55, True), (57, False)])
def test_only_a_time_that_a_limit_rejects_and_that_may_be_inside_it_is_worth_another(median, worth):
    assert undecided(LIMITS, timed(median)) is worth


def test_how_much_the_machine_was_slowed_says_how_far_above_a_limit_a_time_is_worth_another():
    slowed = {"reference_ms": 9.2, "reference_fastest_ms": 1.0}
    assert undecided(LIMITS, timed(14 * 18, **slowed))
    assert not undecided(LIMITS, timed(14 * 19, **slowed))


def test_without_a_limit_on_times_nothing_is_decided_by_them():
    assert not undecided({"cost.macs": LIMITS["cost.macs"]}, timed(1000))


def test_another_limit_that_is_broken_for_certain_decides_alone():
    limits = {**LIMITS, "latency.p95_ms": LimitSpec(at_most=1)}
    assert not undecided(limits, timed(14.3))


def test_a_rejection_says_that_its_time_is_doubtful():
    with pytest.raises(Rejected, match=r"^latency.median_ms 14.3 is above 14 \(a doubtful time\)$"):
        check_limits(LIMITS, "latency", {"latency": timed(14.3, other_load=0.5)})
    with pytest.raises(Rejected, match=r"^latency.median_ms 14.3 is above 14$"):
        check_limits(LIMITS, "latency", {"latency": timed(14.3)})


@pytest.mark.parametrize(
    ("tries", "kept", "count"),
    [
        ([timed(14.3, other_load=0.5), timed(7.6)], 7.6, 2),
        ([timed(9.4, other_load=0.5), timed(7.6)], 9.4, 1),
        ([timed(14.3), timed(7.6)], 14.3, 1),
        ([timed(14.3, other_load=0.5)] * 4, 14.3, 3),
    ],
    ids=["cleared", "inside the limit", "sure", "busy all the time"],
)
def test_a_network_is_measured_again_before_a_doubtful_time_rejects_it(tries, kept, count, monkeypatch):
    monkeypatch.setattr("stdc_search.latency.again.PAUSES", (0.0, 0.0))
    left = iter(tries)
    monkeypatch.setattr(trial, "measure_network", lambda *_: (next(left), ()))
    found = time_network(None, (48, 64), LatencySpec(), LIMITS, None)
    assert found["latency"].median_ms == kept
    assert len(tries) - len([*left]) == count
