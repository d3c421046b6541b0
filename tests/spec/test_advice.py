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
