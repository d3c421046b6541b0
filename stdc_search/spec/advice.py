"""What is legal in a spec, but seldom meant."""

from __future__ import annotations

from collections.abc import Iterator

from stdc_search.spec.run import RunSpec


def advice(run: RunSpec) -> Iterator[str]:
    """Lines on settings that make a result worse than it needs to be, with what to write instead."""
    training = run.training
    if training is None or run.network.task == "classification":
        return
    if training.backbone_norms == "frozen" and training.start_from is None:
        yield (
            "training.backbone_norms: frozen norms suit trained weights, but these weights start at random; write "
            "`backbone_norms: trained`, or `recipe: scratch`, or give `start_from`"
        )
