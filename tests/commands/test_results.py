"""A run in Python: what it found, its best network, and its networks at work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import stdc_search
from stdc_search.cli import app
from stdc_search.commands.labeller import with_weights
from stdc_search.commands.run import run
from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.weights import save_weights
from stdc_search.records import ImageScore
from stdc_search.spec.base import dump
from stdc_search.spec.run import RunSpec
from tests.report.fakes import record, write_run
from tests.search_specs import tiny_search

OBJECTIVES = {"score.miou": "maximize", "latency.median_ms": "minimize"}
TIMED = {"runtime": "eager", "warmup": 1, "repeats": 3}
FINALS = {"networks": 1, "epochs": 2, "seeds": [0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run(tiny_search(trials=3, latency=TIMED, objectives=OBJECTIVES, finals=FINALS), folder)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return stdc_search.Run(folder)


def picture(height=50, width=70):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_run_has_its_candidates_and_its_front(found):
    assert len(found.candidates) == 3 and found.candidates["latency.median_ms"].is_monotonic_increasing
    assert found.front["number"].tolist() == found.candidates.query("front")["number"].tolist()
    assert found.spec.search is not None and repr(found).endswith("on the front, 1 in the finals")
    assert len(found.finals.candidates) == 1 and found.finals.finals is None


def test_a_frame_can_be_changed_without_changing_the_run(found):
    frame = found.candidates
    frame["front"] = False
    assert found.candidates["front"].any()


def test_a_network_labels_an_image_as_the_command_does(found, folder):
    network = found.network(1)
    assert not network.module.training and network.spec.search is None
    labels = network.predict(picture())
    candidate = folder / "networks" / "0001"
    assert labels.shape == (50, 70) and labels.dtype == np.uint8
    expected = with_weights(stdc_search.load(candidate / "spec.yaml"), candidate / "weights.safetensors")
    np.testing.assert_array_equal(labels, expected.labels(picture()))


@pytest.mark.parametrize("image", [picture()[..., 0], picture().astype(float), picture()[:0], Image.new("RGB", (8, 8))])
def test_what_is_no_image_is_refused(found, image):
    with pytest.raises(UserError, match=r"pass (uint8 of shape|a NumPy array)"):
        found.network(1).predict(image)


@pytest.mark.parametrize("number", [99, -1, "1", None])
def test_a_network_that_does_not_exist_is_refused_with_those_that_do(found, number):
    with pytest.raises(UserError, match=f"has no finished network {number}"):
        found.network(number)


def test_a_network_whose_weights_were_removed_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "networks" / "0001" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"networks/0001/weights\.safetensors: is missing"):
        stdc_search.Run(tmp_path / "copy").network(1)


def test_the_best_is_of_the_finals_and_comes_with_its_weights(found, folder):
    best = found.best()
    assert best.results.are_finals and best.number == found.finals.candidates["number"][0]
    assert best.spec.is_relative_to(folder / "finals") and best.weights.is_file()
    state = best.network().module.state_dict()
    final, search = (one.network(best.number).module.state_dict() for one in (found.finals, found))
    assert all(torch.equal(state[name], final[name]) for name in state)
    assert any(not torch.equal(state[name], search[name]) for name in state)


def test_bounds_hold_in_python(found):
    fastest = found.candidates.iloc[0]
    assert found.best(at_most_ms=fastest["latency.median_ms"]).number == fastest["number"]
    with pytest.raises(UserError, match="no network has at most 1e-06 ms and at most 2 GMACs; the fastest is"):
        found.best(at_most_ms=1e-6, at_most_macs=2e9)


def test_the_command_prints_what_python_prints(found, folder):
    result = CliRunner().invoke(app, ["best", str(folder), "--at-most", "2GMACs"])
    assert result.exit_code == 0 and result.output == f"{found.best(at_most_macs=2e9)}\n"
    assert f"predict: stdc-search predict {found.best().spec} {found.best().weights} IMAGE" in result.output


def test_the_command_exports_a_file_that_labels_as_the_network(found, folder, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["best", str(folder), "--export", "torch", "--out", str(out)])
    assert result.exit_code == 0
    assert result.output.endswith("".join(f"saved: {out / n}\n" for n in ("about.json", "network.pt2", "run_torch.py")))
    seen = torch.from_numpy(picture(*found.spec.image_size))[None]
    labels = torch.export.load(out / "network.pt2").module()(seen)[0].numpy()
    assert (labels == found.best().network().predict(seen[0].numpy())).mean() > 0.999


def test_the_command_exports_in_int8(folder, tmp_path):
    options = ["--export", "onnx", "--int8", "--out", str(tmp_path / "out"), "--data-root", str(tmp_path)]
    result = CliRunner().invoke(app, ["best", str(folder), *options])
    assert result.exit_code == 0, result.exception
    assert json.loads((tmp_path / "out/about.json").read_text("utf-8"))["precision"] == "int8"


@pytest.mark.parametrize("option", [["--out", "somewhere"], ["--int8"]], ids=lambda option: option[0])
def test_an_option_of_an_export_that_is_not_made_is_refused(folder, option):
    result = CliRunner().invoke(app, ["best", str(folder), *option])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == f"{option[0]} needs --export; add it, or leave {option[0]} out"


def test_runs_are_compared_by_the_command(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "again")
    given = ["compare", str(folder), str(tmp_path / "again"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert "Fronts of the finals of tiny, again" in result.output and "Attained expected accuracy" in result.output
    assert result.output.endswith(f"saved: {tmp_path / 'out' / 'fronts.svg'}\n")


CLASSIFIER = {
    "image_size": (32, 32),
    "network": {
        "kind": "classifier",
        "classes": 3,
        "backbone": {
            "kind": "stdc",
            "stem": [{"width": 4}, {"width": 8}],
            "stages": [{"width": 16, "depth": 1}] * 3,
        },
        "width": 8,
        "hidden": 8,
    },
    "data": {"kind": "imagenet", "classes": 3},
    "training": {
        "epochs": 1,
        "crop": (32, 32),
        "augmentation": {"kind": "resized_crop"},
        "loss": {"kind": "classification"},
    },
}


def test_a_classifier_is_chosen_by_top1_and_gives_a_class(tmp_path):
    spec = RunSpec.model_validate(CLASSIFIER)
    score = ImageScore(top1=60.0, top5=90.0, constant_top1=33.0, images=9, seed_top1=(60.0,))
    folder = write_run(tmp_path / "x", [record(0, origin="base", score=score, latency=None)], spec)
    module = build(spec.network)
    save_weights(module, folder / "networks" / "0000" / "weights.safetensors")
    best = stdc_search.Run(folder).best(at_most_parameters=1e9)
    assert "top-1       60.0 % (of one training)" in str(best) and "predict:" not in str(best)
    label = best.network().predict(picture())
    assert isinstance(label, int) and 0 <= label < 3
    with pytest.raises(UserError, match="pass uint8 of shape"):
        best.network().predict(picture()[..., 0])


def test_a_run_and_its_best_network_are_found_without_torch(folder):
    code = (
        "import sys, stdc_search\n"
        f"run = stdc_search.Run({json.dumps(str(folder))})\n"
        "print(run, run.front, run.best())\n"
        "print({'torch', 'matplotlib', 'optuna'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_a_network_that_was_only_counted_has_no_score(tmp_path):
    spec = tiny_search().without_search().model_copy(update={"data": None, "training": None})
    dump(spec, tmp_path / "tiny.yaml")
    run(spec, tmp_path / "run")
    best = stdc_search.Run(tmp_path / "run").best(at_most_macs=1e9)
    assert best.accuracy is None and "score       none: its spec has no training" in str(best)
    with pytest.raises(UserError, match=r"weights\.safetensors: is missing"):
        best.network()
