"""The files of a run's folder."""

from pathlib import Path

import pytest

from stdc_search.errors import FolderInUseError
from stdc_search.run_folder import (
    CHECKPOINT,
    MACHINES,
    RESULTS,
    RUNNING,
    TRIES,
    WEIGHTS,
    candidate_folder,
    candidate_folders,
    default_folder,
    locked,
    note_running,
    place_of,
    remove_temporary,
    running,
    seed_folder,
    spec_name,
)
from stdc_search.storage import UNFINISHED
from tests.report.fakes import record


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("specs/mine.yaml", "mine"),
        ("runs/demo/spec.yaml", "demo"),
        ("runs/demo/networks/0008/spec.yaml", "demo_0008"),
        ("runs/demo/finals/networks/0008/spec.yaml", "demo_finals_0008"),
    ],
)
def test_what_is_made_from_a_spec_has_a_name_of_its_own(path, name):
    assert spec_name(Path(path)) == name
    assert default_folder(Path(path)) == Path("runs") / name


def test_a_runs_own_spec_goes_on_with_that_run_and_those_of_its_networks_and_finals_do_not(tmp_path):
    own = tmp_path / "demo" / "spec.yaml"
    network, finals = own.parent / "networks" / "0001" / "spec.yaml", own.parent / "finals" / "spec.yaml"
    finals.parent.mkdir(parents=True)
    for file in (own, own.with_name(MACHINES), finals, finals.with_name(MACHINES)):
        file.touch()
    assert default_folder(own) == own.parent
    assert default_folder(network) == Path("runs/demo_0001")
    assert default_folder(finals) == Path("runs/demo_finals")


def test_a_locked_folder_keeps_others_out_until_it_is_left(tmp_path):
    with locked(tmp_path / "run") as folder, pytest.raises(FolderInUseError, match="another process"), locked(folder):
        pass
    with locked(folder):
        pass


def test_what_a_killed_process_left_is_removed(tmp_path):
    orphan = candidate_folder(tmp_path, 0) / f".{WEIGHTS}.42{UNFINISHED}"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    (tmp_path / RESULTS).write_text('{"torn": ')
    with locked(tmp_path):
        assert not orphan.exists()
        assert (tmp_path / RESULTS).read_text("utf-8") == ""


def test_candidates_come_by_their_numbers_and_other_folders_are_left_out(tmp_path):
    for number in (10_000, 2):
        candidate_folder(tmp_path, number).mkdir(parents=True)
    for name in ("0002.bak", "2", "notes"):
        (tmp_path / "networks" / name).mkdir()
    assert list(candidate_folders(tmp_path)) == [2, 10_000]


def test_a_run_without_candidates_has_none(tmp_path):
    assert candidate_folders(tmp_path) == {}


def test_the_first_seed_is_trained_in_the_candidates_own_folder(tmp_path):
    assert seed_folder(tmp_path, 3, first=3) == tmp_path
    assert seed_folder(tmp_path, 4, first=3) == tmp_path / "seed-4"


def test_a_running_record_is_kept_until_the_candidate_has_ended(tmp_path):
    draft = record(7).model_copy(update={"state": "running"})
    note_running(tmp_path, draft)
    assert running(tmp_path) == draft
    remove_temporary(tmp_path)
    assert running(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1}'])
def test_a_damaged_running_record_is_none(tmp_path, content):
    (tmp_path / RUNNING).write_text(content)
    assert running(tmp_path) is None


def test_weights_outlive_what_is_temporary(tmp_path):
    for folder in (tmp_path, tmp_path / "seed-1"):
        folder.mkdir(exist_ok=True)
        for name in (CHECKPOINT, TRIES, WEIGHTS):
            (folder / name).touch()
    remove_temporary(tmp_path)
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {WEIGHTS}


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("runs/street/networks/0042", ("street", "0042")),
        ("runs/street/networks/0042/seed-1", ("street", "0042/seed-1")),
        ("runs/street/finals/networks/0042", ("street", "finals/0042")),
        ("networks/street/networks/0042", ("street", "0042")),
        ("elsewhere", ("elsewhere", "elsewhere")),
    ],
)
def test_a_training_has_its_place_in_a_run(folder: str, place: tuple[str, str]) -> None:
    assert place_of(Path(folder)) == place
