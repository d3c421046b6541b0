"""Train the networks of the comparison on one data set. What is trained is passed over, also by other processes.

python -m experiments.trained_comparison.run camvid --data-root FOLDER_OF_CAMVID

The command may be started once a core, or several times on a GPU. On CamVid the front's own networks are not trained:
their finals are the same trainings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from experiments.trained_comparison.networks import HERE, found, runs
from stdc_search.commands.run import run
from stdc_search.errors import FolderInUseError
from stdc_search.run_folder import RESULTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=["camvid", "facade"])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "runs")
    parser.add_argument("--network", nargs="+", help="train only these")
    given = parser.parse_args()
    known = found() if given.data == "camvid" else {}
    for name, spec in runs(given.data).items():
        if given.network and name not in given.network:
            continue
        folder = given.out / given.data / name.replace(" ", "_")
        if name in known or (folder / RESULTS).exists():
            print(f"{name}: is trained")
            continue
        try:
            run(spec, folder, data_root=given.data_root, console=Console())
        except FolderInUseError:
            print(f"{name}: another process trains it")


if __name__ == "__main__":
    main()
