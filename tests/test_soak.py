"""`make soak` in short, and whether it would see what it looks for."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import soak
from stdc_search.commands.calibrate import MEASURED, TABLE
from stdc_search.commands.run import run
from stdc_search.device.calibration import Measured, line_of
from stdc_search.run_folder import RESULTS


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "uncut"
    run(soak.small({"search.trials": 2, "training.epochs": 1}), folder)
    return folder


def lose_a_record(folder: Path) -> None:
    path = folder / RESULTS
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def train_twice(folder: Path) -> None:
    path = folder / RESULTS
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[0].replace('"number":0', '"number":2'), ""]), "utf-8")


def change_a_score(folder: Path) -> None:
    path = folder / RESULTS
    path.write_text(path.read_text("utf-8").replace('"miou":', '"miou":1'), "utf-8")


def tear(folder: Path) -> None:
    path = next(folder.rglob("weights.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def write_a_record_twice(folder: Path) -> None:
    path = folder / RESULTS
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])


def cut_a_picture(folder: Path) -> None:
    path = next(folder.rglob("*.png"))
    path.write_bytes(path.read_bytes()[:50])


def spoil_the_copy(folder: Path) -> None:
    (folder / "study.db").write_bytes(b"x" * 5000)


def leave_behind(folder: Path) -> None:
    (folder / "networks/0000/checkpoint.pt").write_bytes(b"x")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lose_a_record, "has 1 records, not 2"),
        (train_twice, "twice"),
        (change_a_score, "differs from that of the run that was not stopped"),
        (tear, "weights.safetensors cannot be read"),
        (write_a_record_twice, "has 0 twice"),
        (cut_a_picture, ".png cannot be read"),
        (spoil_the_copy, "study.db cannot be read"),
        (lambda folder: next(folder.rglob("weights.safetensors")).unlink(), "the files differ: "),
        (lambda folder: (folder / RESULTS).write_bytes((folder / RESULTS).read_bytes()[:-1]), "results.jsonl cannot"),
        (leave_behind, "checkpoint.pt was left behind"),
        (lambda folder: None, ""),
    ],
)
def test_what_is_lost_torn_or_left_is_seen(
    uncut: Path, tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    shutil.copytree(uncut, tmp_path / "run")
    harm(tmp_path / "run")
    wrong = [*soak.torn(tmp_path / "run"), *soak.differences(tmp_path / "run", uncut, alike=True)]
    assert any(told in one for one in wrong) if told else wrong == []


@pytest.mark.parametrize(
    ("lines", "told"), [("a0 b0 b1", ""), ("a0 b0", "has 2 lines, not 3"), ("a0 b0 b0", "something twice")]
)
def test_a_measurement_that_is_lost_or_made_twice_is_seen(tmp_path: Path, lines: str, told: str) -> None:
    for name, measured in {"uncut": "a0 b0 b1", "run": lines}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / TABLE).write_text("{}")
        every = [Measured(key, int(turn), "cpu", 1, 1, []) for key, turn in measured.split()]
        (folder / MEASURED).write_text("".join(f"{line_of(one)}\n" for one in every))
    wrong = [*soak.differences(tmp_path / "run", tmp_path / "uncut", alike=True)]
    assert any(told in one for one in wrong) if told else wrong == []


def test_a_search_that_is_killed_twice_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "PER_ROUND", 2)
    monkeypatch.setitem(soak.PHASES, "search", soak.Phase({"search.trials": 3}))
    _, _, wrong = soak.round_of("kills", "search", random.Random(0), tmp_path / "run", tmp_path)
    assert wrong == []
