"""Which runs can be compared, and what is said of those that can only partly."""

from __future__ import annotations

import json
import shutil

import pytest

from stdc_search.commands.fronts import compare
from stdc_search.errors import UserError
from stdc_search.spec.base import replace
from tests.report.fakes import machine, record, spec, write_run

COSTS = {"score.miou": "maximize", "cost.macs": "minimize"}


def three(**changes):
    return [record(i, 20.0 + 10 * i, 20.0 * (i + 1), **changes) for i in range(3)]


def write_data(folder, hashes=("a", "b"), labelled=100, split="val"):
    labels = {"class_names": ["x"], "images": [1], "labelled": [labelled], "ignored": 0, "samples": 2}
    content = {
        "format": 1,
        "data": {},
        "labels": {one: {"split": one, **labels} for one in ("train", "val")},
        "files": {
            one: {f"{i}.png": [[8, 0, text if one == split else "same"]] for i, text in enumerate(hashes)}
            for one in ("train", "val")
        },
    }
    (folder / "data.json").write_text(json.dumps(content))
    return folder


def test_two_runs_are_compared_by_their_folders_names(tmp_path):
    first, second = (write_data(write_run(tmp_path / name, three())) for name in ("a", "b"))
    comparison = compare(first, second)
    assert comparison.title == "Fronts of a, b"
    assert comparison.notes == ["A score without an interval is that of its trainings alone, which is partly luck"]
    assert comparison.summary["networks on its front"].tolist() == [3, 3]


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    runs = [write_run(tmp_path / name / "run", three()) for name in ("a", "b")]
    assert [one.name for one in compare(*runs).fronts] == [str(run) for run in runs]


@pytest.mark.parametrize("count", [0, 1])
def test_one_run_is_too_few(tmp_path, count):
    with pytest.raises(UserError, match="give at least two runs, each once"):
        compare(*[write_run(tmp_path / "a", three())] * count)


def test_a_run_is_not_compared_with_itself(tmp_path):
    run = write_run(tmp_path / "a", three())
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(UserError, match="each once"):
        compare(run, tmp_path / "link")


def test_other_objectives_are_refused(tmp_path):
    runs = [write_run(tmp_path / "a", three()), write_run(tmp_path / "b", three(), spec(objectives=COSTS))]
    with pytest.raises(UserError, match=r"the objectives differ(.|\n)*b: score.miou maximize, cost.macs minimize"):
        compare(*runs)


def test_the_order_of_objectives_does_not_matter(tmp_path):
    turned = spec(objectives=dict(reversed({"score.miou": "maximize", "latency.median_ms": "minimize"}.items())))
    assert compare(write_run(tmp_path / "a", three()), write_run(tmp_path / "b", three(), turned)).fronts


def test_scores_on_other_images_are_refused(tmp_path):
    first = write_data(write_run(tmp_path / "a", three()))
    second = write_data(write_run(tmp_path / "b", three()), ("a", "c"))
    with pytest.raises(UserError, match=r"scored on other data(.|\n)*val images: 1 changed \(1.png\)"):
        compare(first, second)


def test_scores_by_other_labels_are_refused(tmp_path):
    first, second = (write_run(tmp_path / name, three()) for name in "ab")
    with pytest.raises(UserError, match="the validation labels are others"):
        compare(write_data(first), write_data(second, labelled=99))


def test_other_training_images_are_named(tmp_path):
    first = write_data(write_run(tmp_path / "a", three()), split="train")
    second = write_data(write_run(tmp_path / "b", three()), ("a", "c"), split="train")
    assert "a and b were trained on other images" in compare(first, second).notes


def test_without_fingerprints_the_specs_decide_and_that_is_said(tmp_path):
    first, second = (write_run(tmp_path / name, three()) for name in "ab")
    notes = compare(first, second).notes
    assert sum("data.json is missing" in note for note in notes) == 2
    run = replace(spec(), {"data.val": "test"})
    with pytest.raises(UserError, match=r"scored on other data(.|\n)*data.val: val and test"):
        compare(first, write_run(tmp_path / "c", three(), run))


def test_other_data_does_not_matter_where_no_score_is_compared(tmp_path):
    run = spec(objectives={"cost.macs": "minimize", "latency.median_ms": "minimize"})
    first, second = (write_run(tmp_path / name, three(), run) for name in "ab")
    assert compare(write_data(first), write_data(second, ("a", "c"))).fronts


