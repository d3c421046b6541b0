"""Times of Tables 3 to 7 and of today's peers on this machine, each table in one interleaved run.

python -m experiments.paper_tables.time 6 [7 ...] [--runtime onnxruntime] [--repeats 10]
"""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.paper_tables.make import CAPTION, HERE, TABLES, costs, file_name, joined, published
from stdc_search.latency import Entry, note_machine, race
from stdc_search.network.builder import build
from stdc_search.report.tables import show_table
from stdc_search.report.words import device, doubts
from stdc_search.run_folder import MACHINES
from stdc_search.spec.measurement import LatencySpec, varied
from stdc_search.spec.run import RunSpec

FIRST = {"3": "STDC2", "4": "STDC2-50", "5": "STDC1", "6": "STDC1-Seg50", "7": "STDC1-Seg", "peers": "STDC1-Seg75"}
"""What the other networks of a table are compared with."""


def main(
    tables: Annotated[list[str] | None, typer.Argument(help="3 to 7, or peers; default: all")] = None,
    runtime: Annotated[str, typer.Option(help="eager, onnxruntime or openvino")] = "onnxruntime",
    repeats: Annotated[int, typer.Option(help="rounds, in which all networks of a table take turns")] = 10,
) -> None:
    """Write `tableN_RUNTIME.*`."""
    machine = device(note_machine(HERE / MACHINES))
    for table in tables or TABLES:
        rows, specs = published(table)
        timed = times(specs, list(rows["system"]), FIRST[table], runtime, repeats)
        caption = f"Image to label map or class, batch 1, {runtime}, fp32, on {machine}; {CAPTION}"
        show_table(joined(rows, costs(specs) | timed), HERE / f"{file_name(table)}_{runtime}", title=caption)


def times(
    specs: list[RunSpec | None], systems: list[str], first: str, runtime: str, repeats: int
) -> dict[str, list[float | str | None]]:
    """Times of networks in one interleaved run, and the frames per second of one network in those of another."""
    (how,) = varied(LatencySpec(), [runtime], None, None)
    built = [spec for spec in specs if spec is not None]
    raced = race([Entry(build(spec.network), spec.image_size, how) for spec in built], warmup=2, repeats=repeats)
    found = iter(raced)
    latencies = [spec and next(found).latency for spec in specs]
    for system, latency in zip(systems, latencies, strict=True):
        if latency is not None and (doubt := doubts(latency)):
            print(f"{system}: {doubt}")
    standard = next(one for one, name in zip(latencies, systems, strict=True) if name == first)
    assert standard is not None
    return {
        "ms": [one and one.median_ms for one in latencies],
        "FPS": [one and one.fps for one in latencies],
        f"FPS / {first}'s": [one and one.fps / standard.fps for one in latencies],
    }


if __name__ == "__main__":
    typer.run(main)
