"""What `check` and `run` point out."""

from __future__ import annotations

import pytest

from stdc_search.spec.advice import advice
from stdc_search.spec.base import replace
from stdc_search.spec.run import load
from stdc_search.spec.search import SearchSpec

EVERY_DEPTH = {
    f"network.backbone.stages.{stage}.depth": {"kind": "int", "low": 1, "high": 5, "step": 1} for stage in range(3)
}
LAST_DEPTH = {"network.backbone.stages.2.depth": {"kind": "int", "low": 1, "high": 5, "step": 1}}


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        (EVERY_DEPTH, []),
        (
            LAST_DEPTH,
            [
                "search.start: `stdc2` takes only what varies from STDC2, and here it has another backbone: "
                "network.backbone.stages.0.depth is 2, not 4, network.backbone.stages.1.depth is 2, not 5; vary these "
                "fields, or remove it from `start`"
            ],
        ),
    ],
)
def test_a_start_network_that_is_not_the_papers_is_pointed_out(vary: dict, told: list[str]) -> None:
    search = {
        "vary": vary,
        "objectives": {"score.miou": "maximize", "cost.macs": "minimize"},
        "start": ["stdc1", "stdc2"],
        "trials": 4,
    }
    spec = replace(load("stdc1_camvid480"), {"search": SearchSpec.model_validate(search)})
    assert [*advice(spec)] == told


SIZES = {"kind": "choice", "of": [[480, 640], [720, 960]]}
TIED = {"size": {**SIZES, "sets": ["image_size", "training.augmentation.base_size"]}}


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (
            {"vary": {"image_size": SIZES}, "trials": 12},
            [
                "search.vary: `image_size` varies, but training images are scaled to `training.augmentation.base_size` "
                "[480, 640] for every candidate; write `sets: [image_size, training.augmentation.base_size]`"
            ],
        ),
        ({"vary": TIED, "trials": 12}, []),
        (
            {"vary": TIED, "trials": 12, "halving": {"rungs": [1], "probation": 50}},
            [
                "search.halving.probation: the first 50 candidates are trained to the end, and there are 12 trials; "
                "write fewer, or more `trials`"
            ],
        ),
    ],
)
def test_a_setting_that_does_less_than_it_seems_to_is_pointed_out(search: dict, told: list[str]) -> None:
    spec = load("stdc1_camvid480")
    base = {"training.augmentation.base_size": (480, 640), "training.backbone_norms": "trained"}
    assert [*advice(replace(spec, {**base, "search": SearchSpec.model_validate(search)}))] == told