def test_times_of_other_devices_are_refused(tmp_path):
    first = write_run(tmp_path / "a", three())
    second = write_run(tmp_path / "b", three(machine="pi"), machines=[machine("pi", "Cortex-A76")])
    with pytest.raises(UserError, match=r"different devices(.|\n)*a: AMD EPYC 7B13, 2 cores\n  b: Cortex-A76"):
        compare(first, second)
    assert compare(
        write_run(tmp_path / "c", three(), spec(objectives=COSTS)),
        write_run(tmp_path / "d", three(machine="pi"), spec(objectives=COSTS), [machine("pi", "Cortex-A76")]),
    ).fronts


def test_other_software_of_the_same_hardware_is_named(tmp_path):
    first = write_run(tmp_path / "a", three())
    second = write_run(tmp_path / "b", three(machine="later"), machines=[machine("later")])
    assert any("same hardware with other software" in note for note in compare(first, second).notes)


def test_a_machine_that_one_run_describes_is_known_in_all(tmp_path):
    assert compare(write_run(tmp_path / "a", three()), write_run(tmp_path / "b", three(), machines=[])).fronts
    others = write_run(tmp_path / "c", three(machine="unknown"))
    with pytest.raises(UserError, match=r"c: machine unknown, which machine\.json does not describe"):
        compare(tmp_path / "a", others)


def test_times_taken_in_other_ways_are_named(tmp_path):
    others = [one.model_copy(update={"latency": one.latency.model_copy(update={"threads": 1})}) for one in three()]
    (note,) = [
        note
        for note in compare(write_run(tmp_path / "a", three()), write_run(tmp_path / "b", others)).notes
        if "different ways" in note
    ]
    assert "a: eager, fp32, 2 threads" in note and "b: eager, fp32, 1 threads" in note


def test_doubtful_times_are_named(tmp_path):
    first, *others = three()
    shaky = first.model_copy(update={"latency": first.latency.model_copy(update={"steady": False})})
    runs = write_run(tmp_path / "a", three()), write_run(tmp_path / "b", [shaky, *others])
    assert "b: doubtful times of 0000" in compare(*runs).notes


def test_what_else_differs_is_named(tmp_path):
    longer = replace(spec(), {"training.epochs": 80, "search.sampler.seed": 3})
    notes = compare(write_run(tmp_path / "a", three()), write_run(tmp_path / "b", three(), longer)).notes
    assert "a and b differ in training.epochs (40, 80), search.sampler.seed (0, 3)" in notes


def test_finals_are_compared_if_all_runs_have_them(tmp_path):
    run = replace(spec(), {"search.finals": {"networks": 2, "epochs": 80}})
    runs = [write_run(tmp_path / name, three(), run) for name in "ab"]
    write_run(runs[0] / "finals", [record(2, 55.0, 60.0)], run.finals_run)
    comparison = compare(*runs)
    assert comparison.title == "Fronts of a, b" and any("Only some runs have finals" in n for n in comparison.notes)
    write_run(runs[1] / "finals", [record(1, 52.0, 40.0)], run.finals_run)
    comparison = compare(*runs)
    assert comparison.title == "Fronts of the finals of a, b"
    assert comparison.networks["mIoU %"].tolist() == [52.0, 55.0]
    alone = compare(runs[0] / "finals", runs[0])
    assert alone.title == "Fronts of a finals, a" and not any("Only some" in note for note in alone.notes)


def test_a_single_network_takes_part_and_needs_the_figures(tmp_path):
    search, single = write_run(tmp_path / "a", three()), spec(search=False)
    one = write_run(tmp_path / "b", [record(0, 60.0, 50.0, origin="base")], single)
    assert compare(search, one).networks["dominated by"].tolist() == ["", "", "", "b"]
    with pytest.raises(UserError, match=r"c: lacks latency\.median_ms, which the other runs have as an objective"):
        compare(search, write_run(tmp_path / "c", [record(0, origin="base", latency=None)], single))
    with pytest.raises(UserError, match="none of the runs has a search"):
        compare(one, write_run(tmp_path / "d", [record(0, origin="base")], single))


def test_a_run_without_a_front_is_refused(tmp_path):
    run = write_run(tmp_path / "a", three())
    with pytest.raises(UserError, match="b: no network is finished; continue it with `stdc-search run`"):
        compare(run, write_run(tmp_path / "b", [record(0, state="failed", reason="out of memory")]))
    with pytest.raises(UserError, match="is not a run folder"):
        compare(run, tmp_path)


def test_removed_folders_of_networks_do_not_matter(tmp_path):
    runs = [write_run(tmp_path / name, three()) for name in "ab"]
    shutil.rmtree(runs[0] / "networks")
    assert compare(*runs).fronts
