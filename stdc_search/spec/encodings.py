"""How masks encode classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, NonNegativeInt, Tag, model_validator

from stdc_search.spec.base import default_kind
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

Id = Annotated[int, Field(ge=0, le=255)]


def _number(key: Any) -> Any:
    if not (isinstance(key, str) and key.isdecimal()):
        return key
    if key != str(int(key)):
        raise ValueError(f"{key} is not how an id is written; write {int(key)}")
    return int(key)


IdKey = Annotated[Id, BeforeValidator(_number)]
"""Keys of a file are text."""
ID_KEYS: dict[str, JsonValue] = {
    "propertyNames": {"type": "string", "pattern": r"^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$"},
}
"""These keys, for editors."""


class IdsSpec(Spec):
    """One channel of class ids."""

    kind: Literal["ids"] = "ids"
    ignore: Id = 255
    """Id of pixels that training and scoring ignore."""
    map: Annotated[dict[IdKey, NonNegativeInt | Literal["ignore"]], Field(json_schema_extra=ID_KEYS)] = {}
    """What becomes of each id of the masks: a class, counted from 0, or `ignore`. `{0: ignore, 1: 0, 2: 1}` is for
    masks in which 0 is unlabelled. If it is empty, ids are classes."""


Colour = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]
"""Red, green, blue."""
Colours = Annotated[tuple[Colour, ...], Field(json_schema_extra=ONCE)]


class ColoursSpec(Spec):
    """One colour per class."""

    kind: Literal["colours"]
    colours: Colours
    """[red, green, blue] of each class, in the order of `class_names`."""
    ignore: Colours = ((0, 0, 0),)
    """Colours of pixels that training and scoring ignore. By default that is black, unless a class is black."""

    @model_validator(mode="before")
    @classmethod
    def _black_may_be_a_class(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "ignore" in values or not isinstance(values.get("colours"), list | tuple):
            return values
        black = any(tuple(colour) == (0, 0, 0) for colour in values["colours"] if isinstance(colour, list | tuple))
        return {**values, "ignore": ()} if black else values

    @rule
    def _one_meaning_each(self) -> Iterator[Problem]:
        every = (*self.colours, *self.ignore)
        if twice := sorted({colour for colour in every if every.count(colour) > 1}):
            yield Problem(
                "colours",
                f"{', '.join(str(list(colour)) for colour in twice)} appears twice in `colours` and `ignore`; "
                "a colour has one meaning",
            )


class BinarySpec(Spec):
    """Black is the first class; white, the value 1, or the only other colour of a mask is the second."""

    kind: Literal["binary"]


AnyEncoding = IdsSpec | ColoursSpec | BinarySpec
Encoding = Annotated[
    Annotated[IdsSpec, Tag("ids")] | Annotated[ColoursSpec, Tag("colours")] | Annotated[BinarySpec, Tag("binary")],
    Discriminator(default_kind("ids")),
]
"""`kind` is `ids` where it is not written."""


def misfits_of_encoding(encoding: AnyEncoding, names: tuple[str, ...]) -> Iterator[Problem]:
    """What is wrong with an encoding of these classes."""
    match encoding:
        case IdsSpec(map=ids, ignore=ignore) if ids:
            yield from _misfits_of_map(ids, names)
            index = ids.get(ignore, "ignore")
            if index != "ignore" and ignore != 255:  # which a map may use, since it is the default
                message = f"`ignore` {ignore} is class {index} in `map`; remove `ignore`, or map {ignore} to ignore"
                yield Problem("encoding.ignore", message)
        case IdsSpec(ignore=ignore) if ignore < len(names):
            message = f"`ignore` {ignore} is the id of class {names[ignore]!r}; use {len(names)} or more, 255 as a rule"
            yield Problem("encoding.ignore", message)
        case ColoursSpec(colours=colours) if len(colours) != len(names):
            message = (
                f"{len(colours)} `colours` for {len(names)} `class_names` ({', '.join(names)}); give one per class"
            )
            yield Problem("encoding.colours", message)
        case BinarySpec() if len(names) != 2:
            yield Problem("class_names", f"{len(names)} `class_names` for `binary` masks, which have 2; name both")
        case _:
            pass


def _misfits_of_map(ids: dict[int, int | Literal["ignore"]], names: tuple[str, ...]) -> Iterator[Problem]:
    classes = {index for index in ids.values() if index != "ignore"}
    if beyond := sorted(index for index in classes if index >= len(names)):
        message = f"maps to class {beyond[0]}, but `class_names` has {len(names)}: 0 ({names[0]}) to {len(names) - 1}"
        yield Problem("encoding.map", f"{message} ({names[-1]})")
    elif lost := [name for index, name in enumerate(names) if index not in classes]:
        yield Problem("encoding.map", f"maps no id to {', '.join(lost)}; every class needs an id")
