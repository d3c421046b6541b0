"""What may vary: whether an entry of `search.vary` is legal in a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from stdc_search.spec.base import tried, value_at
from stdc_search.spec.problems import Problem, SpecError, shown
from stdc_search.spec.rules import Spec, Unknown
from stdc_search.spec.search import SearchSpec
from stdc_search.spec.training import MEANS
from stdc_search.spec.vary import Choice

TEACHER = "training.loss.distillation"
SHARED = {
    *(f"training.{name}" for name in (*MEANS, "augment_on", "compile", "seeds", "start_from")),
    *(f"{TEACHER}.{name}" for name in ("network", "weights")),
}
"""Fields that all candidates of a search share."""
NEEDS = {
    r"training\.loss\.auxiliary_weight": ("network.auxiliary", None),
    r"training\.loss\.(detail_weight|detail_ignored|dice)": ("network.detail", None),
    r"(network\..*stages\.\d+)\.(down|skip)": (r"\1.stride", 1),
}
"""Patterns of paths -> another path, and the value of it with which they have no effect."""


def misfits_of_entry(run: Spec, search: SearchSpec, name: str, setters: dict[str, str]) -> Iterator[Problem]:
    """What is wrong with an entry of `vary`, given the entry that sets each path before it."""
    paths = search.paths(name)
    messages: list[str] = []
    for path in paths:
        messages += _path_misfits(run, path, setters)
        setters[path] = name
    if not messages:
        idle = [reason for path in paths if (reason := _without_effect(run, search, path))]
        messages += idle[:1] if len(idle) == len(paths) else []
    yield from (Problem(f"search.vary.{name}", message) for message in messages)
    if not messages:
        yield from _misfits_of_values(run, search, name)


def _misfits_of_values(run: Spec, search: SearchSpec, name: str) -> Iterator[Problem]:
    paths = search.paths(name)
    parsed: dict[str, Any] = {}
    for end, value in search.vary[name].ends.items():
        place = f"search.vary.{name}.{end}"
        if any(_has_teacher(path, value) for path in paths):
            message = f"has a teacher, which all candidates share; set it in `{TEACHER}`, and vary single fields"
            yield Problem(place, message)
            continue
        try:
            candidate = _tried(run, search, name, value)
        except SpecError as error:
            yield Problem(place, f"{shown(value)} is not legal: {error.brief}")
            continue
        its = [value_at(candidate, path) for path in paths]
        same = [earlier for earlier, other in parsed.items() if other == its]
        if same and isinstance(search.vary[name], Choice):
            yield Problem(place, f"is the same as `{same[0]}` when defaults are filled in; give each value once")
        parsed[end] = its


def _tried(run: Spec, search: SearchSpec, name: str, value: Any) -> Spec:
    """The run with a value of an entry of `vary`; if that is illegal, together with an end of another entry.

    Raises:
        SpecError: the value is illegal with each of these.
    """
    changes = dict.fromkeys(search.paths(name), value)
    try:
        return tried(run, changes)
    except SpecError:
        for other, vary in search.vary.items():
            with suppress(Unknown):  # of an entry that is wrong itself
                for end in () if other == name else vary.ends.values():
                    with suppress(SpecError):
                        return tried(run, {**dict.fromkeys(search.paths(other), end), **changes})
        raise


def _has_teacher(path: str, value: Any) -> bool:
    """Whether a value is a loss with a teacher, or a teacher."""
    loss = value if path == "training.loss" else {"distillation": value} if path == TEACHER else None
    return isinstance(loss, Mapping) and loss.get("distillation") is not None


def _path_misfits(run: Spec, path: str, setters: Mapping[str, str]) -> Iterator[str]:
    """Why a path cannot vary, given which entry of `vary` sets each path before it."""
    if path.split(".")[0] not in ("network", "training", "image_size"):
        yield f"`{path}` cannot vary; paths start with `network`, `training` or `image_size`"
        return
    if path == "training":
        yield "`training` cannot vary as a whole: all candidates share some of its fields; vary single ones"
        return
    if any(f"{path}.".startswith(f"{its}.") for its in SHARED):
        yield f"`{path}` cannot vary: all candidates share it; set it once, in `training`"
        return
    if path.endswith(".kind"):
        whole = path.removesuffix(".kind")
        yield f"`{path}` decides which fields exist and cannot vary alone; vary `{whole}` as a choice of wholes"
        return
    for other, name in setters.items():
        if f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}."):
            yield f"`{path}` is set by {name!r} already; set it once"
    try:
        value_at(run, path)
    except SpecError as error:
        yield from (problem.message for problem in error.problems)


def _without_effect(run: Spec, search: SearchSpec, path: str) -> str:
    """Why a path changes nothing; empty if it does."""
    varied = {its for name in search.vary for its in search.paths(name)}
    for pattern, (needed, value) in NEEDS.items():
        if not (found := re.fullmatch(pattern, path)):
            continue
        other = found.expand(needed)
        if not any(f"{other}.".startswith(f"{its}.") for its in varied) and _value(run, other) == value:
            why = f"without `{other}`" if value is None else f"while `{other}` is {shown(value)}"
            return f"`{path}` has no effect {why}; change that, or remove this entry"
    return ""


def _value(run: Spec, path: str) -> Any:
    """The value at a path; None if there is no such field."""
    try:
        return value_at(run, path)
    except SpecError:
        return None
