"""ONNX files of other tools in every command: counted, timed, scored and drawn, but never trained or exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from stdc_search.cli import app
from stdc_search.commands.run import run
from stdc_search.commands.score import score
from stdc_search.commands.timing import time_networks
from stdc_search.data import open_dataset
from stdc_search.errors import UserError
from stdc_search.evaluation.views import Views, evaluate
from stdc_search.records import Score, read
from stdc_search.run_folder import SAMPLE
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load
from tests.onnx_files import conv, scores
from tests.search_specs import tiny_search

ONNX = RuntimeSpec(runtime="onnxruntime", threads=1)
CLASSES = 11


class SameConv(torch.nn.Module):
    """The module that the file could have been exported from."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.empty(0))

    def forward(self, images):
        return scores(images, CLASSES)


@pytest.fixture
def write(tmp_path):
    """Writes a spec of a file beside it, with further sections; gives its path."""
    conv(tmp_path / "net.onnx", classes=CLASSES)

    def written(sections="", network=f"kind: onnx_file, path: net.onnx, classes: {CLASSES}"):
        path = tmp_path / "file.yaml"
        path.write_text(f"image_size: [48, 64]\nnetwork: {{{network}}}\n{sections}", "utf-8")
        return path

    return written


DATA = "data: {kind: scenes, size: [48, 64], train: 2, val: 4}\n"
LATENCY = "latency: {runtime: onnxruntime, threads: 1, warmup: 1, repeats: 3}\n"


def test_a_run_counts_times_and_scores_a_file(write, tmp_path):
    spec = load(write(DATA + LATENCY))
    run(spec, tmp_path / "run")
    (record,) = read(tmp_path / "run" / "results.jsonl")
    assert record.cost is not None and record.cost.macs == 12 * 16 * CLASSES * 48
    assert record.latency is not None and record.latency.output == "labels"
    assert spec.data is not None
    data = open_dataset(spec.data, "val")
    counts = evaluate(SameConv(), data, Views((48, 64)))
    assert isinstance(record.score, Score)
    assert record.score.pixel_accuracy == pytest.approx(
        100 * counts.confusion.trace().item() / counts.confusion.sum().item()
    )
    assert (tmp_path / "run" / "networks" / "0000" / SAMPLE).is_dir()


def test_runtimes_score_a_file_alike(write):
    spec = load(write(DATA))
    path = write().with_name("net.onnx")
    onnxruntime, openvino = score(spec, path, [ONNX, RuntimeSpec(runtime="openvino", threads=1)])
    assert isinstance(onnxruntime, Score) and isinstance(openvino, Score)
    assert onnxruntime.miou > 0
    assert openvino.miou == pytest.approx(onnxruntime.miou, abs=0.2)
    with pytest.raises(UserError, match=r"runtime: eager.* runs only in onnxruntime and openvino"):
        score(spec, path)


def test_files_and_our_networks_take_turns(write):
    ours = replace(tiny_search().without_search(), {"training": None, "data": None, "latency": {"repeats": 3}})
    timed = time_networks({"file": load(write(LATENCY)), "ours": ours}, runtimes=["onnxruntime"], threads=1)
    assert [(name, timing.latency.output) for name, timing in timed] == [("file", "labels"), ("ours", "labels")]


def test_predict_draws_what_a_file_sees(write, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    arguments = [write(), tmp_path / "net.onnx", tmp_path / "photo.png", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert np.unique(np.asarray(Image.open(tmp_path / "out" / "photo.png"))).size > 1


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        (
            "data: {kind: scenes}\ntraining: {epochs: 1, batch: 2, crop: [32, 32]}\n",
            "file.yaml:4: training: `network.kind` onnx_file is only counted, timed and scored; remove this section",
        ),
        ("search: {vary: {}, trials: 1, objectives: {cost.macs: minimize}}\n", "file.yaml:3: search"),
        (
            "latency: {threads: 1}\n",
            "file.yaml:3: latency.runtime: `runtime: eager` does not run ONNX files; use onnxruntime or openvino",
        ),
        (
            "latency:\n  runtime: openvino\n  also:\n  - {runtime: compile}\n",
            "file.yaml:6: latency.also.0.runtime: `runtime: compile` does not run ONNX files",
        ),
        (
            "latency:\n  runtime: openvino\n  also:\n  - {runtime: openvino, precision: int8}\n",
            "file.yaml:6: latency.also.0.precision: an ONNX file is not converted; give a file that is int8 already",
        ),
        ("data: {kind: scenes, style: simple}\n", "file.yaml:2: network.classes: 11 classes, but `data` has 7"),
    ],
)
def test_a_spec_asks_nothing_of_a_file_that_it_cannot_do(write, sections, complaint):
    with pytest.raises(SpecError) as caught:
        load(write(sections))
    assert complaint in str(caught.value)


def test_a_file_is_no_teacher(write):
    file = write()
    teacher = f"{{network: {file}, weights: {file.with_name('net.onnx')}}}"
    loss = f"loss: {{kind: segmentation, distillation: {teacher}}}"
    training = f"training: {{epochs: 1, batch: 2, crop: [32, 32], {loss}}}\n"
    path = file.with_name("student.yaml")
    path.write_text(f"network: {{kind: segmenter, classes: {CLASSES}}}\n{DATA}{training}", "utf-8")
    with pytest.raises(SpecError, match="an ONNX file cannot be a teacher"):
        load(path)


def test_a_run_without_its_file_stops_before_there_is_a_folder(write, tmp_path):
    path = write(network="kind: onnx_file, path: nett.onnx")
    with pytest.raises(SpecError, match=r"file.yaml:2: network.path: .*nett.onnx: does not exist"):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["export", "weights"])
def test_what_makes_files_takes_none(write, tmp_path, command):
    arguments = [command, write(), tmp_path / "net.onnx", "--out", tmp_path / "out.safetensors"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(result.exception, UserError)
    assert "`network.kind` onnx_file" in str(result.exception)


def test_other_weights_are_refused(write, tmp_path):
    with pytest.raises(UserError, match=r"the network is an ONNX file, which holds its weights; give .*net.onnx"):
        score(load(write(DATA)), conv(tmp_path / "other.onnx", classes=CLASSES), [ONNX])


def test_the_identity_follows_the_content_and_not_the_path(write, tmp_path):
    one = load(write()).identity
    (tmp_path / "net.onnx").rename(tmp_path / "moved.onnx")
    moved = load(write(network=f"kind: onnx_file, path: moved.onnx, classes: {CLASSES}")).identity
    conv(tmp_path / "moved.onnx", classes=CLASSES, opset=17)
    assert one == moved != load(tmp_path / "file.yaml").identity
