"""How long a prediction takes: `python experiments/latency_prediction/predict.py TABLE`."""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from stdc_search.latency.predictor import Predictor
from stdc_search.records import TimeTable
from stdc_search.search.space import draw
from stdc_search.spec.run import load


def main(table: Path) -> None:
    predict = Predictor(TimeTable.model_validate_json(table.read_bytes()).parts)
    runs = draw(load("specs/camvid.yaml"), 1000, seed=5)
    took = []
    for _ in range(2):  # the first time to know the parts
        took.clear()
        for run in runs:
            start = perf_counter()
            predict(run.network, run.image_size)
            took.append(perf_counter() - start)
    print(f"{1e6 * median(took):.0f} microseconds, the median of {len(runs)} networks")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
