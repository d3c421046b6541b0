"""What all data of your own has: a folder and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stdc_search.spec.base import FilePath
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

IGNORE = "ignore"
"""In place of a class: pixels that training and scoring ignore."""


class OwnSpec(Spec):
    """Data of your own."""

    kind: str
    root: FilePath = Path(".")
    """Folder that holds the data; a relative one starts from `--data-root`, else from $STDC_SEARCH_DATA, else from the
    working folder."""
    class_names: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(min_length=2, max_length=255, json_schema_extra=ONCE),
    ]
    """Names of the classes; the first is id 0."""

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @rule
    def _class_names_differ(self) -> Iterator[Problem]:
        names = self.class_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield Problem("class_names", f"`class_names` has {', '.join(twice)} twice; each class needs its own name")


class NamedSpec(OwnSpec):
    """Data of a tool that names the classes in its files."""

    map: dict[str, str] = {}
    """What becomes of the tool's other names: one of `class_names`, or `ignore`. `*` stands for all that are not
    listed."""

    @rule
    def _names_become_classes(self) -> Iterator[Problem]:
        if IGNORE in self.class_names:
            yield Problem("class_names", f"`{IGNORE}` means no class; write `map: {{NAME: {IGNORE}}}` instead")
        for name, becomes in self.map.items():
            if becomes not in (*self.class_names, IGNORE):
                legal = ", ".join((*self.class_names, IGNORE))
                yield Problem(f"map.{name}", f"{becomes!r} is no class; use one of {legal}")
            if name in self.class_names and name != becomes:
                yield Problem(f"map.{name}", f"{name!r} is one of `class_names`; remove it from there, or from `map`")


class ShapesSpec(NamedSpec):
    """Data of a tool that writes shapes, each with the name of its class."""

    background: str
    """Class of the pixels in no shape: one of `class_names`, or `ignore`. Usually these pixels are background,
    a class of its own."""

    @rule
    def _background_is_a_class(self) -> Iterator[Problem]:
        if self.background not in (*self.class_names, IGNORE):
            legal = ", ".join((*self.class_names, IGNORE))
            yield Problem("background", f"{self.background!r} is no class; use one of {legal}")
