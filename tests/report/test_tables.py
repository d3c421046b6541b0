from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from stdc_search.report.tables import cells, print_table, save_table, to_latex, to_markdown

COUNTS = pd.DataFrame({"network": ["STDC1", "STDC2"], "parameters": [8_275_104, 12_305_568], "GMACs": [16.86, 23.461]})


def printed(frame: pd.DataFrame, width: int | None = None, **options) -> str:
    console = Console(file=io.StringIO(), force_terminal=width is not None, width=width, color_system=None)
    print_table(frame, console=console, **options)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("title", "values", "drawn"),
    [
        ("mIoU %", [45.123, 9.06], ["45.1", "9.1"]),
        ("median ms", [151.32, 104.2], ["151.3", "104.2"]),
        ("median_ms", [8.123, 31.3], ["8.12", "31.30"]),
        ("latency.p95_ms", [0.4123, 1.0], ["0.412", "1.000"]),
        ("GMACs", [16.861, 0.8], ["16.86", "0.80"]),
        ("GMACs", [0.0412, 1.5], ["0.041", "1.500"]),
        ("params M", [8.275, np.nan], ["8.28", "–"]),
        ("FPS", [31.94, 102.26], ["31.9", "102.3"]),
        ("parameters", [8_443_552, 900], ["8,443,552", "900"]),
        ("width", [1024, 64], ["1024", "64"]),
        ("learning rate", [0.0123456, 1e-5], ["0.01235", "1e-05"]),
        ("front", [True, False], ["●", ""]),
        ("network", ["0007", None], ["0007", "–"]),
    ],
)
def test_numbers_are_drawn_by_the_unit_of_their_column(title, values, drawn):
    assert cells(pd.DataFrame({title: values}))[title].tolist() == drawn


def test_a_csv_holds_every_figure_in_full(tmp_path):
    frame = pd.DataFrame({"score.miou": [1 / 3]})
    save_table(frame, tmp_path / "table")
    assert pd.read_csv(tmp_path / "table.csv").equals(frame)


def test_a_table_is_saved_in_three_forms_in_a_folder_that_is_made(tmp_path):
    paths = save_table(COUNTS, tmp_path / "new" / "cost")
    assert [path.name for path in paths] == ["cost.csv", "cost.md", "cost.tex"]
    assert all(path.is_file() for path in paths)


def test_drawn_forms_may_show_less_than_the_csv(tmp_path):
    csv, markdown, latex = save_table(COUNTS, tmp_path / "cost", drawn=COUNTS[["network"]])
    assert "parameters" in csv.read_text("utf-8")
    assert "parameters" not in markdown.read_text("utf-8") + latex.read_text("utf-8")


def test_markdown_keeps_leading_zeros_and_escapes_its_bars():
    text = to_markdown(pd.DataFrame({"network": ["0007", "a|b"]}), "One sentence.")
    assert text.splitlines()[2:] == ["| 0007      |", "| a\\|b      |", "", "One sentence."]


def test_markdown_shows_every_character_of_cells_and_caption():
    text = to_markdown(pd.DataFrame({"network": ["a\\|b"]}), "Front of <img src=x> a\\|b\x1b")
    assert text.splitlines()[2:] == ["| a\\\\\\|b    |", "", "Front of \\<img src=x> a\\\\\\|b\\\\x1b"]


def test_markdown_aligns_numbers_to_the_right():
    assert to_markdown(COUNTS).splitlines()[1] == "|:----------|-------------:|--------:|"


def test_latex_escapes_what_tex_would_read_as_a_command():
    text = to_latex(pd.DataFrame({"mIoU %": [45.1], "name": [r"a_b & {c} \d"], "front": ["●"]}), "50 % of #1")
    assert r"mIoU \% & name & front \\" in text
    assert r"45.1 & a\_b \& \{c\} \textbackslash{}d & $\bullet$ \\" in text
    assert r"\caption{50 \% of \#1}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    awkward = pd.DataFrame({"mIoU %": [45.1, np.nan], "a_b": [r"~^\$#{}&<>×·", "●"]})
    body = to_latex(awkward, "100 % · 360 × 480")
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_terminal_that_is_wide_enough_shows_every_column():
    assert "too wide" not in printed(COUNTS, width=80)


def test_a_narrow_terminal_shows_whole_columns_and_names_those_left_out():
    text = printed(COUNTS, width=26)
    assert "8,275,104" in text
    assert "16.86" not in text
    assert "too wide for this terminal: GMACs" in text


def test_a_pipe_gets_every_column_however_many():
    frame = pd.DataFrame({f"column{i}": [i] for i in range(60)})
    assert "column59" in printed(frame).splitlines()[1]


def test_a_quiet_console_stays_quiet():
    console = Console(file=io.StringIO(), quiet=True)
    print_table(COUNTS, "title", ["note"], console)
    assert console.file.getvalue() == ""


def test_brackets_in_cells_titles_and_notes_are_no_markup():
    text = printed(pd.DataFrame({"[red]size": ["[360, 480]"]}), title="[bold]", notes=["[/] runs/x"])
    assert all(part in text for part in ("[red]size", "[360, 480]", "[bold]", "[/] runs/x"))


def test_cells_from_elsewhere_are_only_text_in_every_form(tmp_path):
    frame = pd.DataFrame(
        {"=1+2": 0, "name": ["=cmd|'/C calc'!A0", "@x", "-1", "\x1b[2Ja\nb", "<b>`c`"], "mIoU %": [-1.5] * 5}
    )
    csv, markdown, latex = save_table(frame, tmp_path / "t")
    rows = pd.read_csv(csv)
    assert "'=1+2" in rows
    assert rows["name"].tolist()[:3] == ["'=cmd|'/C calc'!A0", "'@x", "'-1"]
    assert rows["mIoU %"].tolist() == [-1.5] * 5  # numbers stay
    shown = markdown.read_text("utf-8")
    assert r"\<b>`c`" in shown and r"\\x1b[2Ja\\nb" in shown and "\x1b" not in shown
    assert "\x1b" not in latex.read_text("utf-8")
    assert "\x1b" not in printed(frame, title="\x1b[2J", notes=["\x1b]0;x\x07"])
