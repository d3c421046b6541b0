"""Weights are scored as the run that trained them scored them, on any runtime."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from stdc_search.cli import app
from stdc_search.commands.run import run
from stdc_search.commands.score import score
from stdc_search.errors import UserError
from stdc_search.records import Score, read
from stdc_search.report.scores import score_frame
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from tests.search_specs import tiny_search

ONNX = RuntimeSpec(runtime="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one network: its spec and its folder."""
    spec = replace(tiny_search().without_search(), {"data.val": 6, "training.epochs": 2})
    folder = tmp_path_factory.mktemp("runs") / "one"
    run(spec, folder)
    return spec, folder


def test_pytorch_and_runtimes_give_the_records_score(trained):
    spec, folder = trained
    (record,) = read(folder / "results.jsonl")
    weights = folder / "networks" / "0000" / "weights.safetensors"
    told = []
    int8 = replace(ONNX, {"precision": "int8"})
    eager, onnx, low = score(spec, weights, [RuntimeSpec(), ONNX, int8], progress=lambda *both: told.append(both))
    assert eager == record.score
    assert isinstance(eager, Score) and isinstance(onnx, Score) and isinstance(low, Score)
    assert onnx.miou == pytest.approx(eager.miou, abs=0.2)  # a few pixels whose best two classes are level
    assert low.iou != eager.iou
    assert low.pixel_accuracy > eager.pixel_accuracy / 2
    assert told[-1] == (18, 18)
    frame = score_frame(zip([RuntimeSpec(), ONNX], [eager, onnx], strict=True))
    assert frame["runtime"].tolist() == ["eager", "onnxruntime"]
    assert frame["mIoU %"].tolist() == [eager.miou, onnx.miou]
    assert frame["road %"][0] == eager.iou["road"]


def test_what_a_deployed_network_cannot_do_is_refused(trained):
    spec, folder = trained
    weights = folder / "networks" / "0000" / "weights.safetensors"
    with pytest.raises(UserError, match="a deployed network sees one size"):
        score(replace(spec, {"evaluation.scales": [0.5, 1.0]}), weights, [ONNX])
    with pytest.raises(UserError, match="add the section `data`"):
        score(replace(spec, {"data": None, "training": None}), weights)


def test_the_command_writes_a_table(trained, tmp_path):
    _, folder = trained
    network = folder / "networks" / "0000"
    arguments = ["score", str(network / "spec.yaml"), str(network / "weights.safetensors"), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "mIoU" in result.output
    assert (tmp_path / "score.csv").read_text("utf-8").startswith("runtime,precision,mIoU %")
