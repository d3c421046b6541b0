"""What differs between two specs, and what that does to the cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stdc_search.network.cost import count
from stdc_search.records import METRICS
from stdc_search.run_folder import spec_name
from stdc_search.spec.compare import changes
from stdc_search.spec.run import load_several

COUNTED = ("cost.parameters", "cost.macs")


@dataclass(frozen=True, eq=False)
class Difference:
    """What differs between two specs."""

    fields: pd.DataFrame
    """A row for each dotted path that differs, with what either spec has there; omitted fields have their defaults."""
    cost: pd.DataFrame
    """Parameters and multiply-adds of both, each at its own image size, with ratio and change in percent."""
    notes: tuple[str, ...]


def diff(first: str | Path, second: str | Path) -> Difference:
    """Compare two specs, and count their networks.

    Args:
        first: a spec file, such as `networks/0007/spec.yaml` of a run.
        second: another.

    Raises:
        SpecError: with every problem of both files.
    """
    names = _names(Path(first), Path(second))
    runs = load_several([first, second])
    one, other = (run.model_dump(mode="json") for run in runs)
    found = changes(one, other)
    rows = [{"field": place.path, names[0]: _shown(place.old), names[1]: _shown(place.new)} for place in found]
    costs = [dict(count(run.network, run.image_size)) for run in runs]
    sizes = [" × ".join(map(str, run.image_size)) for run in runs]
    notes = [f"Image sizes: {sizes[0]} and {sizes[1]}; costs are at these"] if sizes[0] != sizes[1] else []
    notes += [] if found else ["The specs do not differ"]
    cost = [
        {
            "": METRICS[name].exact,
            **dict(zip(names, (a, b), strict=True)),
            "ratio": b / a,
            "change %": 100 * (b / a - 1),
        }
        for name in COUNTED
        for a, b in [[each[name.removeprefix("cost.")] for each in costs]]
    ]
    return Difference(pd.DataFrame(rows, columns=["field", *names]), pd.DataFrame(cost), tuple(notes))


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What two files are called, so that their names differ."""
    names = spec_name(first), spec_name(second)
    if names[0] == names[1]:
        names = str(first), str(second)
    return names if names[0] != names[1] else (names[0], f"{names[1]} (again)")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
