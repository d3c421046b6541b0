"""Names of classes in a tool's files -> classes of the spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from stdc_search.data.dataset import DataError
from stdc_search.errors import alike, several
from stdc_search.spec.files import to_yaml
from stdc_search.spec.own import IGNORE, NamedSpec, ShapesSpec

REST = "*"
BACKGROUND = "background"


def classes_by_name(
    spec: NamedSpec, names: Collection[str], source: Path, known: Collection[str] = ()
) -> dict[str, int | None]:
    """The class of each of a tool's names, None for those to ignore.

    Args:
        spec: it has the names of the classes, and what becomes of others.
        names: those in the tool's files.
        source: the file or folder that has them, for messages.
        known: names that the tool knows, but does not use; they need no class.

    Raises:
        DataError: a name has no class, or a class or a name of `map` is not there.
    """
    written = {**{name: name for name in spec.class_names}, **spec.map}
    becomes = {name: written.get(name, spec.map.get(REST)) for name in names}
    every = dict.fromkeys([*known, *names])
    problems = [*_unknown([name for name in names if becomes[name] is None], spec), *_absent(spec, every)]
    if problems:
        line = as_line({"class_names": list(every)})
        raise DataError("\n".join(f"{source}: {problem}. All names there: `{line}`" for problem in problems))
    return {name: index_of(spec, str(its)) for name, its in becomes.items()}


def index_of(spec: NamedSpec, name: str) -> int | None:
    """The index of a class; None for `ignore`."""
    return None if name == IGNORE else spec.class_names.index(name)


def section(kind: str, names: Collection[str], shapes: bool = False) -> dict[str, Any]:
    """The section `data` of a tool's folder with these names. Shapes need a class of the pixels around them."""
    background = next((name for name in names if name.lower() == BACKGROUND), BACKGROUND)
    becomes = {IGNORE: IGNORE, "__ignore__": IGNORE} | ({"_background_": background} if shapes else {})  # of LabelMe
    classes = [name for name in dict.fromkeys(names) if name not in becomes]
    there = {name: its for name, its in becomes.items() if name in names}
    mapped = {"map": there} if there else {}
    if not shapes:
        return {"kind": kind, "class_names": classes, **mapped}
    others = [name for name in classes if name != background]
    return {"kind": kind, "class_names": [background, *others], "background": background, **mapped}


def as_line(section: Mapping[str, object]) -> str:
    """A part of a spec in one line of YAML."""
    return " ".join(to_yaml(section).split())


def _unknown(names: Collection[str], spec: NamedSpec) -> list[str]:
    if not names:
        return []
    remedies = as_line({"map": dict.fromkeys(names, IGNORE)})
    classes = ", ".join(spec.class_names)
    quoted = several([repr(name) for name in names])
    return [f"has {quoted}, which `data.class_names` ({classes}) lacks; add it, or write `{remedies}`"]


def _absent(spec: NamedSpec, names: Collection[str]) -> list[str]:
    made = {*spec.map.values()} | ({spec.background} if isinstance(spec, ShapesSpec) else set())
    lost = [("class_names", name) for name in spec.class_names if name not in names and name not in made]
    lost += [("map", name) for name in spec.map if name not in names and name != REST]
    return [
        f"has no {name!r} of `data.{field}`" + (f"; did you mean {meant!r}?" if (meant := alike(name, names)) else "")
        for field, name in lost
    ]
