"""What a measurement was made on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from stdc_search import __version__
from stdc_search.records import Machine, read_machines
from stdc_search.storage import write_atomically

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "openvino", "optuna")


def describe_machine() -> Machine:
    """This machine, as records describe it: its hardware, not the part that a process was allowed to use."""
    has_gpu = torch.cuda.is_available()
    machine = Machine(
        id="",
        device=torch.cuda.get_device_name() if has_gpu else "cpu",
        cpu=_cpu(),
        cores=physical_cores(),
        threads=len(_usable_cpus()),
        memory_gb=_memory_gb(),
        system=f"{platform.system()} {platform.machine()}",
        driver=_driver() if has_gpu else None,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        versions={"python": platform.python_version(), "stdc-search": __version__, **_versions()},
        commit=_commit(),
    )
    content = json.dumps(machine.model_dump(exclude={"id", "commit"}), sort_keys=True)
    return machine.model_copy(update={"id": hashlib.sha256(content.encode()).hexdigest()[:16]})


@cache
def this_machine() -> Machine:
    """`describe_machine`, asked once a process."""
    return describe_machine()


def note_machine(path: Path, machine: Machine | None = None) -> Machine:
    """Add a machine, by default this one, to a file of machines by their ids."""
    machine = machine or this_machine()
    machines = {**read_machines(path), machine.id: machine}
    write_atomically(path, json.dumps({key: value.model_dump() for key, value in machines.items()}, indent=2) + "\n")
    return machine


def physical_cores() -> int:
    """Cores that this process may use; outside Linux, where no file lists them, its hardware threads."""
    return len(one_thread_a_core())


def one_thread_a_core() -> set[int]:
    """The first hardware thread of each core that this process may use."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cpus = _usable_cpus()
    siblings = {cpu: _read(topology.format(cpu)) for cpu in sorted(cpus, reverse=True)}
    return cpus if "" in siblings.values() else {*{core: cpu for cpu, core in siblings.items()}.values()}


def _usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cpu() -> str:
    name = _first_match(_read("/proc/cpuinfo"), r"^model name\s*:\s*(.+)$")
    return name or platform.processor() or platform.machine() or "unknown"


def _memory_gb() -> float:
    """Memory in 10^9 bytes; 0 where the system has no plain way to ask, as on Windows."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0


def _driver() -> str | None:
    return _first_match(_read("/proc/driver/nvidia/version"), r"Kernel Module\D*([\d.]+)")


def _first_match(text: str, pattern: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip() if found else None


def _read(path: str) -> str:
    """A file of the system's; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Commit of the checkout that the package lies in, marked `-dirty` if files differ; none if installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # else git would look upwards and find somebody else's
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
