"""Bounds on what a candidate may cost, looked at before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stdc_search.spec.search import Limited, LimitSpec


class Rejected(Exception):
    """A limit is broken."""


Limits = Mapping[Limited, LimitSpec]


def check_limits(limits: Limits, section: str, found: Mapping[str, Any]) -> None:
    broken = []
    for name, limit in limits.items():
        if name.startswith(section + ".") and (figures := found.get(section)) is not None:
            value = getattr(figures, name.removeprefix(section + "."))
            if value > limit.at_most:
                broken.append(f"{name} {value:,.6g} is above {limit.at_most:,.6g}")
    if broken:
        raise Rejected("; ".join(broken))
