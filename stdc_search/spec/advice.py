"""What is legal in a spec, but seldom meant."""

from __future__ import annotations

from collections.abc import Iterator

from stdc_search.errors import several
from stdc_search.spec.compare import changes
from stdc_search.spec.network import SegmenterSpec
from stdc_search.spec.run import RunSpec
from stdc_search.spec.start import PRESETS


def advice(run: RunSpec) -> Iterator[str]:
    """Lines on settings that make a result worse than it needs to be, with what to write instead."""
    training = run.training
    if training is None or run.network.task == "classification":
        pass
    elif training.backbone_norms == "frozen" and training.start_from is None:
        yield (
            "training.backbone_norms: frozen norms suit trained weights, but these weights start at random; write "
            "`backbone_norms: trained`, or `recipe: scratch`, or give `start_from`"
        )
    yield from _starts_of_other_names(run)


def _starts_of_other_names(run: RunSpec) -> Iterator[str]:
    """Start networks that are named STDC1 or STDC2, but have another backbone."""
    for start in run.search.networks if run.search else ():
        mine, theirs = run.start_candidate(start).network, start.network
        if start.name in PRESETS and isinstance(mine, SegmenterSpec) and isinstance(theirs, SegmenterSpec):
            old, new = (one.backbone.model_dump(mode="json") for one in (theirs, mine))
            found = changes(old, new, "network.backbone")
            if lines := [f"{path} is {here}, not {there}" for path, there, here in found]:
                yield (
                    f"search.start: `{start.name}` takes only what varies from {start.name.upper()}, and here it has "
                    f"another backbone: {several(lines, 3)}; vary these fields, or remove it from `start`"
                )
