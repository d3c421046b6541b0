"""What a run shows while it works, with a clock of ours."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from stdc_search.commands.screen import CALM, JsonLines, Screen
from stdc_search.records import Record
from stdc_search.run_folder import PROGRESS, note_progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def screen(clock: Clock, terminal: bool = False) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(Console(file=file, force_terminal=terminal, width=150, color_system=None), clock), file


def job(number: int = 3, name: str | None = "stdc1") -> Any:
    return SimpleNamespace(draft=SimpleNamespace(number=number, name=name, repeats=None))


def record(state: str = "complete") -> Record:
    what: dict[str, Any] = {"number": 3, "state": state, "origin": "sampler", "identity": "a", "values": {}}
    return Record(**what, image_size=(8, 8), started="", machine="here")


def test_a_log_gets_a_line_a_minute_with_the_time_left(clock: Clock) -> None:
    shown, file = screen(clock)
    with shown.bar(job()) as progress:
        for step in range(101):
            progress("train", step, 400, f"epoch {step // 40 + 1} of 10, loss 0.5, mIoU 31.0 %")
            clock.now += 1.0
    assert file.getvalue().splitlines() == [
        "0003 stdc1: train 60 of 400, epoch 2 of 10, loss 0.5, mIoU 31.0 %, 5.7 minutes left",
    ]


def test_other_lines_put_off_that_on_progress(clock: Clock) -> None:
    shown, file = screen(clock)
    with shown.bar(job()) as progress:
        progress("train", 0, 10)
        clock.now += CALM - 1
        shown.say("something else")
        clock.now += CALM - 1
        progress("train", 5, 10)
    assert file.getvalue() == "something else\n"


def test_a_log_tells_the_time_left_of_the_whole_search(clock: Clock, tmp_path: Path) -> None:
    shown, file = screen(clock)
    with shown.search("search", 10):
        with shown.bar(job()) as progress:
            progress("train", 0, 10)
            clock.now += 100.0
            progress("train", 5, 10)
        clock.now += 100.0
        shown.finished(record(), tmp_path)
        shown.finished(record("rejected"), tmp_path)
        with shown.bar(job()) as progress:
            clock.now += 100.0
            progress("train", 5, 10)
    running, complete, rejected, next_one = file.getvalue().splitlines()
    assert running.endswith("train 5 of 10, 100 seconds left; search 0 of 10")  # the first also loads and measures
    assert next_one.endswith("; search 1 of 10, 28.3 minutes left")
    assert complete.endswith("; search 1 of 10, 30.0 minutes left")
    assert rejected.endswith("; search 1 of 10, 30.0 minutes left")


def test_a_resumed_search_counts_what_was_done_and_is_timed_from_there(clock: Clock, tmp_path: Path) -> None:
    shown, file = screen(clock)
    with shown.search("search", 4, done=6):
        clock.now += 100.0
        shown.finished(record(), tmp_path)
    assert file.getvalue().endswith("; search 7 of 10, 5.0 minutes left\n")


def test_candidates_of_other_processes_are_shown_by_what_these_note(clock: Clock, tmp_path: Path) -> None:
    shown, _ = screen(clock, terminal=True)
    jobs = [job(3), job(4, None), job(5, None)]
    for one in jobs:
        one.folder = tmp_path / str(one.draft.number)
        one.folder.mkdir()
    note_progress(jobs[0].folder, "train", 0, 10, "")
    note_progress(jobs[1].folder, "train", 0, 10, "")
    (jobs[2].folder / PROGRESS).write_text('["train", 1')  # half of it is written
    with shown.search("search", 4):
        shown.follow(jobs)
        clock.now += 100.0
        note_progress(jobs[0].folder, "train", 5, 10, "epoch 1 of 2, loss 0.412")
        shown.follow(jobs)
        rows = {task.description: (task.completed, task.fields["note"]) for task in shown.bars.tasks}
        shown.follow(jobs[1:])
        shown.finished(record(), tmp_path)
        clock.now += 100.0
        note_progress(jobs[1].folder, "train", 6, 10, "")
        shown.follow(jobs[1:])
        whole = next(task for task in shown.bars.tasks if task.description == "search")
        assert (whole.completed, whole.fields["note"]) == (1.6, "5.0 minutes left")
    assert rows == {
        "search": (0.5, ""),
        "0003 stdc1: train": (5, "epoch 1 of 2, loss 0.412, 100 seconds left"),
        "0004: train": (0, ""),
    }
    assert not shown.bars.tasks and not shown.followed and not shown.running


def test_a_resumed_training_is_timed_from_where_it_resumes(clock: Clock) -> None:
    shown, file = screen(clock)
    with shown.bar(job()) as progress:
        progress("time", 0, 1)
        clock.now += 50.0
        progress("train", 80, 100)
        clock.now += 60.0
        progress("train", 90, 100)
    assert file.getvalue() == "0003 stdc1: train 90 of 100, 60 seconds left\n"


def test_the_time_left_stays_while_a_network_is_scored(clock: Clock) -> None:
    shown, file = screen(clock)
    with shown.bar(job()) as progress:
        progress("train", 0, 10)
        clock.now += 60.0
        progress("score", 1, 200)
    assert file.getvalue() == "0003 stdc1: score 1 of 200\n"


def test_counted_things_are_told_to_a_log_too(clock: Clock) -> None:
    shown, file = screen(clock)
    with shown.counter("labels of train") as told:
        told(1, 100_000)
        clock.now += 60.0
        told(25_001, 100_000)
    assert file.getvalue() == "labels of train 25,001 of 100,000, 3.0 minutes left\n"


def test_a_terminal_shows_bars_and_no_lines(clock: Clock, tmp_path: Path) -> None:
    shown, file = screen(clock, terminal=True)
    with shown.search("search", 4), shown.bar(job()) as progress:
        progress("train", 0, 10)
        clock.now += 100.0
        progress("train", 5, 10, "epoch 1 of 2, loss 0.412")
        rows = {task.description: task.fields["note"] for task in shown.bars.tasks}
        shown.bars.refresh()
    assert rows == {"search": "", "0003 stdc1: train": "epoch 1 of 2, loss 0.412, 100 seconds left"}
    assert "epoch 1 of 2, loss 0.412" in file.getvalue() and not shown.bars.tasks


def test_a_terminal_shows_the_front_so_far_above_the_bars(clock: Clock) -> None:
    shown, file = screen(clock, terminal=True)
    made = []

    def table() -> tuple[pd.DataFrame, str]:
        clock.now += 1.0
        made.append(clock.now)
        frame = pd.DataFrame({"network": ["0001", "0002"], "front": ["●", ""], "mIoU %": [41.0 + len(made), 30.0]})
        return frame, "Front so far"

    with shown.search("search", 4):
        shown.front(table)
        shown.front(table)  # too soon: one second of work is worth 50 seconds of rest
        shown.bars.refresh()
        assert "42.0" in file.getvalue() and "0002" not in file.getvalue() and len(made) == 1
        clock.now += 50.0
        shown.front(table)
        assert len(made) == 2


def test_a_log_has_no_front_so_far(clock: Clock) -> None:
    shown, file = screen(clock)
    shown.front(lambda: pytest.fail("nobody would see it"))
    assert not file.getvalue()


def test_a_program_gets_an_object_a_line(clock: Clock, tmp_path: Path) -> None:
    file = io.StringIO()
    shown = JsonLines(Console(file=file, width=30), clock)
    with shown.search("search", 4), shown.bar(job()) as progress:
        shown.say("a [note] with\na second line, longer than the console is wide")
        clock.now += CALM
        progress("train", 5, 10, "epoch 1 of 2")
        shown.finished(record(), tmp_path)
        shown.finished(record("failed"), tmp_path / "finals", tmp_path)
    note, progressed, first, second = map(json.loads, file.getvalue().splitlines())
    assert note == {"event": "note", "text": "a [note] with\na second line, longer than the console is wide"}
    assert progressed["event"] == "progress" and "epoch 1 of 2" in progressed["parts"][0]
    assert first["event"] == "candidate" and first["record"]["number"] == 3 and first["part"] == "search"
    assert second["part"] == "finals" and second["record"]["state"] == "failed"
