"""Networks that label pictures: weights in PyTorch, or a deployed file in its own runtime; each run is timed."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from stdc_search.deploy.export import ABOUT
from stdc_search.device.hardware import physical_cores
from stdc_search.device.runtimes import Settings, open_file, openvino_core
from stdc_search.errors import UserError, brief
from stdc_search.evaluation import views as evaluation
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.weights import load_weights
from stdc_search.palette import Palette
from stdc_search.spec.run import RunSpec

Rgb = NDArray[np.uint8]
"""A picture: height, width, 3."""
Labels = NDArray[np.uint8]
"""The class of each pixel: height, width."""


@dataclass(frozen=True)
class Labeller:
    """A network that labels pictures of any size."""

    palette: Palette
    """Names and colours of its classes."""
    load: Callable[[Rgb], Any]
    """A picture as the network takes it."""
    run: Callable[[Any], Any]
    """The network alone."""
    fetch: Callable[[Any, tuple[int, int]], Labels]
    """Its labels, in the given (height, width)."""
    seconds: array[float] = field(default_factory=lambda: array("d"))
    """How long the network took for each picture."""

    def labels(self, picture: Rgb) -> Labels:
        ready = self.load(picture)
        start = perf_counter()
        result = self.run(ready)
        self.seconds.append(perf_counter() - start)
        return self.fetch(result, (picture.shape[0], picture.shape[1]))


def with_weights(spec: RunSpec, weights: Path) -> Labeller:
    """The network of a spec in PyTorch, which labels as `score` does; its time includes all resizing.

    Raises:
        UserError: it is a classifier, or the weights do not fit.
    """
    module = build(spec.network)
    labeller = of_module(module, spec)
    load_weights(module, weights)
    return labeller


def of_module(module: nn.Module, spec: RunSpec) -> Labeller:
    """The same for a network that is built already, on any device.

    Raises:
        UserError: it is a classifier.
    """
    if not isinstance(module, Segmenter):
        raise UserError("`network.kind` classifier does not output label maps; use a segmenter")
    how = evaluation.Views.of(spec)
    return Labeller(
        Palette.of(spec.data, spec.network.classes),
        lambda picture: torch.from_numpy(np.require(picture, requirements=["C", "W"])).permute(2, 0, 1),
        lambda image: evaluation.predict(module, image, how, image.shape[1:]),
        lambda labels, size: labels.to(torch.uint8).numpy(),
    )


def of_file(path: Path) -> Labeller:
    """A file that `export` wrote, in ONNX Runtime or OpenVINO, as its example runs it.

    Pictures are resized to the file's size, and labels back to that of the picture, by repetition.

    Raises:
        UserError: it is another file, or its runtime is not installed.
    """
    about = _about(path)
    height, width = about["image_size"]
    runtime = "openvino" if path.suffix == ".xml" else "onnxruntime"
    runner = open_file(Settings(runtime, None, about.get("precision", "fp32"), physical_cores()), path)

    def load(picture: Rgb) -> Any:
        seen = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        return runner.load(np.asarray(seen)[None])

    def fetch(result: Any, size: tuple[int, int]) -> Labels:
        labels = Image.fromarray(runner.fetch(result)[0])
        return np.asarray(labels.resize((size[1], size[0]), Image.Resampling.NEAREST))

    bare = frozenset(about.get("not_painted", ()))
    palette = Palette(tuple(about["classes"]), np.array(about["colours"], np.uint8), bare)
    return Labeller(palette, load, runner.run, fetch)


def _about(path: Path) -> dict[str, Any]:
    """The description inside a file."""
    if not path.is_file():
        raise UserError(f"{path}: does not exist; give a file that `stdc-search export` wrote")
    try:
        about = json.loads(_openvino_note(path) if path.suffix == ".xml" else _onnx_note(path))
    except UserError:
        raise
    except Exception as error:  # those of the readers have no class in common
        raise UserError(f"{path}: cannot be read: {brief(error)}; export it again") from None
    if not about:
        raise UserError(
            f"{path}: was not written by `stdc-search export`; name it in a spec as a network of kind `onnx_file`, "
            "and give the spec first"
        )
    if not about["output"].startswith("labels: uint8"):
        raise UserError(f"{path}: is a classifier, which does not output label maps; export a segmenter")
    return about


def _onnx_note(path: Path) -> str:
    import onnx

    notes = {note.key: note.value for note in onnx.load(path, load_external_data=False).metadata_props}
    return notes.get(ABOUT, "{}")


def _openvino_note(path: Path) -> str:
    model = openvino_core().read_model(path)
    return model.get_rt_info(ABOUT).astype(str) if model.has_rt_info(ABOUT) else "{}"


@dataclass(frozen=True)
class Speed:
    """How fast pictures were labelled."""

    network_seconds: array[float]
    """Of each picture, the network alone."""
    loop_seconds: float
    """From the first picture read to the last one written."""
    dropped: int = 0
    """Frames of a camera that came while the one before was at work."""

    @property
    def frames(self) -> int:
        return len(self.network_seconds)

    def recent(self, last: int = 30) -> str:
        """In few words, as a progress bar shows it."""
        network = median(self.network_seconds[-last:])
        return f"network {1 / network:.1f} FPS, whole loop {self.frames / self.loop_seconds:.1f} FPS"

    def __str__(self) -> str:
        middle = median(self.network_seconds)
        p95 = quantiles(self.network_seconds, n=20, method="inclusive")[-1] if self.frames > 1 else middle
        text = (
            f"{self.frames} frames; network {1 / middle:.1f} FPS (median {1e3 * middle:.1f} ms, p95 {1e3 * p95:.1f} "
            f"ms), whole loop {self.frames / self.loop_seconds:.1f} FPS"
        )
        return text + (f"; {self.dropped} frames of the camera were dropped" if self.dropped else "")
