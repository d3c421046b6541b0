"""What a network may cost at most, as people write it: `30ms`, `2 GMACs`, `3M`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from numbers import Real
from typing import NamedTuple

from stdc_search.errors import UserError

EXAMPLES = "30ms (time), 2GMACs (multiply-adds) or 3M (parameters)"
NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(?:e([+-]?\d{1,2}))?\s*([a-zA-Z]*)", re.ASCII)


class Bound(NamedTuple):
    """The most that a network may have of a metric."""

    metric: str
    at_most: float
    """In the unit of the record: milliseconds, multiply-adds, parameters."""

    def __str__(self) -> str:
        return amount(self.metric, self.at_most)


def amount(metric: str, value: float, *, up: bool = False) -> str:
    """A time or a cost with its unit, in four digits; rounded up, it is a bound that the value keeps."""
    macs = ("GMACs", 1e9) if value >= 1e7 else ("MMACs", 1e6)
    unit, size = {"latency.median_ms": ("ms", 1.0), "cost.macs": macs}.get(metric, ("M parameters", 1e6))
    value /= size
    if up and value > 0:
        step = 10.0 ** (math.floor(math.log10(value)) - 3)
        value = math.ceil(value / step) * step
    return f"{value:.4g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def read_bounds(texts: Iterable[str]) -> list[Bound]:
    """Bounds as they are written on the command line.

    Raises:
        UserError: one has another form or is not positive, or two bound the same.
    """
    bounds: dict[str, Bound] = {}
    for text in texts:
        bound = _read(text)
        if bound.metric in bounds:
            raise UserError(f"--at-most: {bounds[bound.metric]} and {bound} bound the same; give one of them")
        bounds[bound.metric] = bound
    return [*bounds.values()]


def make_bounds(ms: float | None, macs: float | None, parameters: float | None) -> list[Bound]:
    """Bounds as they are given in Python; None for no bound.

    Raises:
        UserError: one is not a positive number.
    """
    given = {"latency.median_ms": ms, "cost.macs": macs, "cost.parameters": parameters}
    for metric, value in given.items():
        name = f"at_most_{metric.rpartition('.')[2].removeprefix('median_')}"
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not value > 0):
            raise UserError(f"{name}: {value!r} is not a positive number")
    return [Bound(metric, float(value)) for metric, value in given.items() if value is not None]


def _read(text: str) -> Bound:
    match = NUMBER.fullmatch(text.strip())
    metric = match and _metric(match[3])
    if match is None or metric is None:
        hint = "; write a decimal point, not a comma" if re.match(r"\d+,\d", text.strip()) else ""
        raise UserError(f"--at-most: cannot read {text!r}; write a number and its unit: {EXAMPLES}{hint}")
    name, size = metric
    value = float(match[1]) * 10.0 ** int(match[2] or 0) * size
    if not 0 < value < math.inf:
        raise UserError(f"--at-most: {text!r} is not positive")
    return Bound(name, value)


def _metric(unit: str) -> tuple[str, float] | None:
    """The metric that a unit is of, and the unit's size. `M` has its case, since `3m` could be minutes."""
    if unit == "M":
        return "cost.parameters", 1e6
    units = {"ms": ("latency.median_ms", 1.0), "gmac": ("cost.macs", 1e9), "mmac": ("cost.macs", 1e6)}
    return units.get(unit.lower().removesuffix("s") if unit.lower() != "ms" else "ms")
