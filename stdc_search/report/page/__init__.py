"""`report/index.html`: one page with a run's front, its networks and its search, which needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from jinja2.utils import htmlsafe_json_dumps
from plotly.offline import get_plotlyjs

from stdc_search.report.page.content import Extras, gather
from stdc_search.report.writing import Report
from stdc_search.run_folder import PAGE
from stdc_search.storage import write_atomically

__all__ = ["Extras", "page", "write_page"]


def write_page(folder: Path, report: Report, extras: Extras) -> Path:
    """Write the page of a run.

    Args:
        folder: the run's.
        report: its report.
        extras: what only PyTorch and Optuna know of it.
    """
    write_atomically(folder / PAGE, page(folder, report, extras))
    return folder / PAGE


def page(folder: Path, report: Report, extras: Extras) -> str:
    """The page as HTML. Text of a run reaches it as JSON, which the page's script shows as plain text."""
    environment = Environment(loader=PackageLoader("stdc_search.report.page"), autoescape=select_autoescape())
    found = gather(folder, report, extras)
    return environment.get_template("index.html").render(
        title=found["title"],
        data=htmlsafe_json_dumps(found, allow_nan=False),
        plotly=get_plotlyjs(),
    )
