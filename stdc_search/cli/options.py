"""What commands share: their arguments and options, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, get_args

import typer
from typer import CallbackParam

from stdc_search.errors import UserError, inert
from stdc_search.spec.shipped import shipped

AS_IN_SPEC = "as in the spec"
LINE_EVERY = 30.0
"""Seconds between lines where no progress bar can be drawn."""


def _folder(context: typer.Context, option: CallbackParam, value: Path | None) -> Path | None:
    if value is not None and value.exists() and not value.is_dir():
        raise UserError(f"{option.opts[0]}: {value} is a file; give a folder")
    return value


def folder_option(help: str, default: str | bool = True) -> Any:
    """An option that takes a folder, and may have a default that depends on something else."""
    return typer.Option(help=help, show_default=default, callback=_folder)


def choice(legal: Any, help: str, default: str | bool = True) -> Any:
    """An option with closed choices. Typer takes no `list[Literal]`, and starts its messages with "Value error"."""
    choices = get_args(legal)

    def parse(word: str) -> str:
        if word not in choices:
            raise typer.BadParameter(f"{word!r} is not one of {', '.join(map(repr, choices))}.")
        return word

    return typer.Option(parser=parse, metavar=f"<{'|'.join(choices)}>", help=help, show_default=default)


def spec_argument(help: str) -> Any:
    """An argument that is a spec's file, or the name of a shipped spec; or several of them."""

    def find(value: Path | list[Path]) -> Path | list[Path]:
        return [shipped(one) for one in value] if isinstance(value, list) else shipped(value)

    return typer.Argument(help=help, callback=find, show_default=False)


Spec = Annotated[Path, spec_argument("Spec file, YAML or JSON, or the name of a shipped spec.")]
Specs = Annotated[list[Path], spec_argument("Spec files, YAML or JSON, or names of shipped specs.")]
Weights = Annotated[
    Path, typer.Argument(help="Weights of the network; of an `onnx_file`, the file itself.", show_default=False)
]
DataRoot = Annotated[
    Path | None,
    folder_option("Folder that a relative `data.root` starts from.", "$STDC_SEARCH_DATA, else the working folder"),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantize to int8, calibrated on training images of `data`.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=AS_IN_SPEC)]
On = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Device: ssh://HOST or ssh://USER@HOST.", show_default=AS_IN_SPEC),
]
Python = Annotated[str | None, typer.Option(help="Python of that device.", show_default=AS_IN_SPEC)]
Out = Annotated[Path, folder_option("Output folder.")]


def echo(text: object, *, error: bool = False, end: str = "\n") -> None:
    """Print text, in which names from files may be anything."""
    typer.echo(inert(text) + end, nl=False, err=error)


def _lines(what: str) -> Callable[..., None]:
    last = monotonic()

    def told(done: int, total: int | None, note: str = "") -> None:
        nonlocal last
        if monotonic() - last >= LINE_EVERY:
            last = monotonic()
            echo(f"{note or what}: {done}{f' of {total}' if total else ''}", error=True)

    return told


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; without a terminal, a line every 30 seconds.

    The function takes the number of things done, of all things, and a note.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)  # a camera has none
        yield lambda done, total, note="": bars.update(task, completed=done, total=total, description=note or what)
