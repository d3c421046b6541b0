"""What every test may use, and when marked tests skip themselves."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, each with a core and a lock on measuring of its own
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp()

# Tests share their cores with other work: how long an example takes says nothing about it.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that are marked `slow`, too")


def pytest_collection_finish() -> None:
    """Each trial collects garbage twice; without what all tests have imported that takes a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("slow; `make test-slow` runs it")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("PyTorch finds no CUDA device here")


@pytest.fixture(autouse=True, scope="session")
def measured_once() -> Iterator[None]:
    """Times that are doubtful, as most are beside other work, are not measured again."""
    with pytest.MonkeyPatch.context() as patch:
        if (again := sys.modules.get("stdc_search.latency.again")) is not None:
            patch.setattr(again, "PAUSES", ())
        yield


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid: `$STDC_SEARCH_DATA`, its `camvid`, or `../shared/camvid` beside the checkout."""
    given = os.environ.get("STDC_SEARCH_DATA")
    beside = Path(__file__).parents[2] / "shared" / "camvid"
    places = [Path(given), Path(given, "camvid"), beside] if given else [beside]
    for place in places:
        if (place / "train.txt").is_file():
            return place
    pytest.skip("no CamVid: $STDC_SEARCH_DATA or ../shared/camvid would hold its train.txt")
