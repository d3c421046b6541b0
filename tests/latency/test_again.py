"""Doubtful times are measured again, a few times at most; which time is kept."""

import pytest

from stdc_search.latency.again import PAUSES, measure_until_sure
from tests.report.fakes import record

QUIET = record(0).latency


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("stdc_search.latency.again.PAUSES", (0.0, 0.0))


def times(*medians, **signs):
    """Times of networks that took turns."""
    return [[QUIET.model_copy(update={"median_ms": median, **signs})] for median in medians]


def measured(*tries, **options):
    """What is kept of measurements, and how many were done."""
    done = iter(tries)
    kept = measure_until_sure(lambda: next(done), **options)
    return [own.median_ms for own, *_ in kept], len(tries) - len([*done])


def busy(*medians, **signs):
    return times(*medians, other_load=0.5, **signs)


def test_a_time_without_doubts_is_measured_once():
    assert measured(times(7), times(6)) == ([7], 1)


def test_a_doubtful_time_is_measured_until_one_is_sure_even_if_that_is_longer():
    assert measured(busy(14), times(15), times(7)) == ([15], 2)


def test_doubts_that_stay_end_after_three_tries_with_the_shortest_time():
    assert measured(busy(14), busy(12), busy(13), times(7)) == ([12], 3)


def test_the_time_with_fewer_doubts_is_kept():
    assert measured(busy(12, throttled=True), busy(14), busy(11, steady=False)) == ([14], 3)


def test_a_time_by_which_nothing_is_decided_is_not_measured_again():
    assert measured(busy(14), times(7), decides=lambda _: False) == ([14], 1)


def test_one_doubtful_time_repeats_all_that_took_turns_with_it():
    assert measured([*times(7), *busy(14)], times(6, 9)) == ([6, 9], 2)


def test_further_runtimes_decide_nothing():
    ((own,), (also,)) = [*times(7), *busy(14)]
    assert measured([[own, also]], times(6)) == ([7], 1)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_it_waits_before_each_further_try(tries, monkeypatch):
    slept = []
    monkeypatch.setattr("stdc_search.latency.again.PAUSES", PAUSES)
    monkeypatch.setattr("stdc_search.latency.again.time.sleep", slept.append)
    measured(*[busy(14)] * (tries - 1), *([busy(14)] if tries == 3 else [times(14)]))
    assert slept == [*PAUSES[: tries - 1]]
