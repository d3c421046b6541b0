"""Frames as tables: on the terminal, CSV, Markdown and LaTeX.

CSV holds every figure in full. The drawn forms round by the unit that ends a column's title (`mIoU %`, `median ms`,
`median_ms`, `GMACs`) and write whole numbers out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from stdc_search.errors import inert
from stdc_search.storage import write_atomically

MARK = "●"
ABSENT = "–"
FOLDED = 24
"""Length from which a cell may be wrapped on a terminal."""
UNBOUNDED = 10_000
"""Characters a line, where nothing needs to fit."""

PRECISION = {
    "%": (1, 0),
    "ms": (1, 3),
    "fps": (1, 0),
    "gmacs": (2, 2),
    "gflops": (2, 2),
    "m": (2, 2),
    "s": (1, 2),
    "pixels": (2, 2),  # percent of them; rare classes count
    "images": (2, 2),
}
"""By the word that ends a title, least decimals and least significant digits of a column's smallest number."""

MARKDOWN = str.maketrans({character: "\\" + character for character in "\\|<"})
"""What would end a cell, become HTML, or hide what follows."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How text begins that a spreadsheet runs."""
LATEX = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {MARK: r"$\bullet$", ABSENT: "--", "×": r"$\times$", "·": r"$\cdot$", "<": r"$<$", ">": r"$>$"}
)


def show_table(frame: pd.DataFrame, stem: Path, *, title: str) -> None:
    """Print a table and save it."""
    paths = save_table(frame, stem, caption=title)
    print_table(frame, title, [f"saved: {path}" for path in paths])


def save_table(
    frame: pd.DataFrame,
    stem: Path,
    *,
    caption: str = "",
    drawn: pd.DataFrame | None = None,
    also: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[Path, ...]:
    """Write a table as `.csv`, `.md` and `.tex`.

    Args:
        frame: What the CSV holds.
        stem: Path of the files without their ending; folders are made.
        caption: Under the Markdown table and in LaTeX's caption.
        drawn: What Markdown and LaTeX show, where that is not the whole frame.
        also: Further tables that they show below it, by their captions.
    """
    tables = [(caption, frame if drawn is None else drawn), *(also or {}).items()]
    stem.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        ".csv": frame.map(_as_text).rename(columns=_as_text).to_csv(index=False, lineterminator="\n"),
        ".md": "\n".join(to_markdown(one, words) for words, one in tables),
        ".tex": "\n".join(to_latex(one, words) for words, one in tables),
    }
    paths = tuple(stem.with_name(stem.name + ending) for ending in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text)
    return paths


def print_table(
    frame: pd.DataFrame, title: str = "", notes: Sequence[str] = (), console: Console | None = None
) -> None:
    """Print a table on the terminal, as many of its columns as fit, and lines below it.

    Output that goes into a file or a pipe has them all.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=UNBOUNDED, quiet=console.quiet)
    shown = len(frame.columns)
    table = rich_table(frame, title)
    while shown > 1 and not _fits(table, console):
        table = rich_table(frame.iloc[:, :shown], title, narrow=True)
        shown -= not _fits(table, console)
    if shown:
        console.print(table)
    if rest := [_title(name) for name in frame.columns[shown:]]:
        notes = [f"too wide for this terminal: {', '.join(rest)}", *notes]
    for note in notes:
        console.print(inert(note), markup=False, highlight=False, soft_wrap=True)


def _as_text(value: Any) -> Any:
    """A cell of a CSV file; text that a spreadsheet would run gets an apostrophe, which makes it text there, too."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update_width(UNBOUNDED), table).maximum <= console.width


def rich_table(frame: pd.DataFrame, title: str, narrow: bool = False) -> Table:
    """The table; a narrow one has its titles in as many lines as they have words."""
    table = Table(title=Text(inert(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    text = cells(frame)
    for i, numbers in enumerate(_alignments(frame, "", "right")):
        name = _title(frame.columns[i])
        width = max([*map(len, name.split()), min(FOLDED, max(map(len, text.iloc[:, i]), default=0))])
        justify = "right" if numbers else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", width=width if narrow else None)
    for row in text.itertuples(index=False):
        table.add_row(*(Text(cell) for cell in row))
    return table


def to_markdown(frame: pd.DataFrame, caption: str = "") -> str:
    """A Markdown table, its caption below it."""
    text = cells(frame).map(lambda cell: cell.translate(MARKDOWN))
    text.columns = [_title(name).translate(MARKDOWN) for name in frame.columns]
    # Without disable_numparse "0007" becomes 7.
    table = text.to_markdown(index=False, disable_numparse=True, colalign=_alignments(frame, "left", "right"))
    return f"{table}\n\n{inert(caption).translate(MARKDOWN)}\n" if caption else f"{table}\n"


def to_latex(frame: pd.DataFrame, caption: str = "") -> str:
    """A LaTeX table for a document that uses the package booktabs."""
    text = cells(frame).map(lambda cell: cell.translate(LATEX))
    text.columns = [_title(name).translate(LATEX) for name in frame.columns]
    table = text.to_latex(
        index=False,
        escape=False,  # done above; pandas leaves the marks that pdfLaTeX does not know
        column_format="".join(_alignments(frame, "l", "r")),
        caption=inert(caption).translate(LATEX) or None,
        position="t" if caption else None,
    )
    return f"% \\usepackage{{booktabs}}\n{table}"


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as it is drawn: every cell a string, numbers rounded by column."""
    columns = {name: pd.Series(_column(str(name), frame[name]), dtype=object) for name in frame.columns}
    return pd.DataFrame(columns, columns=frame.columns)


def _column(name: str, values: Iterable[Any]) -> list[str]:
    values = list(values)
    unit = re.split(r"[ ._]", name)[-1].lower()
    numbers = [abs(value) for value in values if _is_real(value) and math.isfinite(value)]
    separator = "," if max(numbers, default=0) >= 10_000 else ""
    decimals = None
    if unit in PRECISION:
        least, significant = PRECISION[unit]
        smallest = min(filter(None, numbers), default=1)
        decimals = min(max(least, significant - 1 - math.floor(math.log10(smallest))), 6)
    return [_cell(value, separator, decimals) for value in values]


def _cell(value: Any, separator: str, decimals: int | None) -> str:
    match value:
        case None:
            return ABSENT
        case bool() | np.bool_():
            return MARK if bool(value) else ""
        case Integral():
            return f"{value:{separator}d}"
        case Real() if math.isnan(value):
            return ABSENT
        case Real() if decimals is None:
            return f"{value:.4g}"
        case Real():
            return f"{value:{separator}.{decimals}f}"
        case _:
            return inert(value).replace("\n", "\\n")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _alignments(frame: pd.DataFrame, left: str, right: str) -> list[str]:
    """One side for columns of numbers, the other for those of words."""
    columns = [frame.iloc[:, i].tolist() for i in range(frame.shape[1])]
    return [right if all(value is None or _is_real(value) for value in column) else left for column in columns]


def _title(name: Any) -> str:
    return inert(name).replace("_", " ")
