"""A section `data` -> the same without some classes, whose pixels are ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from stdc_search.spec.data import FolderSpec
from stdc_search.spec.encodings import AnyEncoding, BinarySpec, ColoursSpec, IdsSpec
from stdc_search.spec.formats import HubSpec
from stdc_search.spec.own import IGNORE, NamedSpec, OwnSpec


def without(section: Mapping[str, Any], spec: OwnSpec, lost: Collection[str]) -> dict[str, Any]:
    """Leave classes out.

    Args:
        section: as it is written. It has two or more other classes.
        spec: the same as a spec.
        lost: names of the classes.
    """
    changes: dict[str, Any] = {"class_names": [name for name in spec.class_names if name not in lost]}
    match spec:
        case NamedSpec():
            changes["map"] = {**spec.map, **dict.fromkeys(lost, IGNORE)}
        case FolderSpec(encoding=encoding) | HubSpec(encoding=encoding):
            changes["encoding"] = _encoding(encoding, spec.class_names, changes["class_names"])
    return {**section, **changes}


def _encoding(encoding: AnyEncoding, names: Collection[str], kept: Collection[str]) -> dict[str, Any]:
    places = {name: place for place, name in enumerate(kept)}
    match encoding:
        case IdsSpec(map=ids):
            becomes = [places.get(name, IGNORE) for name in names]
            indices = ids or dict(enumerate(range(len(becomes))))
            return {"kind": "ids", "map": {id: i if i == IGNORE else becomes[i] for id, i in indices.items()}}
        case ColoursSpec(colours=colours, ignore=ignored):
            used = [[*colour] for name, colour in zip(names, colours, strict=True) if name in places]
            lost = [[*colour] for name, colour in zip(names, colours, strict=True) if name not in places]
            return {"kind": "colours", "colours": used, "ignore": [*([*colour] for colour in ignored), *lost]}
        case BinarySpec():
            raise AssertionError("two classes are the fewest")
