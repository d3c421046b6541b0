"""The finals of a search: choosing networks, training each once as declared, and reporting them."""

from __future__ import annotations

import io
import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from stdc_search.commands.begin import check_machine
from stdc_search.commands.plan import plan
from stdc_search.commands.run import _patient, run
from stdc_search.errors import UserError
from stdc_search.records import Record, read
from stdc_search.report.writing import write_report
from stdc_search.search.executors import in_process
from stdc_search.search.finals import _most_promising, finalists
from stdc_search.spec.base import dump, replace
from stdc_search.spec.executor import InProcessSpec, ProcessesSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import SearchSpec
from stdc_search.trial.training import Datasets
from tests.report.fakes import record
from tests.search_specs import run_with_cuts, tiny_search

FINALS = {"networks": 2, "epochs": 2, "seeds": [0, 1]}
TIMED = {"runtime": "eager", "warmup": 1, "repeats": 3}
NAMED = {"name": "small", "network": tiny_search().candidate({"network.detail": None}).network}
WIDE = {"name": "wide", "network": tiny_search().candidate({"width": 64}).network}
"""Outside the space."""


def with_finals(trials: int = 5, finals: dict | None = FINALS, **search) -> RunSpec:
    # Training this short rarely beats a constant prediction in mIoU, but always in boundaries.
    objectives = {"score.miou": "maximize", "score.boundary_f": "maximize", "latency.median_ms": "minimize"}
    search = {"objectives": objectives, "start": [NAMED, WIDE], **search}
    return tiny_search(trials=trials, latency=TIMED, finals=finals, **search)


def said_by(spec: RunSpec, folder) -> str:
    console = Console(file=io.StringIO(), width=250)
    run(spec, folder, console=console)
    return console.file.getvalue()


