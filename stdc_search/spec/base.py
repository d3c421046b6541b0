"""Specs from and to files, and variants of a spec."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationError, ValidationInfo

from stdc_search.errors import closest
from stdc_search.spec import files
from stdc_search.spec.explain import explain
from stdc_search.spec.problems import Problem, SpecError, at, shown
from stdc_search.spec.rules import Spec, Unknowable, Unknown
from stdc_search.spec.salvage import changed, rules_broken_in
from stdc_search.spec.shipped import shipped
from stdc_search.storage import write_atomically


def _from_the_specs_folder(path: Any, info: ValidationInfo) -> Any:
    if isinstance(path, str):
        path = Path(path)
    if not isinstance(path, Path):
        return path
    folder = (info.context or {}).get("folder", ".")
    return Path(os.path.abspath(Path(folder, os.path.expanduser(path))))  # since a copy of the spec lies elsewhere


RelativePath = Annotated[
    Path,
    BeforeValidator(_from_the_specs_folder, json_schema_input_type=str),
    PlainSerializer(Path.as_posix, when_used="json"),
]
"""A file, written relative to the spec's."""

FilePath = Annotated[
    Path,
    BeforeValidator(lambda path: Path(path) if isinstance(path, str) else path),
    PlainSerializer(Path.as_posix, when_used="json"),
]
"""A file or folder of a data set: written relative to its root, or absolute, and kept as it is written."""


LIBRARY_WEIGHTS = re.compile(r"(timm|torchvision):(\w[\w.-]*)")
"""Weights of a library by name: `torchvision:IMAGENET1K_V1`."""


class WeightsFile(Spec):
    """A file of weights as it was when the spec that names it was read."""

    path: Path
    """Its path."""
    digest: str
    """SHA-256 of its content, or its path if the file does not exist: a spec can be read without its files. Of weights
    of a library, their name, which includes their version."""

    @property
    def library(self) -> tuple[str, str] | None:
        """The library that provides the weights and their name there; None if they are a file."""
        found = LIBRARY_WEIGHTS.fullmatch(self.path.as_posix())
        return found and (found[1], found[2])


def _read_weights_file(path: Any, info: ValidationInfo) -> Any:
    if isinstance(path, WeightsFile | Mapping):
        return path
    if isinstance(path, str) and LIBRARY_WEIGHTS.fullmatch(path):
        return WeightsFile(path=Path(path), digest=path)
    path = _from_the_specs_folder(path, info)
    if not isinstance(path, Path):
        raise ValueError(f"must be a path, not {shown(path)}")
    digest = path.as_posix()
    try:
        if path.is_file():  # a device may never end
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        pass
    return WeightsFile(path=path, digest=digest)


WeightsPath = Annotated[
    WeightsFile,
    BeforeValidator(_read_weights_file, json_schema_input_type=str),
    PlainSerializer(lambda file: file.path.as_posix(), return_type=str, when_used="json"),
]
"""A file of weights, by its path from the spec's folder. It is hashed once, when the spec is read."""

AnySpec = TypeVar("AnySpec", bound=BaseModel)


def default_kind(kind: str) -> Callable[[Any], Any]:
    """Discriminator of a union by `kind`, which one of its members may omit."""
    return lambda value: value.get("kind", kind) if isinstance(value, Mapping) else getattr(value, "kind", None)


def load(path: str | Path, spec_class: type[AnySpec], prepare: Callable[[Any], Any] = lambda values: values) -> AnySpec:
    """Read a spec from a YAML or JSON file; omitted fields get their defaults.

    Args:
        path: the file, or the name of a shipped spec.
        spec_class: what it describes.
        prepare: adds values to what the file says.

    Raises:
        SpecError: with every problem that was found, by file, line and dotted path.
    """
    file = shipped(Path(path))
    document = files.read(file)
    values = prepare(document.values)
    context = {"folder": file.parent}
    problems = list(document.problems)
    spec = None
    try:
        spec = _validated(spec_class, values, context)
    except SpecError as error:
        found = dict.fromkeys((*error.problems, *rules_broken_in(spec_class, values, context)))
        unread = {problem.path for problem in document.problems}
        problems += [problem for problem in found if problem.path not in unread]
    if spec is None or problems:
        raise _located(problems, file, document)
    return spec


def located(problems: Sequence[Problem], file: Path | None) -> SpecError:
    """An error of problems that showed after a spec was loaded, with their lines in its file if it has one."""
    return SpecError(*problems) if file is None else _located(problems, file, files.read(file))


def _located(problems: Sequence[Problem], file: Path, document: files.Document) -> SpecError:
    found = (problem.located(file, document.lines) for problem in problems)
    return SpecError(*sorted(found, key=lambda problem: problem.line or 0))


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
    """The spec with values set by dotted path (`network.backbone.stages.1.width`), validated along the paths.

    Raises:
        SpecError: a path does not exist, or the values are illegal together.
    """
    return _grown(spec, _planted(spec, changes))


def tried(spec: AnySpec, changes: Mapping[str, Any]) -> AnySpec:
    """`replace` for a spec that is still being checked: problems that it has anyway are left out."""
    return _grown(spec, _planted(spec, changes), changed)


