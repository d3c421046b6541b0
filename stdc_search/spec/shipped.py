"""The specs that come with the package, by name."""

from __future__ import annotations

import os
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
    if os.path.isfile(path) or path.is_absolute() or ".." in path.parts:
        return path
    endings = (path.suffix,) if path.suffix in ENDINGS else ENDINGS
    places = (folder() / f"{_name(path)}{ending}" for ending in endings)
    return next((place for place in places if os.path.isfile(place)), path)


def nearest(path: Path) -> str | None:
    """The shipped spec that a path without a file may mean."""
    return alike(_name(path), names())


def place_of(name: str) -> Path:
    """The file of a shipped spec, whatever lies in the working folder.

    Raises:
        SpecError: there is none of this name.
    """
    if _name(Path(name)) in names():
        return folder() / f"{_name(Path(name))}.yaml"
    meant = nearest(Path(name))
    hint = f"did you mean `{meant}`?" if meant else "`stdc-search specs` lists all of them"
    raise SpecError.of(f"{name}: no spec of this name comes with the package; {hint}")


def text(name: str) -> str:
    """The text of a shipped spec.

    Raises:
        SpecError: there is none of this name.
    """
    return place_of(name).read_text("utf-8")


def about(name: str) -> str:
    """What a shipped spec is: its second line; the first one is for editors."""
    return text(name).splitlines()[1].removeprefix("# ")


def _name(path: Path) -> str:
    """What the name would be, if a path is one."""
    ending = next((ending for ending in ENDINGS if path.suffix == ending), "")
    return path.as_posix().removeprefix(f"{FOLDER}/").removesuffix(ending)
