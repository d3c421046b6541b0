"""What every benchmark does with its figures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stdc_search.latency import describe_machine
from stdc_search.report.words import device
from stdc_search.storage import write_atomically


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(name: str, figures: Mapping[str, float]) -> None:
    """Print figures, whose names end with their unit, and write them with the machine to `build/bench/NAME.json`."""
    machine = describe_machine()
    table = Table(title=f"{name}: {device(machine)}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for figure, value in figures.items():
        table.add_row(figure, f"{value:,}" if isinstance(value, int) else f"{value:,.4g}")
    Console().print(table)
    path = Path("build/bench") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine.model_dump(mode="json"), "figures": dict(figures)}
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    Console().print(f"saved: {path}")
