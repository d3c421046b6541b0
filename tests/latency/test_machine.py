"""The description of this machine."""

import os
import re
import subprocess

import pytest

from stdc_search.device import hardware
from stdc_search.device.hardware import driver, physical_cores
from stdc_search.latency import machine
from stdc_search.latency.machine import describe_machine


def test_a_machine_describes_itself_the_same_twice():
    assert describe_machine() == describe_machine()


def test_the_commit_is_no_part_of_the_id(monkeypatch):
    here = describe_machine()
    monkeypatch.setattr(machine, "_commit", lambda: "another")
    assert (describe_machine().id, describe_machine().commit) == (here.id, "another")


@pytest.mark.parametrize(("part", "value"), [("cpu", "another"), ("memory_gb", 1.5), ("versions", lambda packages: {})])
def test_other_hardware_or_versions_give_another_id(part, value, monkeypatch):
    here = describe_machine().id
    monkeypatch.setattr(hardware, part, value if callable(value) else lambda: value)
    assert describe_machine().id != here


def test_versions_are_those_installed():
    versions = describe_machine().versions
    assert {"python", "stdc-search", "torch", "onnxruntime", "optuna"} <= versions.keys()


def test_cores_are_no_more_than_hardware_threads():
    assert 1 <= physical_cores() <= describe_machine().threads


def test_two_hardware_threads_of_one_core_are_one_core(monkeypatch):
    monkeypatch.setattr(hardware, "usable_cpus", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(hardware, "read", lambda path: "0,2" if "cpu0" in path or "cpu2" in path else "1,3")
    assert physical_cores() == 2


def test_the_processor_is_named_as_linux_names_it(monkeypatch):
    monkeypatch.setattr(hardware, "read", lambda path: "processor\t: 0\nmodel name\t: Fast CPU 3000\nflags\t: fpu\n")
    assert describe_machine().cpu == "Fast CPU 3000"


@pytest.mark.parametrize("module", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
def test_the_driver_is_read_from_the_kernel_modules_version(module, monkeypatch):
    text = f"NVRM version: NVIDIA UNIX {module}  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    monkeypatch.setattr(hardware, "read", lambda path: text)
    assert driver() == "550.54.15"


def test_a_system_without_linux_files_or_git_is_described_all_the_same(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(hardware, "read", lambda path: "")
    monkeypatch.setattr(subprocess, "run", missing)
    monkeypatch.delattr(hardware.os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(hardware.os, "sysconf", raising=False)
    described = describe_machine()
    assert described.cpu
    assert described.cores == described.threads >= 1
    assert (described.memory_gb, described.commit) == (0, None)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository with one file and one commit."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:  # set where a hook runs the tests
        monkeypatch.delenv(name)
    (tmp_path / "file").write_text("one")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "file"), (*identity, "commit", "-q", "--no-verify", "-m", "one")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def commit_of_package_in(folder, monkeypatch):
    (folder / "stdc_search/latency").mkdir(parents=True)
    monkeypatch.setattr(machine, "__file__", str(folder / "stdc_search/latency/machine.py"))
    return describe_machine().commit


def test_a_package_in_a_checkout_has_its_commit(checkout, monkeypatch):
    assert re.fullmatch("[0-9a-f]{40}", commit_of_package_in(checkout, monkeypatch) or "")


def test_a_changed_checkout_is_marked(checkout, monkeypatch):
    (checkout / "file").write_text("two")
    assert re.fullmatch("[0-9a-f]{40}-dirty", commit_of_package_in(checkout, monkeypatch) or "")


def test_a_package_installed_below_another_projects_checkout_has_no_commit(checkout, monkeypatch):
    assert commit_of_package_in(checkout / "site-packages", monkeypatch) is None
