"""`stdc-search bundle`: from a space to a folder, to a table, to a search for a device that cannot be reached."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stdc_search.cli import app
from stdc_search.commands import calibrate
from stdc_search.commands.bundle import BLOCK, repetitive
from stdc_search.commands.run import run
from stdc_search.errors import UserError
from stdc_search.records import read, read_machines
from stdc_search.spec.base import dump, replace
from tests.search_specs import tiny_search
from tests.ssh_device import NEEDED, Device

LATENCY = {"runtime": "onnxruntime", "threads": 1, "warmup": 1, "repeats": 3}
OBJECTIVES = {"score.miou": "maximize", "latency.median_ms": "minimize"}


def test_large_weights_repeat_themselves():
    layer = repetitive(torch.nn.Linear(100, 100))
    weights = layer.weight.flatten()
    assert torch.equal(weights[:BLOCK], weights[BLOCK : 2 * BLOCK])
    assert weights[:BLOCK].unique().numel() > BLOCK / 2
    assert layer.bias.unique().numel() == 100


@pytest.mark.slow
@NEEDED
def test_a_space_is_carried_to_a_device_and_searched_by_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "DRAWN", 6)
    spec = tiny_search(latency=LATENCY, objectives=OBJECTIVES, trials=2)
    dump(spec, tmp_path / "spec.yaml")
    result = CliRunner().invoke(app, ["bundle", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "folder")])
    assert result.exit_code == 0, result.output
    (tmp_path / "device").mkdir()
    python = Device(tmp_path / "device").python  # which lacks this package and PyTorch
    environment = {"PYTHON": python, "PATH": os.environ["PATH"]}
    subprocess.run([tmp_path / "folder" / "run.sh"], env=environment, check=True, cwd="/", timeout=600)
    table = tmp_path / "folder" / "times.json"
    here = replace(spec, {"latency.table": str(table)})
    with pytest.raises(UserError, match=r"is of a device that was timed by hand; write `on: elsewhere` in `latency`"):
        run(here, tmp_path / "here")
    run(replace(here, {"latency.on": "elsewhere"}), tmp_path / "run")
    records = [record for record in read(tmp_path / "run" / "results.jsonl") if record.state == "complete"]
    machines = read_machines(tmp_path / "run" / "machine.json")
    assert len(records) == 2
    for record in records:
        assert record.latency is not None
        assert record.latency.source == "predicted"
        assert machines[record.latency.machine or ""].cores == 1


def test_a_table_that_is_missing_says_how_to_make_it(tmp_path: Path):
    how = {**LATENCY, "on": "elsewhere", "table": str(tmp_path / "pi" / "times.json")}
    with pytest.raises(UserError, match=r"does not exist; make it with: stdc-search bundle SPEC --out "):
        run(tiny_search(latency=how, objectives=OBJECTIVES), tmp_path / "run")
