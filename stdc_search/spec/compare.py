"""How two specs differ."""

from __future__ import annotations

import json
from typing import Any


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, str]]:
    """Dotted paths at which two dumped specs differ, each with a line that says how."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        pairs = [(key, old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [(path, f"{path}: {json.dumps(old)} there, {json.dumps(new)} here")]
    return [line for key, a, b in pairs for line in differences(a, b, f"{path}.{key}".lstrip("."))]
