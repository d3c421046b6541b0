"""Searches with halving, whole: who is stopped, and that nothing else changes."""

from __future__ import annotations

import io
import re
import shutil

import pandas as pd
import pytest
from rich.console import Console

from stdc_search.commands.run import run
from stdc_search.records import Latency, read
from stdc_search.search.driver import Driver
from stdc_search.search.executors import in_process
from stdc_search.search.halving import Halving
from stdc_search.search.study import Study
from stdc_search.spec.base import replace
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import HalvingSpec
from stdc_search.trial import trial
from tests.search_specs import run_with_cuts, tiny_search

HALVING = {"rungs": [1, 2], "probation": 4, "least_correlation": -1}


def halved(trials: int = 12, **search) -> RunSpec:
    return tiny_search(epochs=4, trials=trials, **{"sampler": {"kind": "random"}, **search})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "halved"
    console = Console(file=io.StringIO(), width=250)
    report = run(halved(halving=HALVING), folder, console=console)
    return folder, report, console.file.getvalue()


def epochs(folder, record) -> int:
    return len((folder / "networks" / f"{record.number:04d}" / "curve.csv").read_text("utf-8").splitlines()) - 1


def test_candidates_are_stopped_at_rungs_and_the_first_are_not(finished):
    folder, _, said = finished
    records = sorted(read(folder / "results.jsonl"), key=lambda record: record.number)
    assert [record.number for record in records] == list(range(12))
    assert {record.state for record in records[:4]} == {"complete"}
    stopped = [record for record in records if record.state == "stopped"]
    assert 1 <= len(stopped) <= 8  # how many depends on the scores, and so on the CPU
    for record in records:
        assert epochs(folder, record) == (4 if record.state == "complete" else max(record.rungs))
        curve = pd.read_csv(folder / "networks" / f"{record.number:04d}" / "curve.csv")
        assert record.training_loss == pytest.approx([curve["loss"][0]])  # so losses of all compare
    assert all(
        record.reason == f"stopped after {max(record.rungs)} epochs because others had better Pareto ranks"
        for record in stopped
    )
    assert "Rung after 1 epoch: rank correlation" in said
    assert not list(folder.rglob("running.json")) and not list(folder.rglob("checkpoint.pt"))


def test_the_report_says_how_far_the_rungs_can_be_trusted(finished):
    _, report, said = finished
    assert "Early stopping: rank correlation with final scores after removing what costs explain: " in said
    assert "stopped early" in said
    assert len(report.candidates) < 12


def test_who_comes_to_the_end_has_the_score_of_an_uncut_training(finished, tmp_path):
    folder, _, _ = finished
    run(halved(trials=4), tmp_path / "uncut")
    uncut = {str(record.values): record for record in read(tmp_path / "uncut" / "results.jsonl")}
    records = [record for record in read(folder / "results.jsonl") if record.number < 4]
    assert {str(record.values): record.score for record in records} == {key: one.score for key, one in uncut.items()}


@pytest.mark.slow
def test_cut_before_any_trial_it_ends_as_if_it_had_not_been(finished, tmp_path):
    folder, _, _ = finished
    run_with_cuts(halved(halving=HALVING), tmp_path, (3, 5, 4))

    def ends(place):
        return {record.number: (record.values, record.state, record.score) for record in read(place / "results.jsonl")}

    assert ends(tmp_path) == ends(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["known_cost", "tpe", "nsgaii", "gp"])
def test_every_sampler_learns_from_those_that_wait(kind, tmp_path):
    run(halved(trials=6, halving={**HALVING, "rungs": [1]}, sampler={"kind": kind}), tmp_path)
    records = read(tmp_path / "results.jsonl")
    assert len(records) == 6 == len({record.identity for record in records})


@pytest.mark.slow
def test_one_that_is_too_slow_among_the_first_is_replaced(tmp_path, monkeypatch):
    times = iter([10.0, 100.0, *[10.0] * 20])

    def measured(_module, size, *_):
        time = next(times)
        return Latency(
            runtime="eager", output="labels", image_size=size, threads=1, median_ms=time, fps=1e3 / time, samples=1
        ), ()

    monkeypatch.setattr(trial, "measure_network", measured)
    how = {"runtime": "eager", "warmup": 1, "repeats": 3}
    limited = halved(halving=HALVING, limits={"latency.median_ms": {"at_most": 50}}, latency=how)
    run(limited, tmp_path)
    records = sorted(read(tmp_path / "results.jsonl"), key=lambda record: record.number)
    assert [record.state for record in records[:5]] == ["complete", "rejected", *["complete"] * 3]
    later = {record.state for record in records[5:]}
    assert later == {"complete", "stopped"}