def replacer(spec: AnySpec, options: Mapping[str, Sequence[Any]]) -> Callable[[Sequence[int]], AnySpec]:
    """`replace` for a great many combinations of the same values: each sub-spec is validated once and remembered.

    Args:
        spec: where the values are set.
        options: the values of each dotted path; no path lies within another.

    Returns:
        A function from the index of each path's value, in the paths' order, to the spec with these values; it raises
        SpecError if they are illegal together.

    Raises:
        SpecError: a path does not exist.
    """
    tree: dict[str, Any] = {}
    for slot, path in enumerate(options):
        _plant(tree, spec, path, slot, path)
    values = [[plain(value) for value in choices] for choices in options.values()]
    known: dict[tuple[int, ...], Any] = {}

    def grown(old: Any, tree: Mapping[Any, Any], indices: Sequence[int]) -> Any:
        slots = [branch.value for branch in tree.values() if isinstance(branch, _Leaf)]
        if len(slots) < len(tree):
            return _exchanged(old, tree, lambda key, branch: part(old, key, branch, indices))
        seen = (id(tree), *(indices[slot] for slot in slots))
        if seen not in known:
            try:
                known[seen] = _exchanged(old, tree, lambda _, branch: values[branch.value][indices[branch.value]])
            except SpecError as error:
                known[seen] = error
        if isinstance(known[seen], SpecError):
            raise known[seen]
        return known[seen]

    def part(old: Any, key: Any, branch: Any, indices: Sequence[int]) -> Any:
        if isinstance(branch, _Leaf):
            return values[branch.value][indices[branch.value]]
        return grown(_child(old, key), branch, indices)

    return lambda indices: grown(spec, tree, indices)


def value_at(spec: Any, path: str) -> Any:
    """The plain value at a dotted path.

    Raises:
        SpecError: the path does not exist.
    """
    value, rest = spec, path
    while rest:
        key, rest = _first_key(value, rest, path)
        value = _child(value, key)
    return plain(value)


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


class _Leaf(NamedTuple):
    """A value to set; the class tells it from the mappings on its path."""

    value: Any


def _planted(spec: Any, changes: Mapping[str, Any]) -> dict[Any, Any]:
    """A tree of the values to set, from their dotted paths."""
    tree: dict[Any, Any] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        try:
            _plant(tree, spec, path, plain(value), path)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(*problems)
    return tree


def _plant(tree: dict[Any, Any], spec: Any, path: str, value: Any, whole: str) -> None:
    """Note in a tree of keys that the value at a dotted path of a spec is to be exchanged."""
    key, rest = _first_key(spec, path, whole)
    before = tree.get(key)
    if not rest:
        tree[key] = _Leaf(value)
    elif isinstance(before, _Leaf):  # an earlier change has set the whole of it
        branch: dict[Any, Any] = {}
        _plant(branch, before.value, rest, value, whole)
        tree[key] = _Leaf(_grown(before.value, branch))
    else:
        _plant(tree.setdefault(key, {}), _child(spec, key), rest, value, whole)


def _updated(old: BaseModel, new: Mapping[str, Any]) -> BaseModel:
    """A legal spec with other values of some fields."""
    given = {name: getattr(old, name) for name in old.model_fields_set}  # some specs tell given from omitted fields
    return _validated(type(old), {**given, **new})


Update = Callable[[Any, Mapping[str, Any]], BaseModel]


def _grown(old: Any, tree: Mapping[Any, Any], update: Update = _updated) -> Any:
    """Values with those of a tree in their places."""

    def grow(key: Any, branch: Any) -> Any:
        return branch.value if isinstance(branch, _Leaf) else _grown(_child(old, key), branch, update)

    return _exchanged(old, tree, grow, update)


def _exchanged(old: Any, tree: Mapping[Any, Any], grow: Callable[[Any, Any], Any], update: Update = _updated) -> Any:
    """Values with what has grown from a tree's branches in its place; all else stays as it is."""
    new, problems = {}, []
    for key, branch in tree.items():
        try:
            new[key] = grow(key, branch)
        except SpecError as error:
            problems += [problem.within(str(key)) for problem in error.problems]
    if problems:
        raise SpecError(*problems)
    match old:
        case BaseModel():
            return update(old, new)
        case Mapping():
            return {**old, **new}
    return tuple(new.get(i, value) for i, value in enumerate(old))


def _child(values: Any, key: Any) -> Any:
    return getattr(values, key) if isinstance(values, BaseModel) else values[key]


def _first_key(values: Any, path: str, whole: str) -> tuple[Any, str]:
    """First key of a dotted path in a mapping or tuple, and the rest; a key may hold dots itself."""
    word, _, rest = path.partition(".")
    above = whole.removesuffix(path).rstrip(".")
    parent = f"`{above}`" if above else "the spec"
    match values:
        case BaseModel():
            if word in type(values).model_fields:
                return word, rest
            legal = list(type(values).model_fields)
        case dict():
            keys = [key for key in values if f"{path}.".startswith(f"{key}.")]
            if keys:
                key = max(keys, key=len)
                return key, path[len(key) + 1 :]
            legal = list(values)
        case tuple():
            legal = list(range(len(values)))
            if word in map(str, legal):
                return int(word), rest
        case Unknowable():
            raise Unknown(word)
        case _:
            raise at(whole, f"{parent} is {shown(values)} and has no `{word}`; set {parent} as a whole")
    raise at(whole, f"there is no `{word}` in {parent}; {closest(word, legal)}")
