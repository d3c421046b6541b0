"""pydantic's errors in this package's words, with paths as they are written in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo

from stdc_search.errors import alike, closest
from stdc_search.spec.problems import Problem, SpecError, shown


def explain(error: ValidationError, spec: type[BaseModel]) -> list[Problem]:
    """Every problem that pydantic found in the values of a spec class."""
    problems = []
    details = error.errors(include_url=False)
    for detail in details:
        loc = detail["loc"]
        if detail["type"] == "too_short" and any(
            other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details
        ):
            continue  # pydantic counts only legal items, so this one is a consequence of theirs
        place = _Place.of(spec, loc)
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            problems += [problem.within(place.path) for problem in cause.problems]
        elif detail["type"].startswith("union_tag") and place.legal:
            tag = detail["input"].get("kind") if isinstance(detail["input"], Mapping) else None
            problems.append(Problem(f"{place.path}.kind".strip("."), _not_one_of(place.legal, tag)))
        else:
            problems.append(Problem(place.path, str(cause) if cause else _message(detail, place)))
    return problems


@dataclass(frozen=True)
class _Place:
    """Where one of pydantic's errors is."""

    path: str
    owner: type[BaseModel] | None
    """The spec that has the path's last name as a field, or should have."""
    field: FieldInfo | None
    """The nearest field around."""
    annotation: Any
    """Type of the value there."""

    @classmethod
    def of(cls, spec: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
        """Follow the types along pydantic's location and leave out what is no key of the file."""
        path: list[str] = []
        annotation: Any = spec
        around: Any = None
        owner = field = None
        for key in loc:
            specs = _specs(annotation)
            if key in (tagged := _tagged(annotation)):
                annotation = tagged[key]
            elif len(specs) > 1:  # pydantic names the union's member before what is inside of it
                annotation = next((spec for spec in specs if key in _kinds(spec)), Any)
            elif key == "[key]":  # the key of a mapping is wrong, not its value
                annotation = get_args(around)[0]
            else:
                path.append(str(key))
                owner = specs[0] if specs else None
                if owner:
                    field = owner.model_fields.get(str(key))
                    annotation = field.annotation if field else Any
                else:
                    around, annotation = _container(annotation), _item(annotation, key)
        return cls(".".join(path), owner, field, annotation)

    @property
    def legal(self) -> list[Any]:
        """All legal values, where they can be listed: of a literal, or the kinds of a union."""
        kinds = [kind for spec in _specs(self.annotation) for kind in _kinds(spec)]
        return kinds or _literals(self.annotation)


def _leaves(annotation: Any) -> list[Any]:
    """The types that a value may have, without `Annotated` and unions around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _leaves(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [leaf for member in get_args(annotation) for leaf in _leaves(member)]
    return [annotation]


def _tagged(annotation: Any) -> dict[Any, Any]:
    """Members of a union by pydantic's `Tag`, where they have one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _tagged(get_args(annotation)[0])
    members = get_args(annotation) if origin in (Union, UnionType) else ()
    tags = {member: tag for member in members for tag in getattr(member, "__metadata__", ()) if isinstance(tag, Tag)}
    return {tag.tag: get_args(member)[0] for member, tag in tags.items()}


def _specs(annotation: Any) -> list[type[BaseModel]]:
    return [leaf for leaf in _leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]


def _literals(annotation: Any) -> list[Any]:
    return [value for leaf in _leaves(annotation) if get_origin(leaf) is Literal for value in get_args(leaf)]


def _kinds(spec: type[BaseModel]) -> list[Any]:
    """Legal values of a spec's `kind`."""
    return _literals(spec.model_fields["kind"].annotation) if "kind" in spec.model_fields else []


def _container(annotation: Any) -> Any:
    return next((leaf for leaf in _leaves(annotation) if get_origin(leaf) in (tuple, dict)), Any)


def _item(annotation: Any, key: int | str) -> Any:
    """Type of a list's or mapping's item."""
    container = _container(annotation)
    types = get_args(container)
    if get_origin(container) is dict:
        return types[1]
    if len(types) == 2 and types[1] is Ellipsis:
        return types[0]
    return types[key] if isinstance(key, int) and key < len(types) else Any


_BOUNDS = {
    "greater_than": ("gt", "above", 1),
    "greater_than_equal": ("ge", "at least", 0),
    "less_than": ("lt", "below", -1),
    "less_than_equal": ("le", "at most", 0),
}
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "is_instance_of": "a path",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
}


def _message(detail: Mapping[str, Any], place: _Place) -> str:
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden" if place.owner:
            return f"unknown; {closest(detail['loc'][-1], place.owner.model_fields)}"
        case "missing":
            return f"missing{_help(place)}"
        case "literal_error" if place.legal:
            return _not_one_of(place.legal, value)
        case "multiple_of":
            unit = context["multiple_of"]
            below = value // unit * unit
            nearest = f"{below} or {below + unit}" if below else f"{unit}"
            return f"must be a multiple of {unit}, not {value}; nearest: {nearest}"
        case "string_too_short":
            return "must not be empty"
        case "too_short":
            return f"must have at least {_items(context['min_length'])}, not {len(value)}"
        case "too_long":
            return f"must have at most {_items(context['max_length'])}, not {len(value)}"
        case kind if kind in _BOUNDS:
            key, words, step = _BOUNDS[kind]
            limit = context[key]
            if isinstance(limit, int):
                return f"must be {words} {limit}, not {value}" + (f"; nearest: {limit + step}" if step else "")
            return f"must be {words} {limit:g}, not {value}"
        case kind if kind in _TYPES:
            return f"must be {_TYPES[kind]}, not {shown(value)}{_as_number(kind, value)}"
    return detail["msg"].replace("Input should", "must")


def _not_one_of(legal: list[Any], value: object) -> str:
    rule = f"must be {_either(legal)}"
    if value is None:
        return f"missing; {rule}"
    rule = f"{rule}, not {shown(value)}"
    if isinstance(value, int | float) and all(isinstance(item, int) for item in legal):
        return f"{rule}; nearest: {min(legal, key=lambda item: abs(item - value))}"
    meant = alike(value, map(str, legal))
    return f"{rule}; did you mean {meant}?" if meant else rule


def _either(legal: list[Any]) -> str:
    *most, last = map(str, legal)
    return f"{', '.join(most)} or {last}" if most else last


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _help(place: _Place) -> str:
    """What a missing field is for, from its docstring, or what it may be."""
    if place.legal:
        of_kind = "a mapping whose `kind` is " if _specs(place.annotation) else ""
        return f"; must be {of_kind}{_either(place.legal)}"
    description = place.field.description if place.field else None
    return ": " + re.split(r"[.;:](?=\s|$)", description)[0] if description else ""


def _as_number(kind: str, value: object) -> str:
    """How to write a number that was written as text, or a whole one that was written with a point."""
    if kind not in ("int_type", "float_type") or not isinstance(value, str | float):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not isfinite(number):
        return ""
    if number.is_integer():
        return f"; write {int(number)}"
    return f"; write {number}" if kind == "float_type" else f"; nearest: {round(number)}"
