"""Commands in the tests' own process, where nothing is imported anew."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import warnings
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from stdc_search import cli


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def stdc_search(*arguments: object, cwd: Path | None = None) -> Done:
    """`stdc-search` with these arguments. What it raises besides its exit goes on, as a traceback would."""
    out, err, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or "."),
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", ["stdc-search", *map(str, arguments)]),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())
