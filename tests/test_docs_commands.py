"""Every command and every piece of Python on a page of the docs, run where the files that it names exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from stdc_search.cli import app
from stdc_search.commands import calibrate
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import load
from tests import released
from tests.commands.test_init import write_folder
from tests.commands.test_video import film
from tests.data.conftest import write_cityscapes_split
from tests.onnx_files import conv
from tests.search_specs import tiny_search
from tests.test_docs import PAGES, ROOT

CAMERA = "tests/commands/test_camera.py"
ELSEWHERE = {
    "check mine.yaml": "shows a mistake: test_the_readme_shows_a_real_message",
    "predict mine/network.onnx 0": CAMERA,
    "predict mine/network.onnx rtsp://user:password@10.0.0.2/live": CAMERA,
    "run /shared/search.yaml --out /shared/runs/search --data-root /shared/data": "tests/search/test_cluster.py",
    "watch runs/quickstart": "tests/commands/test_watch.py",
}
"""Commands that need a device or do not end, and where they are tested."""
SHORTER = {
    r"epochs: \d+": "epochs: 1",
    r"trials: \d+": "trials: 2",
    r"networks: \d+": "networks: 1",
    r"start: .*": "start: []",
}
"""What makes a search of hours one of seconds."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name, small ones."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "specs", folder / "specs")
    for path in folder.glob("specs/stdc?_seg50.yaml"):
        dump(replace(load(path), {"image_size": (64, 128)}), path)
    search = tiny_search(latency={"runtime": "eager", "repeats": 5}, trials=13)
    for name in ("mine.yaml", "spec.yaml", "specs/camvid.yaml"):
        dump(search, folder / name)
    assert run("run mine.yaml", folder).exit_code == 0
    for copy in ("quickstart", "mine_2"):
        shutil.copytree(folder / "runs/mine", folder / "runs" / copy)
    for name, width in (("a.yaml", 8), ("b.yaml", 16)):
        dump(replace(search, {"network.head.width": width}), folder / name)

    write_folder(folder / "my_data", 12)
    Image.fromarray(np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)).save(folder / "photo.jpg")
    film(pytest.importorskip("av", reason="the extra `video` is not installed"), folder / "drive.mp4")

    torch.save({"state_dict": released.classification("stdc1")}, folder / "STDCNet813M_73.91.tar")
    seg = released.segmentation("stdc1")
    torch.save(seg, folder / "model_maxmIOU50.pth")
    torch.save({"state_dict": released.as_mmsegmentation(seg, "stdc1")}, folder / "CHECKPOINT.pth")
    conv(folder / "yolo26n-sem.onnx", classes=19)
    for split in ("train", "val"):
        write_cityscapes_split(folder / "cityscapes", split, "here", 2)
    page = (ROOT / "docs/networks.md").read_text("utf-8")
    block = next(one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "kind: onnx_file" in one)
    (folder / "yolo.yaml").write_text(block.replace("[512, 1024]", "[64, 128]"), "utf-8")
    return folder


def run(line: str, folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(app, shlex.split(line))


def steps(page: Path) -> list[tuple[str, str]]:
    """Commands and pieces of Python of a page, in their order."""
    pattern = r"^```python\n(?P<python>.*?)^```|^ {4,}(?:[^\n]*\$ )?stdc-search (?P<shell>[^#\n]*)"
    found = re.finditer(pattern, page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(kind, match[kind].strip()) for match in found if (kind := match.lastgroup)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parts[-2] != "benchmarks" and steps(page)], ids=lambda page: page.stem
)
def test_every_command_of_a_page_ends_well(page, prepared, tmp_path, monkeypatch):
    folder = shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(calibrate, "HELD_OUT", 3)
    for kind, text in steps(page):
        if kind == "python":
            exec(compile(text, "python of the page", "exec"), {"image": np.zeros((48, 64, 3), np.uint8)})
            continue
        if text in ELSEWHERE or page.stem == "commands":
            continue
        if "--from" in text:  # a new run, where the page has compared it before
            shutil.rmtree(folder / text.partition("--out ")[2].split()[0])
        result = run(text, folder)
        assert result.exit_code == 0, f"{text}\n{result.output}\n{result.exception!r}"
        if text.startswith("init "):
            shorten(folder / "my_data.yaml")


def shorten(path: Path) -> None:
    text = path.read_text("utf-8")
    for old, new in SHORTER.items():
        text = re.sub(rf"\b{old}", new, text)
    path.write_text(text, "utf-8")


def test_commands_that_are_tested_elsewhere_are_on_a_page():
    texts = {text for page in PAGES for _, text in steps(page)}
    assert set(ELSEWHERE) <= texts
    assert all((ROOT / place).is_file() for place in ELSEWHERE.values() if place.startswith("tests/"))


def test_the_readme_shows_a_real_message(tmp_path):
    told = re.search(r"^ +(mine\.yaml:12: .*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert told is not None
    lines = ["image_size: [64, 64]", "network:", "  kind: segmenter", "  classes: 3", "  backbone:", "    kind: stdc"]
    lines += ["data: {kind: scenes}", "latency: {runtime: eager}", "training:", "  epochs: 4", "  crop: [64, 64]"]
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, "  optimiser: {}"]), "utf-8")
    assert told[1] in run("check mine.yaml", tmp_path).output.replace("\n", " ")
