"""Trials in this process, in others, and on a cluster: what becomes of them, also when what does them dies."""

import io
import itertools
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pebble import ProcessExpired
from rich.console import Console

from stdc_search.commands import screen
from stdc_search.commands.run import run
from stdc_search.data import DataError
from stdc_search.errors import UserError
from stdc_search.latency import UnavailableError, this_machine
from stdc_search.network.weights import WeightsError
from stdc_search.records import Record, read
from stdc_search.run_folder import PROGRESS
from stdc_search.search import driver
from stdc_search.search.candidates import Candidates
from stdc_search.search.executors import processes
from stdc_search.search.executors.executor import Lost, Outcome, translated
from stdc_search.search.executors.processes import Processes
from stdc_search.search.study import Study
from stdc_search.spec.base import dump, replace
from stdc_search.spec.executor import ProcessesSpec
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.trial import training
from stdc_search.trial.trial import TrialJob, begin, examine
from tests.search_specs import tiny_search

PROCESSES = {"kind": "processes", "workers": 2}


def search(**search: Any) -> RunSpec:
    """Random, so that what is proposed does not depend on what comes back first."""
    return tiny_search(sampler={"kind": "random"}, **search)


def varied(name: str, *values: Any, **more: Any) -> RunSpec:
    """A search over one thing, whose first value is the file's own."""
    vary = {name: {"kind": "choice", "of": list(values)}}
    return search(vary=vary, trials=len(values), **more)


def results(folder: Path) -> dict[str, Record]:
    return {str(sorted(record.values.items())): record for record in read(folder / "results.jsonl")}


def told(spec: RunSpec, folder: Path) -> str:
    console = Console(file=io.StringIO(), width=250)
    run(spec, folder, console=console)
    return console.file.getvalue()


def in_background(does: Any) -> threading.Thread:
    thread = threading.Thread(target=does, daemon=True)
    thread.start()
    return thread


