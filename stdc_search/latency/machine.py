"""What a measurement was made on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from stdc_search import __version__
from stdc_search.device.hardware import facts, identity
from stdc_search.records import Machine, read_machines
from stdc_search.storage import write_atomically

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "openvino", "ncnn", "optuna")


def describe_machine() -> Machine:
    """This machine, as records describe it."""
    found = facts(PACKAGES)
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
    else:
        found["driver"] = None
    python, *others = found["versions"].items()
    found["versions"] = dict([python, ("stdc-search", __version__), *others])
    return machine_of(found, _commit())


def machine_of(found: Mapping[str, Any], commit: str | None = None) -> Machine:
    """A machine by its facts (`device/hardware.py`)."""
    return Machine(id=identity(dict(found)), **found, commit=commit)


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
