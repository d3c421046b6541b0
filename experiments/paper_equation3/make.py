"""Equation 3 beside the parameters of the modules that are built: `python experiments/paper_equation3/make.py`."""

from pathlib import Path

import pandas as pd
from torch import nn

from stdc_search.network.models.analysis import equation_3
from stdc_search.network.models.stdc import StdcModule
from stdc_search.report.tables import save_table

MODULES = {"Stage3": 256, "Stage4": 512, "Stage5": 1024}


def main(folder: Path = Path(__file__).parent) -> None:
    rows = []
    for stage, width in MODULES.items():
        for blocks in range(2, 8):
            module = StdcModule(width, width, blocks)
            convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
            weights = sum(part.weight.numel() for part in convolutions)
            rows.append(
                {
                    "stage": stage,
                    "M = N": width,
                    "blocks n": blocks,
                    "Equation 3": equation_3(width, width, blocks),
                    "convolutions": weights,
                    "with norms": sum(parameter.numel() for parameter in module.parameters()),
                }
            )
    save_table(pd.DataFrame(rows), folder / "table", caption="Parameters of stride-1 STDC modules")


if __name__ == "__main__":
    main()
