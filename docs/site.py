"""Builds the documentation as a site in build/site/: python -m docs.site (or: make site)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = Path("build/pages")
"""The pages in one folder, since a site has only one; links between them stay as they are."""
FOLDERS = ("docs", "specs", "experiments", "benchmarks")
SUFFIXES = (".md", ".png", ".yaml", ".json", ".csv", ".ipynb", ".tex")


def pages() -> list[Path]:
    """Every page and what pages link to, relative to the checkout; what a run left there is none."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *inside) if "networks" not in path.parts)


def build() -> None:
    """Copy the pages and build the site; a warning, such as a broken link, is an error."""
    shutil.rmtree(ROOT / PAGES, ignore_errors=True)
    for page in pages():
        (ROOT / PAGES / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, ROOT / PAGES / page)
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=True)


if __name__ == "__main__":
    build()
