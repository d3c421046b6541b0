"""How masks encode classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from stdc_search.spec.base import default_kind
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule


class IdsSpec(Spec):
    """One channel of class ids."""

    kind: Literal["ids"] = "ids"
    ignore: Annotated[int, Field(ge=0, le=255)] = 255
    """Id of pixels that training and scoring ignore."""


Colour = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]
"""Red, green, blue."""


class ColoursSpec(Spec):
    """One colour per class."""

    kind: Literal["colours"]
    colours: tuple[Colour, ...]
    """[red, green, blue] of each class, in the order of `class_names`."""
    ignore: tuple[Colour, ...] = ((0, 0, 0),)
    """Colours of pixels that training and scoring ignore."""

    @rule
    def _one_meaning_each(self) -> Iterator[Problem]:
        every = (*self.colours, *self.ignore)
        if twice := sorted({colour for colour in every if every.count(colour) > 1}):
            yield Problem(
                "colours",
                f"{', '.join(str(list(colour)) for colour in twice)} appears twice in `colours` and `ignore`, "
                "which is black where it is not written; a colour has one meaning",
            )


class BinarySpec(Spec):
    """Black is the first class; white, the value 1, or the only other colour of a mask is the second."""

    kind: Literal["binary"]


Encoding = Annotated[
    Annotated[IdsSpec, Tag("ids")] | Annotated[ColoursSpec, Tag("colours")] | Annotated[BinarySpec, Tag("binary")],
    Discriminator(default_kind("ids")),
]
"""`kind` is `ids` where it is not written."""
