"""The text of a first spec for a data set, sized to the hours that a person gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from math import ceil, sqrt
from textwrap import wrap
from typing import Any, NamedTuple

from stdc_search.spec.editor import modeline
from stdc_search.spec.files import to_yaml
from stdc_search.spec.recipes import SCRATCH

AREAS = (1024 * 512, 768 * 384, 640 * 320, 512 * 256, 320 * 256, 240 * 176)
"""Pixels of `image_size` to choose from, from the best for accuracy to the fastest. Images are never enlarged."""
MOST_WORKERS = 4
STRIDE = 32
BATCH = SCRATCH["batch"]
SEEN = 4400
"""Images that a candidate trains on, repeats included: 12 epochs of CamVid, as in experiments/camvid_front."""
SHORTER = (1.0, 0.5, 0.25)
"""Shares of these that are taken if nothing else fits."""
LONGER = 3
"""Length of the finals, in trainings of the search."""
EPOCHS = (4, 200)
"""Fewest and most epochs of a training in the search."""
TRIALS = (12, 60)
"""Fewest candidates of a useful search, and most of them."""
FINALS = ((5, 3), (4, 2), (3, 2), (3, 1))
"""Networks and seeds of the finals, besides STDC1-Seg."""
OF_STDC1 = 0.65
"""Cost of a candidate, in trainings of STDC1-Seg: 0.66 on average in a search of 26 with a ladder (60 images)."""


class Plan(NamedTuple):
    """What fits a number of hours."""

    image_size: tuple[int, int]
    epochs: int
    trials: int
    finals: tuple[int, int]
    """Networks and seeds."""
    hours: float
    """Expected."""


def plan(hours: float, stored: tuple[int, int], images: int, seconds: Callable[[tuple[int, int], int], float]) -> Plan:
    """What fits: first trainings of a good length, then the largest images, then the best finals, then candidates.

    If nothing fits, the plan is the shortest one, whose hours are more than those given.

    Args:
        hours: for search and finals.
        stored: (height, width) of a typical image.
        images: number of training images.
        seconds: of a training of STDC1-Seg, from the image size and the number of epochs.
    """
    made = None
    for shorter, size, finals in product(SHORTER, sizes(stored), FINALS):
        epochs = min(max(ceil(shorter * SEEN / images), EPOCHS[0]), EPOCHS[1])
        one = seconds(size, epochs)
        last = one * LONGER * finals[1] * (1 + finals[0] * OF_STDC1)
        fitting = int((3600 * hours - last) / (one * OF_STDC1))
        trials = min(max(fitting, TRIALS[0]), TRIALS[1])
        made = Plan(size, epochs, trials, finals, (last + trials * one * OF_STDC1) / 3600)
        if fitting >= TRIALS[0]:
            break
    assert made is not None
    return made


def sizes(stored: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes to choose from for images of this (height, width): multiples of the stride with about its aspect."""
    short, long = sorted(stored)
    found = []
    for area in AREAS:
        scale = min(sqrt(area / (short * long)), 1)
        side = max(round(short * scale / STRIDE), 2) * STRIDE
        other = max(round(side * long / short / STRIDE), 2) * STRIDE
        found.append((side, other) if stored[0] <= stored[1] else (other, side))
    return list(dict.fromkeys(found))


class Workers(NamedTuple):
    """Trainings that run at a time on a CPU, and the threads of each."""

    count: int
    threads: int

    @classmethod
    def of(cls, cores: int) -> Workers:
        """A few trainings of few threads are faster than one of many; more of them would need too much memory."""
        count = min(cores, MOST_WORKERS)
        return cls(count, cores // count)


def draft(
    data: Mapping[str, Any],
    classes: int,
    made: Plan,
    notes: Sequence[str],
    title: Sequence[str],
    batch: int,
    workers: Workers | None,
) -> str:
    """The text of a spec, whose schema lies beside it.

    Args:
        data: the section `data`.
        classes: number of classes.
        made: sizes.
        notes: what a person should check in the section `data`.
        title: lines for the head of the file.
        batch: images a step.
        workers: of the search; None for one training at a time, on a GPU or on one core.
    """
    lines = [modeline(), *(f"# {line}".rstrip() for line in title)]
    lines += [
        f"image_size: {[*made.image_size]}  # [height, width] that the network sees when deployed",
        HEAD % classes,
    ]
    lines += [f"# {line}" for note in notes for line in wrap(note, 116, break_on_hyphens=False)]
    lines.append(to_yaml({"data": data}).rstrip())
    values = {
        "epochs": made.epochs,
        "batch": f"\n  batch: {batch}" if batch < BATCH else "",
        "runtime": "openvino" if find_spec("openvino") else "onnxruntime",
        "executor": EXECUTOR.format(*workers) if workers else "",
        "trials": made.trials,
        "finals": made.finals[0],
        "longer": LONGER * made.epochs,
        "seeds": [*range(made.finals[1])],
    }
    return "\n".join([*lines, TAIL.format(**values)])


HEAD = """\
network:                          # where the search starts: STDC1-Seg; docs/spec.md has all fields
  kind: segmenter
  classes: %d
  backbone:
    kind: stdc
    stem: [{width: 32}, {width: 64}]
    stages: [{width: 256, depth: 2}, {width: 512, depth: 2}, {width: 1024, depth: 2}]"""

TAIL = """\
training:
  recipe: scratch                 # for small data and random weights, with weights for rare classes: docs/training.md
  epochs: {epochs}{batch}
  # start_from: weights of drawn scenes added 2.7 points of mIoU to STDC1-Seg on 645 street photos: docs/training.md
evaluation: {{antialias: true}}     # smooth images that shrink, as in training and where the network is deployed
latency: {{runtime: {runtime}}}  # installed here; for another device or runtime, see docs/latency.md
search:
  vary:
    network.backbone.stem.0.width: {{kind: choice, of: [16, 32]}}
    network.backbone.stem.1.width: {{kind: choice, of: [32, 64]}}
    network.backbone.stages.0.width: {{kind: int, low: 64, high: 256, step: 64}}
    network.backbone.stages.1.width: {{kind: int, low: 128, high: 512, step: 128}}
    network.backbone.stages.2.width: {{kind: choice, of: [128, 256, 512, 768, 1024]}}
    network.backbone.stages.0.depth: {{kind: int, low: 1, high: 3}}
    network.backbone.stages.1.depth: {{kind: int, low: 1, high: 3}}
    network.backbone.stages.2.depth: {{kind: int, low: 1, high: 3}}
    network.decoder.width: {{kind: choice, of: [32, 64, 128]}}
    network.head.width: {{kind: choice, of: [64, 128, 256]}}
  # limits: {{latency.median_ms: {{at_most: 30}}}}  # your milliseconds
  objectives: {{score.miou: maximize, latency.median_ms: minimize}}
  start: [stdc1, {{ladder: 5}}]     # tried first: the paper's network, and five from small to large
  trials: {trials}{executor}
  finals: {{networks: {finals}, epochs: {longer}, seeds: {seeds}}}  # then the best are trained again, for longer
"""

EXECUTOR = """
  executor: {{kind: processes, workers: {}, threads: {}}}  # trainings at a time"""