def test_a_limit_that_the_smallest_network_breaks_ends_the_search(tmp_path, monkeypatch):
    def measured(_module, size, *_):
        return Latency(
            runtime="eager", output="labels", image_size=size, threads=1, median_ms=4, fps=250, samples=1
        ), ()

    monkeypatch.setattr(trial, "measure_network", measured)
    console = Console(file=io.StringIO(), width=250)
    limited = tiny_search(
        limits={"latency.median_ms": {"at_most": 0.5}},
        latency={"runtime": "eager"},
        start=[{"ladder": 3}],
        objectives={"score.miou": "maximize", "latency.median_ms": "minimize"},
    )
    with pytest.raises(SpecError, match="no network was completed"):
        run(limited, tmp_path, console=console)
    assert [record.name for record in read(tmp_path / "results.jsonl")] == ["ladder 1", "ladder 2", "ladder 3"]
    assert "No network was inside the limits; the fastest takes 4.0 ms." in console.file.getvalue()


def test_a_ladder_without_the_smallest_network_ends_no_search(tmp_path, monkeypatch):
    """Image sizes vary, and a ladder has the file's own."""

    def measured(_module, size, *_):
        time = 4.0 if size == (48, 64) else 1.0
        return Latency(
            runtime="eager", output="labels", image_size=size, threads=1, median_ms=time, fps=1e3 / time, samples=1
        ), ()

    monkeypatch.setattr(trial, "measure_network", measured)
    limited = tiny_search(
        vary={
            "network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 3},
            "image_size": {"kind": "choice", "of": [[48, 64], [32, 32]]},
        },
        limits={"latency.median_ms": {"at_most": 0.9}},
        latency={"runtime": "eager"},
        start=[{"ladder": 3}],
        objectives={"score.miou": "maximize", "latency.median_ms": "minimize"},
    )
    with pytest.raises(SpecError, match="no network was completed"):
        run(limited, tmp_path)
    sizes = [record.image_size for record in read(tmp_path / "results.jsonl")]
    assert sizes == [(48, 64)] * 3 + [(32, 32)] * 3


@pytest.mark.slow
def test_a_reference_is_trained_to_its_end_and_compared_with_nobody(tmp_path):
    run(halved(trials=8, halving=HALVING, start=["stdc1"]), tmp_path)
    (reference,) = (record for record in read(tmp_path / "results.jsonl") if record.origin == "reference")
    assert reference.state == "complete"
    assert not reference.rungs


@pytest.mark.slow
def test_the_report_says_what_the_run_decided_by(tmp_path):
    console = Console(file=io.StringIO(), width=250)
    objectives = {"score.pixel_accuracy": "maximize", "cost.macs": "minimize"}
    run(halved(trials=5, halving=HALVING, objectives=objectives), tmp_path, console=console)
    said = console.file.getvalue()
    decided = re.findall(
        r"Rung after (\d) epochs?: rank correlation (unknown|\S+ \(\S+ to \S+\)) .* over 4 candidates", said
    )
    assert [epochs for epochs, _ in decided] == ["1", "2"]
    for epochs, correlation in decided:
        assert f"{correlation} after {epochs} epoch" in said


def test_of_several_scores_what_others_gained_is_expected_of_each():
    objectives = {"score.miou": "maximize", "score.boundary_f": "maximize", "cost.macs": "minimize"}
    halving = Halving(HalvingSpec(rungs=(1,), probation=4), objectives)
    for number in range(5):
        halving.begin(number)
        halving.reach(number, 1, [10, 20, 5])
    for number in range(4):
        halving.end(number, [40, 60, 5])
    study = Study(halved(halving=HALVING))
    assert Driver(study, None, None, None, lambda: None)._expected(halving)[4] == dict(
        zip(objectives, [40, 60, 5], strict=True)
    )


def test_a_copy_of_a_candidates_folder_is_no_candidate(tmp_path, monkeypatch):
    cut = iter([None])

    def interrupted(*_):
        next(cut)
        raise KeyboardInterrupt

    monkeypatch.setattr(in_process, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(halved(trials=2), tmp_path)
    monkeypatch.undo()
    shutil.copytree(tmp_path / "networks" / "0000", tmp_path / "networks" / "0000.bak")
    run(halved(trials=2), tmp_path)
    assert [record.number for record in read(tmp_path / "results.jsonl")] == [0, 1]


def test_rungs_beyond_the_steps_of_a_training_are_refused(tmp_path):
    spec = halved(halving=HALVING)
    spec = replace(spec, {"training.epochs": None, "training.steps": 4})
    with pytest.raises(
        SpecError,
        match=r"a rung after 2 epochs is not before the last epoch \(`training.steps` makes 2\); use a smaller one",
    ):
        run(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    vary = {"training.batch": {"kind": "choice", "of": [2, 4]}}
    with pytest.raises(ValueError, match="cannot vary with `halving`"):
        replace(spec, {"search.vary": vary})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"halving": {"rungs": [4]}}, r"a rung after 4 epochs is not before the last epoch \(4\); use a smaller one"),
        ({"halving": HALVING, "objectives": {"cost.macs": "minimize"}}, "compares candidates by a score"),
        (
            {"halving": HALVING, "vary": {"training.epochs": {"kind": "choice", "of": [3, 4]}}},
            "cannot vary with `halving`",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        halved(**change)
