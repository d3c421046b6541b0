"""Bounds on what a candidate may cost, looked at before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stdc_search.spec.search import Limited, LimitSpec, broken


class Rejected(Exception):
    """A limit is broken."""


Limits = Mapping[Limited, LimitSpec]


def check_limits(limits: Limits, section: str, found: Mapping[str, Any]) -> None:
    """Compare the figures of one section of a record with the limits.

    Raises:
        Rejected: a limit is broken.
    """
    figures = {f"{section}.{field}": figure for field, figure in found.get(section) or ()}
    if names := broken(limits, figures):
        raise Rejected("; ".join(f"{name} {figures[name]:,.6g} is above {limits[name].at_most:,.6g}" for name in names))
