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
    yield from _sizes_that_vary_alone(run)
    yield from _halving_that_stops_nothing(run)
    yield from _starts_of_other_names(run)


def _sizes_that_vary_alone(run: RunSpec) -> Iterator[str]:
    """Image sizes to which the scale of training images does not follow."""
    if run.search is None or run.training is None:
        return
    base_size = getattr(run.training.augmentation, "base_size", None)
    varied = [path for name in run.search.vary for path in run.search.paths(name)]
    sizes = [path for path in varied if path.split(".")[0] == "image_size"]
    if base_size and sizes and not any(path.startswith("training.augmentation") for path in varied):
        yield (
            f"search.vary: `{sizes[0]}` varies, but training images are scaled to `training.augmentation.base_size` "
            f"{list(base_size)} for every candidate; write `sets: [image_size, training.augmentation.base_size]`"
        )


def _halving_that_stops_nothing(run: RunSpec) -> Iterator[str]:
    """Early stopping that begins after the last candidate."""
    search = run.search
    if search is not None and search.halving is not None and search.halving.probation >= search.trials:
        yield (
            f"search.halving.probation: the first {search.halving.probation} candidates are trained to the end, and "
            f"there are {search.trials} trials; write fewer, or more `trials`"
        )


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
