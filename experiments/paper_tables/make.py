"""Tables 3 to 7 of the paper and today's peers, counted and timed: python -m experiments.paper_tables.make.

`published.csv` has what was published: the paper's tables, and for today's peers their own papers and repositories.
`times.csv` has the times of one machine; `time.py` measures them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stdc_search.network.cost import count, output_stride
from stdc_search.records import read_machines
from stdc_search.report.tables import save_table
from stdc_search.report.words import device
from stdc_search.run_folder import MACHINES
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

HERE = Path(__file__).parent
TABLES = ("3", "4", "5", "6", "7", "peers")
TIMES = "times.csv"
RUNTIMES = {"eager": "PyTorch ms", "onnxruntime": "ONNX Runtime ms", "openvino": "OpenVINO ms"}
"""Titles of the columns of times, by the runtime."""
FASTEST = "FPS"
"""Images a second on the fastest of these runtimes."""
CAPTION = (
    "Times from an image to its label map or class, batch 1, fp32, on {}; FPS: on the fastest runtime. "
    "Published figures are not ours."
)


def main(folder: Path = HERE) -> None:
    """Write `table3` to `table7` and `peers`."""
    caption = CAPTION.format(", ".join(dict.fromkeys(map(device, read_machines(HERE / MACHINES).values()))))
    for table in TABLES:
        rows, specs = published(table)
        ours = pd.concat([costs(rows, specs), times(table, rows)], axis=1)
        save_table(rows[["system"]].join(ours).join(theirs(rows)), folder / file_name(table), caption=caption)


def published(table: str) -> tuple[pd.DataFrame, list[RunSpec | None]]:
    """The rows of a table, and their specs at the rows' sizes; None for a network that cannot be built."""
    every = pd.read_csv(HERE / "published.csv", dtype={"table": str})
    rows = every[every["table"] == table].dropna(axis=1, how="all").drop(columns="table")
    wanted = rows[["spec", "height", "width"]].itertuples(index=False, name=None)
    specs = [
        None if pd.isna(name) else replace(load(f"specs/{name}.yaml"), {"image_size": [height, width]})
        for name, height, width in wanted
    ]
    return rows, specs


def file_name(table: str) -> str:
    return f"table{table}" if table.isdigit() else table


def sizes(rows: pd.DataFrame) -> list[str]:
    return [f"{height}x{width}" for height, width in zip(rows["height"], rows["width"], strict=True)]


def theirs(rows: pd.DataFrame) -> pd.DataFrame:
    """What was published."""
    return rows.drop(columns=["system", "spec", "height", "width"])


def costs(rows: pd.DataFrame, specs: list[RunSpec | None]) -> pd.DataFrame:
    """Costs of networks, and the stride of their scores."""
    counted = [spec and count(spec.network, spec.image_size) for spec in specs]
    strides = [spec and output_stride(spec.network, spec.image_size) for spec in specs]
    columns = {
        "size": sizes(rows),
        "parameters M": [cost and cost.parameters / 1e6 for cost in counted],
        "GMACs": [cost and cost.macs / 1e9 for cost in counted],
        "scores at": [stride and f"1/{stride:.3g}" for stride in strides],
    }
    return pd.DataFrame(columns, index=rows.index)


def timed() -> pd.DataFrame:
    """A row a table, runtime and network."""
    return pd.read_csv(HERE / TIMES, dtype={"table": str})


def times(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds from image to label map, or class, by runtime, and frames per second on the fastest one."""
    its = timed().query("table == @table").set_index(["runtime", "system", "size"])["ms"]
    keys = [*zip(rows["system"], sizes(rows), strict=True)]
    columns = {title: [its.get((runtime, *key)) for key in keys] for runtime, title in RUNTIMES.items()}
    frame = pd.DataFrame(columns, index=rows.index, dtype=float).dropna(axis=1, how="all")
    return frame.assign(**{FASTEST: 1000 / frame.min(axis=1)})


if __name__ == "__main__":
    main()
