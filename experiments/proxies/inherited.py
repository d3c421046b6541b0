"""Scores with weights that all networks share: is a network, with its slices of them, as good as the truth says?

python -m experiments.proxies.inherited --data-root FOLDER_OF_CAMVID [--epochs 36] [--soft 0.5]

One elastic network is trained. At several epochs each network takes its slices, gets norm statistics of its own on
training images, and is scored; at the end also after a short training of its own.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from experiments.proxies.elastic import Elastic, take
from experiments.proxies.measure import HERE, base, metrics, networks
from experiments.proxies.sandwich import Sandwich
from stdc_search.data.transforms import TrainingSamples
from stdc_search.network.builder import build
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec
from stdc_search.storage import write_atomically
from stdc_search.tasks import task_of
from stdc_search.training.loop import Loss, train
from stdc_search.trial.training import Datasets

BATCHES = 16
"""Of training images, for the statistics of norms."""
LOOKS = 3
"""Times that networks are scored, evenly over the training."""
TUNED = 2
"""Epochs of a network's own training."""


class Space:
    """Modules of the networks of a space, each built once."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec, self.vary = spec, spec.required_search.vary
        self.every = [
            dict(zip(self.vary, its, strict=True)) for its in product(*(v.values for v in self.vary.values()))
        ]
        self.modules: dict[str, nn.Module] = {}
        self.smallest, self.largest = ({name: v.values[end] for name, v in self.vary.items()} for end in (0, -1))

    def module(self, values: dict[str, Any]) -> nn.Module:
        key = str(values)
        if key not in self.modules:
            self.modules[key] = build(self.spec.candidate(values).network).train()
        return self.modules[key]

    def draw(self) -> nn.Module:
        return self.module(self.every[int(torch.randint(len(self.every), ()))])

    def elastic(self) -> Elastic:
        """Weights of all channels that a network of the space has."""
        covering = [{**self.largest, name: value} for name, v in self.vary.items() for value in v.values]
        return Elastic([build(self.spec.candidate(values).network) for values in (self.largest, *covering)])


def inherited(values: dict[str, Any], elastic: nn.Module, spec: RunSpec, samples: TrainingSamples) -> nn.Module:
    """A network with its slices of the weights and with statistics of its own."""
    assert isinstance(elastic, Elastic) and spec.training is not None
    module = take(build(spec.candidate(values).network), elastic)
    batch = spec.training.batch
    images = [torch.stack([samples[0, b * batch + i][0] for i in range(batch)]) for b in range(BATCHES)]
    update_bn(images, module)
    return module


def scored(elastic: nn.Module, spec: RunSpec, datasets: Datasets, samples: TrainingSamples, loss: Loss) -> pd.DataFrame:
    """A row a network."""
    rows = []
    for number, values in enumerate(networks()):
        begin = perf_counter()
        module = inherited(values, elastic, spec, samples)
        found = metrics(module, spec, datasets, boundary=False)
        found["training_loss"] = training_loss(module, loss, spec, samples)
        rows.append({"network": number, **found, "seconds": perf_counter() - begin})
    return pd.DataFrame(rows)


@torch.no_grad()
def training_loss(module: nn.Module, loss: Loss, spec: RunSpec, samples: TrainingSamples) -> float:
    """Mean over an epoch, whose crops are the same for all networks, with the statistics of each batch."""
    assert spec.training is not None
    batch, values = spec.training.batch, []
    module.train()
    for start in range(0, len(samples) - batch + 1, batch):
        images, targets = zip(*(samples[0, start + i] for i in range(batch)), strict=True)
        values.append(float(loss(module, torch.stack(images), torch.stack(targets))))
    return float(np.mean(values))


def tuned(elastic: nn.Module, spec: RunSpec, datasets: Datasets, samples: TrainingSamples) -> pd.DataFrame:
    """The same, after a training of each network."""
    short = replace(spec, {"training.epochs": TUNED, "training.score_every": None})
    how = short.training
    assert how is not None
    loss, rows = task_of(short).loss(how.loss, datasets.train), []
    for number, values in enumerate(networks()):
        begin = perf_counter()
        module = inherited(values, elastic, short, samples)
        with TemporaryDirectory() as folder:
            train(module, samples, loss, how, seed=0, folder=Path(folder))
        rows.append(
            {"network": number, **metrics(module, short, datasets, boundary=False), "seconds": perf_counter() - begin}
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder of CamVid")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--soft", type=float, default=0.5, help="share of the loss that is distillation")
    parser.add_argument("--random", type=int, default=2, help="random networks a step")
    given = parser.parse_args()
    torch.set_num_threads(1)
    spec = replace(base("decay"), {"training.epochs": given.epochs})
    how = spec.training
    assert how is not None
    datasets = Datasets.open(spec.data, 1.0, given.data_root)
    datasets.train.fill()
    datasets.val.fill()
    samples = TrainingSamples(datasets.train, crop=how.crop, augmentation=how.augmentation, seed=0)
    space = Space(spec)
    torch.manual_seed(0)
    elastic, loss = space.elastic(), task_of(spec).loss(how.loss, datasets.train)
    looks: list[pd.DataFrame] = []
    epochs = 0

    def look(averaged: nn.Module, _last: bool) -> float:
        nonlocal epochs
        epochs += 1
        if epochs % (given.epochs // LOOKS):
            return 0.0
        looks.append(scored(averaged, spec, datasets, samples, loss).assign(epoch=epochs, tuned=0))
        print(epochs, looks[-1]["miou"].mean(), round(perf_counter() - begin), "s", flush=True)
        return looks[-1]["miou"].mean()

    begin = perf_counter()
    sandwich = Sandwich(
        loss,
        space.module(space.largest),
        space.module(space.smallest),
        space.draw,
        random=given.random,
        soft=given.soft,
    )
    with TemporaryDirectory() as folder:
        curve = train(elastic, samples, sandwich, how, seed=0, folder=Path(folder), evaluate=look)
    looks.append(tuned(elastic, spec, datasets, samples).assign(epoch=epochs, tuned=TUNED))
    rows = pd.concat(looks).assign(
        epochs=given.epochs, soft=given.soft, random=given.random, seconds_elastic=sum(one.seconds for one in curve)
    )
    file = HERE / "inherited.csv"
    if file.exists():
        before = pd.read_csv(file)
        same = (before[["epochs", "soft", "random"]] == [given.epochs, given.soft, given.random]).all(axis=1)
        rows = pd.concat([before[~same], rows])
    write_atomically(file, rows.round(5).to_csv(index=False))


if __name__ == "__main__":
    main()
