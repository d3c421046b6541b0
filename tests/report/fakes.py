"""Run folders as a run would leave them, without one having run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stdc_search.records import Cost, Latency, Machine, Record, Score, append
from stdc_search.spec.base import dump
from stdc_search.spec.data import CAMVID_CLASSES
from stdc_search.spec.run import RunSpec

OBJECTIVES = {"score.miou": "maximize", "latency.median_ms": "minimize"}
DEPTH = "network.backbone.stages.2.depth"
WIDTH = "network.backbone.stages.2.width"


def spec(search: bool = True, objectives: dict[str, str] = OBJECTIVES) -> RunSpec:
    content: dict[str, Any] = {
        "image_size": [360, 480],
        "network": {"kind": "segmenter", "classes": 11},
        "data": {"kind": "camvid"},
        "training": {"epochs": 40},
        "latency": {"runtime": "eager", "threads": 2},
    }
    if search:
        vary = {
            DEPTH: {"kind": "int", "low": 1, "high": 5},
            WIDTH: {"kind": "int", "low": 128, "high": 1024, "step": 32},
            "head": {"kind": "choice", "of": [64, 128, 256], "sets": ["network.head.width"]},
        }
        content["search"] = {
            "vary": vary,
            "objectives": objectives,
            "start": ["stdc1", "stdc2"],
            "trials": 40,
        }
    return RunSpec.model_validate(content)


def record(number: int, miou: float = 40.0, median_ms: float = 100.0, **changes: Any) -> Record:
    """A complete record whose other figures follow from its latency."""
    score = Score(
        miou=miou,
        pixel_accuracy=min(miou + 40, 99.0),
        iou={name: min(miou + 4 * i - 20, 99.0) for i, name in enumerate(CAMVID_CLASSES)} | {"fence": None},
        constant_miou=3.4,
        images=101,
        seed_miou=(miou,),
    )
    latency = Latency(
        runtime="eager",
        output="labels",
        image_size=(360, 480),
        threads=2,
        median_ms=median_ms,
        p95_ms=1.1 * median_ms,
        fps=1000 / median_ms,
        samples=30,
    )
    macs = round(median_ms * 5.5e7)
    content: dict[str, Any] = {
        "number": number,
        "state": "complete",
        "origin": "sampler",
        "identity": f"{number:016x}",
        "values": {DEPTH: 1 + number % 5, WIDTH: 1024 - 32 * (number % 20), "head": 64},
        "image_size": (360, 480),
        "cost": Cost(parameters=8_275_104 + number, macs=macs, fvcore_flops=macs + 11, paper_flops=macs + 7),
        "latency": latency,
        "score": score,
        "seconds": {"count": 0.5, "time": 3.0, "train": 600.0, "score": 20.0},
        "started": "2025-01-02T03:04:05+00:00",
        "machine": "a1b2c3d4e5f6",
    }
    return Record.model_validate(content | changes)


def machine(name: str = "a1b2c3d4e5f6", cpu: str = "AMD EPYC 7B13") -> Machine:
    return Machine(
        id=name,
        device="cpu",
        cpu=cpu,
        cores=2,
        threads=2,
        memory_gb=16.0,
        system="Linux 6.1",
        driver=None,
        versions={"torch": "2.14.1"},
        commit=None,
    )


def write_run(
    folder: Path,
    records: Sequence[Record],
    run: RunSpec | None = None,
    machines: Sequence[Machine] = (machine(),),
) -> Path:
    """A run's folder with these records, each complete one with its network's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    dump(run or spec(), folder / "spec.yaml")
    content = {machine.id: machine.model_dump(mode="json") for machine in machines}
    (folder / "machine.json").write_text(json.dumps(content))
    for item in records:
        append(folder / "results.jsonl", item)
        if item.state == "complete":
            network = folder / "networks" / f"{item.number:04d}"
            write_sample(network / "sample" / "50")
            dump((run or spec()).without_search(), network / "spec.yaml")
    return folder


def write_sample(folder: Path, size: tuple[int, int] = (24, 32)) -> None:
    """A grey image, its labels in stripes with a corner ignored, and a prediction that is a column off."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    truth = np.tile((np.arange(width) * 11 // width).astype(np.uint8), (height, 1))
    prediction = np.roll(truth, 1, axis=1)
    truth[:4, :4] = 255
    image = np.full((height, width, 3), 100, dtype=np.uint8)
    for name, content in (("image", image), ("truth", truth), ("prediction", prediction)):
        Image.fromarray(content).save(folder / f"{name}.png")
