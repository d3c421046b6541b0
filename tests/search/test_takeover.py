"""Finished trainings of an earlier run in a new one: which fit, what of them is kept, and what a message says."""

import io
import shutil

import pytest
from rich.console import Console

from stdc_search.commands.run import run
from stdc_search.data.contents import Contents, File
from stdc_search.errors import UserError
from stdc_search.records import Latency, Record, append, read
from stdc_search.run_folder import CONTENTS, candidate_folder, note_running
from stdc_search.search import shown, takeover
from stdc_search.search.candidates import Candidates
from stdc_search.search.study import Study
from stdc_search.search.takeover import Earlier, TakeOver
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import load
from stdc_search.trial import training, trial
from tests.search_specs import tiny_search

TIMED = {"runtime": "eager", "repeats": 3}
TIME = Latency(runtime="eager", output="labels", image_size=(48, 64), threads=1, median_ms=9.0, fps=111.0, samples=3)
WIDER = {"search.vary.width.high": 64}


def searched(**search):
    return tiny_search(**{"trials": 3, "latency": TIMED, "sampler": {"kind": "random"}, **search})


@pytest.fixture(scope="module", autouse=True)
def steady():
    """Every time is 9 ms and not doubtful, whatever else the machine does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trial, "measure_network", lambda *_: (TIME, ()))
        patched.setattr(
            shown, "measure_together", lambda runs, *_: [[TIME.model_copy(update={"beside": 2})]] * len(runs)
        )
        yield


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of a finished search."""
    folder = tmp_path_factory.mktemp("runs") / "old"
    run(searched(), folder)
    return folder


@pytest.fixture
def untrained(monkeypatch):
    """Fails if anything is trained."""
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("a network was trained"))


@pytest.fixture
def untimed(monkeypatch):
    """Fails if the time of a candidate is measured."""
    monkeypatch.setattr(trial, "measure_network", lambda *_: pytest.fail("a network was timed"))


def records(folder) -> list[Record]:
    return read(folder / "results.jsonl")


def taken(old, spec, folder):
    """The candidates of a new folder into which an earlier run is taken over, and what is said."""
    folder.mkdir(exist_ok=True)
    candidates, said = Candidates(spec, folder, lambda _: None), []
    TakeOver(Earlier.open(old, folder), spec).do(candidates, None, said.append)
    return candidates, "\n".join(said)


def edited(old, folder, **changes):
    """A copy of an earlier run whose records have other fields."""
    shutil.copytree(old, folder)
    (folder / "results.jsonl").unlink()
    for record in records(old):
        append(folder / "results.jsonl", record.model_copy(update=changes))
    return folder


def test_a_wider_range_trains_none_of_the_finished_networks_again(old, tmp_path, untrained, untimed):
    console = Console(file=io.StringIO(), width=200)
    report = run(replace(searched(), WIDER), tmp_path / "new", earlier=[old], console=console)
    said = console.file.getvalue()
    assert f"Taken over from {old}: 3 trainings, which count as trials." in said
    assert "Candidates: 3 trained, none left." in said
    assert "3 complete (3 of them taken over from earlier runs)" in said
    assert len(report.candidates) == 3
    before = {record.number: record for record in records(old)}
    for record in records(tmp_path / "new"):
        assert (record.taken_from.run, record.taken_from.number) == (old.as_posix(), record.number)
        its = before[record.number]
        assert (record.score, record.training_loss, record.values) == (its.score, its.training_loss, its.values)


def test_unfinished_candidates_keep_their_numbers_and_files(old, tmp_path):
    first, second, *_ = records(old)
    being_trained = {"state": "running", "score": None, "training_loss": None}
    for number, record in ((0, first.model_copy(update=being_trained)), (4, second.model_copy(update=being_trained))):
        network = candidate_folder(tmp_path / "new", number)
        network.mkdir(parents=True)
        (network / "checkpoint.pt").write_bytes(b"hours of work")
        note_running(network, record.model_copy(update={"number": number}))
    candidates, _ = taken(old, searched(), tmp_path / "new")
    assert [record.number for record in candidates.records] == [5]  # the others are being trained
    kept = (candidate_folder(tmp_path / "new", number) / "checkpoint.pt" for number in (0, 4))
    assert [path.read_bytes() for path in kept] == [b"hours of work"] * 2


def test_the_new_folder_stands_on_its_own(old, tmp_path):
    copy = edited(old, tmp_path / "copy")
    candidates, _ = taken(copy, searched(), tmp_path / "new")
    shutil.rmtree(copy)
    for record in candidates.records:
        network = tmp_path / "new" / "networks" / f"{record.number:04d}"
        assert load(network / "spec.yaml").identity == record.identity
        names = {"spec.yaml", "weights.safetensors", "curve.csv", "images.csv", "sample"}
        assert {path.name for path in network.iterdir()} == names
        assert (network / "weights.safetensors").stat().st_size


