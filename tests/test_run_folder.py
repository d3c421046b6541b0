"""The files of a run's folder."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from stdc_search.errors import DamagedError, FolderInUseError, UserError
from stdc_search.report.writing import write_report
from stdc_search.run_folder import (
    CHECKPOINT,
    MACHINES,
    RESULTS,
    RUNNING,
    TRIES,
    WEIGHTS,
    candidate_folder,
    candidate_folders,
    check_run_folder,
    default_folder,
    locked,
    note_running,
    place_of,
    remove_temporary,
    running,
    seed_folder,
    spec_name,
)
from stdc_search.search.candidates import Candidates
from stdc_search.spec.run import load
from stdc_search.storage import UNFINISHED
from tests.report.fakes import record, write_run


def test_what_is_no_run_folder_leads_to_one(tmp_path):
    write_run(tmp_path / "runs/mine", [record(0, 50, 1)])
    check_run_folder(tmp_path / "runs/mine")
    (tmp_path / "file").touch()
    network = tmp_path / "runs/mine/networks/0000"
    (tmp_path / "empty").mkdir()
    for folder, told in {
        tmp_path / "runs": f"run folders in it: {tmp_path / 'runs/mine'}",
        network: f"is one network of a run; give the run's folder, {tmp_path / 'runs/mine'}",
        tmp_path / "file": "is a file; give the folder of a run",
        tmp_path / "gone": "does not exist",
        tmp_path / "empty": "give one such as runs/quickstart",
    }.items():
        with pytest.raises(UserError, match=f"^{re.escape(str(folder))}: .*{re.escape(told)}$"):
            check_run_folder(folder)


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
    orphan = candidate_folder(tmp_path, 0) / f".{WEIGHTS}.{2**22 + 1}{UNFINISHED}"  # above all numbers of processes
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    (tmp_path / RESULTS).write_text('{"torn": ')
    with locked(tmp_path):
        assert not orphan.exists()
        assert (tmp_path / RESULTS).read_text("utf-8") == ""


def test_what_a_live_process_is_writing_is_kept(tmp_path):
    (tmp_path / "report").mkdir()
    names = {f".index.html.{number}{UNFINISHED}" for number in (os.getppid(), os.getpid(), 2**22 + 1, "x", 10**30)}
    for name in names:
        (tmp_path / "report" / name).touch()
    with locked(tmp_path):
        left = {path.name for path in (tmp_path / "report").iterdir()}
    assert left == {f".index.html.{os.getppid()}{UNFINISHED}"}


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


@pytest.mark.parametrize("name", ["results.jsonl", "networks", "networks/0000", "networks/0000/weights.safetensors"])
def test_links_in_a_run_folder_are_refused_and_never_written_through(name, tmp_path):
    elsewhere, run = tmp_path / "elsewhere", write_run(tmp_path / "run", [record(0)])
    link = run / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    elsewhere.mkdir()
    link.symlink_to(elsewhere)
    for use in (lambda: locked(run).__enter__(), lambda: write_report(run)):
        with pytest.raises(DamagedError, match=f"{name}: is a link; a run folder must have its own files"):
            use()
    assert not list(elsewhere.iterdir())


VALUES = record(1).values


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"values": {}}, "values: network.backbone.stages.2.depth, "),
        ({"values": {**VALUES, "x": 1}}, "values: x: not as `search.vary` of spec.yaml has it"),
        ({"values": {**VALUES, "head": "64"}}, "values: head: not as"),
        ({"values": {**VALUES, "head": 65}}, "values: head: not as"),
        ({"score": None}, "is complete, but lacks score.miou"),
        ({"cost": None}, "is complete, but lacks cost"),
        (
            {"cost": {"parameters": 2**63, "macs": 1, "fvcore_flops": 1, "paper_flops": 1}},
            "cost.parameters: Input should",
        ),
        ({"number": -1}, "number: Input should be greater than or equal to 0"),
    ],
)
def test_a_record_that_the_run_cannot_have_written_is_named_with_its_line(change, complaint, tmp_path):
    run = write_run(tmp_path / "run", [record(0), record(1)])
    lines = (run / RESULTS).read_text("utf-8").splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    (run / RESULTS).write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises(DamagedError, match=f"results.jsonl:2: .*{re.escape(complaint)}"):
        write_report(run)
    with pytest.raises(DamagedError, match=re.escape(complaint)):
        Candidates(load(run / "spec.yaml"), run, lambda record: None)
