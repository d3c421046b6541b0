from __future__ import annotations

import io
import json
import shutil

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from stdc_search.errors import UserError
from stdc_search.report.candidates import candidates
from stdc_search.report.verdict import limits_note
from stdc_search.report.writing import Report, write_report
from stdc_search.spec.base import replace
from stdc_search.spec.search import LimitSpec
from tests.report.fakes import record, spec, write_run

RECORDS = [
    record(0, 45.1, 104.2, origin="start", name="stdc1"),
    record(1, 47.0, 151.3, origin="reference", name="stdc2", values={}),
    record(2, 41.0, 60.0),
    record(3, 40.0, 70.0),
    record(4, state="rejected", score=None, reason="too slow"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "camvid", RECORDS)


@pytest.fixture(scope="module")
def report(folder) -> Report:
    return write_report(folder)


def test_a_search_gets_tables_and_pictures(folder, report):
    names = {"table.csv", "table.md", "table.tex", "front.png", "front.svg", "overlay.png"}
    assert {path.name for path in (folder / "report").iterdir()} == names
    assert {path.name for path in report.paths} == names


def test_the_csv_has_every_trained_candidate(folder, report):
    assert pd.read_csv(folder / "report" / "table.csv")["number"].tolist() == [2, 3, 0, 1]


def test_markdown_and_latex_have_the_front_and_the_named_networks(folder, report):
    for name in ("table.md", "table.tex"):
        text = (folder / "report" / name).read_text("utf-8")
        assert "STDC1" in text and "STDC2" in text and "0002" in text
        assert "0003" not in text
        assert "Predicting the most common class everywhere gives mIoU 3.4" in text


def test_pictures_are_large_enough_to_print(folder, report):
    with Image.open(folder / "report" / "front.png") as image:
        assert image.width >= 1200


def test_what_is_printed_ends_with_where_things_are(folder, report):
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    lines = console.file.getvalue().rstrip().splitlines()
    assert lines[0].strip() == "Front of camvid on CamVid val at 360 × 480 after 40 epochs"
    assert lines[-4:] == [
        "candidates: 4 complete, 1 rejected by limits; 52.0 minutes",
        f"picture: {folder}/report/front.png",
        f"overlay: {folder}/report/overlay.png",
        f"best network by mIoU: {folder}/networks/0000/spec.yaml",
    ]
    assert (report.best, report.best_spec) == (0, folder / "networks" / "0000" / "spec.yaml")


def test_reported_again_all_tables_and_pictures_are_the_same(folder, report):
    before = {path: path.read_bytes() for path in report.paths}
    assert {path: path.read_bytes() for path in write_report(folder).paths} == before


def test_a_run_without_a_search_has_its_table_and_overlay_but_no_front(tmp_path):
    folder = write_run(tmp_path, [record(0, origin="base", values={})], spec(search=False))
    report = write_report(folder)
    assert {path.name for path in report.paths} == {"table.csv", "table.md", "table.tex", "overlay.png"}
    assert report.shown["network"].tolist() == ["0000"]
    assert report.notes[-1] == f"network: {folder}/networks/0000/spec.yaml"


def test_a_missing_sample_is_said_and_no_error(tmp_path):
    folder = write_run(tmp_path, [record(0, origin="base", values={})], spec(search=False))
    shutil.rmtree(folder / "networks" / "0000" / "sample")
    report = write_report(folder)
    assert f"no overlay: {folder}/networks/0000/sample is missing or damaged" in report.notes
    assert not (folder / "report" / "overlay.png").exists()


def test_a_network_whose_folder_was_removed_is_not_named_the_best(tmp_path):
    folder = write_run(tmp_path / "camvid", RECORDS)
    shutil.rmtree(folder / "networks" / "0000")
    report = write_report(folder)
    assert report.notes[-2:] == (
        "removed from the run folder: STDC1",
        f"best network by mIoU of those that are left: {folder}/networks/0002/spec.yaml",
    )
    assert (report.best, report.best_spec) == (2, folder / "networks" / "0002" / "spec.yaml")


def test_without_any_folder_of_the_front_no_network_is_named_the_best(tmp_path):
    folder = write_run(tmp_path / "camvid", RECORDS)
    shutil.rmtree(folder / "networks")
    report = write_report(folder)
    assert report.notes[-1] == "no best network: no folder of the front is left"
    assert (report.best, report.best_spec) == (None, None)


def test_a_class_that_no_network_finds_is_named_and_in_the_printed_and_the_saved_table(tmp_path):
    def blind(number, **changes):
        found = record(number, **changes)
        return found.model_copy(
            update={"score": found.score.model_copy(update={"iou": found.score.iou | {"pole": 0.0}})}
        )

    folder = write_run(tmp_path / "camvid", [blind(0, median_ms=50.0, miou=40.0), blind(1, median_ms=90.0, miou=45.0)])
    report = write_report(folder)
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    for text in (console.file.getvalue(), (folder / "report" / "table.md").read_text("utf-8")):
        assert "No network shown finds pole (IoU 0.0 %)" in text
        assert any("pole" in line and line.count("0.0") == 2 for line in text.splitlines())


def test_a_front_without_networks_says_why(tmp_path):
    run = replace(spec(), {"search.limits": {"score.miou": {"at_least": 50}}})
    folder = write_run(tmp_path / "camvid", [record(0, 33.0), record(1, 22.0)], run)
    notes = write_report(folder).notes
    assert "Not on the front: 0000, 0001 (mIoU below 50 %)" in notes
    assert notes[-1] == "no best network: none is on the front"


def test_scores_of_which_none_is_better_than_a_constant_prediction_are_pointed_out(tmp_path):
    notes = write_report(write_run(tmp_path / "camvid", [record(0, 3.0), record(1, 2.0)])).notes
    assert any("and no network has more: train longer" in note for note in notes)


def test_a_time_beyond_a_limit_is_named(tmp_path):
    run = replace(spec(), {"search.limits": {"latency.median_ms": {"at_most": 65}}})
    notes = write_report(write_run(tmp_path / "camvid", RECORDS, run)).notes
    assert "Beyond a limit: STDC1 (median 104.2 ms, limit 65 ms)" in notes


def test_a_limit_that_a_time_meets_only_when_measured_alone_says_so():
    run = replace(spec(), {"search.limits": {"latency.p95_ms": {"at_most": 60}}})
    frame = candidates(RECORDS[:1], {})
    again = frame.assign(**{"latency.beside": 4})
    assert limits_note(frame, run.required_search.limits) == "Beyond a limit: STDC1 (p95 114.6 ms, limit 60 ms)"
    assert limits_note(again, run.required_search.limits) == (
        "Slower than a limit allows when measured again beside the others: STDC1 (p95 114.6 ms, limit 60 ms)"
    )
    costs = {"cost.macs": LimitSpec(at_most=5e9)}
    assert limits_note(again, costs) == "Beyond a limit: STDC1 (5.731 GMACs, limit 5 GMACs)"


def test_the_overlay_has_the_mean_score_of_all_trainings(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("stdc_search.report.writing._save_overlay", lambda *its: drawn.extend(its[-1]) or ())
    write_report(write_run(tmp_path, [record(0, 40.0), record(1, 48.0, repeats=0, values=record(0).values)]))
    assert [one.score.miou for one in drawn] == [44.0]


def test_a_run_in_which_nothing_was_trained_says_why(tmp_path):
    failed = record(0, state="failed", score=None, reason="RuntimeError: out of memory", seconds={})
    report = write_report(write_run(tmp_path, [failed]))
    assert report.paths == ()
    assert report.notes == ("candidates: 0 complete, 1 failed (0000: RuntimeError: out of memory); under a second",)
    console = Console(file=io.StringIO())
    report.print(console)
    assert "out of memory" in console.file.getvalue()


def test_without_a_machine_file_the_machine_is_left_out(tmp_path):
    folder = write_run(tmp_path, [record(0, origin="base", values={}, score=None)], spec(search=False))
    (folder / "machine.json").unlink()
    assert write_report(folder).notes[0] == "PyTorch eager to labels, fp32, 2 threads"


def test_times_of_two_machines_in_one_front_are_pointed_out_in_table_and_picture(tmp_path):
    folder = write_run(tmp_path, [record(0, 40, 60), record(1, 50, 200, machine="ffff00001111")])
    shutil.rmtree(folder / "networks")
    report = write_report(folder)
    assert any(note.startswith("Do not compare the times on this front") for note in report.notes)
    assert "Do not compare the times" in (folder / "report" / "table.md").read_text("utf-8")
    assert "Do not compare the times" in (folder / "report" / "front.svg").read_text("utf-8")


def test_a_folder_that_no_run_made_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path}: has no `spec.yaml`"):
        write_report(tmp_path)


def test_machines_are_read_by_their_ids(folder, report):
    assert list(json.loads((folder / "machine.json").read_text("utf-8"))) == ["a1b2c3d4e5f6"]
    assert report.notes[0].endswith("AMD EPYC 7B13, 2 cores")


def test_doubtful_times_of_shown_networks_are_named_below_the_table_and_in_its_file(tmp_path):
    def busy(number, **changes):
        found = record(number, **changes)
        assert found.latency is not None
        return found.model_copy(update={"latency": found.latency.model_copy(update={"other_load": 0.6})})

    records = [*RECORDS[:2], busy(2, miou=41.0, median_ms=60.0), busy(3, miou=40.0, median_ms=70.0)]
    folder = write_run(tmp_path / "camvid", records)
    notes = write_report(folder).notes
    assert "Doubtful times; do not rank by them: 0002" in notes
    assert "0002: doubtful time: other processes used 60% of the CPU while this was measured" in notes
    assert "Doubtful times; do not rank by them: 0002." in (folder / "report" / "table.md").read_text("utf-8")


def test_candidates_that_doubtful_times_rejected_are_named_in_notes_table_and_picture(tmp_path):
    def rejected(number, **signs):
        found = record(number, median_ms=14.3, state="rejected", score=None)
        return found.model_copy(update={"latency": found.latency.model_copy(update=signs)})

    folder = write_run(tmp_path / "camvid", [*RECORDS[:2], rejected(2, other_load=0.6), rejected(3)])
    told = (
        "Rejected by doubtful times: 0002 (14.3 ms); a run in a new folder, with `--from` this one, measures them again"
    )
    assert told in write_report(folder).notes
    assert f"{told}." in (folder / "report" / "table.md").read_text("utf-8")
    assert "Rejected by doubtful times: 0002" in (folder / "report" / "front.svg").read_text("utf-8")


def test_a_run_whose_candidates_doubtful_times_rejected_says_so(tmp_path):
    found = record(0, state="rejected", score=None)
    busy = found.model_copy(update={"latency": found.latency.model_copy(update={"other_load": 0.6})})
    assert write_report(write_run(tmp_path / "camvid", [busy])).notes[0].startswith("Rejected by doubtful times: 0000")


def test_times_that_nothing_speaks_against_have_no_note(report):
    assert not any("oubtful" in note for note in report.notes)
