"""The table of a space equals counting its networks one by one."""

import itertools
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from stdc_search.network.cost import count, count_quickly
from stdc_search.search import space
from stdc_search.search.space import COSTS, INSIDE, LEGAL, landmarks, tabulate
from stdc_search.spec.base import replace
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import load
from stdc_search.spec.start import PRESETS
from tests.search_specs import tiny_search

VARY = {
    "network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 2},
    "network.backbone.stages.1.blocks": {"kind": "int", "low": 3, "high": 5},
    "network.backbone.stages.1.width": {
        "kind": "int",
        "low": 8,
        "high": 24,
        "step": 8,
    },
    "network.detail": {"kind": "choice", "of": [None, {"strides": [1], "width": 4}]},
    "image_size": {"kind": "choice", "of": [[48, 64], [33, 35]]},
}


def test_every_network_of_a_space_is_counted_as_by_itself():
    limit = int(tabulate(tiny_search(vary=VARY))["cost.parameters"].quantile(0.6))
    spec = tiny_search(vary=VARY, limits={"cost.parameters": {"at_most": limit}})
    table = tabulate(spec)
    assert len(table) == spec.search.size == 2 * 3 * 3 * 2 * 2
    combinations = itertools.product(*(vary.values for vary in spec.search.vary.values()))
    for row, values in zip(table.to_dict("records"), combinations, strict=True):
        try:
            run = spec.candidate(dict(zip(VARY, values, strict=True)))
        except SpecError:
            assert not row[LEGAL]
            assert not row[INSIDE]
            continue
        cost = count(run.network, run.image_size)
        assert row[LEGAL]
        assert [row[name] for name in COSTS] == list(cost.model_dump().values())
        assert row[INSIDE] == (cost.parameters <= limit)
    assert 0 < table[INSIDE].sum() < table[LEGAL].sum() < len(table)
    assert list(table)[: len(VARY)] == list(VARY)


def test_processes_change_nothing(monkeypatch):
    spec = tiny_search(vary=VARY)
    monkeypatch.setattr(space, "CHUNK", 10)
    monkeypatch.setattr(space, "SEVERAL", 0)
    assert tabulate(spec, processes=2).equals(tabulate(spec, processes=1))


def test_a_sample_has_each_value_as_often_and_depends_on_its_seed_alone():
    spec = tiny_search(vary=VARY)
    table = tabulate(spec, 30)
    for name in VARY:
        counts = table[name].value_counts()
        assert counts.max() - counts.min() <= 1
    assert tabulate(spec, 30).equals(table)
    assert not tabulate(spec, 30, seed=1).equals(table)


def test_a_range_of_real_numbers_is_sampled_evenly_on_its_scale():
    vary = {"training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
    rates = tabulate(tiny_search(vary=vary), 100)["training.optimizer.learning_rate"]
    assert np.sum(rates < 1e-3) == 50
    assert len(set(rates)) == 100


def test_an_infinite_space_is_sampled_without_being_asked(monkeypatch):
    monkeypatch.setattr(space, "SAMPLE", 7)
    vary = {"training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2}}
    assert len(tabulate(tiny_search(vary=vary))) == 7


def test_progress_ends_with_all():
    seen = []
    tabulate(tiny_search(), progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (18, 18)


def test_landmarks_are_presets_that_the_space_can_make_and_the_start_networks():
    assert landmarks(tiny_search()) == {}, "its widths are not STDC1's"
    start = {"name": "mine", "network": tiny_search().network}
    assert list(landmarks(tiny_search(start=[start]))) == ["mine"]
    found = landmarks(load("specs/stdc_space.yaml"))
    assert list(found) == ["stdc1", "stdc2"]
    assert found["stdc1"] == count_quickly(replace(PRESETS["stdc1"], {"classes": 11}), (512, 1024))


def test_a_sample_as_large_as_the_space_is_the_space():
    spec = tiny_search()
    assert tabulate(spec, 18).equals(tabulate(spec))
    assert tabulate(spec, 99).equals(tabulate(spec))


def test_a_sample_of_a_vast_range_is_spread_over_it():
    vary = {"training.batch": {"kind": "int", "low": 2, "high": 100_000_001}}
    batches = np.sort(tabulate(tiny_search(vary=vary), 10)["training.batch"])
    assert ((batches - 2) // 10**7).tolist() == list(range(10))


def test_what_cannot_be_built_is_no_legal_network():
    pytest.importorskip("timm", reason="the extra `zoo` is not installed")
    trunks = [
        {"kind": "timm", "model": model, "taps": ["layer2", "layer3", "layer4"]} for model in ("resnet18", "no18")
    ]
    table = tabulate(tiny_search(vary={"network.backbone": {"kind": "choice", "of": trunks}}))
    assert table[LEGAL].tolist() == [True, False]


def test_names_of_ones_own_take_no_column_from_the_costs():
    vary = {name: {"kind": "int", "low": 1, "high": 2, "sets": [path]} for name, path in (
        ("macs", "network.backbone.stages.0.depth"), ("legal", "network.backbone.stages.1.depth"))}  # fmt: skip
    table = tabulate(tiny_search(vary=vary))
    assert table["macs"].tolist() == [1, 1, 2, 2]
    assert table["legal"].tolist() == [1, 2, 1, 2]
    assert table[LEGAL].all()


@pytest.mark.slow
def test_half_a_million_networks_are_exact():
    spec = load("specs/stdc_space.yaml")
    table = tabulate(spec)
    assert len(table) == 512_000
    for row in table.sample(200, random_state=0).to_dict("records"):
        run = spec.candidate({name: row[name] for name in spec.search.vary})
        assert [row[name] for name in COSTS] == list(count(run.network, run.image_size).model_dump().values())


COUNTS = """
import sys
from stdc_search.search import space
from tests.search_specs import tiny_search

if __name__ == "__main__":
    space.CHUNK = 1
    space.tabulate(tiny_search(vary={"network.head.width": {"kind": "int", "low": 1, "high": 200000}}), processes=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_processes_that_count_end_with_their_parent(tmp_path):
    (tmp_path / "count.py").write_text(COUNTS)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, tmp_path / "count.py"], env=environment, start_new_session=True)

    def family() -> list[Path]:
        """Its worker processes that are still alive."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                _, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
                if session == str(parent.pid) and b"spawn_main" in (process / "cmdline").read_bytes():
                    found.append(process)
        return found

    deadline = time.monotonic() + 300
    while len(family()) < 2:
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    parent.kill()
    parent.wait()
    while family():
        assert time.monotonic() < deadline
        time.sleep(0.2)
