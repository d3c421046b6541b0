"""A real Ray cluster on this machine: one node, and two of which one is removed."""

import os
from pathlib import Path

import pytest

from stdc_search.commands.run import run
from stdc_search.errors import UserError
from stdc_search.records import read
from tests.search.test_executors import _epochs, in_background, search, told, until, varied

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """What starts tasks on a node finds this package as it was found here."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )


@pytest.fixture
def two_nodes():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def test_a_search_runs_on_a_cluster_of_its_own(tmp_path):
    run(search(trials=3, executor={"kind": "ray", "address": "local"}), tmp_path)
    records = read(tmp_path / "results.jsonl")
    assert {record.number: record.state for record in records} == dict.fromkeys(range(3), "complete")


def test_a_node_that_is_removed_costs_no_candidate(tmp_path, two_nodes):
    cluster, nodes = two_nodes
    spec = varied("training.epochs", 60, 61, 62, 63, executor={"kind": "ray", "address": cluster.address})

    def remove() -> None:
        until(lambda: sum(_epochs(curve) >= 3 for curve in tmp_path.glob("networks/*/curve.csv")) == 2)
        cluster.remove_node(nodes[0], allow_graceful=False)

    remover = in_background(remove)
    run(spec, tmp_path)
    remover.join()
    records = read(tmp_path / "results.jsonl")
    assert {record.number: record.state for record in records} == dict.fromkeys(range(4), "complete")
    assert len(records) == 4 == len({record.identity for record in records})


def test_a_candidate_that_hangs_is_stopped(tmp_path):
    executor = {"kind": "ray", "address": "local", "timeout": 60}
    run(varied("training.epochs", 1, 1_000_000, 2, executor=executor), tmp_path)
    states = {record.values["training.epochs"]: record for record in read(tmp_path / "results.jsonl")}
    assert {epochs: record.state for epochs, record in states.items()} == {
        1: "complete",
        1_000_000: "failed",
        2: "complete",
    }
    assert states[1_000_000].reason == "took longer than `search.executor.timeout`, 60 s"


def test_a_cluster_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(UserError, match=r"no Ray cluster at .* 'auto'"):
        told(search(trials=1, executor={"kind": "ray"}), tmp_path)
