"""STDC1-Seg, networks of the front that the search gave and some near it, trained again with 12 and 36 epochs.

OMP_NUM_THREADS=1 python -m experiments.camvid_search.run --data-root FOLDER_OF_CAMVID
"""

from itertools import product
from pathlib import Path

from experiments.study import study
from stdc_search.records import read
from stdc_search.run_folder import RESULTS
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

HERE = Path(__file__).parent
SEARCH = load(HERE / "search.yaml")
FOUND = {"stdc1": 0, "network_53": 53, "network_13": 13}
"""Numbers of candidates of the search."""
BY_HAND = {
    "hand_1": (32, 64, 256, 256, 768, 2, 1, 1, 3, 128),
    "hand_2": (32, 64, 256, 128, 768, 2, 1, 1, 2, 128),
    "hand_3": (32, 32, 256, 512, 1024, 1, 1, 1, 3, 128),
    "hand_4": (32, 32, 256, 512, 1024, 2, 1, 1, 3, 64),
}
"""Values of what the search varies, in its order: what its best networks have, with a narrower head."""
TRAINED = {
    **dict.fromkeys(product((*FOUND, "hand_1"), (12,)), (0, 1, 2)),
    **dict.fromkeys(product(("stdc1", "network_53", "hand_1"), (36,)), (0, 1, 2)),
    **dict.fromkeys(product(("network_13", "hand_2", "hand_3", "hand_4"), (36,)), (0,)),
}
"""Seeds by name and epochs: one seed of those that it shows to be behind."""


def specs() -> dict[str, RunSpec]:
    """Runs by name."""
    found = {record.number: record.values for record in read(HERE / RESULTS)}
    values = {name: found[number] for name, number in FOUND.items()}
    values |= {name: dict(zip(SEARCH.required_search.vary, several, strict=True)) for name, several in BY_HAND.items()}
    return {
        f"{name}_{epochs}_epochs": replace(
            SEARCH.candidate(values[name]),
            {"training.epochs": epochs, "training.seeds": seeds, "latency": None},
        ).without_search()
        for (name, epochs), seeds in TRAINED.items()
    }


if __name__ == "__main__":
    # What other studies trained is of another machine.
    study(HERE, specs(), "STDC1-Seg and faster networks with 12 and 36 epochs", kept=f"{HERE.name}/runs/*")
