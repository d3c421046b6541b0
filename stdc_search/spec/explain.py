"""pydantic's errors in this package's words, with paths as they are written in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stdc_search.errors import alike, closest
from stdc_search.spec.annotations import container_in, item_of, kinds_of, literals_in, members_by_tag, specs_in
from stdc_search.spec.problems import Problem, SpecError, shown


def explain(error: ValidationError, spec: type[BaseModel], *above: str) -> list[Problem]:
    """Every problem that pydantic found in the values of a spec class, or of its field whose name stands in `above`."""
    problems = []
    details = [(one, _Place.of(spec, (*above, *one["loc"]))) for one in error.errors(include_url=False)]
    misspelt = {
        (*detail["loc"][:-1], alike(detail["loc"][-1], place.owner.model_fields))
        for detail, place in details
        if detail["type"] == "extra_forbidden" and place.owner
    }
    for detail, place in details:
        loc = detail["loc"]
        if detail["type"] == "too_short" and any(
            other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other, _ in details
        ):
            continue  # pydantic counts only legal items, so this one is a consequence of theirs
        if detail["type"] == "missing" and loc in misspelt:
            continue  # it is there under another name, which has a problem of its own
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
    """The spec in which the path's last name is, or should be, a field."""
    field: FieldInfo | None
    """The innermost field that encloses it."""
    annotation: Any
    """Type of the value there."""

    @classmethod
    def of(cls, spec: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
        """Follow the types along pydantic's location, without the parts that are not keys of the file."""
        path: list[str] = []
        annotation: Any = spec
        around: Any = None
        owner = field = None
        for key in loc:
            specs = specs_in(annotation)
            if key in (tagged := members_by_tag(annotation)):
                annotation = tagged[key]
            elif len(specs) > 1:  # pydantic puts the union's member before its fields
                annotation = next((spec for spec in specs if key in kinds_of(spec)), Any)
            elif key == "[key]":  # the key of a mapping is wrong, not its value
                annotation = get_args(around)[0]
            else:
                path.append(str(key))
                owner = specs[0] if specs else None
                if owner:
                    field = owner.model_fields.get(str(key))
                    annotation = field.annotation if field else Any
                else:
                    around, annotation = container_in(annotation), item_of(annotation, key)
        return cls(".".join(path), owner, field, annotation)

    @property
    def legal(self) -> list[Any]:
        """All legal values, where they can be listed: of a literal, or the kinds of a union."""
        kinds = [kind for spec in specs_in(self.annotation) for kind in kinds_of(spec)]
        return kinds or literals_in(self.annotation)


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
            nearest = _as_number(kind, value) or _as_list(value, place) or _as_section(value, place)
            return f"must be {_TYPES[kind]}, not {shown(value)}{nearest}"
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
        of_kind = "a mapping whose `kind` is " if specs_in(place.annotation) else ""
        return f"; must be {of_kind}{_either(place.legal)}"
    description = place.field.description if place.field else None
    return ": " + re.split(r"[.;:](?=\s|$)", description)[0] if description else ""


def _as_list(value: object, place: _Place) -> str:
    """A list of the length that is wanted, where one number was given."""
    types = get_args(container_in(place.annotation))
    if not isinstance(value, int | float) or not types or types[-1] is Ellipsis:
        return ""
    return f"; such as [{', '.join([str(value)] * len(types))}]"


def _as_section(value: object, place: _Place) -> str:
    """A section that holds a value which was given in its place: as its kind, or as the first field that takes it."""
    specs = specs_in(place.annotation)
    if isinstance(value, str) and any(value in kinds_of(spec) for spec in specs):
        return f"; write {{kind: {value}}}"
    for spec, name in [(one, name) for one in specs for name in one.model_fields if name != "kind"]:
        if isinstance(value, str) and value not in literals_in(spec.model_fields[name].annotation):
            continue  # almost any text is a legal path or name
        kinds = kinds_of(spec)
        section = {"kind": kinds[0], name: value} if kinds else {name: value}
        with suppress(ValidationError):
            spec.model_validate(section)
            return f"; such as {text}" if len(text := json.dumps(section)) <= 60 else ""
    return ""


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