def until(true: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_processes_give_what_one_gives(tmp_path):
    for name, executor in {"one": {}, "two": PROCESSES}.items():
        run(search(trials=4, executor=executor), tmp_path / name)
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    assert len(one) == 4
    assert {key: record.identity for key, record in one.items()} == {key: two[key].identity for key in two}
    for key, record in one.items():  # other threads add up in another order
        assert record.score.miou == pytest.approx(two[key].score.miou, rel=0.01)
    assert not list(tmp_path.rglob("running.json"))


@pytest.mark.slow
def test_processes_tell_how_far_they_are(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(driver, "PATIENCE", 0.05)
    monkeypatch.setattr(screen.Row, "show", lambda row, *_, **__: told.append(row.title))
    run(search(trials=2, epochs=4, executor=PROCESSES), tmp_path / "run")
    assert {title for title in told if ": " in title} >= {"0001: train"}
    assert not [*(tmp_path / "run").rglob(PROGRESS)]


@pytest.mark.slow
def test_a_search_may_go_on_with_another_executor(tmp_path):
    run(search(trials=2), tmp_path)
    run(search(trials=4, executor=PROCESSES), tmp_path)
    assert [record.number for record in read(tmp_path / "results.jsonl")] in ([0, 1, 2, 3], [0, 1, 3, 2])


def test_a_killed_process_costs_a_try_and_no_candidate(tmp_path):
    spec = varied("training.epochs", 1, 40, 2, executor=PROCESSES)

    def kill() -> None:
        until(lambda: any(_epochs(curve) >= 3 for curve in tmp_path.glob("networks/*/curve.csv")))
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    killer = in_background(kill)
    said = told(spec, tmp_path)
    killer.join()
    records = read(tmp_path / "results.jsonl")
    assert [record.state for record in records] == ["complete"] * 3
    assert {record.number for record in records} == {0, 1, 2}
    assert "it will be tried again" in said


@pytest.mark.slow
def test_a_candidate_whose_process_is_always_killed_comes_last_and_fails(tmp_path):
    spec = varied("training.epochs", 100_000, 1, executor={**PROCESSES, "workers": 1})
    killer = in_background(lambda: kill_at(tmp_path, (3, 6, 9), signal.SIGKILL))
    run(spec, tmp_path)
    killer.join()
    last = read(tmp_path / "results.jsonl")
    assert [(one.values["training.epochs"], one.state) for one in last] == [(1, "complete"), (100_000, "failed")]
    assert last[1].reason is not None and "exit code -9; out of memory?" in last[1].reason


@pytest.mark.slow
def test_a_process_that_is_told_to_end_is_no_fault_of_its_candidate(tmp_path):
    spec = varied("training.epochs", 40, executor={**PROCESSES, "workers": 1})
    killer = in_background(lambda: kill_at(tmp_path, (3, 6, 9, 12), signal.SIGTERM))
    said = told(spec, tmp_path)
    killer.join()
    assert [record.state for record in read(tmp_path / "results.jsonl")] == ["complete"]
    assert said.count("exit code 15; it will be tried again") == 4


@pytest.mark.parametrize(
    ("code", "outside"), [(-15, True), (15, True), (-2, True), (-1, True), (1, False), (2, False), (-9, False)]
)
def test_only_what_people_and_schedulers_send_comes_from_outside(code, outside):
    found = Processes._meaning(SimpleNamespace(), ProcessExpired("gone", code=code))
    assert isinstance(found, Lost) and found.from_outside == outside


def kill_at(folder: Path, epochs: Sequence[int], sent: signal.Signals) -> None:
    """Send a signal to the only worker as often as its candidate has come so far."""
    for count in epochs:
        until(lambda count=count: any(_epochs(p) >= count for p in folder.glob("networks/*/curve.csv")))
        os.kill(multiprocessing.active_children()[0].pid, sent)
        time.sleep(0.5)


class Losses:
    """An executor that loses a candidate as often as it is told to, for one reason or another."""

    def __init__(self, lost: dict[int, list[Lost]]) -> None:
        self.lost, self.order, self.slots = lost, [], max(2, len(lost))

    def submit(self, job: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.order.append(job.draft.number)
        if reasons := self.lost.get(job.draft.number):
            future.set_exception(reasons.pop(0))
        else:
            future.set_result((job.draft.model_copy(update={"state": "stopped", "reason": "fake"}), this_machine()))
        return future

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("lost", "apart", "failed", "order"),
    [
        ({0: [Lost("a")]}, 60, [], [0, 1, 0, 2]),
        ({0: [Lost("a")] * 2}, 60, [], [0, 1, 0, 2, 0]),
        ({0: [Lost("a")] * 3}, 60, [0], [0, 1, 0, 2, 0]),
        ({0: [Lost("a", from_outside=True)] * 5}, 60, [], [0, 1, 0, 2, *[0] * 4]),
        ({0: [Lost("a", from_outside=True)] * 50}, 60, [0], [0, 1, 0, 2, *[0] * 8]),
        ({0: [Lost("a")] * 3, 1: [Lost("b")] * 3}, 0, [], None),
        ({number: [Lost("a")] * 3 for number in range(3)}, 0, [], None),
    ],
    ids=["once", "twice", "always", "outside", "always outside", "two together", "three together"],
)
def test_whose_fault_a_loss_is(tmp_path, monkeypatch, lost, apart, failed, order):
    """`apart`: seconds between losses of candidates, by a fake clock."""
    clock = itertools.count(step=apart)
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    spec = varied("training.epochs", 1, 2, 3)
    candidates = Candidates(spec, tmp_path, lambda *_: None)
    executor = Losses(lost)
    driver.Driver(Study(spec), executor, candidates, lambda _: None, lambda: None).run()
    assert [one.number for one in candidates.records if one.state == "failed"] == failed
    assert order is None or executor.order == order
    assert len(candidates.records) == 3


def _epochs(curve: Path) -> int:
    return len(curve.read_text(encoding="utf-8").splitlines()) - 1


DEADLY = """
import os, signal, sys
from pathlib import Path
from stdc_search.commands import run as runner
from stdc_search.training import loop as train
from stdc_search.spec.run import load

spec, out, when = load(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
write = train.write_atomically

def deadly(path, content):
    kills = path.name == train.CHECKPOINT and load(path.parent / "spec.yaml").training.epochs == 6
    if not kills or when == "after":
        write(path, content)
    if kills:
        os.kill(os.getpid(), signal.SIGKILL)

train.write_atomically = deadly
runner.run(spec, out)
"""


def starts(spec: RunSpec, folder: Path, when: str) -> list[int]:
    """Exit codes of a run that is started again until it ends; a candidate of six epochs kills it before or after each
    of its checkpoints."""
    dump(spec, folder / "deadly.yaml")
    command = [sys.executable, "-c", DEADLY, str(folder / "deadly.yaml"), str(folder / "out"), when]
    codes = []
    while not codes or codes[-1] == -signal.SIGKILL:
        assert len(codes) < 10, "it never ends"
        codes.append(subprocess.run(command, stdout=subprocess.DEVNULL).returncode)
    return codes


@pytest.mark.slow
def test_a_candidate_that_kills_the_search_itself_again_and_again_fails_and_the_search_goes_on(tmp_path):
    spec = varied("training.epochs", 1, 6, 2)
    assert starts(spec, tmp_path, "before") == [-signal.SIGKILL] * 4 + [0]
    found = {record.values["training.epochs"]: record for record in read(tmp_path / "out" / "results.jsonl")}
    assert {epochs: record.state for epochs, record in found.items()} == {1: "complete", 6: "failed", 2: "complete"}
    assert [*found][-1] == 6  # it came last
    assert "killed 4 times during this candidate" in found[6].reason
    assert not list(tmp_path.rglob("tries.txt"))


@pytest.mark.slow
def test_a_candidate_that_comes_further_each_time_is_not_given_up(tmp_path):
    assert starts(varied("training.epochs", 6, 1), tmp_path, "after") == [-signal.SIGKILL] * 6 + [0]
    records = read(tmp_path / "out" / "results.jsonl")
    assert [record.state for record in records] == ["complete"] * 2


def test_a_person_may_interrupt_as_often_as_they_like(tmp_path, monkeypatch):
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "train", interrupt)
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                run(search(trials=1), tmp_path)
    run(search(trials=1), tmp_path)
    assert [record.state for record in read(tmp_path / "results.jsonl")] == ["complete"]


@pytest.mark.slow
def test_a_candidate_that_hangs_is_stopped_and_the_search_goes_on(tmp_path):
    spec = varied("training.epochs", 1, 1_000_000, 2, executor={**PROCESSES, "timeout": 12})
    run(spec, tmp_path)
    states = {record.values["training.epochs"]: record for record in read(tmp_path / "results.jsonl")}
    assert {epochs: record.state for epochs, record in states.items()} == {
        1: "complete",
        1_000_000: "failed",
        2: "complete",
    }
    assert states[1_000_000].reason == "took longer than `search.executor.timeout`, 12 s"


def test_nan_and_want_of_memory_fail_one_candidate_each(tmp_path):
    vary = {
        "training.optimizer.learning_rate": {"kind": "choice", "of": [1e-3, 1e30]},
        "network.backbone.stages.2.width": {"kind": "choice", "of": [16, 2**20]},
    }
    run(search(epochs=3, vary=vary, trials=4, executor=PROCESSES), tmp_path)
    found = {tuple(record.values.values()): record for record in read(tmp_path / "results.jsonl")}
    assert found.pop((1e-3, 16)).state == "complete"
    assert {record.state for record in found.values()} == {"failed"}
    assert "the loss is" in found[1e30, 16].reason
    assert "memory" in found[1e-3, 2**20].reason


@pytest.mark.slow
def test_a_process_that_dies_between_two_candidates_costs_nothing(tmp_path):
    spec = search(trials=2)
    pool = Processes(ProcessesSpec(kind="processes", workers=1))
    try:
        assert pool.submit(begun(spec, tmp_path / "0")).result()[0].state == "complete"
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        until(lambda: not pool.pool.active)
        assert pool.submit(begun(spec, tmp_path / "1")).result()[0].state == "complete"
    finally:
        pool.close()


def begun(spec: RunSpec, folder: Path) -> TrialJob:
    nothing: dict[str, Any] = {"number": 0, "state": "running", "origin": "base", "started": "", "machine": ""}
    draft = Record(identity=spec.identity, values={}, image_size=spec.image_size, **nothing)
    job = TrialJob(spec, folder, examine(spec, draft, {}, lambda _: None))
    begin(job)
    return job


LARGE = {f"network.backbone.stages.{i}.width": {"kind": "int", "low": 16, "high": 160, "step": 3} for i in range(3)}
"""A space that several processes count."""


ALSO = {"sampler": {"kind": "known_cost"}, "vary": LARGE}


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"executor": PROCESSES}, ALSO])
def test_a_script_without_a_guard_is_told_what_it_needs(tmp_path, more):
    dump(tiny_search(trials=2, **{"sampler": {"kind": "random"}, "start": [], **more}), tmp_path / "tiny.yaml")
    script = tmp_path / "mine.py"
    script.write_text("import stdc_search\nstdc_search.run('tiny.yaml', 'out')\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("needs `if __name__ == '__main__':` before it")
    assert not read(tmp_path / "out" / "results.jsonl"), "what is mended goes on in the same folder"


def test_a_timeout_of_a_file_system_is_not_the_searchs(tmp_path, monkeypatch):
    def timed_out(*_: Any) -> Outcome:
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(processes, "work", timed_out)
    with pytest.raises(OSError, match="Connection timed out") as raised:
        processes._work(begun(search(trials=1), tmp_path), 1)
    assert not isinstance(raised.value, TimeoutError)


@pytest.mark.slow
def test_a_candidate_in_another_process_may_load_its_images_in_processes_of_its_own(tmp_path):
    run(replace(search(trials=1, executor=PROCESSES), {"training.workers": 1}), tmp_path)
    assert [record.state for record in read(tmp_path / "results.jsonl")] == ["complete"]


def test_a_mistake_in_telling_what_an_error_means_is_not_waited_for():
    def mistaken(_: BaseException) -> BaseException:
        raise LookupError("a mistake")

    done: Future[Any] = Future()
    future = translated(done, mistaken)
    done.set_exception(OSError())
    with pytest.raises(LookupError, match="a mistake"):
        future.result(timeout=1)


def test_what_stops_a_run_comes_back_from_another_process_as_it_was():
    problem = Problem("data.root", "is missing", "search.yaml", 3)
    for error in (DataError("a"), WeightsError("b"), UnavailableError("c"), UserError("d"), SpecError(problem)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path):
    spec = varied("training.epochs", 100_000, 200_000, executor=PROCESSES)
    dump(spec, tmp_path / "long.yaml")
    driver = start(tmp_path / "long.yaml", tmp_path / "out", stdout=subprocess.DEVNULL)
    until(lambda: len(list(tmp_path.glob("out/networks/*/checkpoint.pt"))) == 2)
    workers = children(driver.pid)
    assert len(workers) >= 2
    driver.kill()
    driver.wait()
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), seconds=10)


