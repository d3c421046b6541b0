"""`make test-gpu`, as far as it goes without a GPU: what fails or hangs is noted, and the rest goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu"])


def test_without_a_gpu_it_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 0
    assert capsys.readouterr().out.startswith("no GPU here")
    assert not gpu.OUT.exists()


@pytest.mark.parametrize("failing", [None, "two"])
def test_every_section_is_run_and_what_fails_is_written(failing: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(name: str, limit: float) -> dict[str, Any]:
        return {"figures": {name: 1}, "errors": {name: "broken"} if name == failing else {}}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    monkeypatch.setattr(gpu, "machine", lambda: {"device": "H100"})
    monkeypatch.setattr(gpu, "run_apart", apart)
    assert gpu.main() == (failing is not None)
    found = json.loads(gpu.OUT.read_text("utf-8"))
    assert list(found["figures"]) == list(gpu.SECTIONS)
    assert list(found["errors"]) == ([failing] if failing else [])
    assert found["machine"] == {"device": "H100"}


@pytest.mark.parametrize(
    ("then", "error"),
    [("", None), ("raise SystemExit(3)", "exit 3"), ("import time; time.sleep(60)", "exit stopped after 2 s")],
    ids=["ends", "fails", "hangs"],
)
def test_what_a_section_has_found_is_kept_however_it_ends(
    then: str, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f'print(\'a word\'); print(\'{{"figures": {{"x": 1}}, "errors": {{}}}}\', flush=True); {then}'
    monkeypatch.setattr(gpu, "command", lambda name: [sys.executable, "-S", "-c", code])
    found = gpu.run_apart("part", 2)
    assert found["figures"] == {"x": 1}
    assert found["errors"].get("part", "").startswith(error or "")
    assert bool(found["errors"]) == (error is not None)
