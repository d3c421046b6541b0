"""What an experiment's command makes is what lies in its folder, where nothing in it is measured or trained."""

import importlib.util
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import typer

from stdc_search.cli import app

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
        kept = script.parent / path.name
        if path.suffix == ".csv":  # in full precision, of which other versions of SciPy give other last digits
            pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(kept), rtol=1e-9)
        else:
            assert path.read_text("utf-8") == kept.read_text("utf-8")


@pytest.mark.parametrize("folder", sorted(path.parent for path in Path("experiments").glob("*/README.md")), ids=str)
def test_every_experiment_stands_in_the_list(folder):
    assert f"]({folder.name}/README.md)" in Path("experiments/README.md").read_text(encoding="utf-8")


LIST = Path("experiments/README.md")
THE_PAPER = [row.split(" | ") for row in LIST.read_text("utf-8").split("## The paper, whole")[1].splitlines()[1:]]
"""Cells of the rows of the table that maps the paper."""
COMMANDS = dict.fromkeys(command for row in THE_PAPER if len(row) > 2 for command in re.findall(r"`(.+?)`", row[2]))


def test_the_list_maps_every_table_equation_and_figure_of_the_paper():
    named = [re.match(r"\| (\w+ \d+), ", row[0]) for row in THE_PAPER]
    counts = {"Table": 7, "Equation": 5, "Figure": 7}
    assert [name[1] for name in named if name] == [f"{kind} {i + 1}" for kind, n in counts.items() for i in range(n)]


def test_every_row_of_the_paper_has_a_folder_a_command_a_state_and_a_comparison():
    rows = [row for row in THE_PAPER if re.match(r"\| \w+ \d", row[0])]
    assert [row[0] for row in rows if len(row) != 5 or not all(cell.strip(" |") for cell in row)] == []
    links = re.findall(r"\]\(([^)#:]+)\)", " ".join(row[1] for row in rows))
    assert links and [link for link in links if not (LIST.parent / link).exists()] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_regenerates_the_paper_exists(command):
    match shlex.split(command):
        case ["python", "-m", "pytest", *arguments]:
            files = [Path(word) for word in arguments if word.endswith(".py")]
            assert files and all(file.is_file() for file in files)
            if "-k" in arguments:
                assert any(arguments[arguments.index("-k") + 1] in file.read_text("utf-8") for file in files)
        case ["python", "-m", module, *_]:
            assert module.startswith("experiments.") and Path(f"{module.replace('.', '/')}.py").is_file()
        case ["stdc-search", name, *arguments]:
            typer.main.get_command(app).commands[name].make_context(name, [*arguments])  # it empties the list
            specs = [Path(word) for word in arguments if word.endswith(".yaml")]
            assert specs and all(spec.is_file() for spec in specs)
        case _:
            pytest.fail("not a command")
