"""The timing loop, on a clock that only moves when a run says so."""

import gc
from itertools import chain, cycle, repeat

import pytest

from stdc_search.device.loop import MOST, WINDOW, interleave, warm


class Bench:
    """Runs that take the times they are given, on one clock, and note when they were called."""

    def __init__(self):
        self.now = 0
        self.calls: list[str] = []

    def clock(self):
        return self.now

    def run(self, name, *milliseconds):
        return self.endless(name, milliseconds)

    def endless(self, name, milliseconds):
        times = iter(milliseconds)

        def call():
            self.calls.append(name)
            self.now += round(next(times) * 1e6)

        return call


def test_samples_are_the_milliseconds_of_each_run():
    bench = Bench()
    runs = [bench.run("a", 1, 2, 3.5), bench.run("b", 40, 50, 60)]
    assert interleave(runs, repeats=3, clock=bench.clock) == [[1, 2, 3.5], [40, 50, 60]]


def test_each_round_calls_every_run_once():
    bench = Bench()
    names = ["a", "b", "c"]
    interleave([bench.run(name, *[1] * 20) for name in names], repeats=20, clock=bench.clock)
    rounds = [tuple(bench.calls[i : i + 3]) for i in range(0, 60, 3)]
    assert len(bench.calls) == 60
    assert all(sorted(one) == names for one in rounds)


def test_the_order_changes_from_round_to_round():
    bench = Bench()
    interleave([bench.run(name, *[1] * 20) for name in "abc"], repeats=20, clock=bench.clock)
    rounds = {tuple(bench.calls[i : i + 3]) for i in range(0, 60, 3)}
    assert len(rounds) == 6


def test_freeing_a_result_is_not_timed():
    bench = Bench()

    class Result:
        def __del__(self):
            bench.now += 10**9

    def run():
        bench.now += 10**6
        return Result()

    assert interleave([run], repeats=3, clock=bench.clock) == [[1, 1, 1]]


def test_garbage_is_not_collected_while_the_clock_runs():
    seen = []
    interleave([lambda: seen.append(gc.isenabled())], repeats=1)
    assert seen == [False]
    assert gc.isenabled()


def test_an_exception_leaves_the_garbage_collector_on():
    with pytest.raises(ZeroDivisionError):
        interleave([lambda: 1 // 0], repeats=1)
    assert gc.isenabled()


def calls_until_steady(*milliseconds, least=0):
    """How often a run of these times, of which the last goes on, is called, and whether it became steady."""
    bench = Bench()
    run = bench.endless("a", chain(milliseconds, repeat(milliseconds[-1])))
    (steady,) = warm([run], least=least, clock=bench.clock)
    return len(bench.calls), steady


def test_what_is_steady_from_the_start_is_warm_after_two_windows():
    assert calls_until_steady(3) == (2 * WINDOW, True)


def test_it_is_called_as_often_as_asked_in_any_case():
    assert calls_until_steady(3, least=25) == (25, True)


def test_what_becomes_faster_is_waited_for():
    falling = [100 * 0.9**i for i in range(30)]
    calls, steady = calls_until_steady(*falling)
    assert steady
    assert 30 < calls <= 30 + 2 * WINDOW


def test_what_never_ends_becoming_faster_is_given_up_and_said():
    assert calls_until_steady(*(1e6 * 0.95**i for i in range(2 * MOST))) == (MOST, False)


def test_what_becomes_slower_is_warm():
    assert calls_until_steady(*(1 + i for i in range(2 * MOST))) == (2 * WINDOW, True)


def test_a_few_spikes_do_not_count():
    bench = Bench()
    run = bench.endless("a", cycle([1, 1, 50]))
    assert warm([run], clock=bench.clock) == [True]
    assert len(bench.calls) == 2 * WINDOW


def test_all_go_on_until_the_last_is_warm():
    bench = Bench()
    runs = [
        bench.endless("a", repeat(1)),
        bench.endless("b", chain((100 * 0.8**i for i in range(20)), repeat(1))),
    ]
    assert warm(runs, clock=bench.clock) == [True, True]
    assert bench.calls.count("a") == bench.calls.count("b") > 20
