"""Specs that come with the package are found by name, wherever the package is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stdc_search.commands.shipped import copy
from stdc_search.errors import UserError
from stdc_search.spec.editor import FILE
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load
from stdc_search.spec.shipped import about, names, shipped, text

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", names())
def test_each_is_found_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = ROOT / "specs" / f"{name}.yaml"
    for path in (name, f"{name}.yaml", f"specs/{name}.yaml", f"specs/{name}"):
        assert shipped(Path(path)) == expected
    assert about(name)[-1] in ".?" and not about(name).startswith("#")


def test_all_are_there():
    assert len(names()) == len([*ROOT.glob("specs/**/*.yaml")]) and "baselines/enet" in names()
    assert load("quickstart") == load(ROOT / "specs/quickstart.yaml")


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text("mine", "utf-8")
    assert shipped(Path("quickstart")) == Path("quickstart")


def test_a_folder_of_that_name_does_not_hide_a_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("camvid").mkdir()
    assert shipped(Path("camvid")).is_file() and about("camvid").startswith("A search")


def test_json_is_no_copy(tmp_path):
    with pytest.raises(UserError, match=r"a\.json: a copy is YAML; give it a name that ends with \.yaml"):
        copy("quickstart", tmp_path / "a.json")


@pytest.mark.parametrize("path", ["nothing", "../specs/quickstart.yaml", "/quickstart", "specs/../../x", "specs"])
def test_what_is_no_name_stays_a_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped(Path(path)) == Path(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quickstrat", "quickstrat: does not exist; did you mean `quickstart`?"),
        ("QUICKSTART", "QUICKSTART: does not exist; did you mean `quickstart`?"),
        ("densenet121", "densenet121: does not exist; did you mean `baselines/densenet121`?"),
        ("baselines/enett", "baselines/enett: does not exist; did you mean `baselines/enet`?"),
        ("specs/quikstart.yaml", "specs/quikstart.yaml: does not exist; did you mean `quickstart`?"),
        ("xyz", "xyz: does not exist; legal: mine.yaml; see `stdc-search specs`"),
        ("mine.yml", "mine.yml: does not exist; did you mean `mine.yaml`?"),
    ],
)
def test_a_wrong_name_leads_to_the_right_one(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").touch()
    with pytest.raises(SpecError) as error:
        load(name)
    assert str(error.value) == message


def test_a_copy_is_ones_own(tmp_path):
    copy("stdc1_seg50", tmp_path / "new/mine.yaml")
    assert load(tmp_path / "new/mine.yaml") == load("stdc1_seg50")
    assert (
        (tmp_path / "new/mine.yaml").read_text("utf-8").startswith(f"# yaml-language-server: $schema={FILE}\n# STDC1")
    )
    assert (tmp_path / "new" / FILE).is_file()
    with pytest.raises(UserError, match=r"mine\.yaml exists"):
        copy("stdc2", tmp_path / "new/mine.yaml")


@pytest.mark.parametrize("name", ["stdc1_seg", "../pyproject.toml", "/etc/passwd"])
def test_only_shipped_specs_are_printed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no spec of this name comes with the package"):
        text(name)


@pytest.mark.slow
def test_a_wheel_has_them_and_works_without_the_checkout(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(wheel, check=True, cwd=tmp_path)
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "empty").mkdir()
    code = "import stdc_search.spec.shipped as s; print(s.__file__, len(s.names()))"
    for command, told in (
        (["-c", code], f"{tmp_path / 'installed'}/stdc_search/spec/shipped.py {len(names())}"),
        (["-m", "stdc_search", "check", "quickstart", "baselines/enet"], "baselines/enet.yaml: enet of 19 classes"),
        (["-m", "stdc_search", "cost", "stdc1_seg50"], "8,275,104"),
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path / "empty",
            env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert told in done.stdout
