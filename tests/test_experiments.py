"""What an experiment's command makes is what lies in its folder, where nothing in it is measured or trained."""

import importlib.util
from pathlib import Path

import pytest

SCRIPTS = [
    pytest.param(path, marks=[pytest.mark.slow] if path.parent.name == "paper_tables" else [], id=path.parent.name)
    for path in sorted(Path("experiments").glob("*/make.py"))
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_counted_experiment_gives_the_tables_that_are_kept(script, tmp_path):
    if script.parent.name == "paper_tables":
        pytest.importorskip("timm", reason="the extra `zoo` is not installed")
    spec = importlib.util.spec_from_file_location(script.parent.name, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    tables = [path for path in tmp_path.iterdir() if path.suffix in (".csv", ".md", ".tex")]
    assert tables
    for path in tables:
        assert path.read_text("utf-8") == (script.parent / path.name).read_text("utf-8")


@pytest.mark.parametrize("folder", sorted(path.parent for path in Path("experiments").glob("*/README.md")), ids=str)
def test_every_experiment_stands_in_the_list(folder):
    assert f"]({folder.name}/README.md)" in Path("experiments/README.md").read_text(encoding="utf-8")
