"""Times of Tables 3 to 7 and of today's peers on this machine, each table in one interleaved run a runtime.

python -m experiments.paper_tables.time 6 [7 ...] [--runtime openvino] [--repeats 10]
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import typer

from experiments.paper_tables.make import HERE, RUNTIMES, TABLES, TIMES, published, sizes, timed
from stdc_search.latency import Entry, note_machine, race
from stdc_search.network.builder import build
from stdc_search.report.words import doubts
from stdc_search.run_folder import MACHINES
from stdc_search.spec.measurement import LatencySpec, varied
from stdc_search.storage import write_atomically


def main(
    tables: Annotated[list[str] | None, typer.Argument(help="3 to 7, or peers; default: all")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help=f"{', '.join(RUNTIMES)}; default: all")] = None,
    repeats: Annotated[int, typer.Option(help="rounds, in which all networks of a table take turns")] = 10,
) -> None:
    """Write times into `times.csv`, in the place of earlier ones of the same table and runtime."""
    machine = note_machine(HERE / MACHINES).id
    for how in varied(LatencySpec(), runtime or [*RUNTIMES], None, None):
        for table in tables or TABLES:
            rows, specs = published(table)
            built = [spec for spec in specs if spec is not None]
            raced = race([Entry(build(one.network), one.image_size, how) for one in built], warmup=2, repeats=repeats)
            new = rows[["system"]].assign(size=sizes(rows))[[spec is not None for spec in specs]]
            new = new.assign(
                ms=[round(one.latency.median_ms, 3) for one in raced],
                rounds=repeats,
                doubt=[doubts(one.latency) for one in raced],
                machine=machine,
            )
            new.insert(0, "runtime", how.runtime)
            new.insert(0, "table", table)
            kept = timed()
            kept = kept[(kept["table"] != table) | (kept["runtime"] != how.runtime)]
            write_atomically(HERE / TIMES, pd.concat([kept, new]).to_csv(index=False, lineterminator="\n"))
            print(new.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
