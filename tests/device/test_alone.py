"""Measurements take turns, and stay on their cores."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from stdc_search.device.alone import alone, pinned
from stdc_search.device.hardware import one_thread_a_core
from stdc_search.errors import UserError

MEASURES = """
import sys
from stdc_search.device.alone import alone
with alone():
    print("begun", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_waits_for_the_first_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    start = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-W", "always", "-c", MEASURES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with start() as first:
        assert first.stdout.readline() == "begun\n"
        with start() as second:
            assert "another process measures on this machine" in second.stderr.readline()
            assert first.poll() is None
            first.communicate("\n")
            assert second.stdout.readline() == "begun\n"
            second.communicate("\n")
            assert second.returncode == 0


def test_one_that_is_killed_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", MEASURES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.kill()
    done = subprocess.run([sys.executable, "-c", MEASURES], input="\n", capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("begun\n", "")


TRAINS = """
import time
from stdc_search.device.alone import beside
with beside() as give_way:
    print("begun", flush=True)
    while True:
        give_way()
        time.sleep(0.1)
"""


def test_a_training_that_was_stopped_is_waited_for_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    module = sys.modules["stdc_search.device.alone"]
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with subprocess.Popen([sys.executable, "-c", TRAINS], stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout.readline() == b"begun\n"
        trainer.send_signal(signal.SIGSTOP)
        threading.Timer(1, trainer.send_signal, [signal.SIGCONT]).start()
        with pytest.warns(UserWarning, match="others on this machine have not paused for 0.3 s"), alone() as free:
            assert free
        trainer.kill()


@pytest.mark.filterwarnings("ignore::stdc_search.device.alone.WaitsForMeasurement")
@pytest.mark.parametrize("script", [TRAINS, MEASURES], ids=["trains", "measures"])
def test_one_that_stays_suspended_is_not_waited_for_without_end(script, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    module = sys.modules["stdc_search.device.alone"]
    monkeypatch.setattr(module, "LONGEST", 0.5)
    monkeypatch.setattr(module, "SHORTEST", 0.1)
    monkeypatch.setattr(module, "_longest", None)
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"begun\n"
        other.send_signal(signal.SIGSTOP)
        for waited in (0.5, 0.1):
            began = time.monotonic()
            with pytest.warns(UserWarning, match="without a pause; measuring beside them"), alone() as free:
                assert not free
            assert time.monotonic() - began >= waited
    finally:
        other.kill()
        other.communicate()
    with alone() as free:
        assert free


def test_what_is_no_lock_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    os.mkfifo(tmp_path / "stdc-search-measures.lock")
    with pytest.raises(UserError, match=r"measures.lock: is not a file, so it cannot be the lock"), alone():
        pass
    (tmp_path / "stdc-search-measures.lock").unlink()
    (tmp_path / "stdc-search-measures.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"measures.lock: the lock of measurements cannot be opened"), alone():
        pass


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_the_fastest_cores_are_taken(monkeypatch):
    cores = sorted(one_thread_a_core())
    if len(cores) < 2:
        pytest.skip("needs two cores")
    module = sys.modules["stdc_search.device.alone"]
    monkeypatch.setattr(module, "capacity", lambda cpu: 1024 if cpu == cores[-1] else 512)
    with pinned(1):
        assert os.sched_getaffinity(0) == {cores[-1]}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_all_threads_are_kept_on_as_many_cores_as_asked_and_let_go_after_it():
    before = os.sched_getaffinity(0)
    seen, go, stop = {}, threading.Event(), threading.Event()

    def other():
        seen["before"] = os.sched_getaffinity(0)
        go.set()
        stop.wait()
        seen["after"] = os.sched_getaffinity(0)

    thread = threading.Thread(target=other)
    thread.start()
    go.wait()
    with pinned(1):
        (core,) = os.sched_getaffinity(0)
        assert core in one_thread_a_core()
        assert os.sched_getaffinity(thread.native_id) == {core}
    stop.set()
    thread.join()
    assert os.sched_getaffinity(0) == before == seen["after"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_that_end_meanwhile_do_no_harm():
    stop = threading.Event()

    def come_and_go():
        while not stop.is_set():
            threading.Thread(target=lambda: None).start()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(200):
            with pinned(1):
                pass
    finally:
        stop.set()
        thread.join()
