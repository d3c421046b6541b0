"""A run and its folder: goes on where it stopped, refuses another spec, survives kill -9."""

import io
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from stdc_search.commands import begin
from stdc_search.commands.begin import check_machine
from stdc_search.commands.run import run
from stdc_search.errors import DamagedError, FolderInUseError, UserError
from stdc_search.records import Latency, read
from stdc_search.report.writing import write_report
from stdc_search.run_folder import running
from stdc_search.spec.base import dump, replace
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from tests.data.conftest import write_image, write_mask
from tests.search_specs import tiny_search
from tests.studies import stored

# Training this short rarely beats a constant prediction in mIoU, but always in boundaries.
TIMED = {"score.miou": "maximize", "score.boundary_f": "maximize", "latency.median_ms": "minimize"}
ALONE = Latency(runtime="eager", output="labels", image_size=(48, 64), threads=1, median_ms=9.0, fps=111.0, samples=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a tiny search that ran to its end, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    network = tiny_search().candidate({"network.detail": None}).network
    spec = tiny_search(start=[{"name": "first", "network": network}])
    return spec, folder, run(spec, folder)


def test_a_run_leaves_what_the_design_says(finished):
    spec, folder, _ = finished
    assert load(folder / "spec.yaml") == spec
    records = read(folder / "results.jsonl")
    assert [record.state for record in records] == ["complete"] * 4
    assert [record.origin for record in records] == ["start", "sampler", "sampler", "sampler"]
    for record in records:
        network = folder / "networks" / f"{record.number:04d}"
        assert load(network / "spec.yaml").identity == record.identity
        assert {path.name for path in network.iterdir()} == {
            "spec.yaml",
            "weights.safetensors",
            "curve.csv",
            "images.csv",
            "sample",
        }
    assert {record.machine for record in records} == set(json.loads((folder / "machine.json").read_text("utf-8")))
    assert (folder / "study.db").exists()
    assert {path.name for path in (folder / "report").iterdir()} >= {
        "table.csv", "table.md", "table.tex", "front.png", "front.svg", "overlay.png",
    }  # fmt: skip


def test_run_again_it_trains_nothing_and_reports_the_same(finished):
    spec, folder, report = finished
    before = (folder / "results.jsonl").read_bytes()
    again = run(spec, folder)
    assert (folder / "results.jsonl").read_bytes() == before
    assert again.shown.equals(report.shown)


def test_more_trials_go_on_from_those_that_are_done(finished):
    spec, folder, _ = finished
    before = read(folder / "results.jsonl")
    run(replace(spec, {"search.trials": 5}), folder)
    assert read(folder / "results.jsonl")[:4] == before
    assert len(read(folder / "results.jsonl")) == 5


def test_another_spec_on_a_run_folder_is_refused_with_what_differs(finished):
    spec, folder, _ = finished
    before = (folder / "spec.yaml").read_text("utf-8")
    with pytest.raises(SpecError, match=r"training\.batch: 4 there, 2 here"):
        run(replace(spec, {"training.batch": 2}), folder)
    assert (folder / "spec.yaml").read_text("utf-8") == before


def test_a_network_s_own_spec_and_that_of_its_run_do_not_share_a_default_folder(finished, tmp_path, monkeypatch):
    _, folder, _ = finished
    before, shown = (folder / "results.jsonl").read_bytes(), write_report(folder).shown
    monkeypatch.chdir(tmp_path)
    run(folder / "networks" / "0001" / "spec.yaml")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny_0001"]
    assert run(folder / "spec.yaml").shown.equals(shown)
    assert (folder / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("change", [{"training.batch": 2}, {"search.vary.width.low": 64, "search.vary.width.high": 80}])
def test_a_run_s_own_spec_that_was_edited_is_refused_where_it_loses_records(finished, tmp_path, change):
    _, folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    dump(replace(load(copy / "spec.yaml"), change), copy / "spec.yaml")
    with pytest.raises(SpecError, match=r"spec\.yaml: was edited, and candidate 000\d does not belong .* --from "):
        run(copy / "spec.yaml")


def test_two_specs_with_one_name_are_told_how_to_keep_apart(finished):
    spec, folder, _ = finished
    with pytest.raises(SpecError, match=r"Give a new folder with --out, .* With --from \S+tiny, a new folder"):
        run(replace(spec, {"training.batch": 2}), folder)


def test_a_mistake_that_stops_a_run_before_its_first_training_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"training\.batch: 9 is more than the 8 training images"):
        run(replace(tiny_search(), {"training.batch": 9}), tmp_path / "batch")
    assert not (tmp_path / "batch").exists()


def test_cut_after_its_training_a_candidate_is_not_trained_again(tmp_path, monkeypatch):
    from stdc_search.tasks import segmentation as tasks
    from stdc_search.trial import training

    def cut(*_):
        raise KeyboardInterrupt

    spec = tiny_search().without_search()
    save_sample = tasks.Segmentation.save_sample
    monkeypatch.setattr(tasks.Segmentation, "save_sample", cut)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cut")
    monkeypatch.setattr(tasks.Segmentation, "save_sample", save_sample)
    monkeypatch.setattr(training, "train", lambda *a, train=training.train, **k: train(*a, **{**k, "progress": cut}))
    run(spec, tmp_path / "cut")  # a step would call progress, and so be cut
    (record,) = read(tmp_path / "cut" / "results.jsonl")
    assert record.state == "complete"


def test_cut_in_its_training_a_candidate_is_not_timed_again(tmp_path, monkeypatch):
    from stdc_search.trial import training, trial

    def cut(*_, **__):
        raise KeyboardInterrupt

    spec = tiny_search().without_search().model_copy(update={"latency": LatencySpec(repeats=3)})
    train = training.train
    monkeypatch.setattr(training, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cut")
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(trial, "measure_network", cut)
    run(spec, tmp_path / "cut")
    (record,) = read(tmp_path / "cut" / "results.jsonl")
    assert record.latency.samples == 3
    assert set(record.seconds) == {"count", "time", "train", "score"}


def test_a_damaged_mirror_is_made_anew(finished):
    spec, folder, _ = finished
    report = run(spec, folder)
    with stored(folder.name, f"sqlite:///{folder / 'study.db'}") as study:
        trials = study.trials
    (folder / "study.db").write_bytes(b"x" * 5000)
    assert run(spec, folder).shown.equals(report.shown)
    with stored(folder.name, f"sqlite:///{folder / 'study.db'}") as study:
        again = study.trials
    assert [(trial.params, trial.values) for trial in again] == [(trial.params, trial.values) for trial in trials]


def test_a_spec_that_lies_in_the_run_s_folder_keeps_its_comments(tmp_path):
    path = tmp_path / "spec.yaml"
    text = "# mine\n" + dump(replace(tiny_search(), {"search.trials": 1}))
    path.write_text(text)
    run(path, tmp_path)
    assert path.read_text("utf-8") == text


def test_values_that_cannot_be_trained_together_are_rejected(tmp_path):
    vary = {"training.schedule.warmup": {"kind": "choice", "of": [1, 99]}}
    run(tiny_search(vary=vary, trials=2), tmp_path / "warm")
    records = read(tmp_path / "warm" / "results.jsonl")
    assert sorted(record.state for record in records) == ["complete", "rejected"]
    rejected = next(record for record in records if record.state == "rejected")
    assert "training.schedule.warmup: 99 steps are not fewer than the" in rejected.reason


def test_candidates_start_from_the_tensors_that_fit_and_say_how_many(finished, tmp_path):
    _, folder, _ = finished
    weights = folder / "networks" / "0000" / "weights.safetensors"
    spec = replace(tiny_search(), {"training.start_from": weights, "search.trials": 3})
    run(spec, tmp_path / "warm")
    began = [record.started_from for record in read(tmp_path / "warm" / "results.jsonl")]
    assert all(start.file == "weights.safetensors" and 0 < start.taken <= start.tensors for start in began)
    assert len({start.taken for start in began}) > 1


def test_layers_for_another_number_of_classes_start_anew_and_the_line_says_so(finished, tmp_path):
    _, folder, _ = finished
    fewer = {"network.classes": 7, "data.style": "simple", "search.trials": 2}
    weights = folder / "networks" / "0000" / "weights.safetensors"
    told = io.StringIO()
    run(
        replace(tiny_search(), {**fewer, "training.start_from": weights}),
        tmp_path / "out",
        console=Console(file=told, width=200),
    )
    records = read(tmp_path / "out" / "results.jsonl")
    heads = [record.started_from.other_shapes for record in records]
    assert all(heads)  # at least weight and bias of the classes
    assert f"tensors from weights.safetensors ({heads[0]} have another shape there and are new)" in told.getvalue()


def test_weights_that_do_not_exist_stop_a_run_before_its_folder(tmp_path):
    spec = replace(tiny_search(), {"training.start_from": tmp_path / "no.safetensors"})
    with pytest.raises(SpecError, match=r"training\.start_from: .*no\.safetensors does not exist"):
        run(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_which_nothing_fits_stop_a_run(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    spec = replace(tiny_search(), {"training.start_from": tmp_path / "other.pth"})
    with pytest.raises(UserError, match="unknown kind"):
        run(spec, tmp_path / "out")


def test_what_a_killed_write_left_is_removed(finished):
    spec, folder, _ = finished
    orphan = (
        folder / "networks" / "0000" / f".weights.safetensors.{2**22 + 1}.stdc-search"
    )  # above all numbers of processes
    orphan.touch()
    run(spec, folder)
    assert not orphan.exists()


def test_a_damaged_line_of_records_is_named(tmp_path):
    spec = tiny_search()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.jsonl").write_text("{}\n")
    with pytest.raises(DamagedError, match=r"results\.jsonl:1: is not a record"):
        run(spec, tmp_path / "damaged")


def test_two_processes_do_not_share_a_folder(finished):
    from filelock import FileLock

    spec, folder, _ = finished
    with FileLock(folder / ".lock"), pytest.raises(FolderInUseError, match="another process"):
        run(spec, folder)


def test_a_network_s_own_file_runs_by_itself_to_the_same_score(finished, tmp_path):
    _, folder, _ = finished
    record = read(folder / "results.jsonl")[1]
    run(folder / "networks" / "0001" / "spec.yaml", tmp_path / "alone")
    (alone,) = read(tmp_path / "alone" / "results.jsonl")
    assert alone.score == record.score


def test_a_limit_rejects_before_training(tmp_path):
    spec = tiny_search(limits={"cost.parameters": {"at_most": 14_000}}, trials=2, sampler={"kind": "random"})
    run(spec, tmp_path / "limited")
    records = read(tmp_path / "limited" / "results.jsonl")
    assert sum(record.state == "complete" for record in records) == 2
    assert all(record.cost.parameters <= 14_000 for record in records if record.state == "complete")
    rejected = [record for record in records if record.state == "rejected"]
    assert rejected
    assert all("cost.parameters" in record.reason and "train" not in record.seconds for record in rejected)


def test_limits_that_nothing_meets_end_the_search_at_once_if_the_sampler_knows_the_costs(tmp_path):
    spec = tiny_search(limits={"cost.parameters": {"at_most": 10}})
    for _ in range(2):  # asked again, it says the same
        with pytest.raises(SpecError, match=r"is inside `limits`: cost\.parameters is at least 7,032; widen `limits`"):
            run(spec, tmp_path / "impossible")
    assert read(tmp_path / "impossible" / "results.jsonl") == []


def test_limits_that_nothing_meets_end_the_search_with_the_reason(tmp_path):
    spec = tiny_search(limits={"cost.parameters": {"at_most": 10}}, sampler={"kind": "random"})
    for _ in range(2):  # asked again, it says the same
        with pytest.raises(
            SpecError, match=r"no network was completed; 0017 rejected: cost\.parameters .* is above 10"
        ):
            run(spec, tmp_path / "impossible")
    assert len(read(tmp_path / "impossible" / "results.jsonl")) == 18


def test_a_candidate_that_fails_is_a_record_and_the_search_goes_on(tmp_path, monkeypatch):
    from stdc_search.trial import training

    train, calls = training.train, []

    def breaks_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("no memory left")
        return train(*args, **kwargs)

    monkeypatch.setattr(training, "train", breaks_once)
    run(tiny_search(trials=3), tmp_path / "faulty")
    records = read(tmp_path / "faulty" / "results.jsonl")
    assert [record.state for record in records] == ["complete", "failed", "complete"]
    assert records[1].reason == "MemoryError: no memory left"
    assert "breaks_once" in (tmp_path / "faulty" / "networks" / "0001" / "error.txt").read_text("utf-8")


@pytest.mark.slow
def test_killed_at_twenty_random_moments_of_repeats_a_search_loses_and_repeats_nothing_else(tmp_path):
    spec, out, rng = tiny_search(trials=200), tmp_path / "out", random.Random(0)
    command = [sys.executable, "-m", "stdc_search", "run", str(tmp_path / "tiny.yaml"), "--out", str(out)]
    dump(spec, tmp_path / "tiny.yaml")
    kept: list[str] = []
    for _ in range(20):
        process, begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), time.time()
        while process.poll() is None:
            drafts = [running(file.parent) for file in out.glob("networks/*/running.json")]
            if time.time() > begun + 2 and any(draft is not None and draft.repeats is not None for draft in drafts):
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the search ended by itself"
        assert (out / "results.jsonl").read_text("utf-8").splitlines()[: len(kept)] == kept
        kept = [one.model_dump_json() for one in read(out / "results.jsonl")]
    dump(replace(spec, {"search.trials": len(kept) + 2}), tmp_path / "tiny.yaml")
    for folder in (out, tmp_path / "uncut"):  # in processes, too: what tests have imported may change how torch rounds
        subprocess.run([*command[:-1], str(folder)], stdout=subprocess.DEVNULL, check=True)
    ends = [read(folder / "results.jsonl") for folder in (out, tmp_path / "uncut")]
    first, second = ([(one.number, one.values, one.repeats, one.score) for one in records] for records in ends)
    assert first == second
    assert any(one.repeats is not None for one in ends[0])  # how many there are by then depends on the machine


def test_data_without_a_training_is_left_alone_and_said_to_be(tmp_path):
    spec = replace(tiny_search().without_search(), {"training": None, "data.kind": "scenes"})
    console = Console(file=io.StringIO(), width=200)
    report = run(spec, tmp_path / "run", console=console)
    assert "`data` is not used for training, because the section `training` is missing." in console.file.getvalue()
    assert report.title == "Network of run at 48 × 64"
    assert read(tmp_path / "run" / "results.jsonl")[0].score is None


def test_data_without_a_training_calibrates_int8(tmp_path):
    latency = {"runtime": "onnxruntime", "precision": "int8", "threads": 1, "warmup": 1, "repeats": 3}
    spec = replace(tiny_search().without_search(), {"training": None, "latency": latency})
    run(spec, tmp_path / "run")
    (record,) = read(tmp_path / "run" / "results.jsonl")
    assert (record.state, record.latency.precision, record.score) == ("complete", "int8", None)


def own_data(root, names="abcdefgh", **data):
    """A run on images and masks of two classes."""
    for name in names:
        write_image(root / "images" / f"{name}.jpg", (48, 64))
        write_mask(root / "masks" / f"{name}.png", np.arange(48 * 64).reshape(48, 64) % 2)
    section = {"kind": "folder", "root": root, "class_names": ["road", "tree"], **data}
    values = replace(tiny_search(), {"training.batch": 2}).without_search().model_dump(mode="json") | {"data": section}
    return RunSpec.model_validate({**values, "network": {**values["network"], "classes": 2}})


def resumed(spec, folder):
    """What a run says that goes on in a folder."""
    console = Console(file=io.StringIO(), width=200)
    run(spec, folder, console=console)
    return console.file.getvalue()


def test_a_run_begins_with_its_images_and_the_share_of_each_class(tmp_path):
    first, second, *_ = resumed(own_data(tmp_path / "mine"), tmp_path / "out").splitlines()
    assert first == "Data: 6 training and 2 validation images, 2 classes; 0 / 0 % of the pixels are ignored."
    assert second == "Classes, % of the labelled pixels in train / val: road 50.0 / 50.0, tree 50.0 / 50.0."


def test_labels_that_cannot_be_meant_stop_a_run_before_its_folder(tmp_path):
    spec = own_data(tmp_path / "mine")
    for mask in (tmp_path / "mine" / "masks").iterdir():
        write_mask(mask, np.arange(48 * 64).reshape(48, 64) % 2 * 255)
    with pytest.raises(SpecError, match=r"data\.encoding: .* write `encoding: \{kind: binary\}`"):
        run(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(replace(spec, {"data.encoding": {"kind": "binary"}}), tmp_path / "out")


def test_a_run_goes_on_with_data_that_moved(tmp_path):
    spec = own_data(tmp_path / "mine")
    run(spec, tmp_path / "out")
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert "Data: 6 training" in resumed(replace(spec, {"data.root": tmp_path / "moved"}), tmp_path / "out")


def test_a_run_whose_data_changed_is_refused_with_what_differs(tmp_path):
    spec = own_data(tmp_path / "mine")
    run(spec, tmp_path / "out")
    before = (tmp_path / "out" / "data.json").read_text("utf-8")
    write_mask(tmp_path / "mine" / "masks" / "a.png", 1)
    own_data(tmp_path / "mine", "i")
    with pytest.raises(SpecError, match=r"was started with other data(.|\n)* images: .*1 added \(images/i\.jpg\)"):
        run(spec, tmp_path / "out")
    with pytest.raises(SpecError, match="was started with other data"):
        run(replace(spec, {"data.root": own_data(tmp_path / "other", "abcdefg").data.root}), tmp_path / "out")
    assert (tmp_path / "out" / "data.json").read_text("utf-8") == before


def test_a_folder_without_a_note_of_its_data_opens_and_gets_one(tmp_path):
    spec = own_data(tmp_path / "mine")
    run(spec, tmp_path / "out")
    (tmp_path / "out" / "data.json").unlink()
    run(spec, tmp_path / "out")
    assert (tmp_path / "out" / "data.json").exists()


def test_a_broken_image_may_be_mended_before_the_first_score(tmp_path):
    spec = own_data(tmp_path / "mine")
    for name in "abcdefgh":
        (tmp_path / "mine" / "images" / f"{name}.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        run(spec, tmp_path / "out")
    run(own_data(tmp_path / "mine"), tmp_path / "out")
    assert read(tmp_path / "out" / "results.jsonl")[0].state == "complete"


def test_once_a_network_trained_only_the_unscored_images_may_be_mended(tmp_path, monkeypatch):
    from stdc_search.tasks import segmentation as tasks

    def cut(*_, **__):
        raise KeyboardInterrupt

    spec = own_data(tmp_path / "mine")
    with monkeypatch.context() as patched:
        patched.setattr(tasks.Segmentation, "save_sample", cut)
        with pytest.raises(KeyboardInterrupt):
            run(spec, tmp_path / "out")
    files = json.loads((tmp_path / "out" / "data.json").read_text("utf-8"))["files"]
    train, val = (tmp_path / "mine" / next(iter(files[split])) for split in ("train", "val"))
    kept = train.read_bytes()
    write_image(train, (48, 64), "L")
    with pytest.raises(SpecError, match="train images: 1 changed"):
        run(spec, tmp_path / "out")
    train.write_bytes(kept)
    write_image(val, (48, 64), "L")
    run(spec, tmp_path / "out")


def test_a_folder_that_began_in_a_precision_goes_on_in_it_where_the_spec_leaves_it_open(finished, monkeypatch):
    spec, folder, _ = finished
    monkeypatch.setattr(begin, "bf16_is_native", lambda: True)
    before = (folder / "results.jsonl").read_bytes()
    run(replace(spec, {"training.precision": "auto"}), folder)
    assert (folder / "results.jsonl").read_bytes() == before
    assert load(folder / "spec.yaml") == spec
    with pytest.raises(SpecError, match=r'training.precision: "fp32" there, "bf16" here'):
        run(replace(spec, {"training.precision": "bf16"}), folder)


def test_a_record_says_in_which_precision_its_network_was_trained(finished):
    _, folder, _ = finished
    assert {record.precision for record in read(folder / "results.jsonl")} == {"fp32"}


def test_a_record_has_the_loss_of_the_second_half_of_the_epochs_for_each_seed(tmp_path):
    run(replace(tiny_search(epochs=3).without_search(), {"training.seeds": [5, 2]}), tmp_path / "run")
    (record,) = read(tmp_path / "run" / "results.jsonl")
    network = tmp_path / "run" / "networks" / "0000"
    curves = [pd.read_csv(folder / "curve.csv")["loss"] for folder in (network, network / "seed-2")]
    assert record.training_loss == pytest.approx([curve[1:].mean() for curve in curves])


@pytest.mark.parametrize(("path", "value"), [("training.precision", "bf16"), ("latency", {"precision": "bf16"})])
def test_emulated_bf16_is_warned_of(monkeypatch, path, value):
    monkeypatch.setattr(begin, "bf16_is_native", lambda: False)
    with pytest.warns(UserWarning, match=r"no instructions for bf16; a training step took 12 times as long"):
        check_machine(replace(tiny_search(), {path: value}), None)
    monkeypatch.setattr(begin, "bf16_is_native", lambda: True)
    check_machine(replace(tiny_search(), {path: value}), None)


def test_a_search_measures_its_front_side_by_side_once(tmp_path):
    spec = tiny_search(latency={"runtime": "eager", "repeats": 3}, objectives=TIMED, trials=4)
    console = Console(file=io.StringIO(), width=200)
    report = run(spec, tmp_path, console=console)
    assert "Measuring the networks of the report (" in console.file.getvalue()
    shown = [int(number) for number in report.shown["network"]]
    beside = {record.number: record.latency.beside for record in read(tmp_path / "results.jsonl")}
    assert all(beside[number] for number in shown)
    before = (tmp_path / "results.jsonl").read_bytes()
    run(spec, tmp_path)
    assert (tmp_path / "results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_times_of_another_machine_stay(tmp_path):
    spec = tiny_search(latency={"runtime": "eager", "repeats": 3}, objectives=TIMED, trials=4)
    run(spec, tmp_path)
    path = tmp_path / "results.jsonl"
    records = [record.model_copy(update={"machine": "another", "latency": ALONE}) for record in read(path)]
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), "utf-8")
    before = path.read_bytes()
    run(spec, tmp_path)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_finished_search_whose_candidates_folders_were_removed_reports(tmp_path):
    spec = tiny_search(latency={"runtime": "eager", "repeats": 3}, objectives=TIMED, trials=4)
    run(spec, tmp_path)
    path = tmp_path / "results.jsonl"
    records = [record.model_copy(update={"latency": ALONE}) for record in read(path)]  # as an older version left it
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), "utf-8")
    before = path.read_bytes()
    shutil.rmtree(tmp_path / "networks")
    run(spec, tmp_path)
    assert path.read_bytes() == before
