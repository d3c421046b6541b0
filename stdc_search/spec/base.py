"""What every spec shares: immutability, strictness, and its way from and to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stdc_search.spec import files
from stdc_search.spec.explain import explain
from stdc_search.spec.files import write_atomically
from stdc_search.spec.problems import Problem, SpecError, UserError, at, closest, shown

__all__ = [
    "Problem",
    "Spec",
    "SpecError",
    "UserError",
    "at",
    "dump",
    "load",
    "plain",
    "replace",
    "schema",
    "value_at",
    "write_atomically",
]


class Spec(BaseModel):
    """A value that a person may write: frozen, hashable, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


AnySpec = TypeVar("AnySpec", bound=BaseModel)


def load(path: str | Path, spec_class: type[AnySpec]) -> AnySpec:
    """Read a spec from a YAML or JSON file; what is absent gets its default.

    Raises:
        SpecError: with every problem that was found, by file, line and dotted path.
    """
    file = Path(path)
    document = files.read(file)
    try:
        return _validated(spec_class, document.values, {"folder": file.parent})
    except SpecError as error:
        problems = (problem.located(file, document.lines) for problem in error.problems)
        raise SpecError(*sorted(problems, key=lambda problem: problem.line or 0)) from None


def dump(spec: BaseModel, path: str | Path | None = None) -> str:
    """The whole spec as YAML, defaults included, which loads to an equal spec.

    With a path it is also written there, atomically; JSON if the path ends so.
    """
    values = spec.model_dump(mode="json")
    as_json = path is not None and Path(path).suffix == ".json"
    text = files.to_json(values) if as_json else files.to_yaml(values)
    if path is not None:
        write_atomically(Path(path), text)
    return text


def replace(spec: AnySpec, changes: Mapping[str, Any]) -> AnySpec:
    """The spec with values set by dotted path (`network.backbone.stages.1.width`), validated from the top.

    Raises:
        SpecError: a path does not exist, or the values are illegal together.
    """
    values: Any = spec.model_dump()
    problems: list[Problem] = []
    for path, value in changes.items():
        try:
            values = _with(values, path, plain(value))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(*problems)
    return _validated(type(spec), values)


def value_at(spec: BaseModel | Mapping[str, Any], path: str) -> Any:
    """The plain value at a dotted path.

    Raises:
        SpecError: the path does not exist.
    """
    value, rest = plain(spec), path
    while rest:
        key, rest = _first_key(value, rest, path)
        value = value[key]
    return value


def schema(spec_class: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a spec's file, with the fields' help, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **spec_class.model_json_schema(),
    }


def plain(value: Any) -> Any:
    """Specs as mappings and lists as tuples, throughout, so that equal values compare equal."""
    match value:
        case BaseModel():
            return value.model_dump()
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return tuple(plain(item) for item in value)
    return value


def _validated(spec_class: type[AnySpec], values: Any, context: dict[str, Any] | None = None) -> AnySpec:
    try:
        return spec_class.model_validate(values, strict=True, context=context)
    except ValidationError as error:
        raise SpecError(*explain(error, spec_class)) from None


def _with(values: Any, path: str, value: Any, whole: str | None = None) -> Any:
    """Plain values with the one at a dotted path exchanged."""
    whole = whole or path
    key, rest = _first_key(values, path, whole)
    inner = _with(values[key], rest, value, whole) if rest else value
    if isinstance(values, dict):
        return {**values, key: inner}
    return (*values[:key], inner, *values[key + 1 :])


def _first_key(values: Any, path: str, whole: str) -> tuple[Any, str]:
    """First key of a dotted path in a mapping or tuple, and the rest; a key may hold dots itself."""
    word, _, rest = path.partition(".")
    above = whole.removesuffix(path).rstrip(".")
    parent = f"`{above}`" if above else "the spec"
    match values:
        case dict():
            keys = [key for key in values if f"{path}.".startswith(f"{key}.")]
            if keys:
                key = max(keys, key=len)
                return key, path[len(key) + 1 :]
            legal = list(values)
        case tuple():
            if word.isdecimal() and int(word) < len(values):
                return int(word), rest
            legal = list(range(len(values)))
        case _:
            raise at(whole, f"{parent} is {shown(values)} and has no `{word}`; set {parent} as a whole")
    raise at(whole, f"there is no `{word}` in {parent}; {closest(word, legal)}")
