"""How two specs differ."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A place at which two dumped specs differ."""

    path: str
    """Dotted."""
    old: Any
    """What the first has there; None if it has nothing."""
    new: Any


def changes(old: Any, new: Any, path: str = "") -> list[Change]:
    """The places at which two dumped specs differ. Lists of different lengths differ as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        pairs = [(key, old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [Change(path, old, new)]
    return [change for key, a, b in pairs for change in changes(a, b, f"{path}.{key}".lstrip("."))]


def differences(old: Any, new: Any) -> list[tuple[str, str]]:
    """Dotted paths at which two dumped specs differ, each with a line that says how."""
    return [(path, f"{path}: {json.dumps(a)} there, {json.dumps(b)} here") for path, a, b in changes(old, new)]
