"""The documentation as a site: builds without a warning, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import tomllib

from docs import site

HTML = site.ROOT / "build/site"


def entries(value: object) -> list[str]:
    """Pages of a navigation, at any depth."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [page for item in items for page in entries(item)]


def test_the_site_has_every_guide_and_loads_nothing_from_other_servers():
    site.build()  # once: it has one folder, and tests run side by side
    settings = tomllib.loads((site.ROOT / "zensical.toml").read_text("utf-8"))["project"]
    pages = set(entries(settings["nav"]))
    assert {f"docs/{path.name}" for path in (site.ROOT / "docs").glob("*.md")} - {"docs/README.md"} <= pages
    for page in pages:
        built = HTML / page.replace("README.md", "index.md").replace(".md", ".html")
        assert built.is_file(), page
    for page in HTML.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*(?:src|href)=\"?(https?://[^\" >]*)", page.read_text("utf-8"))
        assert loaded == [], page
