"""Bounds on what a candidate may cost, looked at before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stdc_search.doubt import doubts
from stdc_search.records import Latency
from stdc_search.spec.search import Limited, LimitSpec, broken


class Rejected(Exception):
    """A limit is broken."""


Limits = Mapping[Limited, LimitSpec]

SLOWEST, BEYOND_FIXED_WORK = 4.0, 2.0
"""How many times its undisturbed time a doubtful time may be, or, if that is more, how many times the slow-down of the
fixed work, which has one thread. A time that is farther above a limit rejects at once."""


def check_limits(limits: Limits, section: str, found: Mapping[str, Any]) -> None:
    """Compare the figures of one section of a record with the limits.

    Raises:
        Rejected: a limit is broken.
    """
    figures = {f"{section}.{field}": figure for field, figure in found.get(section) or ()}
    if names := broken(limits, figures):
        doubtful = " (a doubtful time)" if section == "latency" and doubts(found["latency"]) else ""
        reasons = [f"{name} {figures[name]:,.6g} is above {limits[name].bound:,.6g}{doubtful}" for name in names]
        raise Rejected("; ".join(reasons))


def undecided(limits: Limits, latency: Latency) -> bool:
    """Whether a limit is broken by a time, but not by what it may be on an undisturbed machine."""
    slowest = SLOWEST
    if latency.reference_ms and latency.reference_fastest_ms:
        slowest = max(slowest, BEYOND_FIXED_WORK * latency.reference_ms / latency.reference_fastest_ms)
    figures = {f"latency.{field}": figure for field, figure in latency if f"latency.{field}" in limits}
    undisturbed = {name: figure and figure / slowest for name, figure in figures.items()}
    return bool(broken(limits, figures)) and not broken(limits, undisturbed)