def results(folder) -> dict[int, Record]:
    return {record.number: record for record in read(folder / "results.jsonl")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, said_by(with_finals(), folder)


def test_start_networks_and_as_many_others_are_trained_as_the_finals_say(finished):
    folder, _ = finished
    search, finals = results(folder), results(folder / "finals")
    names = [record.name for record in finals.values()]
    assert sorted(names, key=str) == [None, None, "small", "wide"]
    for number, one in finals.items():
        assert one.state == "complete" and len(one.score.seed_miou) == 2
        assert (one.values, one.origin) == (search[number].values, search[number].origin)
        network = folder / "finals" / "networks" / f"{number:04d}"
        spec, before = load(network / "spec.yaml"), load(folder / "networks" / f"{number:04d}" / "spec.yaml")
        assert spec.network == before.network
        assert spec.training == before.training.model_copy(update={"epochs": 2, "seeds": (0, 1)})
        assert (network / "weights.safetensors").exists() and (network / "seed-1" / "weights.safetensors").exists()


def test_the_times_of_the_finals_are_those_of_the_search(finished):
    folder, _ = finished
    search, finals = results(folder), results(folder / "finals")
    assert all(finals[number].latency == search[number].latency for number in finals)
    assert all(record.latency.beside for record in finals.values())


def test_the_first_table_is_that_of_the_finals_and_the_agreement_stands_between(finished):
    folder, said = finished
    first, between, second = (
        said.index(text)
        for text in ("Finals: Front of tiny on", "Search and finals, mIoU of 4 networks:", "Search: Front")
    )
    assert first < between < second
    assert re.search(r"mIoU of 4 networks: rank correlation -?[01]\.\d\d; finals minus search: [+-]\d", said)
    report = write_report(folder)
    assert report.finals is not None and len(report.finals.shown) == 4 and set(report.finals.shown["seeds"]) == {2}
    assert "after 2 epochs" in report.finals.title and "after 1 epoch" in report.title
    assert (report.best, report.best_spec) == (report.finals.best, report.finals.best_spec)
    assert report.best_spec.is_relative_to(folder / "finals")
    assert said.rstrip().endswith(f"best network in the finals: {report.best_spec}")
    assert (folder / "finals" / "report" / "front.png").exists()


def test_the_plan_says_what_the_finals_add(finished):
    _, said = finished
    assert "Finals: 0 networks trained, up to 4 left, about " in said


def test_the_plan_goes_by_trainings_on_this_machine(finished):
    folder, _ = finished
    spec = load(folder / "spec.yaml")
    data = Datasets.open(spec.data, 1, None)

    def said(**changes) -> str:
        changes |= {"seconds": {"train": 6e5}}  # an estimate of this tiny training is far below it
        return " ".join(plan(spec, [one.model_copy(update=changes) for one in results(folder).values()], data, 3))

    assert "about 500.0 hours in all (166.7 hours each, the mean so far)" in said()
    assert "each, as for the file's own network" in said(machine="another") and "hours" not in said(machine="another")


def test_run_again_nothing_is_trained_and_nothing_changes(finished, monkeypatch):
    folder, _ = finished
    before = (folder / "finals" / "results.jsonl").read_bytes()
    monkeypatch.setattr(in_process, "run_trial", lambda *_: pytest.fail("a network was trained again"))
    assert "Finals: 4 networks trained, none left." in said_by(with_finals(), folder)
    assert (folder / "finals" / "results.jsonl").read_bytes() == before


def test_more_finalists_join_and_other_finals_are_refused(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "more")
    before, written = results(folder / "finals"), (folder / "spec.yaml").read_text("utf-8")
    run(with_finals(finals={**FINALS, "networks": 3}), folder)
    after = results(folder / "finals")
    assert len(after) == 5 and all(after[number].score == record.score for number, record in before.items())
    with pytest.raises(SpecError, match=r"finals: was started with another spec.*\n.*training\.epochs: 2 there, 3"):
        run(with_finals(finals={**FINALS, "epochs": 3}), folder)
    with pytest.raises(SpecError, match=r"search\.finals\.warm_start: false there, true here"):
        run(with_finals(finals={**FINALS, "warm_start": True}), folder)
    assert (folder / "spec.yaml").read_text("utf-8") == written.replace("networks: 2", "networks: 3")


@pytest.mark.slow
def test_more_seeds_are_trained_behind_those_of_before(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished[0], tmp_path / "more")
    before, whole = results(folder / "finals"), tmp_path / "whole"
    more = with_finals(finals={**FINALS, "seeds": [0, 1, 2]})
    weights = {path: path.read_bytes() for path in (folder / "finals").rglob("weights.safetensors")}
    said = said_by(more, folder)
    assert "Finals: 4 networks trained, 4 of them get more seeds, about " in said
    after = results(folder / "finals")
    for number, one in after.items():
        old, its = before[number], folder / "finals" / "networks" / f"{number:04d}"
        assert one.score.seed_miou[:2] == old.score.seed_miou and one.training_loss[:2] == old.training_loss
        assert one.trainings == len(one.training_loss) == 3
        assert one.score.miou == pytest.approx(sum(one.score.seed_miou) / 3)
        assert one.seconds["train"] > old.seconds["train"]
        assert one.identity == load(its / "spec.yaml").identity and (its / "seed-2" / "weights.safetensors").exists()
    assert all(path.read_bytes() == content for path, content in weights.items())
    assert not list(folder.rglob("checkpoint.pt")) and not list(folder.rglob("running.json"))
    # The same as if all seeds had been trained at once.
    shutil.copytree(finished[0], whole, ignore=shutil.ignore_patterns("finals"))
    run(more, whole)
    for number, one in results(whole / "finals").items():
        assert one.score.seed_miou == after[number].score.seed_miou
        assert after[number].score.iou == pytest.approx(one.score.iou)
    monkeypatch.setattr(in_process, "run_trial", lambda *_: pytest.fail("a network was trained again"))
    run(more, folder)
    with pytest.raises(
        SpecError, match=r"seeds: \[0, 1, 2\] there, \[3, 4\] here\n.*behind these: \[0, 1, 2, \.\.\.\]"
    ):
        run(with_finals(finals={**FINALS, "seeds": [3, 4]}), folder)


@pytest.mark.slow
def test_seeds_that_fail_leave_those_of_before(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished[0], tmp_path / "more")
    before = results(folder / "finals")
    more = with_finals(finals={**FINALS, "seeds": [0, 1, 2]})

    def breaks(*_arguments, **_options):
        raise MemoryError("no memory left")

    from stdc_search.trial import training

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", breaks)
        assert "no memory left" in said_by(more, folder)
    assert results(folder / "finals") == before
    run(more, folder)
    assert all(one.trainings == 3 for one in results(folder / "finals").values())


@pytest.mark.slow
def test_finalists_of_before_are_timed_with_those_that_more_trials_bring(finished, tmp_path):
    folder, _ = finished
    grown = shutil.copytree(folder, tmp_path / "grown")
    said = said_by(with_finals(trials=8), grown)
    search, finals = results(grown), results(grown / "finals")
    assert finals.keys() >= results(folder / "finals").keys()
    for number, one in finals.items():
        assert (one.latency, one.machine) == (search[number].latency, search[number].machine)
    assert len({one.latency.beside for one in finals.values()}) == 1
    assert "Finals: 4 networks trained, up to 4 left" in said or "Finals: 5 networks trained, up to 4 left" in said


def test_finals_of_which_only_a_reference_is_done_are_reported(finished, tmp_path):
    folder, _ = finished
    half = shutil.copytree(folder, tmp_path / "half")
    (reference,) = (one for one in results(half / "finals").values() if one.origin == "reference")
    (half / "finals" / "results.jsonl").write_text(reference.model_dump_json() + "\n", "utf-8")
    report = write_report(half)
    assert report.finals is not None and len(report.finals.shown) == 1
    assert report.best_spec.is_relative_to(half / "networks")


def test_a_start_network_without_finals_is_named(tmp_path, monkeypatch):
    from stdc_search.trial import training

    train, calls = training.train, itertools.count(1)

    def breaks_at_first(*arguments, **options):
        if next(calls) == 1:
            raise MemoryError("no memory left")
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", breaks_at_first)
    assert "No finals for small: the search did not complete them." in said_by(timeless(), tmp_path)


def test_finals_may_take_as_much_longer_as_they_are():
    executor = ProcessesSpec(kind="processes", timeout=60.0)
    spec = tiny_search(trials=6, finals={"epochs": 3, "seeds": [0, 1]})
    datasets = Datasets.open(spec.data, 1.0, None)
    assert _patient(executor, spec, datasets).timeout == 60.0 * 6
    assert _patient(InProcessSpec(), spec, datasets) == InProcessSpec()


def test_a_larger_batch_with_the_same_epochs_is_no_shorter_training():
    spec = tiny_search(epochs=3, trials=6, finals={"epochs": 3, "batch": 3, "seeds": [1]})
    check_machine(spec, Datasets.open(spec.data, 1.0, None))


@pytest.mark.slow
def test_a_search_that_ended_without_finals_gets_them_later_and_0_networks_cancel_them(tmp_path):
    run(timeless(finals=None), tmp_path)
    search = (tmp_path / "results.jsonl").read_bytes()
    run(timeless(finals={**FINALS, "networks": 0}), tmp_path)
    assert not (tmp_path / "finals").exists()
    run(timeless(), tmp_path)
    assert (tmp_path / "results.jsonl").read_bytes() == search
    assert len(results(tmp_path / "finals")) == 3


@pytest.mark.slow
def test_cut_before_any_training_the_finals_end_as_if_they_had_not_been(tmp_path):
    run_with_cuts(timeless(), tmp_path / "cut", (5, 1))
    run(timeless(), tmp_path / "uncut")
    ends = [
        {n: (one.values, one.score) for n, one in results(tmp_path / name / "finals").items()}
        for name in ("cut", "uncut")
    ]
    assert ends[0] == ends[1]


def timeless(**search) -> RunSpec:
    return tiny_search(**{"trials": 4, "start": [NAMED], "finals": FINALS, **search})


@pytest.mark.slow
def test_a_warm_start_begins_with_the_weights_of_the_search(tmp_path):
    run(timeless(), tmp_path / "cold")
    run(replace(timeless(), {"search.finals": {**FINALS, "warm_start": True}}), tmp_path / "warm")
    for one in results(tmp_path / "warm" / "finals").values():
        assert one.started_from.file == "weights.safetensors"
        assert one.started_from.taken == one.started_from.tensors
    cold, warm = ({n: one.score for n, one in results(tmp_path / name / "finals").items()} for name in ("cold", "warm"))
    assert cold.keys() == warm.keys() and cold != warm


@pytest.mark.slow
def test_processes_train_the_same_finals(tmp_path):
    one = timeless(sampler={"kind": "random"})
    run(one, tmp_path / "one")
    run(replace(one, {"search.executor": {"kind": "processes", "workers": 2}}), tmp_path / "two")
    values = [{n: r.values for n, r in results(tmp_path / name / "finals").items()} for name in ("one", "two")]
    assert len(values[0]) == len(values[1]) == 3 and not list((tmp_path / "two").rglob("running.json"))


def test_a_final_that_fails_is_a_record_and_the_others_go_on(tmp_path, monkeypatch):
    from stdc_search.trial import training

    train, calls = training.train, itertools.count(1)

    def breaks_once(*arguments, **options):
        if next(calls) == 5:
            raise MemoryError("no memory left")
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", breaks_once)
    said = said_by(timeless(), tmp_path)
    assert [one.state for one in results(tmp_path / "finals").values()] == ["failed", "complete", "complete"]
    assert "Search and finals, mIoU of 2 networks: too few for a rank correlation; finals minus" in said


def test_the_declared_finals_survive_a_file(tmp_path):
    spec = timeless()
    dump(spec, tmp_path / "spec.yaml")
    assert load(tmp_path / "spec.yaml") == spec
    assert load(tmp_path / "spec.yaml").search.finals.changes == {"epochs": 2, "steps": None, "seeds": (0, 1)}


@pytest.mark.parametrize(
    ("finals", "message"),
    [
        ({}, r"search\.finals: trains networks exactly as the search has done"),
        ({"seeds": [0], "cache_gb": 1.0}, r"search\.finals: trains networks exactly as the search has done"),
        ({"epochs": None}, r"search\.finals: neither is given of `epochs` and `steps`"),
        ({"epochs": 1}, r"search\.finals\.epochs: 1 is less than the 3 of the search; write 3 or more"),
        ({"networks": 9}, r"search\.finals\.networks: 9 is more than the 6 networks .*; write 6 or less"),
        ({"epoch": 9}, r"search\.finals\.epoch: .*`epochs`"),
        ({"epochs": 6, "steps": 90}, r"search\.finals: both of `epochs` and `steps` are given"),
        ({"loss": {"class_weights": [1.0, 2.0]}}, r"search\.finals\.loss\.class_weights: 2 numbers for 11 classes"),
        ({"batch": 1}, r"search\.finals\.batch"),
        ({"seeds": [1, 1]}, r"search\.finals\.seeds: .*twice"),
        ({"warm_start": True, "start_from": "w.pt"}, r"search\.finals\.start_from: has no effect with `warm_start`"),
    ],
)
def test_finals_that_cannot_be_meant_are_refused(finals, message):
    spec = replace(tiny_search(trials=6), {"training.epochs": 3})
    with pytest.raises((SpecError, ValueError), match=message):
        replace(spec, {"search.finals": finals})


@pytest.mark.parametrize(
    ("finals", "message"),
    [
        ({"steps": 3}, r"search\.finals: the finals train on 12 images in all, fewer than the search's 24"),
        ({"epochs": 9, "precision": "fp16"}, r"fp16 needs a GPU"),
        ({"epochs": 9, "start_from": "/nowhere/w.pt"}, r"search\.finals\.start_from: /nowhere/w\.pt does not exist"),
        ({"epochs": 9, "batch": 16}, r"search\.finals\.batch: 16 is more than the 8 training images"),
    ],
)
def test_finals_that_do_not_fit_the_data_are_refused_before_the_search(tmp_path, finals, message):
    spec = replace(tiny_search(trials=6), {"training.epochs": 3, "search.finals": finals})
    with pytest.raises(UserError, match=message):
        run(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_finals_cannot_set_what_the_search_varies():
    rate = {"training.optimizer.learning_rate": {"kind": "float", "low": 0.001, "high": 0.1}}
    finals = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    with pytest.raises((SpecError, ValueError), match=r"the search varies `training\.optimizer\.learning_rate`"):
        tiny_search(trials=6, vary=rate, finals=finals)


def test_the_default_number_of_finalists_is_checked_too():
    """A spec that is accepted is written into the run folder, and must be read there again."""
    with pytest.raises((SpecError, ValueError), match="6 is more than the 5 networks"):
        tiny_search(trials=5, finals={"epochs": 9})


def test_a_variant_of_finals_has_no_field_that_nobody_gave(tmp_path):
    spec = replace(timeless(), {"search.finals.networks": 3})
    assert spec.search.finals.changes == timeless().search.finals.changes
    dump(spec, tmp_path / "spec.yaml")
    assert load(tmp_path / "spec.yaml").search.finals.changes == spec.search.finals.changes


SEARCH = SearchSpec.model_validate(
    {
        "vary": {"depth": {"kind": "int", "low": 1, "high": 40, "sets": ["network.backbone.stages.0.depth"]}},
        "trials": 40,
        "start": ["stdc1", {"ladder": 2}],
        "finals": {"networks": 4},
    }
)


def test_finalists_are_accurate_spread_and_start_networks_are_among_them():
    rng = np.random.default_rng(0)
    trained = [
        record(i, 40 + 5 * np.log(depth) + rng.normal(), float(depth), values={"depth": depth})
        for i, depth in enumerate(range(1, 41))
    ]
    trained[10] = trained[10].model_copy(update={"origin": "start", "name": "stdc1"})
    trained[0] = trained[0].model_copy(update={"origin": "start", "name": "ladder 1"})
    bad = record(50, 20.0, 12.5, values={"depth": 30})
    chosen = finalists([*trained, bad], SEARCH)
    assert len(chosen) == 5 and 10 in {one.number for one in chosen} and bad not in chosen
    depths = sorted(one.values["depth"] for one in chosen)
    assert depths[0] <= 8 and depths[-1] >= 25, depths


def test_networks_are_chosen_by_what_they_add_to_the_hypervolume():
    points = np.array([[10.0, 1.0], [20.0, 4.0], [21.0, 4.2], [30.0, 16.0], [5.0, 16.0]])  # score, cost
    on_front = np.array([1.0, 1, 1, 1, 0])
    _, *picked = _most_promising(points[None], on_front, ["maximize", "minimize"], [1], 3)
    assert set(picked[:2]) == {0, 3} and picked[2] == 2


def test_repeats_are_one_finalist():
    again = record(3, 60.0, 10.0, values={"depth": 5}, repeats=0)
    assert [one.number for one in finalists([record(0, 50.0, 10.0, values={"depth": 5}), again], SEARCH)] == [0]


@pytest.mark.slow
def test_killed_at_twenty_random_moments_finals_lose_and_repeat_nothing(tmp_path):
    spec = tiny_search(trials=4, finals={"networks": 3, "epochs": 60, "seeds": [*range(6)], "checkpoint_every": 5})
    out, rng = tmp_path / "out", random.Random(0)
    # All in processes of their own: what tests have imported may change how torch rounds.
    command = [sys.executable, "-m", "stdc_search", "run", str(tmp_path / "tiny.yaml"), "--out", str(out)]
    dump(replace(spec, {"search.finals": None}), tmp_path / "tiny.yaml")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    before = (out / "results.jsonl").read_bytes()
    dump(spec, tmp_path / "tiny.yaml")
    kept: list[str] = []
    for kill in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = time.time()
        while kill % 4 and process.poll() is None:  # the others in the midst of starting
            curves = [
                *(out / "finals").glob("networks/*/curve.csv"),
                *(out / "finals").glob("networks/*/seed-*/curve.csv"),
            ]
            if any(file.stat().st_mtime > begun for file in curves):
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 2))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the finals ended by themselves"
        lines = (out / "finals" / "results.jsonl").read_text("utf-8").splitlines() if kept else []
        assert lines[: len(kept)] == kept
        if (out / "finals" / "results.jsonl").exists():
            kept = [one.model_dump_json() for one in read(out / "finals" / "results.jsonl")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (out / "results.jsonl").read_bytes() == before
    subprocess.run([*command[:-1], str(tmp_path / "uncut")], stdout=subprocess.DEVNULL, check=True)
    ends = [{n: one.score for n, one in results(folder / "finals").items()} for folder in (out, tmp_path / "uncut")]
    assert ends[0] == ends[1] and len(ends[0]) == 3
    assert not list(out.rglob("running.json")) and not list(out.rglob("checkpoint.pt"))