def start(spec: Path, out: Path, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stdc_search", "run", str(spec), "--out", str(out)]
    return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **how})


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


@pytest.mark.slow
def test_killed_at_twenty_random_moments_a_search_loses_and_repeats_nothing(tmp_path):
    vary = {f"network.backbone.stages.{i}.width": {"kind": "int", "low": 16, "high": 160, "step": 16} for i in range(3)}
    out, rng = tmp_path / "out", random.Random(0)

    def write(trials: int) -> None:
        dump(search(vary=vary, trials=trials, executor=PROCESSES), tmp_path / "tiny.yaml")

    def lines() -> list[str]:
        return (out / "results.jsonl").read_text("utf-8").splitlines() if (out / "results.jsonl").exists() else []

    write(trials=1000)
    kept: list[str] = []
    for kill in range(20):
        driver, begun = start(tmp_path / "tiny.yaml", out, stdout=subprocess.DEVNULL), time.time()
        if kill % 4:  # the others in the midst of starting
            until(lambda begun=begun: any(file.stat().st_mtime > begun for file in out.glob("networks/*/curve.csv")))
        time.sleep(rng.uniform(0, 4))
        driver.kill()
        assert driver.wait() == -signal.SIGKILL, "the search ended by itself"
        assert lines()[: len(kept)] == kept
        kept = lines()[: len(read(out / "results.jsonl"))]
    begun = {int(file.parent.name) for file in out.glob("networks/*/running.json")} - {read_number(k) for k in kept}
    write(trials=len(kept) + len(begun) + 2)
    assert start(tmp_path / "tiny.yaml", out, stdout=subprocess.DEVNULL).wait() == 0
    records = read(out / "results.jsonl")
    assert lines()[: len(kept)] == kept
    assert [record.state for record in records] == ["complete"] * (len(kept) + len(begun) + 2)
    assert len({record.number for record in records}) == len(records) == len({record.identity for record in records})
    assert len(kept) >= 10
    print(f"20 kills: {len(kept)} were finished when the last came, {len(begun)} of which were being trained went on")


