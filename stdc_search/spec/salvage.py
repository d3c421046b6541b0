"""The second look at a file that is wrong: which rules do its valid values break?

pydantic checks a rule only if all fields of its spec, and all specs within it, are valid. One typing error would hide
every mistake that a rule finds. Here each field is validated by itself. A wrong field is unknown, and a rule ends where
it looks at an unknown field. So no problem is reported that only follows from another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from stdc_search.errors import alike
from stdc_search.spec.annotations import container_in, item_of, kinds_of, literals_in, specs_in
from stdc_search.spec.explain import explain
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.rules import Spec, Unknowable, broken_rules

Context = Mapping[str, Any] | None


_UNKNOWN = Unknowable()


def rules_broken_in(spec_class: type[BaseModel], values: Mapping[str, Any], context: Context = None) -> list[Problem]:
    """What breaks rules in the values of a spec class, as far as its valid fields tell."""
    return _salvage(spec_class, values, context)[1]


def changed(spec: Spec, values: Mapping[str, Any]) -> Spec:
    """A spec, which may itself be wrong or partly unknown, with other values of some fields.

    Raises:
        SpecError: the values are wrong, or break a rule that the spec kept.
    """
    known, problems = {}, []
    for name, value in values.items():
        try:
            known[name] = _adapter(type(spec), name).validate_python(value, strict=True)
        except ValidationError as error:
            problems += explain(error, type(spec), name)
    new = spec.model_copy(update=known)
    if not problems:
        before = broken_rules(spec)
        problems = [problem for problem in broken_rules(new) if problem not in before]
    if problems:
        raise SpecError(*problems)
    return new


@cache
def _adapter(spec_class: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_annotations(spec_class)[name])


@cache
def _annotations(spec_class: type[BaseModel]) -> dict[str, Any]:
    """Types of the fields with all that pydantic's `Annotated` says."""
    return get_type_hints(spec_class, include_extras=True)


def _salvage(
    spec_class: type[BaseModel], values: Mapping[str, Any], context: Context
) -> tuple[BaseModel, list[Problem]]:
    """A spec without the fields that are wrong, and the rules that are broken in it."""
    known: dict[str, Any] = {}
    problems: list[Problem] = []
    meant = {alike(name, spec_class.model_fields) for name in values if name not in spec_class.model_fields}
    for name, field in spec_class.model_fields.items():
        if name in values:
            known[name], inner = _salvage_value(_annotations(spec_class)[name], values[name], context)
            problems += [problem.within(name) for problem in inner]
        else:
            unknown = name in meant or field.is_required()
            known[name] = _UNKNOWN if unknown else field.get_default(call_default_factory=True)
    spec = spec_class.model_construct(_fields_set={*values} & {*known}, **known)
    _forget(spec, (name for name, value in known.items() if value is _UNKNOWN))
    if isinstance(spec, Spec):
        broken = broken_rules(spec)
        _forget(spec, [problem.path.split(".")[0] for problem in broken])
        problems += broken
    return spec, problems


def _salvage_value(annotation: Any, value: Any, context: Context) -> tuple[Any, list[Problem]]:
    """What is left of a value if parts of it are wrong, and the rules that are broken in it."""
    try:
        return TypeAdapter(annotation).validate_python(value, strict=True, context=context), []
    except ValidationError:
        pass
    if isinstance(value, Mapping) and (spec_class := _member(annotation, value)) is not None:
        return _salvage(spec_class, value, context)
    items = _items(container_in(annotation), value)
    if not items or not all(specs_in(item_of(annotation, key)) for key in items):
        return _UNKNOWN, []
    left: dict[Any, Any] = {}
    problems: list[Problem] = []
    for key, item in items.items():
        left[key], inner = _salvage_value(item_of(annotation, key), item, context)
        problems += [problem.within(str(key)) for problem in inner]
    return left if isinstance(value, Mapping) else tuple(left.values()), problems


def _items(container: Any, value: Any) -> dict[Any, Any]:
    """Items of a list, or those of a mapping whose keys are valid, if a list or a mapping is wanted."""
    match value:
        case Mapping() if get_origin(container) is dict:
            legal = literals_in(get_args(container)[0])
            return {key: item for key, item in value.items() if not legal or key in legal}
        case list() | tuple() if get_origin(container) is tuple:
            return dict(enumerate(value))
    return {}


def _member(annotation: Any, value: Mapping[str, Any]) -> type[BaseModel] | None:
    """The spec that a mapping is meant to be, if its `kind` tells."""
    candidates = specs_in(annotation)
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates:
        kind = candidate.model_fields.get("kind")
        default = kind.default if kind else None
        if value.get("kind", default) in kinds_of(candidate):
            return candidate
    return None


def _forget(spec: BaseModel, names: Iterable[str]) -> None:
    for name in names:
        vars(spec).pop(name, None)
