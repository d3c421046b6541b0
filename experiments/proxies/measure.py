"""Train 32 networks of the search benchmark with several seeds, and note what could be known of them at each epoch.

python -m experiments.proxies.measure --data-root FOLDER_OF_CAMVID --seeds 0 1 2 3

Each training leaves a CSV file in runs/proxies/ and is not done again. So the command may be interrupted, and started
once a core with other seeds. At its end it gathers all of them in trainings.csv.
"""

from __future__ import annotations

import argparse
import random
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from stdc_search.data.transforms import TrainingSamples
from stdc_search.evaluation.metrics import boundary_f, miou, pixel_accuracy
from stdc_search.evaluation.views import Views, evaluate
from stdc_search.network.cost import count
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load
from stdc_search.storage import write_atomically
from stdc_search.tasks import task_of
from stdc_search.training.loop import train
from stdc_search.trial.training import Datasets, initial

HERE = Path(__file__).parent
PARTS = Path("runs/proxies")
TABLE = HERE.parent / "search_benchmark" / "table.yaml"
NETWORKS = 32
CLOSELY = (2, 4, 6, 8, 12)
"""Epochs after which also boundaries are scored, and the weights before they are averaged."""
SCHEDULES: dict[str, dict[str, Any]] = {
    "decay": {},
    "decay_4": {"training.epochs": 4},  # whose rate is at its end after 4 epochs, not still high
    "hold_4": {"training.epochs": 4, "training.schedule.power": 0.2},  # nearly constant, then a short cooldown
}


def networks() -> list[dict[str, Any]]:
    """Values of networks that are spread over the costs: one at random of each six neighbours."""
    spec = load(TABLE)
    vary = spec.required_search.vary
    several = [dict(zip(vary, values, strict=True)) for values in product(*(one.values for one in vary.values()))]
    several.sort(key=lambda values: count(spec.candidate(values).network, spec.image_size).macs)
    each = len(several) // NETWORKS
    draw = random.Random(0)
    return [draw.choice(several[i * each : (i + 1) * each]) for i in range(NETWORKS)]


def base(schedule: str) -> RunSpec:
    """The run of the table in fp32, scored after each epoch."""
    return replace(load(TABLE), {"training.precision": "fp32", "training.seeds": [0], **SCHEDULES[schedule]})


def metrics(module: nn.Module, spec: RunSpec, datasets: Datasets, *, boundary: bool) -> dict[str, float]:
    """Scores on the validation images, in percent, and the cross-entropy at the size that the network sees."""
    counts = evaluate(module, datasets.val, Views(spec.image_size), tolerance=3 if boundary else None)
    found = {
        "miou": 100 * miou(counts.confusion),
        "pixel_accuracy": 100 * pixel_accuracy(counts.confusion),
        "cross_entropy": cross_entropy(module, spec, datasets),
    }
    return found | ({"boundary_f": 100 * boundary_f(counts.boundary)} if boundary else {})


@torch.inference_mode()
def cross_entropy(module: nn.Module, spec: RunSpec, datasets: Datasets) -> float:
    """Mean over the labelled pixels of the validation images, labels resized to their nearest pixel."""
    images, labels = zip(*(datasets.val[i] for i in range(len(datasets.val))), strict=True)
    small = F.interpolate(torch.stack(labels)[:, None].float(), spec.image_size)[:, 0].long()
    was_training = module.training
    module.eval()
    total = 0.0
    for some, truth in zip(torch.stack(images).split(8), small.split(8), strict=True):
        scores = Views(spec.image_size).scores(module, some, spec.image_size)
        total += F.cross_entropy(scores, truth, ignore_index=255, reduction="sum").item()
    module.train(was_training)
    return total / (small != 255).sum().item()


def measure(spec: RunSpec, seed: int, datasets: Datasets) -> pd.DataFrame:
    """Train one network; a row an epoch."""
    assert spec.training is not None
    module, _ = initial(spec, seed)
    task = task_of(spec)
    rows: list[dict[str, float]] = []

    def note(averaged: nn.Module, _last: bool) -> float:
        at = len(rows) + 1
        row = metrics(averaged, spec, datasets, boundary=at in CLOSELY)
        if at in CLOSELY:
            row |= {f"raw_{name}": value for name, value in metrics(module, spec, datasets, boundary=False).items()}
        rows.append(row)
        return row["miou"]

    with TemporaryDirectory() as folder:
        curve = train(
            module,
            TrainingSamples(
                datasets.train, crop=spec.training.crop, augmentation=spec.training.augmentation, seed=seed
            ),
            task.loss(spec.training.loss, datasets.train),
            spec.training,
            seed=seed,
            folder=Path(folder),
            evaluate=note,
        )
    for row, point in zip(rows, curve, strict=True):
        row |= {"epoch": point.epoch, "loss": point.loss, "seconds_train": point.seconds}
    return pd.DataFrame(rows).round(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder of CamVid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--schedule", choices=SCHEDULES, default="decay")
    given = parser.parse_args()
    torch.set_num_threads(1)
    spec = base(given.schedule)
    datasets = Datasets.open(spec.data, 1.0, given.data_root)
    datasets.train.fill()
    datasets.val.fill()
    for seed, (number, values) in product(given.seeds, enumerate(networks())):
        file = PARTS / f"{given.schedule}-{number:02}-{seed}.csv"
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        frame = measure(spec.candidate(values), seed, datasets)
        write_atomically(file, frame.to_csv(index=False))
        print(file.name, frame["miou"].iloc[-1], flush=True)
    write_atomically(HERE / "trainings.csv", gathered(PARTS, HERE / "trainings.csv").to_csv(index=False))


def gathered(parts: Path, before: Path) -> pd.DataFrame:
    """All trainings, a row an epoch: those of earlier sessions, and new ones."""
    frames, several = [pd.read_csv(before)] if before.exists() else [], networks()
    for file in sorted(parts.glob("*-*-*.csv")):
        schedule, number, seed = file.stem.split("-")
        frame = pd.read_csv(file)
        heads = {"schedule": schedule, "network": int(number), "seed": int(seed), **several[int(number)]}
        for i, (name, value) in enumerate(heads.items()):
            frame.insert(i, name, value)
        frames.append(frame)
    keys = ["schedule", "network", "seed", "epoch"]
    every = pd.concat(frames, ignore_index=True).drop_duplicates(keys, keep="last")
    return every.sort_values(keys, ignore_index=True)


if __name__ == "__main__":
    main()
