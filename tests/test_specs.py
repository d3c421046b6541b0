"""Every spec that ships: it loads, round-trips, builds, gives scores of the image's size, and costs what it did."""

import json
from pathlib import Path

import pytest
import torch

from stdc_search.network.builder import build
from stdc_search.network.cost import count, count_with_fvcore
from stdc_search.spec.base import dump
from stdc_search.spec.run import load

SHIPPED = Path("specs")
SPECS = sorted([*SHIPPED.rglob("*.yaml"), *SHIPPED.rglob("*.json")])
GOLDEN = Path("tests/golden/costs.json")


def name_of(path: Path) -> str:
    return path.relative_to(SHIPPED).as_posix()


# tests/network/models/test_peers.py runs narrow ones each time.
baselines_are_slow = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=name_of(path), marks=[pytest.mark.slow] * (path.parent != SHIPPED)) for path in SPECS],
)


@pytest.fixture(params=SPECS, ids=name_of)
def path(request) -> Path:
    return request.param


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_shipped_spec_round_trips(path, ending, tmp_path):
    spec = load(path)
    dump(spec, tmp_path / f"copy.{ending}")
    assert load(tmp_path / f"copy.{ending}") == spec


@baselines_are_slow
def test_a_shipped_network_gives_scores_of_the_image_s_size(path):
    network = load(path).network
    module = build(network).eval()
    with torch.inference_mode():
        scores = module(torch.randn(1, 3, 64, 96))
    size = () if network.task == "classification" else (64, 96)
    assert scores.shape == (1, network.classes, *size)


def test_a_shipped_network_costs_what_it_did(path):
    """A change here changes a published number: say so in the CHANGELOG, and run `python -m tests.test_specs`."""
    assert costs(path) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name_of(path)]


@baselines_are_slow
def test_a_shipped_network_costs_what_fvcore_counts(path):
    network = load(path).network
    assert count(network, (64, 96)).fvcore_flops == count_with_fvcore(build(network), (64, 96))


def test_a_shipped_spec_opens_with_what_it_is_and_its_command(path):
    if path.suffix == ".yaml":
        head = path.read_text("utf-8").split("image_size")[0]
        assert head.startswith("# ")
        assert f"stdc-search run {path.as_posix()}" in head or f"stdc-search cost {path.as_posix()}" in head


def test_the_json_spec_equals_its_yaml():
    assert load("specs/stdc1_seg50.json") == load("specs/stdc1_seg50.yaml")


def costs(path: Path) -> dict[str, int]:
    spec = load(path)
    return count(spec.network, spec.image_size).model_dump()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name_of(path): costs(path) for path in SPECS}, indent=2) + "\n", encoding="utf-8")
