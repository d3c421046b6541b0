"""What `check --data` says before a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from stdc_search.commands.check import check_data
from stdc_search.errors import UserError
from stdc_search.spec.base import replace
from stdc_search.spec.problems import SpecError
from stdc_search.trial import estimate
from stdc_search.trial.estimate import estimate_seconds
from stdc_search.trial.training import Datasets
from tests.search_specs import tiny_search

SOURCE = Path("spec.yaml")


def test_images_steps_memory_and_minutes_are_counted() -> None:
    spec = tiny_search(
        finals={"networks": 1, "epochs": 3, "seeds": [0, 1]}, executor={"kind": "processes", "workers": 2}
    )
    lines = [*check_data(spec, SOURCE)]
    assert lines[:3] == [
        "Data: 8 training and 2 validation images.",
        "training: 2 steps of 4 images (2 per epoch), crop 32 x 32.",
        "search.finals: 6 steps of 4 images (2 per epoch), crop 32 x 32, 2 seeds.",
    ]
    assert "2 at a time" in lines[4] and lines[5].startswith("Finals: 0 networks trained, up to 1 left")
    memory = re.fullmatch(r"Memory: about (\d+\.\d) GB for each training, and up to 2 GB of images\.", lines[6])
    assert memory is not None and 0.1 < float(memory[1]) < 50


def test_a_training_that_does_not_fit_the_data_is_an_error() -> None:
    spec = tiny_search()
    with pytest.raises(SpecError, match=r"training\.batch: 16 is more than the 8 training images"):
        [*check_data(replace(spec, {"training.batch": 16}), None)]


def test_a_spec_without_data_has_none_to_check() -> None:
    spec = replace(tiny_search(), {"search": None, "training": None, "data": None})
    with pytest.raises(UserError, match=r"spec\.yaml: the section `data` is missing"):
        [*check_data(spec, SOURCE)]


def test_an_estimate_counts_images_seeds_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_least", lambda *_: 1.0)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)  # threads count on a CPU only
    spec = tiny_search().without_search()
    assert spec.data is not None and spec.training is not None
    datasets = Datasets.open(spec.data, 0, None)
    one = estimate_seconds(spec, spec.training, datasets, 1)
    assert one == 2 * (1 + 1) + 2  # two steps, each with its images, and two scored images
    assert estimate_seconds(spec, replace(spec.training, {"seeds": (0, 1)}), datasets, 1) == 2 * one
    assert estimate_seconds(spec, spec.training, datasets, 10) == 2 * (1 / 8 + 1) + 2 / 8
