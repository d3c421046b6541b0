"""Measures the networks of a folder that was carried to this device, and writes what was learnt: `times.json`."""

from __future__ import annotations

import json
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stdc_search.device.bench import Bench
from stdc_search.device.calibration import Job, Measured, Network, Ready, learn, measure
from stdc_search.device.hardware import facts, identity, physical_cores
from stdc_search.device.runtimes import Settings, open_file
from stdc_search.device.server import PACKAGES
from stdc_search.device.wire import to_array
from stdc_search.errors import UserError
from stdc_search.storage import write_atomically

JOB, NETWORKS, MEASURED, TIMES = "job.json", "networks.zip", "measured.jsonl", "times.json"
DIFFERENT = 0.01
"""Share of the labels, or of the scores' root mean square, by which a result may differ from that of the maker."""


class Bundle:
    """The networks of a folder.

    Args:
        folder: as `stdc-search bundle` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
        self.machine = facts(PACKAGES)
        self.id = identity(self.machine)
        self.reference, *others = [self._network(one) for one in self.job["networks"]]
        self.learnt, self.held_out = others[: self.job["learnt"]], others[self.job["learnt"] :]
        self.files = dict(zip([one.key for one in [self.reference, *others]], self.job["networks"]))

    def _network(self, about: dict[str, Any]) -> Network:
        return Network(f"{self.id} {about['key']}", about["macs"], about["parts"])

    def run(self) -> Path:
        """Measure what is not yet in `measured.jsonl`, then write the table."""
        about, _ = learn(self.folder / MEASURED, self.learnt, self.held_out, self._measured, _tell)
        described = {"id": self.id, **self.machine, "commit": None}
        content = {"machine": self.id, "described": described, "runtime": self.job["runtime"], **about}
        write_atomically(self.folder / TIMES, json.dumps(content, indent=2) + "\n")
        return self.folder / TIMES

    def _measured(self, group: Sequence[Job]) -> list[Measured]:
        runtime = self.job["runtime"]
        threads = runtime["threads"] or physical_cores()
        settings = Settings(runtime["runtime"], runtime["device"], runtime["precision"], threads)
        with Bench(threads) as bench:
            reference, *ready = [self._ready(one, settings) for one in (self.reference, *(one for one, _ in group))]
            return measure(bench, reference, group, ready)

    def _ready(self, network: Network, settings: Settings) -> Ready:
        files = self.files[network.key]
        with zipfile.ZipFile(self.folder / NETWORKS) as archive:
            content = archive.read(files["file"])
            images, expected = (to_array(archive.read(files[what])) for what in ("image", "result"))
        plain = open_file(settings, content)
        result = plain.fetch(plain.run(plain.load(images)))
        if result.shape != expected.shape or not difference(result, expected) <= DIFFERENT:
            raise UserError(f"{files['file']}: this device computes another result than the machine that exported it")
        return Ready(plain, open_file(settings, content, profile=True), images)


def _tell(done: int, every: int) -> None:
    print(f"{done} of {every} measured", flush=True)


def difference(result: np.ndarray, expected: np.ndarray) -> float:
    """The share of labels that differ, or of the scores' root mean square."""
    if result.dtype.kind == "f":
        return float(np.sqrt(np.mean((result - expected) ** 2) / np.mean(expected**2)))
    return float(np.mean(result != expected))


def main() -> None:
    """Run the folder that this program lies in."""
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
    try:
        path = Bundle(Path(sys.argv[0]).resolve().parent).run()
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(
        f"saved: {path}\nCopy it to where you search, and write `latency: {{on: elsewhere, table: {path.name}, ...}}`."
    )
