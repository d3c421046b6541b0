"""Figures 5 and 6: what stage 3 sees with and without detail guidance, and what a spatial path sees instead.

Draws the networks of `experiments.paper_table4.run`, which must be trained first:

    python -m experiments.paper_figures5_6.draw --data-root FOLDER_OF_CAMVID
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.paper_table4.run import VARIANTS
from experiments.study import PROTOCOL, known
from stdc_search.data import Dataset, open_dataset
from stdc_search.data.pixels import normalise
from stdc_search.evaluation.metrics import on_boundary
from stdc_search.evaluation.views import Views, predict
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.weights import load_weights
from stdc_search.palette import Palette, colours
from stdc_search.report.plots import encode
from stdc_search.report.tables import print_table, save_table
from stdc_search.run_folder import WEIGHTS, candidate_folder, seed_folder
from stdc_search.spec.base import replace
from stdc_search.spec.data import CAMVID_CLASSES
from stdc_search.spec.run import RunSpec, load
from stdc_search.storage import write_atomically

NETWORKS = {"none": "without guidance", "1x_2x_4x_as_released": "with detail guidance", "spatial_path": "spatial path"}
IMAGES = (10, 50, 90)
"""Indices in val."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder of CamVid")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "figure.png", help="PNG to write")
    given = parser.parse_args()
    base = load(PROTOCOL)
    assert base.data is not None
    data = open_dataset(base.data, "val", given.data_root)
    networks, rows = {}, []
    for variant, title in NETWORKS.items():
        spec = replace(base, VARIANTS[variant])
        files = weights_of(spec)
        if not files:
            parser.error(f"{variant} has no weights; train it: python -m experiments.paper_table4.run")
        modules = [trained(spec, file) for file in files]
        networks[title] = modules[0]
        found = [focus(module, data, base) for module in modules]
        rows.append({"network": title, "border over rest": fmean(found), "±": stdev(found), "seeds": len(found)})
    frame, caption = (
        pd.DataFrame(rows),
        "Heat of cells that a border of CamVid's val labels crosses, over that of others",
    )
    save_table(frame, Path(__file__).parent / "table", caption=caption)
    print_table(frame, caption)
    figure = draw(networks, [data[index] for index in IMAGES], base)
    write_atomically(given.out, encode(figure, ".png"))
    print(f"written: {given.out}")


def weights_of(spec: RunSpec) -> list[Path]:
    """Of each seed, the first one's first; empty where one is not there."""
    folder = known(spec)
    if folder is None or spec.training is None:
        return []
    seeds = spec.training.seeds
    files = [seed_folder(candidate_folder(folder, 0), seed, seeds[0]) / WEIGHTS for seed in seeds]
    return files if all(file.is_file() for file in files) else []


def focus(module: Segmenter, data: Dataset, spec: RunSpec) -> float:
    """Mean over the images of the mean heat of the cells that a border crosses over that of the others."""
    ratios = []
    for i in range(len(data)):
        image, label = data[i]
        seen = torch.from_numpy(heat(module, image, spec.image_size))
        border = nn.functional.adaptive_max_pool2d(on_boundary(label.long())[None].float(), seen.shape)[0] > 0
        ratios.append((seen[border].mean() / seen[~border].mean()).item())
    return fmean(ratios)


def trained(spec: RunSpec, weights: Path) -> Segmenter:
    module = build(spec.network)
    assert isinstance(module, Segmenter)
    load_weights(module, weights)
    return module.eval()


@torch.inference_mode()
def heat(module: Segmenter, image: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Mean magnitude over the channels of what the fusion gets from the spatial path, else from stage 3: h, w."""
    seen: list[Tensor] = []
    part: nn.Module = module.spatial if module.spatial is not None else module.backbone.get_submodule("stages.0")
    hook = part.register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        views_of = nn.functional.interpolate(normalise(image)[None], size, mode="bilinear", align_corners=True)
        module(views_of)
    finally:
        hook.remove()
    return seen[0][0].abs().mean(0).numpy()


def draw(networks: dict[str, Segmenter], samples: list[tuple[Tensor, Tensor]], spec: RunSpec) -> Figure:
    """A row an image: itself, its labels, then of each network the heat map and the prediction."""
    palette = Palette(CAMVID_CLASSES, colours(CAMVID_CLASSES))
    columns = 2 + 2 * len(networks)
    figure = Figure(figsize=(2.1 * columns, 1.8 * len(samples)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (image, label) in enumerate(samples):
        pixels = image.permute(1, 2, 0).numpy()
        pictures = {"image": pixels, "labels": palette.blend(pixels, label.numpy())}
        for title, module in networks.items():
            source = "spatial path" if module.spatial is not None else "stage 3"
            pictures[f"{title}:\n{source}"] = heat(module, image, spec.image_size)
            prediction = predict(module, image, Views.of(spec), label.shape).to(torch.uint8).numpy()
            pictures[f"{title}:\nprediction"] = palette.blend(pixels, prediction)
        for column, (title, picture) in enumerate(pictures.items()):
            axes = figure.add_subplot(len(samples), columns, row * columns + column + 1)
            shape = label.shape[0] / label.shape[1] * picture.shape[1] / picture.shape[0]  # all as large as the image
            axes.imshow(picture, cmap="inferno", interpolation="nearest", aspect=shape)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