def test_files_are_copied_where_they_cannot_be_linked(old, tmp_path, monkeypatch):
    def impossible(*_):
        raise OSError("another file system")

    monkeypatch.setattr(takeover.os, "link", impossible)
    taken(old, searched(), tmp_path / "new")
    weights = "networks/0001/weights.safetensors"
    assert (tmp_path / "new" / weights).read_bytes() == (old / weights).read_bytes()
    assert (tmp_path / "new" / weights).stat().st_ino != (old / weights).stat().st_ino


@pytest.mark.parametrize("calls", [1, 2])
def test_killed_in_the_middle_it_is_completed_without_duplicates(old, tmp_path, monkeypatch, calls):
    keep, left = Candidates.keep, iter(range(calls))

    def cut(self, record):
        if next(left, None) is None:
            raise KeyboardInterrupt
        keep(self, record)

    monkeypatch.setattr(Candidates, "keep", cut)
    with pytest.raises(KeyboardInterrupt):
        taken(old, searched(), tmp_path / "new")
    monkeypatch.undo()
    assert len(records(tmp_path / "new")) == calls
    taken(old, searched(), tmp_path / "new")
    assert [record.number for record in records(tmp_path / "new")] == [0, 1, 2]
    _, said = taken(old, searched(), tmp_path / "new")
    assert len(records(tmp_path / "new")) == 3 and said == ""


def test_networks_outside_of_the_space_stay_and_are_named(old, tmp_path):
    outside = [one.number for one in records(old) if one.values["network.backbone.stages.0.depth"] != 1]
    assert 0 < len(outside) < 3
    spec = replace(searched(), {"search.vary.network.backbone.stages.0.depth.high": 1})
    candidates, said = taken(old, spec, tmp_path / "new")
    assert len(candidates.records) == 3 - len(outside)
    assert f"{len(outside)} are outside of the space ({outside[0]:04d}: network.backbone.stages.0.depth " in said


def test_networks_above_a_limit_stay_and_are_named(old, tmp_path):
    costs = sorted(record.cost.parameters for record in records(old))
    spec = searched(limits={"cost.parameters": {"at_most": costs[0]}})
    candidates, said = taken(old, spec, tmp_path / "new")
    assert [record.cost.parameters for record in candidates.records] == costs[:1]
    assert "2 are above a limit (000" in said


def test_what_was_trained_otherwise_is_refused_with_the_reason(old, tmp_path):
    with pytest.raises(UserError) as error:
        run(replace(searched(), {"training.batch": 2}), tmp_path / "new", earlier=[old])
    message = str(error.value)
    assert message.startswith(f"--from {old}: nothing can be taken over:")
    assert "3 differ from this run in training.batch: 4 there, 2 here (0000, 0001, 0002)" in message
    assert not (tmp_path / "new").exists()


def test_another_precision_is_refused(old, tmp_path):
    with pytest.raises(UserError, match="3 were trained in bf16, and this run trains in fp32"):
        taken(edited(old, tmp_path / "bf16", precision="bf16"), searched(), tmp_path / "new")


def test_other_data_are_refused(old, tmp_path):
    copy = edited(old, tmp_path / "copy")
    files = {"train": {"a.png": (File(1, 2, "abc"),)}, "val": {}}
    other = Contents.read(copy / CONTENTS).model_copy(update={"files": files})
    with pytest.raises(UserError, match=r"its data differ, so no training fits:\n  train images: 1 added"):
        TakeOver(Earlier.open(copy, tmp_path / "new"), searched(), other)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--from .*: is not a run folder with results; give one such as"):
        run(searched(), tmp_path / "new", earlier=[tmp_path])


def test_the_runs_own_folder_is_refused_with_a_free_one(old):
    with pytest.raises(UserError, match=r"is the folder of this run itself; add a new one, such as --out \S+old_2"):
        run(searched(), old, earlier=[old])


def test_a_run_without_a_search_takes_nothing_over(old, tmp_path):
    with pytest.raises(UserError, match="the section `search` is missing"):
        run(searched().without_search(), tmp_path / "new", earlier=[old])


@pytest.mark.parametrize(
    ("changes", "latency"),
    [({"machine": "another"}, TIMED), ({}, {**TIMED, "threads": 1})],
    ids=["another machine", "other conditions"],
)
def test_times_that_do_not_hold_here_are_measured_again(old, tmp_path, monkeypatch, changes, latency):
    now = TIME.model_copy(update={"median_ms": 7.5})
    monkeypatch.setattr(trial, "measure_network", lambda *_: (now, ()))
    source = edited(old, tmp_path / "source", **changes)
    candidates, said = taken(source, searched(latency=latency), tmp_path / "new")
    assert [record.latency.median_ms for record in candidates.records] == [7.5] * 3
    assert {record.machine for record in candidates.records} == {candidates.machine.id}
    assert "3 of them were timed again" in said


