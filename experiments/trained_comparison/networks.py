"""The networks that are compared, and the run of each: the same recipe, the same length, three seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stdc_search.records import Record, read
from stdc_search.run_folder import FINALS, RESULTS, SPEC, candidate_folder
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.start import PRESETS

HERE = Path(__file__).parent
FRONT = HERE.parent / "camvid_front"
STARTS = tuple(PRESETS)
BASELINES = (
    "bisenetv1_resnet18",
    "bisenetv2",
    "ddrnet23_slim",
    "df1_seg",
    "efficientvit_b0",
    "fast_scnn",
    "lpsnet_s",
    "lraspp_mobilenetv3",
    "pidnet_s",
    "ppliteseg_t",
    "regseg",
    "sctnet_s",
    "sfnet_lite_stdc1",
)
"""Names of files in specs/baselines."""


def base(data: str) -> RunSpec:
    """The run of STDC1-Seg on `camvid` or `facade`. On CamVid it is that of the finals of experiments/camvid_front."""
    if data == "facade":
        return load(HERE / "facade.yaml")
    spec = load(FRONT / "search.yaml").finals_run
    return replace(spec.without_search(), {"latency": None, "training.seeds": (0, 1, 2)})


def finals() -> dict[str, Record]:
    """Finals of the front, by name; those of STDC1-Seg and STDC2-Seg have further seeds, too."""
    records = read(FRONT / "run" / FINALS / RESULTS)
    return {one.name or f"network {one.number}": one for one in records if one.state == "complete"}


def found() -> dict[str, Record]:
    """Finals of the front's own networks, by name."""
    return {name: one for name, one in finals().items() if name not in STARTS}


def runs(data: str) -> dict[str, RunSpec]:
    """The run of each network, by its name."""
    first = base(data)
    theirs = {
        name: load(candidate_folder(FRONT / "run", record.number) / SPEC).network for name, record in found().items()
    }
    others = {name: load(Path("specs/baselines", f"{name}.yaml")).network for name in BASELINES}
    networks: dict[str, Any] = {**PRESETS, **theirs, **others}
    return {
        name: replace(first, {"network": network.model_copy(update={"classes": first.network.classes})})
        for name, network in networks.items()
    }
