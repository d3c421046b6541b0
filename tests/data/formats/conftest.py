"""The scene as any tool writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from stdc_search.data import open_dataset
from stdc_search.data.dataset import Dataset, Split
from stdc_search.spec.data import DataSpec
from tests.data.formats.scene import NAMES, WRITERS

Opened = Callable[..., Dataset]
SPEC = TypeAdapter[Any](DataSpec)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "export"


@pytest.fixture
def opened(root: Path) -> Opened:
    """Writes the scene once and opens a split of it; keywords change the section `data`."""
    sections: dict[str, Any] = {}

    def open_it(kind: str, side: Split = "train", problems: list[str] | None = None, **how: Any) -> Dataset:
        if kind not in sections:
            sections[kind] = WRITERS[kind](root)
        section = {"root": root, "class_names": NAMES, **sections[kind], **how}
        return open_dataset(SPEC.validate_python(section), side, problems=problems)

    return open_it
