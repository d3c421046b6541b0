"""The specs that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from stdc_search.errors import alike
from stdc_search.spec.problems import SpecError

FOLDER = "specs"
ENDINGS = (".yaml", ".json")


def folder() -> Path:
    """Where they lie: inside of an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next(place for place in (package / FOLDER, package.parent / FOLDER) if place.is_dir())


def names() -> list[str]:
    """Their names, those in a folder with it: `stdc1_seg50`, `baselines/enet`."""
    found = {path.relative_to(folder()).with_suffix("").as_posix() for path in folder().rglob("*.yaml")}
    return sorted(found, key=lambda name: ("/" in name, name))


def shipped(path: Path) -> Path:
    """A spec's file. If there is none at a path, it may be the name of a shipped spec, with or without its ending and
    folder: `quickstart`, `specs/quickstart.yaml`."""
    if path.exists() or path.is_absolute() or ".." in path.parts:
        return path
    name = path.relative_to(FOLDER) if path.parts[:1] == (FOLDER,) else path
    places = [folder() / name, *(folder() / f"{name}{ending}" for ending in ENDINGS)]
    return next((place for place in places if place.is_file()), path)


def text(name: str) -> str:
    """The text of a shipped spec.

    Raises:
        SpecError: there is none of this name.
    """
    found = shipped(Path(name))
    if not found.is_relative_to(folder()):
        meant = alike(name, names())
        hint = f"did you mean `{meant}`?" if meant else "`stdc-search specs` lists all of them"
        raise SpecError.of(f"{name}: no spec of this name comes with the package; {hint}")
    return found.read_text("utf-8")


def about(name: str) -> str:
    """What a shipped spec is: its second line; the first one is for editors."""
    return text(name).splitlines()[1].removeprefix("# ")
