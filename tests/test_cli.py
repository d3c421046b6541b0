"""The commands as a person runs them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from stdc_search import __version__, cli
from stdc_search.cli import app
from stdc_search.network.builder import build
from stdc_search.network.weights import save_weights
from stdc_search.records import read_machines
from stdc_search.report.words import device
from stdc_search.spec import files
from stdc_search.spec.base import dump
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import schema
from tests.command_line import stdc_search
from tests.released import classification
from tests.search_specs import tiny_search

COMMANDS = [command.name or "" for command in app.registered_commands]
SPECS = sorted(Path("specs").glob("*.yaml"))


def test_help_names_every_command_with_a_whole_sentence():
    output = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    lines = output[output.index("Commands:") :].splitlines()[1:]
    assert [line.split()[0] for line in lines] == COMMANDS
    assert all(line.endswith(".") and "..." not in line for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_is_cut_at_80_columns(command):
    narrow, wide = (
        CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": columns}, terminal_width=int(columns)).output
        for columns in ("80", "1000")
    )
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == wide.split()


def test_help_has_a_short_option():
    assert CliRunner().invoke(app, ["cost", "-h"]).output == CliRunner().invoke(app, ["cost", "--help"]).output


def test_the_version_is_the_packages():
    assert CliRunner().invoke(app, ["--version"]).output == f"stdc-search {__version__}\n"
    assert files.read(Path("CITATION.cff")).values["version"] == __version__


@pytest.mark.parametrize(
    ("arguments", "legal"),
    [
        (("time", "a.yaml", "--runtime", "onnx"), "'eager', 'compile', 'onnxruntime', 'openvino', 'ncnn'"),
        (("score", "a.yaml", "w", "--precision", "fp8"), "'fp32', 'bf16', 'fp16', 'int8'"),
        (("calibrate", "a.yaml", "--runtime", "eager"), "'onnxruntime', 'openvino'"),
        (("calibrate", "a.yaml", "--precision", "int8"), "'fp32', 'bf16', 'fp16'"),
        (("export", "a.yaml", "w", "--to", "tflite"), "'onnx', 'openvino', 'torch', 'ncnn'"),
    ],
)
def test_a_word_that_is_not_legal_is_refused_with_the_legal_ones(arguments, legal):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[-2]}': '{arguments[-1]}' is not one of {legal}." in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["check", "specs/stdc1_seg50.yaml"], ["schema"], ["--version"]])
def test_light_commands_load_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv[0] = 'stdc-search'\n"
        "from stdc_search.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pandas', 'optuna', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_a_warning_is_one_line_without_code(monkeypatch, capsys):
    def warn_twice():
        cli._show_warning("a word", UserWarning, "file.py", 7)
        cli._show_warning("of a library", FutureWarning, "file.py", 7)

    monkeypatch.setattr(cli, "app", warn_twice)
    monkeypatch.setattr(cli.warnings, "showwarning", None)
    cli.main()
    assert cli.warnings.showwarning is cli._show_warning
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert (first, second) == ("Warning: a word", "file.py:7: FutureWarning: of a library")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_shipped_spec_checks(path):
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0, result.output
    assert str(path) in result.output


def test_cost_saves_the_papers_counts(tmp_path):
    result = CliRunner().invoke(app, ["cost", "specs/stdc1.yaml", "specs/stdc2.yaml", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(tmp_path / "cost.csv")
    assert frame["parameters"].tolist() == [8_443_552, 12_474_016]
    assert frame["paper's FLOPs"].tolist() == [812_817_408, 1_446_088_704]
    assert "8,443,552" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"cost.csv", "cost.md", "cost.tex"}


def test_parts_are_the_rows_of_table_2(tmp_path):
    CliRunner().invoke(app, ["cost", "specs/stdc2.yaml", "--parts", "--out", str(tmp_path)])
    frame = pd.read_csv(tmp_path / "parts-stdc2.csv").iloc[:-1]
    expected = [  # Table 2: stage, output, stride, repeats, channels
        ("ConvX1", "112×112", "2", 1, 32),
        ("ConvX2", "56×56", "2", 1, 64),
        ("Stage3", "28×28", "2", 1, 256),
        ("Stage3", "28×28", "1", 3, 256),
        ("Stage4", "14×14", "2", 1, 512),
        ("Stage4", "14×14", "1", 4, 512),
        ("Stage5", "7×7", "2", 1, 1024),
        ("Stage5", "7×7", "1", 2, 1024),
    ]
    columns = ["stage", "output", "stride", "repeats", "channels"]
    rows = [
        (a, b, f"{float(c):g}", int(d), int(e)) for a, b, c, d, e in frame[columns].iloc[:8].itertuples(index=False)
    ]
    assert rows == expected


def test_schema_is_json_with_the_fields_help():
    schema = json.loads(CliRunner().invoke(app, ["schema"]).output)
    stage = schema["$defs"]["StageSpec"]["properties"]["depth"]
    assert "STDC modules in the stage" in stage["description"]


def test_schema_makes_the_folder_of_its_file(tmp_path):
    path = tmp_path / "new" / "schema.json"
    assert CliRunner().invoke(app, ["schema", "--out", str(path)]).exit_code == 0
    assert json.loads(path.read_text("utf-8")) == schema()


def test_a_mistake_gives_its_place_and_exit_code_2(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("network:\n  kind: segmenter\n  heads: {width: 8}\n")
    command = [sys.executable, "-m", "stdc_search", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{path}:3: network.heads: unknown; did you mean `head`?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_run_is_named(tmp_path):
    done = stdc_search("report", tmp_path)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr


def test_a_damaged_record_is_named(tmp_path):
    dump(tiny_search(), tmp_path / "spec.yaml")
    (tmp_path / "results.jsonl").write_text("{}\n")
    done = stdc_search("report", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path / 'results.jsonl'}:1: is not a record of format 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    done = stdc_search("cost", "specs/stdc1.yaml", "--out", tmp_path / "file")
    assert done.returncode == 2
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_check_looks_at_every_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"network: {{kind: segmenter, {name}: 1}}\n")
    done = stdc_search("check", tmp_path / "a.yaml", "specs/stdc1.yaml", tmp_path / "b.yaml")
    assert done.returncode == 2
    assert "network.a: unknown" in done.stderr
    assert "network.b: unknown" in done.stderr
    assert "classifier of 1000 classes" in done.stdout


@pytest.fixture
def mine(tmp_path):
    """A spec of six images of a folder, five to train on, and the folder."""
    for i in range(6):
        image, mask = tmp_path / "mine" / "images" / f"{i}.jpg", tmp_path / "mine" / "masks" / f"{i}.png"
        ids = np.arange(48).reshape(6, 8) // (16 if i < 5 else 24)  # val lacks the third class
        for path, pixels in ((image, np.full((6, 8, 3), 40 * i)), (mask, ids)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    for split, names in (("train", "01234"), ("val", "5")):
        (tmp_path / "mine" / f"{split}.txt").write_text("\n".join(names))
    (tmp_path / "mine.yaml").write_text(
        "image_size: [32, 48]\n"
        "network: {kind: segmenter, classes: 3}\n"
        "data: {kind: folder, root: mine, class_names: [road, tree, car], split: {kind: list}}\n"
    )
    return tmp_path / "mine.yaml", tmp_path / "mine"


def test_data_tells_and_draws_what_is_in_a_data_set(mine, tmp_path):
    spec, _ = mine
    done = stdc_search("data", spec, "--data-root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "classes.csv", "classes.md", "classes.tex", "samples.png",
    }  # fmt: skip
    assert pd.read_csv(tmp_path / "out" / "classes.csv")["train images"].tolist() == [5, 5, 5]
    assert "train: 5 images; height x width: 6 x 8 in 5; 0.00 % of the pixels have no class" in done.stdout
    assert "\nNote: val has no pixel of car, which gets no score;" in done.stdout
    assert done.stdout.endswith("\nNo problems found.\n")


def test_data_refuses_what_run_refuses_with_its_line(mine, tmp_path):
    spec, root = mine
    for i in range(6):
        Image.fromarray((np.arange(48).reshape(6, 8) // 24 * 255).astype(np.uint8)).save(root / "masks" / f"{i}.png")
    text = spec.read_text("utf-8").replace("[road, tree, car]", "[road, car]").replace("classes: 3", "classes: 2")
    spec.write_text(f"{text}training: {{epochs: 1, batch: 2, crop: [32, 32], schedule: {{warmup: 1}}}}\n")
    for command in ("data", "run"):
        done = stdc_search(command, spec, "--data-root", tmp_path, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert f"{spec}:3: data.encoding: the masks hold only 0 (road) and 255 (ignored)" in done.stderr
        assert "`encoding: {kind: binary}`" in done.stderr


def test_data_names_every_broken_file_and_reports_the_rest(mine, tmp_path):
    spec, root = mine
    broken = [root / "masks" / "0.png", root / "images" / "1.jpg", root / "masks" / "5.png"]
    broken[0].unlink()
    for path in broken[1:]:
        path.write_bytes(b"no image")
    done = stdc_search("data", spec, "--data-root", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert all(str(path) in done.stderr for path in broken)
    assert "Traceback" not in done.stderr
    assert (tmp_path / "runs" / "data" / "mine" / "samples.png").is_file()
    assert "train: 3 images, 1 more cannot be used" in done.stdout


def test_data_of_which_no_training_image_is_whole_has_no_page(mine, tmp_path):
    spec, root = mine
    for i in range(5):
        (root / "images" / f"{i}.jpg").write_bytes(b"no image")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.png").write_text("of an earlier time")
    done = stdc_search("data", spec, "--data-root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert pd.read_csv(tmp_path / "out" / "classes.csv")["val images"].tolist() == [1, 1, 0]
    assert not (tmp_path / "out" / "samples.png").exists()


def test_data_that_cannot_be_opened_is_one_error(tmp_path, mine):
    spec, _ = mine
    done = stdc_search("data", spec, "--data-root", tmp_path / "elsewhere", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "no such folder" in done.stderr
    assert not (tmp_path / "out").exists()


def test_data_of_a_spec_without_data_says_what_to_add(tmp_path):
    done = stdc_search("data", "specs/stdc1.yaml", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "specs/stdc1.yaml: the section `data` is missing; add one, such as `data: {kind: camvid}`" in done.stderr


def test_two_files_of_one_name_have_two_rows(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text("network: {kind: segmenter}\n")
    done = stdc_search("cost", "a/x.yaml", "b/x.yaml", "b/x.yaml", "--parts", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"parts-a-x.yaml.csv", "parts-b-x.yaml.csv"}


def test_times_come_with_their_machine(tmp_path):
    spec = tiny_search().without_search().model_copy(update={"data": None, "training": None})
    dump(spec.model_copy(update={"latency": LatencySpec(repeats=3)}), tmp_path / "tiny.yaml")
    done = stdc_search("time", tmp_path / "tiny.yaml", "--out", tmp_path / "times")
    assert done.returncode == 0, done.stderr
    (machine,) = read_machines(tmp_path / "times" / "machine.json").values()
    assert device(machine) in done.stdout
    assert pd.read_csv(tmp_path / "times" / "time.csv")["repeats"].tolist() == [3]


@pytest.mark.slow
def test_runtimes_and_precisions_of_the_command_line_take_the_place_of_the_specs(tmp_path):
    dump(tiny_search().without_search(), tmp_path / "tiny.yaml")
    asked = ("--runtime", "onnxruntime", "--runtime", "openvino", "--precision", "fp32")
    done = stdc_search("time", tmp_path / "tiny.yaml", *asked, "--threads", 1, "--out", tmp_path / "times")
    assert done.returncode == 0, done.stderr
    assert "Places: by the ratio of times in the same round" in done.stdout
    table = pd.read_csv(tmp_path / "times" / "time.csv")
    found = {*zip(table["runtime"], table["precision"], table["threads"], strict=True)}
    assert found == {(name, "fp32", 1) for name in ("onnxruntime", "openvino")}
    assert table["median ms"].is_monotonic_increasing
    assert table["place"].is_monotonic_increasing


def test_a_precision_that_a_runtime_lacks_is_refused_with_those_that_it_has(tmp_path):
    done = stdc_search("time", "specs/stdc1.yaml", "--runtime", "eager", "--precision", "int8", "--out", tmp_path)
    assert done.returncode == 2
    assert "--precision: eager does not support int8; use one of fp32, bf16, fp16, or another runtime" in done.stderr


def test_export_writes_a_file_with_an_example(tmp_path):
    run = tiny_search().without_search()
    dump(run, tmp_path / "tiny.yaml")
    save_weights(build(run.network), tmp_path / "tiny.safetensors")
    given = (tmp_path / "tiny.yaml", tmp_path / "tiny.safetensors")
    done = stdc_search("export", *given, "--to", "torch", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = ("about.json", "network.pt2", "run_torch.py")
    assert done.stdout == "".join(f"saved: {tmp_path / 'out' / name}\n" for name in names)


def test_space_tabulates_a_search_and_refuses_a_single_network(tmp_path):
    dump(tiny_search(), tmp_path / "tiny.yaml")
    done = stdc_search("space", tmp_path / "tiny.yaml", "--sample", 9, "--out", tmp_path / "space")
    assert done.returncode == 0, done.stderr
    assert "a sample of 9 combinations of 18: 9 are legal networks" in done.stdout
    assert len(pd.read_csv(tmp_path / "space" / "networks.csv")) == 9
    refused = stdc_search("space", "specs/stdc1.yaml")
    assert refused.returncode == 2
    assert "the section `search` is missing" in refused.stderr


def test_weights_turns_a_released_checkpoint_into_ours(tmp_path):
    torch.save({"state_dict": classification("stdc1")}, tmp_path / "STDCNet813M_73.91.tar")
    out = tmp_path / "stdc1.safetensors"
    done = stdc_search("weights", "specs/stdc1.yaml", tmp_path / "STDCNet813M_73.91.tar", "--out", out)
    assert done.returncode == 0, done.stderr
    assert (
        "released classification under `state_dict`: 156 of 156 tensors taken, 174 of the file set aside" in done.stdout
    )
    again = stdc_search("weights", "specs/stdc1.yaml", out, "--out", tmp_path / "again.safetensors")
    assert "own: 156 of 156 tensors taken" in again.stdout
    refused = stdc_search("weights", "specs/stdc1_seg50.yaml", out, "--out", tmp_path / "seg.safetensors")
    assert refused.returncode == 2
    assert "missing: context.average.1.conv.weight" in refused.stderr
    assert not (tmp_path / "seg.safetensors").exists()
    partly = stdc_search("weights", "specs/stdc1_seg50.yaml", out, "--partial", "--out", tmp_path / "seg.safetensors")
    assert partly.returncode == 0, partly.stderr
    assert "11 unexpected: " in partly.stdout


def test_weights_are_written_as_what_they_are_called(tmp_path):
    done = stdc_search("weights", "specs/stdc1.yaml", tmp_path / "net.tar", "--out", tmp_path / "net.pt")
    assert done.returncode == 2
    assert "the file name must end in .safetensors" in done.stderr


def test_predict_needs_something_to_segment(tmp_path):
    ended = stdc_search("predict", SPECS[0], "weights.safetensors")
    assert ended.returncode == 2
    assert "there is nothing to segment after the weights weights.safetensors; add images" in ended.stderr


def test_predict_takes_no_image_for_weights(tmp_path):
    ended = stdc_search("predict", SPECS[0], "photo.jpg")
    assert "the weights photo.jpg; the weights come between the spec and the images" in ended.stderr


@pytest.mark.parametrize("command", [["cost"], ["run"], ["data"], ["export", "weights.pth"]])
def test_a_file_is_no_output_folder(tmp_path, command):
    (tmp_path / "file").write_text("mine")
    name, *others = command
    ended = stdc_search(name, SPECS[0], *others, "--out", tmp_path / "file")
    assert (ended.returncode, ended.stderr) == (2, f"--out: {tmp_path / 'file'} is a file; give a folder\n")


def test_predict_says_how_a_torch_file_is_run(tmp_path):
    ended = stdc_search("predict", "network.pt2", "photo.jpg")
    assert ended.returncode == 2
    assert "network.pt2: predict runs .onnx and .xml files; export to onnx, or use" in ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_only_commands_that_resume_say_so_when_they_are_interrupted(command, monkeypatch, capsys):
    def interrupted():
        raise SystemExit(130)

    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(cli.warnings, "showwarning", None)
    monkeypatch.setattr(sys, "argv", ["stdc-search", command, "spec.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    resumes = command in ("run", "demo", "calibrate")
    expected = "stopped; run the same command again to resume\n" if resumes else "stopped\n"
    assert capsys.readouterr().err == expected


@pytest.mark.slow
def test_a_run_prints_objects_for_programs_or_nothing_at_all(tmp_path):
    dump(tiny_search(trials=3), tmp_path / "tiny.yaml")
    command = ["run", tmp_path / "tiny.yaml", "--out", tmp_path / "run"]
    printed = stdc_search(*command, "--json")
    assert printed.returncode == 0, printed.stderr
    events = [json.loads(line) for line in printed.stdout.splitlines()]
    candidates = [one["record"] for one in events if one["event"] == "candidate"]
    assert sum(record["state"] == "complete" for record in candidates) == 3
    assert (end := events[-1])["event"] == "report" and len(end["search"]) >= 1
    assert str(tmp_path / "run" / "report" / "index.html") in end["files"]
    again = stdc_search(*command, "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    both = stdc_search(*command, "--quiet", "--json")
    assert both.returncode == 2 and "give one of them" in both.stderr
