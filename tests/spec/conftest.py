"""Shared by the tests of specs: a file that is wrong, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load


@pytest.fixture
def complaints(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a file, loads it, and gives the lines of the error, with paths from the file's folder."""

    def complain(content: str | bytes, name: str = "run.yaml") -> list[str]:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(SpecError) as caught:
            load(file)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return complain
