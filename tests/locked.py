"""Tests of what only the versions in `constraints.txt` give: drawn pixels, generated text."""

from importlib.metadata import version
from pathlib import Path

import pytest

PINS = dict(line.split("==") for line in Path("constraints.txt").read_text("utf-8").splitlines() if "==" in line)


def made_with(package: str) -> pytest.MarkDecorator:
    """Skip a test where another version of a package is installed."""
    here = version(package)
    return pytest.mark.skipif(here != PINS[package], reason=f"made with {package} {PINS[package]}, and {here} is here")
