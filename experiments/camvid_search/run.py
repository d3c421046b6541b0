"""STDC1-Seg and networks of the front that the search gave, trained again: three seeds, 12 and 36 epochs.

OMP_NUM_THREADS=1 python -m experiments.camvid_search.run --data-root FOLDER_OF_CAMVID
"""

from pathlib import Path

from experiments.study import study
from stdc_search.records import read
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

HERE = Path(__file__).parent
NETWORKS = {"stdc1": 0, "network_53": 53, "network_13": 13}
"""Numbers of candidates of the search."""


def specs() -> dict[str, RunSpec]:
    """Runs by name."""
    search = load(HERE / "search.yaml")
    values = {record.number: record.values for record in read(HERE / "results.jsonl")}
    return {
        f"{name}_{epochs}_epochs": replace(
            search.candidate(values[number]),
            {"training.epochs": epochs, "training.seeds": (0, 1, 2), "latency": None},
        ).without_search()
        for epochs in (12, 36)
        for name, number in NETWORKS.items()
    }


if __name__ == "__main__":
    study(HERE, specs(), "Networks of the front, trained again", kept=f"{HERE.name}/runs/*")  # of the one machine
