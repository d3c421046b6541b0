"""What every spec shares: it is immutable, strict about names, and checks its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from stdc_search.spec.problems import Problem, SpecError

ONCE: dict[str, JsonValue] = {"uniqueItems": True}
"""Tells editors of a rule that each item of a list stands there once."""


Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A random seed."""


class Spec(BaseModel):
    """A value that a person may write: frozen, hashable, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _keeps_its_rules(self) -> Self:
        # pydantic calls this again for each spec within one that it makes, so it must be quick.
        if _rules(type(self)) and (problems := broken_rules(self)):
            raise SpecError(*problems)
        return self

    if not TYPE_CHECKING:  # pyright would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise Unknown(name)
            return super().__getattr__(name)


class Unknown(Exception):
    """A rule looks at a field whose value in the file is wrong (`salvage.py`), so it cannot be checked."""


class Unknowable:
    """Stands for an item of a list or mapping that is wrong as a whole."""

    def __getattr__(self, name: str) -> Any:
        raise Unknown(name)


Rule = Callable[[Any], Iterator[Problem]]


def rule(check: Rule) -> Rule:
    """Mark a method of a spec as a rule: it yields what is wrong with fields that are valid one by one.

    The rules of a spec do not depend on each other, so that each one is checked whatever else is wrong.
    """
    vars(check)["is_rule"] = True
    return check


def broken_rules(spec: Spec) -> list[Problem]:
    """What breaks the rules of a spec itself; those of the specs within it were checked when they were made."""
    problems: list[Problem] = []
    for check in _rules(type(spec)):
        try:
            for problem in check(spec):
                problems.append(problem)
        except Unknown:
            pass
    return problems


@cache
def _rules(spec_class: type[Spec]) -> list[Rule]:
    members = {name: member for base in reversed(spec_class.__mro__) for name, member in vars(base).items()}
    return [member for member in members.values() if getattr(member, "is_rule", False)]


def as_far_as_known(problems: Iterator[Problem]) -> Iterator[Problem]:
    """The problems up to the point where a rule needs a field whose value is wrong."""
    try:
        yield from problems
    except Unknown:
        return
