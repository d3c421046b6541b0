"""Searches with halving, whole: who is stopped, and that nothing else changes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stdc_search.records import read
from stdc_search.runner import run
from stdc_search.search import executors
from stdc_search.spec.run import RunSpec
from tests.search_specs import tiny_search

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
    return len((folder / "networks" / f"{record.number:04d}" / "curve.csv").read_text().splitlines()) - 1


def test_candidates_are_stopped_at_rungs_and_the_first_are_not(finished):
    folder, _, said = finished
    records = sorted(read(folder / "results.jsonl"), key=lambda record: record.number)
    assert [record.number for record in records] == list(range(12))
    assert {record.state for record in records[:4]} == {"complete"}
    stopped = [record for record in records if record.state == "stopped"]
    assert 4 <= len(stopped) <= 8
    for record in records:
        assert epochs(folder, record) == (4 if record.state == "complete" else max(record.rungs))
    assert all(
        record.reason == f"stopped after {max(record.rungs)} epochs, where others had better Pareto ranks"
        for record in stopped
    )
    assert "Scores after 1 epochs have a rank correlation of" in said
    assert not list(folder.rglob("running.json")) and not list(folder.rglob("checkpoint.pt"))


def test_the_report_says_how_far_the_rungs_can_be_trusted(finished):
    _, report, said = finished
    assert "Halving: rank correlation with the score at the end, over the first 4 candidates: " in said
    assert "stopped early" in said
    assert len(report.candidates) < 12


def test_who_comes_to_the_end_has_the_score_of_an_uncut_training(finished, tmp_path):
    folder, _, _ = finished
    run(halved(trials=4), tmp_path / "uncut")
    uncut = {str(record.values): record for record in read(tmp_path / "uncut" / "results.jsonl")}
    records = [record for record in read(folder / "results.jsonl") if record.number < 4]
    assert {str(record.values): record.score for record in records} == {key: one.score for key, one in uncut.items()}


def test_cut_at_any_trial_it_ends_as_if_it_had_not_been(finished, tmp_path, monkeypatch):
    folder, _, _ = finished
    run_trial = executors.run_trial
    for calls in (3, 5, 4):  # each begins where the last was cut
        left = iter(range(calls))

        def cut(*arguments, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return run_trial(*arguments)

        monkeypatch.setattr(executors, "run_trial", cut)
        with pytest.raises(KeyboardInterrupt):
            run(halved(halving=HALVING), tmp_path)
    monkeypatch.undo()
    run(halved(halving=HALVING), tmp_path)

    def ends(place):
        return {record.number: (record.values, record.state, record.score) for record in read(place / "results.jsonl")}

    assert ends(tmp_path) == ends(folder)


@pytest.mark.parametrize("kind", ["known_cost", "tpe", "nsgaii", "gp"])
def test_every_sampler_learns_from_those_that_wait(kind, tmp_path):
    run(halved(trials=6, halving={**HALVING, "rungs": [1]}, sampler={"kind": kind}), tmp_path)
    records = read(tmp_path / "results.jsonl")
    assert len(records) == 6 == len({record.identity for record in records})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"halving": {"rungs": [4]}}, r"a rung after 4 epochs is no stop: a training has 4; use fewer"),
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
