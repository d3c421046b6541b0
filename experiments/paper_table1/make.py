"""Receptive fields of the blocks of built modules beside Table 1: `python experiments/paper_table1/make.py`."""

from pathlib import Path

import pandas as pd

from stdc_search.network.models.analysis import receptive_fields
from stdc_search.network.models.stdc import DepthwiseDown, StdcModule
from stdc_search.report.tables import save_table

PAPER = {1: (1, 3, 5, 7), 2: (3, 3, 7, 11)}
"""Table 1, with Block1 after its average pool where the stride is 2."""


def main(folder: Path = Path(__file__).parent) -> None:
    variants = (
        ("paper, Table 1", 1, PAPER[1]),
        ("built", 1, receptive_fields(StdcModule(4, 16))),
        ("paper, Table 1", 2, PAPER[2]),
        ("built, Block2 strided (`down: strided`, Figure 3c)", 2, receptive_fields(StdcModule(4, 16, 4, 2, None))),
        ("built, as released (`down: depthwise`)", 2, receptive_fields(StdcModule(4, 16, 4, 2, DepthwiseDown))),
    )
    rows = [
        {"module": name, "stride": stride, **{f"Block{i}": f"{side} x {side}" for i, side in enumerate(sides, 1)}}
        for name, stride, sides in variants
    ]
    save_table(pd.DataFrame(rows), folder / "table", caption="Receptive fields of the concatenated maps")


if __name__ == "__main__":
    main()
