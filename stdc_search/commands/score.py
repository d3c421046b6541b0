"""Trained weights on the validation images, in PyTorch or as a runtime and a precision deploy them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from stdc_search.data import open_dataset
from stdc_search.data.pixels import normalise, resized
from stdc_search.deploy.quantize import calibration_images
from stdc_search.device.runtimes import Runner
from stdc_search.errors import UserError
from stdc_search.latency.devices import Here, Place
from stdc_search.latency.remote import Remote
from stdc_search.latency.runtimes import prepare
from stdc_search.network.builder import build
from stdc_search.network.weights import load_weights
from stdc_search.records import ImageScore, Score
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec
from stdc_search.tasks import task_of


def score(
    spec: RunSpec,
    weights: Path,
    runtimes: Sequence[RuntimeSpec] = (RuntimeSpec(),),
    *,
    data_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score | ImageScore]:
    """Score weights as `run` scores those that it trained.

    Args:
        spec: a run with data.
        weights: any file that `load_weights` takes.
        runtimes: what runs the network; int8 is calibrated on training images.
        data_root: where a relative `data.root` starts.
        progress: called with the number of images done and of all.

    Returns:
        A score a runtime.

    Raises:
        UserError: the weights do not fit, a runtime is not here, or the evaluation asks for another size than its own.
    """
    if spec.data is None:
        raise UserError("scoring needs images; add the section `data`")
    fixed = replace(spec.evaluation, {"scales": [1.0], "window": None})
    is_file = spec.network.kind == "onnx_file"  # no PyTorch runs it
    plain = [one.runtime == "eager" and one.precision == "fp32" and not is_file for one in runtimes]
    if spec.evaluation != fixed and not all(plain):
        raise UserError("`evaluation` has scales or windows, but a deployed network sees one size; remove them")
    module = build(spec.network).eval()
    load_weights(module, weights)
    data, task = open_dataset(spec.data, "val", data_root), task_of(spec)
    calibration = None
    if any(one.precision == "int8" for one in runtimes):
        calibration = calibration_images(
            open_dataset(spec.data, "train", data_root), spec.image_size, spec.evaluation.antialias
        )
    found = []
    for i, runtime in enumerate(runtimes):
        with Place.of(runtime).open() as device:
            network = module if plain[i] else _deployed(spec, module, runtime, calibration, data[0][0], device)
            told = progress and (lambda done, total, i=i: progress(i * total + done, len(runtimes) * total))
            found.append(task.score([task.evaluate(network, data, None, told)], data))
    return found


def _deployed(
    spec: RunSpec,
    module: nn.Module,
    runtime: RuntimeSpec,
    calibration: Tensor | None,
    image: Tensor,
    device: Here | Remote,
) -> nn.Module:
    """A network on a runtime of a device, as a module that gives scores."""
    runtime = replace(runtime, {"output": "logits", "batch": 1})
    seen = resized(image[None].float(), spec.image_size)
    threads = runtime.threads or device.cores
    images = normalise(seen.to(torch.uint8))
    return _Deployed(prepare(runtime, module, images, threads, calibration, opener=device.open_file), device.forget)


class _Deployed(nn.Module):
    def __init__(self, runner: Runner, forget: Callable[[], None]) -> None:
        super().__init__()
        self.runner, self.forget = runner, forget
        self.place = nn.Parameter(torch.empty(0))  # images are brought to where the parameters are

    def forward(self, images: Tensor) -> Tensor:
        loaded = (self.runner.load(image[None].contiguous().numpy()) for image in images)
        scores = torch.cat([torch.from_numpy(self.runner.fetch(self.runner.run(one))) for one in loaded])
        self.forget()
        return scores
