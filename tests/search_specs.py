"""Small specs for tests of a search, and their runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stdc_search.commands.run import run
from stdc_search.search.executors import in_process
from stdc_search.spec.run import RunSpec


def tiny_search(epochs: int = 1, latency: dict[str, Any] | None = None, **search: Any) -> RunSpec:
    """A search of 3 x 3 x 2 networks that train in seconds."""
    return RunSpec.model_validate(
        {
            "image_size": [48, 64],
            "network": {
                "kind": "segmenter",
                "classes": 11,
                "backbone": {
                    "kind": "stdc",
                    "stem": [{"width": 4}, {"width": 8}],
                    "stages": [
                        {"width": 16, "depth": 1},
                        {"width": 16, "depth": 1},
                        {"width": 16, "depth": 1},
                    ],
                },
                "decoder": {"width": 8, "fusion_width": 8},
                "head": {"width": 8},
                "auxiliary": {"width": 4},
                "detail": {"width": 4},
            },
            "data": {"kind": "scenes", "size": [48, 64], "train": 8, "val": 2},
            "training": {
                "epochs": epochs,
                "batch": 4,
                "crop": [32, 32],
                "head_rate": 1.0,
                "backbone_norms": "trained",
                "schedule": {"warmup": 1},
                "precision": "fp32",  # the same on every CPU
            },
            "latency": latency,
            "search": {
                "vary": {
                    "network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 3},
                    "width": {
                        "kind": "int",
                        "low": 16,
                        "high": 48,
                        "step": 16,
                        "sets": ["network.backbone.stages.1.width", "network.backbone.stages.2.width"],
                    },
                    "network.detail": {"kind": "choice", "of": [None, {"strides": [1], "width": 4}]},
                },
                "trials": 4,
                **search,
            },
        }
    )


def run_with_cuts(spec: RunSpec, folder: Path, calls: Sequence[int]) -> None:
    """Run to the end, interrupted each time before a trial: after so many trials since the last interruption."""
    run_trial = in_process.run_trial
    for count in calls:
        left = iter(range(count))

        def cut(*arguments: Any, left: Any = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return run_trial(*arguments)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(in_process, "run_trial", cut)
            with pytest.raises(KeyboardInterrupt):
                run(spec, folder)
    run(spec, folder)
