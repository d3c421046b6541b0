"""Times by a table: predicted in a search, measured for what it shows, refused where they are worse than stated."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from stdc_search.commands.run import run
from stdc_search.errors import UserError
from stdc_search.latency import describe_machine
from stdc_search.latency.forecast import Forecast
from stdc_search.latency.parts import words_of
from stdc_search.network.cost import named_parts
from stdc_search.records import Errors, TimeTable, read
from stdc_search.search.space import draw
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import RunSpec, load
from tests.search_specs import tiny_search
from tests.studies import stored

OBJECTIVES = {"score.miou": "maximize", "latency.median_ms": "minimize"}


def times_of(spec: RunSpec, a_part: float, largest: float) -> TimeTable:
    """A table that says the same of every part of a space."""
    words = {words_of(part) for run in draw(spec, 1000) for part in named_parts(run.network, run.image_size).values()}
    errors = Errors(mape=1, within_10=100, largest=largest, spearman=1)
    return TimeTable(
        machine=describe_machine().id,
        runtime=LatencySpec(threads=1).model_dump(mode="json"),
        device="cpu",
        parts=dict.fromkeys(words, a_part),
        networks=9,
        held_out=9,
        errors=errors,
        repeatability=errors,
    )


def search(folder: Path, a_part: float = 1, largest: float = 1e6, **sections: object) -> RunSpec:
    """A tiny search with such a table."""
    path = folder / "times.json"
    changes = {
        "latency": {"threads": 1, "repeats": 3, "table": str(path)},
        **{f"search.{name}": value for name, value in {"objectives": OBJECTIVES, "trials": 1, **sections}.items()},
    }
    spec = replace(tiny_search(), changes)
    path.write_text(times_of(spec, a_part, largest).model_dump_json())
    return spec


def said_by(spec: RunSpec, folder: Path) -> str:
    console = Console(file=io.StringIO(), width=200)
    run(spec, folder, console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_candidates_are_predicted_and_the_front_is_measured(tmp_path: Path):
    spec = search(tmp_path, a_part=1000, sampler={"kind": "random"}, trials=4)
    said = said_by(spec, tmp_path / "out")
    records = read(tmp_path / "out" / "results.jsonl")
    lines = [line for line in said.splitlines() if line[:4].isdigit() and ": mIoU" in line]
    assert len(lines) == len(records) == 4
    for record, line in zip(records, lines, strict=True):
        alone = load(tmp_path / "out" / "networks" / f"{record.number:04d}" / "spec.yaml")
        parts = len(named_parts(alone.network, alone.image_size))
        assert alone.latency is not None and alone.latency.table is None  # it runs without the table
        assert f"{1000 * parts:.1f} ms (predicted)" in line
        assert record.latency is not None
        if record.latency.source == "predicted":
            assert (record.latency.median_ms, record.latency.p95_ms) == (1000 * parts, None)
        else:
            assert record.latency.median_ms < 1000
    sources = [record.latency.source for record in records if record.latency]
    assert "measured" in sources
    assert "Their predicted times were off by" in said
    if "predicted" in sources:
        assert f"{sources.count('predicted')} of 4 times predicted" in said

    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    run(spec, tmp_path / "out")
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before

    with stored("out", f"sqlite:///{tmp_path / 'out' / 'study.db'}") as study:
        mine = {record.number: record.metric("latency.median_ms") for record in records}
        assert {trial.user_attrs["record"]: trial.values[1] for trial in study.trials} == mine


def test_a_limit_is_held_against_the_predicted_time_before_anything_is_built(tmp_path: Path):
    least = len(named_parts(tiny_search().network, tiny_search().image_size))
    limits = {"latency.median_ms": {"at_most": least + 0.5}}  # all with a second module are above it
    spec = search(tmp_path, limits=limits, sampler={"kind": "random"}, trials=2)
    run(spec, tmp_path / "out")
    rejected = [record for record in read(tmp_path / "out" / "results.jsonl") if record.state == "rejected"]
    assert rejected
    for record in rejected:
        assert record.reason is not None and f"is above {least + 0.5}" in record.reason
        assert not (tmp_path / "out" / "networks" / f"{record.number:04d}").exists()


def test_a_table_that_is_worse_than_stated_is_refused(tmp_path: Path):
    spec = search(tmp_path, a_part=1000, largest=3)
    with pytest.raises(UserError, match=r"more than twice the largest error that it states \(3\.0 %\)"):
        run(spec, tmp_path / "out")
    assert read(tmp_path / "out" / "results.jsonl") == []


def test_a_network_with_an_unknown_part_is_measured(tmp_path: Path):
    spec = search(tmp_path)
    assert spec.latency is not None
    forecast = Forecast.of(spec.latency)
    assert forecast(spec) is not None
    assert forecast(replace(spec, {"network.head.width": 24})) is None
    table = times_of(spec, 1, 1e6).model_copy(update={"parts": {}})
    (tmp_path / "times.json").write_text(table.model_dump_json())
    run(spec, tmp_path / "out")
    assert {record.latency and record.latency.source for record in read(tmp_path / "out" / "results.jsonl")} == {
        "measured"
    }


def test_a_missing_table_is_told_before_there_is_a_folder(tmp_path: Path):
    spec = search(tmp_path)
    (tmp_path / "times.json").unlink()
    with pytest.raises(UserError, match=r"times\.json: does not exist; make it with: stdc-search calibrate SPEC --out"):
        run(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_measured_above_a_limit_that_its_prediction_met_is_told(tmp_path: Path):
    limits = {"latency.median_ms": {"at_most": 0.01}}
    said = said_by(search(tmp_path, a_part=1e-5, limits=limits), tmp_path / "out")
    assert "Measured side by side, these are above the limit of 0.01 ms: 0000 (" in said


def test_a_reference_that_beats_the_front_does_not_keep_it_from_being_measured(tmp_path: Path, monkeypatch):
    from stdc_search.search.executors import in_process

    network = replace(tiny_search(), {"network.backbone.stages.0.width": 8}).network.model_dump(mode="json")
    vary = {**tiny_search().model_dump(mode="json")["search"]["vary"]}
    vary["network.backbone.stages.0.width"] = {"kind": "choice", "of": [16, 24]}
    spec = search(tmp_path, vary=vary, start=[{"name": "small", "network": network}], trials=2)
    # The reference is as accurate as can be and takes no time, so that it beats all others while they are predicted.
    run_trial = in_process.run_trial

    def best(*arguments):
        record = run_trial(*arguments)
        if record.origin != "reference":
            return record
        latency = record.latency.model_copy(update={"median_ms": 1e-9})
        return record.model_copy(update={"score": record.score.model_copy(update={"miou": 100.0}), "latency": latency})

    monkeypatch.setattr(in_process, "run_trial", best)
    run(spec, tmp_path / "out")
    records = read(tmp_path / "out" / "results.jsonl")
    assert {record.origin for record in records} == {"reference", "sampler"}
    assert {record.latency.source for record in records} == {"measured"}
