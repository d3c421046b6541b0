"""Another device: a real SSH server on this machine, whose Python sees NumPy and the runtimes, on one core."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stdc_search import latency
from stdc_search.cli import app
from stdc_search.commands import calibrate as calibration
from stdc_search.commands.calibrate import MEASURED, TABLE, calibrate
from stdc_search.commands.run import run
from stdc_search.commands.score import score
from stdc_search.device.runtimes import UnavailableError
from stdc_search.device.wire import Channel, ForeignError
from stdc_search.errors import UserError
from stdc_search.latency import Entry, MismatchError, measure, race, remote, runtimes
from stdc_search.latency.devices import Place
from stdc_search.latency.forecast import Forecast
from stdc_search.latency.machine import this_machine
from stdc_search.latency.remote import AwayError, DeviceAway, LostError
from stdc_search.records import read, read_machines
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load
from tests.onnx_files import conv
from tests.search_specs import tiny_search
from tests.ssh_device import NEEDED, Device, device_in
from tests.tiny_networks import SIZE, exported, segmenter

pytestmark = NEEDED
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, device_in(tmp_path_factory.mktemp("device")) as one:
        patch.setenv("STDC_SEARCH_SSH", one.ssh)
        patch.setattr(runtimes, "to_onnx", exported)
        patch.setattr(latency, "with_regions", lambda module, images: module)  # it copies, to be exported anew
        yield one


def there(device: Device, /, **fields) -> RuntimeSpec:
    given = {"runtime": "onnxruntime", "on": device.address, "python": device.python, **fields}
    return RuntimeSpec.model_validate(given)


def timed(runtime: RuntimeSpec, **settings):
    return measure([Entry(segmenter(), SIZE, runtime)], warmup=1, repeats=3, **settings)[0]


def test_networks_are_timed_there_and_here(device):
    entries = [
        Entry(segmenter(), SIZE, there(device)),
        Entry(segmenter(), SIZE, there(device, runtime="openvino")),
        Entry(segmenter(), SIZE, there(device, runtime="ncnn")),
        Entry(segmenter(), SIZE, RuntimeSpec(runtime="onnxruntime", threads=1)),
    ]
    onnxruntime, *others, here = race(entries, warmup=1, repeats=3)
    assert [one.latency.runtime for one in (onnxruntime, *others)] == ["onnxruntime", "openvino", "ncnn"]
    assert {onnxruntime.place, *(one.place for one in others)} <= {1, 2, 3}
    assert here.place == 1
    machine = onnxruntime.machine
    assert machine is not None
    assert (onnxruntime.latency.machine, here.latency.machine) == (machine.id, None)
    assert (machine.cores, onnxruntime.latency.threads) == (1, 1)
    assert "torch" not in machine.versions and "onnxruntime" in machine.versions
    assert machine.cpu == this_machine().cpu
    assert onnxruntime.latency.reference_ms is not None


def test_a_device_that_computes_something_else_is_not_timed(device, monkeypatch):
    wrong = exported(segmenter(), SIZE, "logits")
    monkeypatch.setattr(runtimes, "to_onnx", lambda *_, **__: wrong)
    with pytest.raises(MismatchError, match=r"gives labels of shape \[1, 5, 97, 131\], not \[1, 97, 131\]"):
        timed(there(device))


def test_errors_of_a_runtime_say_where_they_come_from(device):
    with pytest.raises(UnavailableError, match=rf"{device.address}: `device: cuda`: ONNX Runtime has no CUDA"):
        timed(there(device, device="cuda"))


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ([], r"cannot start \(ModuleNotFoundError: No module named 'numpy'\); type there: .* pip install numpy onnx"),
        (
            ["numpy"],
            r"ONNX Runtime cannot be imported \(No module named 'onnxruntime'\); type: pip install onnxruntime",
        ),
    ],
)
def test_a_device_without_packages_says_what_to_install(device, packages, told):
    with pytest.raises(UnavailableError, match=told):
        timed(there(device, python=device.bare_python(*packages)))


def test_a_device_without_such_a_python_is_told(device):
    with pytest.raises(UnavailableError, match=r"has no `python9`; name its Python in `latency.python`"):
        timed(there(device, python="python9"))


def test_a_device_whose_disk_is_full_is_told(device):
    path = device.folder / "python-without-disk"
    path.write_text(f'#!/bin/sh\nulimit -f 0\nexec {device.python} "$@"\n')
    path.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"failed: .*No usable temporary directory"):
        timed(there(device, python=str(path)))


def test_a_host_with_another_key_is_not_spoken_to(device):
    device.know("other")
    try:
        with pytest.raises(UnavailableError, match="Host key verification failed"):
            timed(there(device))
    finally:
        device.know("host")


def test_a_host_that_does_not_answer_is_told(device):
    device.stop()
    try:
        with pytest.raises(AwayError, match=rf"{device.address}: .*Connection refused"):
            timed(there(device))
    finally:
        device.start()


def test_a_device_that_goes_away_is_waited_for(device, monkeypatch):
    monkeypatch.setattr(remote, "AGAIN", 0.2)
    started = threading.Event()

    class Watched(remote.RemoteBench):
        def measure(self, **given):
            if not started.is_set():
                started.set()
                device.stop()
            return super().measure(**given)

    monkeypatch.setattr(remote, "RemoteBench", Watched)
    back = threading.Thread(target=lambda: (started.wait(), time.sleep(0.5), device.start()))
    back.start()
    with pytest.warns(UserWarning, match=f"; waiting for {device.address}"):
        assert timed(there(device), patient=True).machine is not None
    back.join()


def test_work_that_is_lost_again_and_again_is_given_up(monkeypatch):
    monkeypatch.setattr(remote, "AGAIN", 0)
    seen = [AwayError("no answer"), *[LostError("killed")] * 3]

    def work():
        raise seen.pop(0)

    with pytest.warns(DeviceAway) as told, pytest.raises(UserError, match=r"^killed; it was tried 3 times$"):
        remote.patiently("ssh://pi", work)
    assert [str(one.message) for one in told] == [
        f"{word}; waiting for ssh://pi" for word in ("no answer", *["killed"] * 2)
    ]


def test_a_device_whose_shell_prints_is_told(device):
    path = device.folder / "python-that-prints"
    path.write_text(f'#!/bin/sh\necho "Welcome \033[31m to my device"\nexec {device.python} "$@"\n')
    path.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"sent b'Welcome .*its shell must print nothing when it starts"):
        timed(there(device, python=str(path)))


@pytest.mark.parametrize("line", [b'{"sizes": [1e15]}', b'{"sizes": [-1]}', b'{"sizes": null}', b"[" * 10**5, b"Hello"])
def test_what_is_no_message_is_not_taken_for_one(line):
    with pytest.raises(ForeignError):
        Channel(BytesIO(line + b"\n"), BytesIO()).receive()


def test_one_measurement_at_a_time_on_a_device(device):
    holder = "from stdc_search.device.alone import alone\nwith alone():\n    print('held', flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        threading.Timer(3, process.communicate, ["\n"]).start()
        with pytest.warns(UserWarning, match=f"{device.address}: another process measures on this machine"):
            timed(there(device))


def test_a_file_gives_the_same_scores_there(device, tmp_path):
    conv(tmp_path / "net.onnx", classes=11)
    path = tmp_path / "file.yaml"
    path.write_text(
        "image_size: [48, 64]\nnetwork: {kind: onnx_file, path: net.onnx, classes: 11}\n"
        "data: {kind: scenes, size: [48, 64], train: 2, val: 3}\n"
    )
    here = RuntimeSpec(runtime="onnxruntime", threads=1)
    first, second = score(load(path), tmp_path / "net.onnx", [here, there(device)])
    assert first == second


def test_time_says_which_device_it_was(device, tmp_path):
    conv(tmp_path / "net.onnx", classes=11)
    path = tmp_path / "file.yaml"
    path.write_text(
        "image_size: [48, 64]\nnetwork: {kind: onnx_file, path: net.onnx, classes: 11}\n"
        f"latency: {{runtime: onnxruntime, on: '{device.address}', python: {device.python}, warmup: 1, repeats: 3}}\n"
    )
    result = CliRunner().invoke(app, ["time", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    machines = read_machines(tmp_path / "out" / "machine.json")
    assert {machine.cores for machine in machines.values()} == {1}
    assert "1 core" in result.output
    result = CliRunner().invoke(app, ["time", str(path), "--on", "raspberrypi"])
    assert "--on: 'raspberrypi' is not an address; write `ssh://HOST`" in str(result.exception)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"on": "ssh://-oProxyCommand=x"}, "is not an address"),
        ({"on": "ssh://pi@host/path"}, "is not an address"),
        ({"on": "ssh://pi", "runtime": "eager"}, "so eager cannot run; use `runtime: onnxruntime`"),
        ({"on": "ssh://pi", "python": "rm -rf /; python3"}, "is not the name or path of a program"),
        ({"python": "python3.9"}, "is the Python of a device at `ssh://`; add `on`, or remove it"),
        ({"on": "elsewhere"}, "`on: elsewhere` takes times from a table"),
        ({"also": [{"runtime": "onnxruntime", "on": "elsewhere"}]}, "nothing is measured `elsewhere`, and further"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(fields, told):
    with pytest.raises(SpecError, match=told):
        replace(tiny_search(), {"latency": {"runtime": "onnxruntime", **fields}})


@pytest.mark.parametrize(
    "address", ["ssh://pi", "ssh://pi@raspberrypi.local:2222", "ssh://u@10.0.0.7", "ssh://[::1]:22"]
)
def test_addresses_of_openssh_are_taken(address):
    assert RuntimeSpec(runtime="onnxruntime", on=address).on == address


def test_the_program_is_all_that_is_sent(device):
    with Place(device.address, device.python).open() as one:
        assert isinstance(one, remote.Remote)
        runner = one.open_file(runtimes.Settings("onnxruntime", None, "fp32", 1), exported(segmenter(), SIZE, "labels"))
        images = np.zeros((1, 3, *SIZE), np.float32)
        assert runner.load(images) == runner.load(images.copy())
        assert len(one.kept) == 1
        one.forget()
        assert runner.fetch(runner.run(runner.load(images))).shape == (1, *SIZE)
    left = [path.name for path in Path(os.environ.get("TMPDIR", "/tmp")).glob("stdc-search-program-*")]
    assert left == []


@pytest.mark.slow
def test_a_search_with_a_limit_calibrates_and_measures_there(device, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "DRAWN", 6)
    # So few networks, of half a millisecond each, state too small an error on some machines.
    monkeypatch.setattr(Forecast, "check", lambda *_: None)
    how = {"runtime": "onnxruntime", "threads": 1, "on": device.address, "python": device.python, "repeats": 3}
    objectives = {"score.miou": "maximize", "latency.median_ms": "minimize"}
    spec = tiny_search(latency=how, objectives=objectives, limits={"latency.median_ms": {"at_most": 1000}}, trials=2)
    assert spec.latency is not None
    table, held_out = calibrate(spec, spec.latency, tmp_path / "table")
    assert len(held_out) == table.held_out > 1
    assert table.described is not None and table.described.cores == 1
    assert (tmp_path / "table" / MEASURED).exists()
    with_table = replace(spec, {"latency.table": str(tmp_path / "table" / TABLE)})
    for name, one in (("measured", spec), ("predicted", with_table)):
        run(one, tmp_path / name)
        records = [record for record in read(tmp_path / name / "results.jsonl") if record.state == "complete"]
        assert len(records) == 2
        assert {record.latency and record.latency.machine for record in records} == {table.machine}
        assert table.machine in read_machines(tmp_path / name / "machine.json")
    with pytest.raises(UserError, match=r"its on is ssh://.*, and `latency` says None"):
        run(replace(with_table, {"latency.on": None, "latency.python": "python3"}), tmp_path / "other")
