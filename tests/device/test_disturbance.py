"""What other work on a machine leaves behind, by readings that are made up."""

import os
import tracemalloc

import pytest

from stdc_search.device import disturbance
from stdc_search.device.disturbance import CpuTime, cpu_time, kind_of, load_of_others, reference_time, work_of_cpu

STAT = """\
cpu  600 60 6 9999 999 0 0 66 0 0
cpu0 100 10 1 5000 500 2 3 4 77 77
cpu1 200 20 2 5000 500 0 0 0 0 0
cpu2 300 30 3 5000 500 0 0 60 0 0
intr 12345 0 0
"""


def readings(wall, busy, own, cores=2):
    return CpuTime(100, 1000, 10, cores), CpuTime(100 + wall, 1000 + busy, 10 + own, cores)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(disturbance, "_fastest", {})


@pytest.fixture
def machine(monkeypatch):
    """A machine of three CPUs whose files are made up, on which this process may use the CPUs that a test says."""
    files = {"/proc/stat": STAT}

    def use(*cpus, siblings=None):
        siblings = siblings or {}
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cpus), raising=False)
        monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
        for cpu, text in siblings.items():
            files[f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = text
        monkeypatch.setattr(disturbance, "read", lambda path: files.get(path, ""))
        return files

    return use


def test_an_idle_machine_has_no_load_of_others():
    assert load_of_others(*readings(wall=10, busy=20, own=20)) == 0


def test_a_process_that_waits_leaves_no_load_of_others():
    assert load_of_others(*readings(wall=10, busy=3, own=3)) == 0


def test_the_load_of_others_is_their_share_of_all_cores():
    assert load_of_others(*readings(wall=10, busy=20, own=11)) == pytest.approx(0.45)


def test_cpu_times_are_counted_coarsely_so_that_a_little_less_than_nothing_is_nothing():
    assert load_of_others(*readings(wall=10, busy=19.5, own=20)) == 0


def test_a_system_that_does_not_count_is_not_believed():
    assert load_of_others(*readings(wall=10, busy=0, own=20)) is None


def test_a_short_measurement_tells_no_load():
    assert load_of_others(*readings(wall=0.1, busy=0.2, own=0.1)) is None


def test_a_load_is_at_most_everything():
    assert load_of_others(*readings(wall=10, busy=40, own=10)) == 1


def test_without_readings_there_is_no_load():
    assert load_of_others(None, None) is None


def test_busy_is_what_is_neither_idle_nor_waiting_for_a_disk_nor_counted_twice(machine):
    machine(0)
    found = cpu_time()
    assert found is not None
    assert found.busy == pytest.approx((100 + 10 + 1 + 2 + 3 + 4) / 100)
    assert found.cores == 1


def test_only_the_cores_that_the_process_may_use_count(machine):
    machine(1, 2)
    found = cpu_time()
    assert found is not None
    assert found.busy == pytest.approx((222 + 393) / 100)
    assert found.cores == 2


@pytest.mark.parametrize("text", ["0,1\n", "0-1\n"])
def test_both_hardware_threads_of_a_core_count(machine, text):
    machine(0, siblings={0: text})
    found = cpu_time()
    assert found is not None
    assert found.busy == pytest.approx((120 + 222) / 100)
    assert found.cores == 1


def test_a_cpu_that_the_system_does_not_list_gives_no_reading(machine):
    machine(7)
    assert cpu_time() is None


def test_a_system_without_such_files_gives_no_reading(machine):
    machine(0)["/proc/stat"] = ""
    assert cpu_time() is None


def test_a_system_without_affinity_gives_no_reading(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cpu_time() is None


def test_fixed_work_is_told_by_its_mean_since_few_of_its_calls_are_interrupted():
    assert reference_time("cpu", [2, 2, 2, 10]).mean == 4


def test_the_fastest_call_is_remembered_for_the_process():
    assert reference_time("cpu", [3, 2, 4]).fastest == 2
    assert reference_time("cpu", [6, 5]).fastest == 2
    assert reference_time("cpu", [1, 9]).fastest == 1


def test_cpu_and_gpu_are_remembered_apart():
    reference_time("cpu", [1])
    assert reference_time("gpu", [2]).fastest == 2


def test_the_fixed_work_of_a_cpu_allocates_no_memory_whose_pages_would_have_to_be_made():
    work = work_of_cpu()
    work()
    tracemalloc.start()
    try:
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda", "gpu"), ("tensorrt", "gpu")])
def test_devices_are_of_two_kinds(device, kind):
    assert kind_of(device) == kind
