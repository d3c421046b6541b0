"""The timing loop, on a clock that only moves when a run says so."""

import gc

import pytest

from stdc_search.latency.loop import interleave, p95


class Bench:
    """Runs that take the times they are given, on one clock, and note when they were called."""

    def __init__(self):
        self.now = 0
        self.calls: list[str] = []

    def clock(self):
        return self.now

    def run(self, name, *milliseconds):
        times = iter(milliseconds)

        def call():
            self.calls.append(name)
            self.now += round(next(times) * 1e6)

        return call


def test_samples_are_the_milliseconds_of_each_run():
    bench = Bench()
    runs = [bench.run("a", 9, 1, 2, 3.5), bench.run("b", 9, 40, 50, 60)]
    assert interleave(runs, warmup=1, repeats=3, clock=bench.clock) == [[1, 2, 3.5], [40, 50, 60]]


def test_warm_up_comes_first_and_does_not_count():
    bench = Bench()
    samples = interleave([bench.run("a", 100, 100, 1)], warmup=2, repeats=1, clock=bench.clock)
    assert samples == [[1]]
    assert len(bench.calls) == 3


def test_each_round_calls_every_run_once():
    bench = Bench()
    names = ["a", "b", "c"]
    runs = [bench.run(name, *[1] * 21) for name in names]
    interleave(runs, warmup=1, repeats=20, clock=bench.clock)
    assert bench.calls[:3] == names
    rounds = [tuple(bench.calls[i : i + 3]) for i in range(3, 63, 3)]
    assert all(sorted(one) == names for one in rounds)


def test_the_order_changes_from_round_to_round():
    bench = Bench()
    interleave([bench.run(name, *[1] * 20) for name in "abc"], warmup=0, repeats=20, clock=bench.clock)
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

    assert interleave([run], warmup=0, repeats=3, clock=bench.clock) == [[1, 1, 1]]


def test_garbage_is_not_collected_while_the_clock_runs():
    seen = []
    interleave([lambda: seen.append(gc.isenabled())], warmup=0, repeats=1)
    assert seen == [False]
    assert gc.isenabled()


def test_an_exception_leaves_the_garbage_collector_on():
    with pytest.raises(ZeroDivisionError):
        interleave([lambda: 1 // 0], warmup=0, repeats=1)
    assert gc.isenabled()


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (10, 10), (20, 19), (30, 29), (100, 95)])
def test_p95_is_the_nearest_rank(count, expected):
    assert p95(list(range(count, 0, -1))) == expected
