"""Commands that get an answer out of finished runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from stdc_search.cli.options import DataRoot, Int8, Out, Spec, choice, echo, folder_option, spec_argument
from stdc_search.spec.choices import Format

RunFolder = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]


def report_command(folder: RunFolder) -> None:
    """Regenerate the report of a run."""
    from rich.console import Console

    from stdc_search.commands.report import report

    report(folder).print(Console())


def watch_command(
    folder: RunFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for a free one.")] = 8000,
) -> None:
    """Show the report page of a run in a browser.

    Serves it to this machine only, until Ctrl-C. The page loads again when a candidate ends.
    """
    from stdc_search.commands.watch import Watch

    with Watch(folder, port) as server:
        echo(f"{server.url}  (Ctrl-C ends)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def best_command(
    folder: RunFolder,
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOUND",
            help="Most that it may take: 30ms (median time), 2GMACs (multiply-adds) or 3M (parameters); repeatable.",
            show_default="no bound",
        ),
    ] = None,
    export: Annotated[Format | None, choice(Format, "Also export it, as this format.", "no export")] = None,
    out: Annotated[Path | None, folder_option("Folder of the export.", "runs/export/NAME of run and network")] = None,
    int8: Int8 = False,
    data_root: DataRoot = None,
) -> None:
    """Choose the best network of a run.

    Takes the highest expected accuracy within the bounds, from the finals if one of them fits. Prints accuracy, time,
    cost and files, and names doubtful times and what else to know.
    """
    from stdc_search.commands.results import Best
    from stdc_search.errors import UserError
    from stdc_search.report.bounds import read_bounds
    from stdc_search.report.choice import choose
    from stdc_search.report.reading import read_results

    if export is None:
        for name, given in (("--out", out), ("--int8", int8)):
            if given:
                raise UserError(f"{name} needs --export; add it, or leave {name} out")
    best = Best.of(choose(read_results(folder), read_bounds(at_most or ())))
    echo(best)
    if export is not None:
        for path in best.export(export, out, int8=int8, data_root=data_root):
            echo(f"saved: {path}")


def compare_command(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, at least two.", show_default=False)],
    out: Out = Path("runs/compare"),
) -> None:
    """Compare the fronts of several runs.

    Prints the networks of all fronts, hypervolumes with a common reference point, and the accuracy that each run
    attains within budgets. Saves tables and a picture. Compares finals if all runs have them, else the searches.
    """
    from stdc_search.commands.fronts import compare

    comparison = compare(*folders)
    paths = comparison.save(out)
    comparison.print()
    for path in paths:
        echo(f"saved: {path}")


def diff_command(
    first: Spec,
    second: Annotated[Path, spec_argument("Another one.")],
) -> None:
    """Show how two specs differ, and in cost.

    Lists the fields that differ, with their defaults where a file omits them. Counts both networks, each at its own
    image size.
    """
    from stdc_search.commands.difference import diff
    from stdc_search.report.tables import print_table

    found = diff(first, second)
    if len(found.fields):
        print_table(found.fields, "Fields that differ")
    print_table(found.cost, "Cost", found.notes)
