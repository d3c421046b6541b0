"""The networks that a search trains first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo

from stdc_search.spec.backbone import StageSpec, StdcSpec
from stdc_search.spec.network import NetworkSpec, SegmenterSpec, network_of
from stdc_search.spec.rules import Spec


def stdc(*depths: int) -> SegmenterSpec:
    """STDC-Seg with the paper's widths: depths 2, 2, 2 are STDC1, depths 4, 5, 3 STDC2."""
    widths = (256, 512, 1024)
    stages = tuple(StageSpec(width=width, depth=depth) for width, depth in zip(widths, depths, strict=True))
    return SegmenterSpec(kind="segmenter", backbone=StdcSpec(stages=stages))


PRESETS = {"stdc1": stdc(2, 2, 2), "stdc2": stdc(4, 5, 3)}


class StartSpec(Spec):
    """A network that is trained first. In a file, `stdc1`, `stdc2` or the path of a spec stands for it."""

    name: str
    """Its name in tables and pictures."""
    network: NetworkSpec
    """The network; the search reads only its varied paths."""


def _named_or_filed(start: Any, info: ValidationInfo) -> Any:
    """`stdc1`, `stdc2`, or the path of a spec that starts from the folder of the file being read."""
    if not isinstance(start, str):
        return start
    if start in PRESETS:
        return StartSpec(name=start, network=PRESETS[start])
    name, network = network_of(start, info, tuple(PRESETS))
    return StartSpec(name=name, network=network)


class LadderSpec(Spec):
    """Networks of the space that are trained first: from its smallest to its largest, everything scaled together."""

    ladder: Annotated[int, Field(ge=2)]
    """Number of networks, spread evenly over the logarithm of the cost; those above a limit on costs are left out."""


def _rungs_or_network(start: Any) -> str:
    ladder = isinstance(start, LadderSpec) or (isinstance(start, Mapping) and "ladder" in start)
    return "ladder" if ladder else "network"


Start = Annotated[
    Annotated[StartSpec, BeforeValidator(_named_or_filed, json_schema_input_type=StartSpec | str), Tag("network")]
    | Annotated[LadderSpec, Tag("ladder")],
    Discriminator(_rungs_or_network),
]
