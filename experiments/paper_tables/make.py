"""Tables 3 to 7 of the paper and today's peers, counted: python -m experiments.paper_tables.make.

`published.csv` has what was published: the paper's tables, and for today's peers their own papers and repositories.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stdc_search.network.cost import count, output_stride
from stdc_search.report.tables import save_table
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

HERE = Path(__file__).parent
TABLES = ("3", "4", "5", "6", "7", "peers")
CAPTION = "published figures are not ours"


def main(folder: Path = HERE) -> None:
    """Write `table3` to `table7` and `peers`."""
    for table in TABLES:
        rows, specs = published(table)
        save_table(joined(rows, costs(specs)), folder / file_name(table), caption=f"Costs; {CAPTION}")


def published(table: str) -> tuple[pd.DataFrame, list[RunSpec | None]]:
    """The rows of a table, and their specs at the rows' sizes; None for a network that cannot be built."""
    every = pd.read_csv(HERE / "published.csv", dtype={"table": str})
    rows = every[every["table"] == table].dropna(axis=1, how="all").drop(columns="table")
    sizes = rows[["spec", "height", "width"]].itertuples(index=False, name=None)
    specs = [
        None if pd.isna(name) else replace(load(f"specs/{name}.yaml"), {"image_size": [height, width]})
        for name, height, width in sizes
    ]
    return rows, specs


def file_name(table: str) -> str:
    return f"table{table}" if table.isdigit() else table


def joined(rows: pd.DataFrame, ours: dict[str, list[float | str | None]]) -> pd.DataFrame:
    """Our figures between a system's name and what was published about it."""
    size = [f"{height}x{width}" for height, width in zip(rows["height"], rows["width"], strict=True)]
    frame = rows[["system"]].assign(size=size, **ours)  # pyright: ignore[reportArgumentType]
    return frame.join(rows.drop(columns=["system", "spec", "height", "width"]))


def costs(specs: list[RunSpec | None]) -> dict[str, list[float | str | None]]:
    """Costs of networks, and the stride of their scores."""
    counted = [spec and count(spec.network, spec.image_size) for spec in specs]
    strides = [spec and output_stride(spec.network, spec.image_size) for spec in specs]
    return {
        "parameters M": [cost and cost.parameters / 1e6 for cost in counted],
        "GMACs": [cost and cost.macs / 1e9 for cost in counted],
        "scores at": [stride and f"1/{stride:.3g}" for stride in strides],
    }


if __name__ == "__main__":
    main()
