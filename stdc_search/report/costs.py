"""Costs and times of networks as frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pandas as pd

from stdc_search.records import METRICS, Cost, HeldOut, Latency, Machine, PartCost

RULES = (
    "A multiply-add counts as one. fvcore's FLOPs add norms, pooling and interpolation as fvcore counts them; the "
    "paper's add 2 for a value of a norm, 1 for a ReLU and 1 for a pooled input."
)
"""What the columns of costs count."""


def cost_frame(networks: Iterable[tuple[str, tuple[int, int], float | None, Cost]]) -> pd.DataFrame:
    """A row a network: name, image size, stride of its scores, exact counts."""
    frame = pd.DataFrame(
        [
            {
                "network": name,
                "image size": _size(image_size),
                "scores at": stride and f"1/{stride:.3g}",
                **_counts(cost),
            }
            for name, image_size, stride, cost in networks
        ]
    )
    return frame.dropna(axis=1, how="all")  # classifiers have no map of scores


def parts_frame(parts: Sequence[PartCost], image_size: tuple[int, int]) -> pd.DataFrame:
    """A row for each run of equal parts, as in the paper's Table 2: a stage's strided module, then its others."""
    rows, height = [], image_size[0]
    for (stage, kind, output, cost), group in groupby(
        parts, lambda part: (_stage(part.name), part.kind, part.output, part.cost)
    ):
        repeats = len(list(group))
        channels, *size = output
        after = size[0] if size else 1
        rows.append(
            {
                "stage": stage,
                "part": kind,
                "output": "×".join(map(str, size)) or "1×1",
                "stride": f"{round(height / after)}" if after <= height else f"1/{round(after / height)}",
                "repeats": repeats,
                "channels": channels,
                **_counts(sum([cost] * (repeats - 1), cost)),
            }
        )
        height = after
    total = sum((part.cost for part in parts[1:]), parts[0].cost)
    return pd.DataFrame([*rows, {"stage": "total", **_counts(total)}])


MEDIAN, P95, FPS = (METRICS[f"latency.{name}"].title for name in ("median_ms", "p95_ms", "fps"))
HERE = "this machine"
USUAL = {"batch": 1, "memory format": "contiguous", "device": "cpu", "timed on": HERE}
"""Columns that are left out where they say nothing else."""


def latency_frame(networks: Iterable[tuple[str, Latency, int, Machine | None]]) -> pd.DataFrame:
    """A row a network and runtime, with its place among those on its device, fastest first."""
    frame = pd.DataFrame(
        [
            {
                "place": place,
                "network": name,
                "image size": _size(latency.image_size),
                "batch": latency.batch,
                "runtime": latency.runtime,
                "timed on": machine.cpu if machine else HERE,
                "device": latency.device,
                "precision": latency.precision,
                "memory format": latency.memory_format,
                "output": latency.output,
                "threads": latency.threads,
                MEDIAN: latency.median_ms,
                "p5 ms": latency.p5_ms,
                P95: latency.p95_ms,
                "CV %": None if latency.cv is None else 100 * latency.cv,
                FPS: latency.fps,
                "repeats": latency.samples,
            }
            for name, latency, place, machine in networks
        ]
    )
    usual = [name for name, value in USUAL.items() if (frame[name] == value).all()]
    return frame.drop(columns=usual).sort_values(MEDIAN, ignore_index=True)


def held_out_frame(networks: Iterable[HeldOut]) -> pd.DataFrame:
    """A row a network, measured twice and predicted, the quickest first."""
    frame = pd.DataFrame(
        [
            {
                "MACs": one.macs,
                "measured ms": one.measured_ms,
                "again ms": one.again_ms,
                "predicted ms": one.predicted_ms,
                "error %": 100 * (one.predicted_ms / one.measured_ms - 1),
            }
            for one in networks
        ]
    )
    return frame.sort_values("measured ms", ignore_index=True)


def _counts(cost: Cost) -> dict[str, int]:
    return {METRICS[f"cost.{name}"].exact: count for name, count in cost}


def _stage(name: str) -> str:
    """The paper's name where it has one: two convolutions, then stages from 3 on."""
    match name.split("."):
        case ["backbone", "stem", i]:
            return f"ConvX{int(i) + 1}"
        case ["backbone", "stages", i, _]:
            return f"Stage{int(i) + 3}"
    return name


def _size(image_size: tuple[int, int]) -> str:
    return "×".join(map(str, image_size))
