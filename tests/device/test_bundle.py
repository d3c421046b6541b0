"""A folder that is carried to a device: it measures its networks there, resumes, and writes a table."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest

from stdc_search.commands.bundle import _with_main
from stdc_search.device.bundle import JOB, MEASURED, NETWORKS, TIMES, Bundle, difference
from stdc_search.device.runtimes import Settings, open_file
from stdc_search.device.wire import to_bytes
from stdc_search.errors import UserError
from stdc_search.latency.remote import program
from stdc_search.records import TimeTable
from stdc_search.spec.measurement import RuntimeSpec
from tests.onnx_files import conv

LEARNT, HELD_OUT = 3, 2


def one_convolution(path, classes):
    model = onnx.load(conv(path, classes=classes))
    model.graph.input[0].name = model.graph.node[0].input[0] = "image"
    return model.SerializeToString()


@pytest.fixture
def folder(tmp_path):
    """A folder as `stdc-search bundle` writes it, of networks that are one convolution."""
    images = np.random.default_rng(0).normal(size=(1, 3, 48, 64)).astype(np.float32)
    networks = []
    with zipfile.ZipFile(tmp_path / NETWORKS, "w") as archive:
        archive.writestr("image.npy", to_bytes(images))
        for number in range(1 + LEARNT + HELD_OUT):
            content = one_convolution(tmp_path / "one.onnx", 2 + number)
            one = open_file(Settings("onnxruntime", "cpu", "fp32", 1), content)
            archive.writestr(f"{number}.onnx", content)
            archive.writestr(f"{number}.npy", to_bytes(one.fetch(one.run(one.load(images)))))
            files = {"file": f"{number}.onnx", "result": f"{number}.npy", "image": "image.npy"}
            networks.append({"key": str(number), "macs": number, "parts": [["conv", "conv"]], **files})
    runtime = RuntimeSpec(runtime="onnxruntime", threads=1, on="elsewhere").model_dump(mode="json")
    (tmp_path / JOB).write_text(json.dumps({"runtime": runtime, "learnt": LEARNT, "networks": networks}))
    return tmp_path


def test_a_folder_gives_a_table_of_this_device(folder, capsys):
    path = Bundle(folder).run()
    assert path == folder / TIMES
    table = TimeTable.model_validate_json(path.read_bytes())
    assert (table.networks, table.held_out) == (LEARNT, HELD_OUT)
    assert table.parts["conv"] > 0
    assert table.described is not None and table.described.id == table.machine
    assert "7 of 7 measured" in capsys.readouterr().out


def test_what_was_measured_is_not_measured_again(folder, capsys):
    Bundle(folder).run()
    lines = (folder / MEASURED).read_text().splitlines()
    (folder / MEASURED).write_text("\n".join(lines[:-2]) + '\n{"key": "torn')
    capsys.readouterr()
    Bundle(folder).run()
    assert capsys.readouterr().out == "7 of 7 measured\n"
    assert len((folder / MEASURED).read_text().splitlines()) == len(lines)


def test_measurements_of_another_device_do_not_count(folder, capsys):
    Bundle(folder).run()
    text = (folder / MEASURED).read_text()
    (folder / MEASURED).write_text(text.replace(Bundle(folder).id, "another"))
    Bundle(folder).run()
    assert len((folder / MEASURED).read_text().splitlines()) == 2 * len(text.splitlines())


def test_a_device_that_computes_something_else_writes_no_table(folder):
    with zipfile.ZipFile(folder / NETWORKS) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / NETWORKS, "w") as archive:
        for name, content in (files | {"2.onnx": files["3.onnx"]}).items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"2.onnx: this device computes another result than the machine that exported"):
        Bundle(folder).run()
    assert not (folder / TIMES).exists()


def test_differences_are_shares_of_labels_or_of_scores():
    labels = np.zeros((1, 10, 10), np.uint8)
    other = labels.copy()
    other[0, 0, :3] = 1
    assert difference(labels, other) == pytest.approx(0.03)
    scores = np.full((1, 2, 2, 2), 2, np.float32)
    assert difference(scores, 1.1 * scores) == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert not difference(scores * np.nan, scores) <= 1


def test_a_device_without_packages_is_told_what_to_install(tmp_path):
    (tmp_path / "measure.zip").write_bytes(_with_main(program()))
    command = [sys.executable, "-I", "-S", str(tmp_path / "measure.zip")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "This Python lacks numpy; type: python3 -m pip install numpy onnxruntime (or openvino)\n"
