"""The records of table.yaml and seeds.yaml -> table.csv and seeds.csv.

python -m experiments.search_benchmark.collect FOLDER_OF_TABLE FOLDER_OF_SEEDS
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from stdc_search.records import read
from stdc_search.run_folder import CURVE, RESULTS, candidate_folder

HERE = Path(__file__).parent


def rows(folder: Path) -> pd.DataFrame:
    """A row a trained network: its values, its costs, its mIoU after each epoch."""
    found = []
    for record in sorted(read(folder / RESULTS), key=lambda record: str(record.values)):
        if record.state != "complete" or record.cost is None:
            continue
        curve = pd.read_csv(candidate_folder(folder, record.number) / CURVE)
        scores = {f"miou_{epoch}": round(score, 3) for epoch, score in zip(curve["epoch"], curve["score"], strict=True)}
        costs = {"macs": record.cost.macs, "parameters": record.cost.parameters}
        found.append({**record.values, **costs, **scores})
    return pd.DataFrame(found)


def main() -> None:
    for name, folder in zip(("table", "seeds"), sys.argv[1:], strict=True):
        rows(Path(folder)).to_csv(HERE / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
