"""What a machine is, from the files of its system."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPUS = "/sys/devices/system/cpu"


def facts(packages: Iterable[str]) -> dict[str, Any]:
    """This machine, and the cores and threads of it that this process may use.

    Args:
        packages: distributions whose versions are wanted, if they are installed.
    """
    return {
        "device": "cpu",
        "cpu": cpu(),
        "cores": physical_cores(),
        "threads": len(usable_cpus()),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "driver": driver(),
        "governor": read(f"{CPUS}/cpu0/cpufreq/scaling_governor").strip() or None,
        "versions": {"python": platform.python_version(), **_gpus(), **versions(packages)},
    }


def identity(found: dict[str, Any]) -> str:
    """A hash of facts: times of machines that differ in it are not to be compared."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def physical_cores() -> int:
    """Cores that this process may use; outside Linux, where no file lists them, its hardware threads."""
    return len(one_thread_a_core())


def one_thread_a_core() -> set[int]:
    """The first hardware thread of each core that this process may use."""
    cpus = usable_cpus()
    siblings = {cpu: read(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list") for cpu in sorted(cpus, reverse=True)}
    return cpus if "" in siblings.values() else {*{core: cpu for cpu, core in siblings.items()}.values()}


def capacity(cpu: int) -> int:
    """How fast a CPU is next to the others, where they differ, as on many Arm boards; 0 elsewhere."""
    return int(read(f"{CPUS}/cpu{cpu}/cpu_capacity").strip() or 0)


def usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cpu() -> str:
    name = _first_match(read("/proc/cpuinfo"), r"^model name\s*:\s*(.+)$")
    board = read("/proc/device-tree/model").strip("\0\n")  # an Arm board, whose processor has no name
    return name or board or platform.processor() or platform.machine() or "unknown"


def memory_gb() -> float:
    """Memory in 10^9 bytes; 0 where the system has no plain way to ask, as on Windows."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0


def driver() -> str | None:
    """The version of NVIDIA's driver; none without one."""
    return _first_match(read("/proc/driver/nvidia/version"), r"Kernel Module.*?\s(\d+\.[\d.]+)")


def _gpus() -> dict[str, str]:
    """Models of NVIDIA's GPUs."""
    paths = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [_first_match(read(str(path)), r"^Model:\s*(.+)$") for path in paths]
    return {"gpu": ", ".join(filter(None, models))} if any(models) else {}


def versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def throttlings() -> int | None:
    """How often heat has slowed the CPU down since the system started; none where the system does not count it."""
    counts = [read(str(path)) for path in Path(CPUS).glob("cpu*/thermal_throttle/core_throttle_count")]
    return sum(map(int, counts)) if counts and all(counts) else None


def _first_match(text: str, pattern: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip() if found else None


def read(path: str) -> str:
    """A file of the system's; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