def read_number(line: str) -> int:
    return json.loads(line)["number"]


@pytest.mark.parametrize(
    ("sent", "executor"),
    [
        (signal.SIGINT, {}),
        pytest.param(signal.SIGTERM, PROCESSES, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_person_or_a_scheduler_that_stops_a_run_is_told_how_to_go_on(tmp_path, sent, executor):
    dump(varied("training.epochs", 100_000, 200_000, executor=executor), tmp_path / "long.yaml")
    ignored = sent is signal.SIGTERM  # SIGINT is, in what a shell starts in the background
    interrupt = partial(signal.signal, signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    driver = start(tmp_path / "long.yaml", tmp_path / "out", preexec_fn=interrupt)
    try:
        until(lambda: len(list(tmp_path.glob("out/networks/*/checkpoint.pt"))) >= 1)
        workers = children(driver.pid)
        driver.send_signal(sent)
        said, _ = driver.communicate(timeout=300)
    finally:
        driver.kill()
        driver.communicate()
    assert driver.returncode == 130
    assert said.endswith("stopped; run the same command again to resume\n") and "Traceback" not in said
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), seconds=10)


@pytest.mark.slow
def test_what_a_full_disk_cuts_goes_on_when_there_is_room(tmp_path):
    run(search(trials=1), tmp_path / "out")
    dump(search(trials=3), tmp_path / "tiny.yaml")
    # Files may not grow beyond this, which is what the network's weights are larger than.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # noqa: E731
    full = start(tmp_path / "tiny.yaml", tmp_path / "out", preexec_fn=limit)
    said, _ = full.communicate()
    assert full.returncode == 2, said
    assert "the disk or a quota is full" in said
    assert "Traceback" not in said
    kept = read(tmp_path / "out" / "results.jsonl")
    done = start(tmp_path / "tiny.yaml", tmp_path / "out", stdout=subprocess.DEVNULL)
    assert done.wait() == 0
    records = read(tmp_path / "out" / "results.jsonl")
    assert len(kept) == 1
    assert records[:1] == kept
    assert [record.state for record in records] == ["complete"] * 3


def test_while_one_measures_others_that_train_pause(tmp_path):
    from stdc_search.device.alone import alone

    script = (
        "import sys, time; from stdc_search.latency import beside\n"
        "with beside() as give_way:\n"
        "    while True: give_way(); open(sys.argv[1], 'ab', 0).write(b'.'); time.sleep(0.001)"
    )
    trainers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / str(i))]) for i in range(2)]
    files = [tmp_path / str(i) for i in range(2)]
    try:
        until(lambda: all(file.exists() and file.stat().st_size > 20 for file in files))
        with alone():
            time.sleep(0.1)
            before = [file.stat().st_size for file in files]
            time.sleep(0.5)
            assert [file.stat().st_size for file in files] == before
        until(lambda: all(file.stat().st_size > size for file, size in zip(files, before, strict=True)))
    finally:
        for trainer in trainers:
            trainer.kill()
            trainer.wait()
