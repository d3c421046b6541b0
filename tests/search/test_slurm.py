"""docs/slurm.sh, with a real Ray and programs that stand in for those of SLURM on one node."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stdc_search.records import read
from stdc_search.run_folder import RESULTS
from stdc_search.spec.base import dump
from tests.search_specs import tiny_search

SCRIPT = Path(__file__).parents[2] / "docs/slurm.sh"
STANDS_IN = {"srun": '"$@"', "scontrol": f"echo {socket.gethostname()}"}
"""Programs of SLURM, as far as the script needs them."""


@pytest.mark.slow
def test_a_job_searches_and_the_same_command_finds_it_finished(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    spec = tiny_search(trials=2, executor={"kind": "ray", "address": "auto", "cpus_per_trial": 1})
    dump(spec, tmp_path / "search.yaml")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in STANDS_IN.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {"SLURM_JOB_NODELIST": "node", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    place = {**os.environ, **job, "PATH": path, "HOME": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    subprocess.run(["ray", "get-auth-token", "--generate"], env=place, check=True, capture_output=True)
    for _ in range(2):
        command = ["bash", str(SCRIPT), "search.yaml", "runs/search", "."]
        ended = subprocess.run(command, env=place, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    records = read(tmp_path / "runs/search" / RESULTS)
    assert [record.state for record in records] == ["complete"] * 2