def test_a_doubtful_time_near_the_limit_is_measured_again(old, tmp_path):
    own = TIME.model_copy(update={"median_ms": 14.3, "other_load": 0.5})
    spec = searched(limits={"latency.median_ms": {"at_most": 14}})
    candidates, _ = taken(edited(old, tmp_path / "source", latency=own), spec, tmp_path / "new")
    assert [record.latency.median_ms for record in candidates.records] == [9.0] * 3


def with_repeat(old, folder):
    """A copy of an earlier run that has trained its network 1 again with seed 1."""
    copy = edited(old, folder)
    spec = replace(load(copy / "networks" / "0001" / "spec.yaml"), {"training.seeds": [1]})
    shutil.copytree(copy / "networks" / "0001", copy / "networks" / "0003")
    dump(spec, copy / "networks" / "0003" / "spec.yaml")
    first = records(old)[1]
    append(copy / "results.jsonl", first.model_copy(update={"number": 3, "repeats": 1, "identity": spec.identity}))
    return copy


def test_a_repeat_goes_with_its_network_and_the_next_one_gets_other_seeds(old, tmp_path):
    source = with_repeat(old, tmp_path / "source")
    source_records = [one for one in records(source) if one.number in (1, 3)]
    (source / "results.jsonl").unlink()
    for record in source_records:
        append(source / "results.jsonl", record)
    spec = searched()
    candidates, _ = taken(source, spec, tmp_path / "new")
    assert [(record.number, record.repeats) for record in candidates.records] == [(0, None), (1, 0)]
    study = Study(spec, candidates.records)
    assert study._with_other_seeds(spec, 0, 2).training.seeds == (2,)


def test_a_repeat_stays_without_its_network(old, tmp_path):
    source = with_repeat(old, tmp_path / "source")
    shutil.rmtree(source / "networks" / "0001")
    candidates, said = taken(source, searched(), tmp_path / "new")
    assert len(candidates.records) == 2
    assert "1 repeat candidates that are not taken over (0003)" in said


def test_a_start_network_of_the_new_run_is_known_by_its_name(old, tmp_path):
    network = load(old / "networks" / "0001" / "spec.yaml").network
    spec = searched(start=[{"name": "mine", "network": network}])
    candidates, _ = taken(old, spec, tmp_path / "new")
    assert [(record.origin, record.name) for record in candidates.records] == [
        ("sampler", None), ("start", "mine"), ("sampler", None),
    ]  # fmt: skip
    assert Study(spec, candidates.records).started == {"mine"}


def test_networks_of_several_runs_come_once_each(old, tmp_path):
    spec = searched()
    taken(old, spec, tmp_path / "new")
    candidates, said = taken(edited(old, tmp_path / "copy"), spec, tmp_path / "new")
    assert len(candidates.records) == 3 and said == ""


@pytest.mark.parametrize("kind", ["known_cost", "nsgaii", "tpe"])
def test_samplers_learn_from_what_was_taken_over(old, tmp_path, kind):
    spec = searched(sampler={"kind": kind}, trials=4)
    candidates, _ = taken(old, spec, tmp_path / "new")
    study = Study(spec, candidates.records)
    assert study.trained == 3
    assert study.propose().identity not in {record.identity for record in candidates.records}


def test_with_early_stopping_losses_are_those_of_the_epochs_that_it_looks_at(tmp_path, old):
    spec = tiny_search(epochs=4, trials=1, halving=None)
    run(spec, tmp_path / "long")
    halved = replace(spec, {"search.halving": {"rungs": [2]}})
    (before,) = records(tmp_path / "long")
    candidates, _ = taken(tmp_path / "long", halved, tmp_path / "new")
    rows = (tmp_path / "long" / "networks" / "0000" / "curve.csv").read_text("utf-8").splitlines()
    losses = [float(row.split(",")[rows[0].split(",").index("loss")]) for row in rows[1:]]
    assert before.training_loss == pytest.approx([sum(losses[2:]) / 2])
    assert candidates.records[0].training_loss == pytest.approx([losses[1]])


@pytest.mark.slow
def test_finals_of_an_earlier_run_are_not_trained_again(tmp_path, untimed, monkeypatch):
    spec = tiny_search(trials=2, finals={"networks": 2, "epochs": 2}, sampler={"kind": "random"})
    run(spec, tmp_path / "old")
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("a network was trained"))
    console = Console(file=io.StringIO(), width=200)
    run(replace(spec, WIDER), tmp_path / "new", earlier=[tmp_path / "old"], console=console)
    assert f"Finals taken over from {tmp_path / 'old'}: 0000, 0001." in console.file.getvalue()
    assert len(records(tmp_path / "new" / "finals")) == 2
