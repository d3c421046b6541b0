"""Proxies that need no training, each from the literature: a number of an untrained network.

python -m experiments.proxies.zero_cost --data-root FOLDER_OF_CAMVID
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch
from torch import Tensor, nn

from experiments.proxies.measure import HERE, base, networks
from stdc_search.data.transforms import TrainingSamples
from stdc_search.storage import write_atomically
from stdc_search.tasks import task_of
from stdc_search.training.loop import Loss
from stdc_search.trial.training import Datasets, initial

IMAGES = 32
"""Training images that a proxy looks at."""


def naswot(module: nn.Module, images: Tensor) -> float:
    """How differently images switch the ReLUs: Mellor et al. 2021, "Neural Architecture Search without Training"."""
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal kernel
        on = (output > 0).flatten(1).double()
        kernel = kernel + on @ on.T + (1 - on) @ (1 - on).T

    hooks = [part.register_forward_hook(note) for part in module.modules() if isinstance(part, nn.ReLU)]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    return torch.linalg.slogdet(kernel).logabsdet.item()


def synflow(module: nn.Module, images: Tensor) -> float:
    """Logarithm of the flow through all weights: Tanaka et al. 2020, "Pruning neural networks without any data"."""
    module = module.double().eval()  # norms as they begin: they change nothing
    with torch.no_grad():
        for weight in module.parameters():
            weight.abs_()
    module(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    flow = sum((w * w.grad).sum() for w in module.parameters() if w.grad is not None)
    return torch.as_tensor(flow).log().item()


def gradient_norm(module: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> float:
    """Norm of the loss's gradient: Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS"."""
    module.train()
    loss(module, images, labels).backward()
    return sum(w.grad.norm().item() for w in module.parameters() if w.grad is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder of CamVid")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = base("decay")
    datasets, how = Datasets.open(run.data, 1.0, given.data_root), run.training
    assert how is not None
    loss, rows = task_of(run).loss(how.loss, datasets.train), []
    for (number, values), seed in product(enumerate(networks()), range(4)):
        samples = TrainingSamples(datasets.train, crop=how.crop, augmentation=how.augmentation, seed=seed)
        images, labels = (torch.stack(parts) for parts in zip(*(samples[0, i] for i in range(IMAGES)), strict=True))
        spec = run.candidate(values)
        ways = {
            "naswot": lambda module, images=images: naswot(module, images),
            "synflow": lambda module, images=images: synflow(module, images),
            "gradient_norm": lambda module, images=images, labels=labels: gradient_norm(module, loss, images, labels),
        }
        row: dict[str, float] = {"network": number, "seed": seed}
        for name, way in ways.items():
            module, _ = initial(spec, seed)
            begin = perf_counter()
            row |= {name: way(module), f"seconds_{name}": perf_counter() - begin}
        rows.append(row)
    write_atomically(HERE / "zero_cost.csv", pd.DataFrame(rows).round(5).to_csv(index=False))


if __name__ == "__main__":
    main()
