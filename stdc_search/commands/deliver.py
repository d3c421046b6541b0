"""Exports a trained network: a file that needs none of this package, its description, and an example that runs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from stdc_search import __version__
from stdc_search.data import open_dataset
from stdc_search.data.pixels import CENTER, denormalise
from stdc_search.deploy.export import STEP, check_dynamic, export
from stdc_search.deploy.quantize import calibration_images, quantized
from stdc_search.device.runtimes import NCNN_INPUT, NCNN_OUTPUT
from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.weights import load_weights
from stdc_search.palette import Palette
from stdc_search.spec.choices import Format
from stdc_search.spec.run import RunSpec


def deliver(
    spec: RunSpec,
    weights: Path,
    to: Format,
    out: Path,
    *,
    int8: bool = False,
    dynamic: Collection[str] = (),
    data_root: Path | None = None,
) -> list[Path]:
    """Write a network with weights as a file that needs none of this package, `about.json` and an example.

    Args:
        spec: a run. The file has its image size and the class names of its data.
        weights: any file that `load_weights` takes.
        to: format of the file.
        out: folder for the files; it gets all of them or none.
        int8: whether to quantise weights and features, calibrated on training images.
        dynamic: what the file leaves open (`Dynamic`).
        data_root: where a relative `data.root` starts.

    Returns:
        The files written.

    Raises:
        UserError: the weights do not fit, a package is missing, or the file and the network label an image differently.
    """
    if spec.network.kind == "onnx_file":
        raise UserError(
            "`network.kind` onnx_file: the network is in an ONNX file already, which can be deployed as it is"
        )
    if int8 and to not in ("onnx", "openvino"):
        raise UserError("int8 is available for onnx and openvino only; choose one of them with --to")
    if dynamic and to == "ncnn":
        raise UserError("files of ncnn have fixed sizes; leave out --dynamic, or choose another format with --to")
    if int8 and spec.data is None:
        raise UserError("int8 needs images for calibration; add the section `data`")
    check_dynamic(dynamic, spec.image_size)
    module = build(spec.network)
    load_weights(module, weights)
    lower = None
    if int8:
        assert spec.data is not None
        images = calibration_images(
            open_dataset(spec.data, "train", data_root), spec.image_size, spec.evaluation.antialias
        )
        lower = partial(quantized, images=denormalise(images).permute(0, 2, 3, 1).contiguous())
    about = describe(spec, weights, dynamic) | {"precision": "int8" if int8 else "fp32"}
    if to == "ncnn":
        height, width = spec.image_size
        about["input"] = f"{NCNN_INPUT}: float32, 3 x {height} x {width}, RGB from 0 to 255"
        about["output"] = (
            f"{NCNN_OUTPUT}: scores, float32, a map for each class; the highest one of a pixel is its class"
        )
    with _all_or_nothing(out) as folder:
        export(module, spec.image_size, to, folder, about, lower=lower, dynamic=dynamic)
        (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        example = f"run_{to}.py"
        text = files("stdc_search.commands").joinpath("examples", example).read_text("utf-8")
        (folder / example).write_text(text, "utf-8")
        names = sorted(path.name for path in folder.iterdir())
    return [out / name for name in names]


def describe(spec: RunSpec, weights: Path, dynamic: Collection[str] = ()) -> dict[str, Any]:
    """The content of `about.json`."""
    data, network = spec.data, spec.network
    palette = Palette.of(data, network.classes)
    height, width = spec.image_size
    segments = network.task == "segmentation"
    images = "N" if "batch" in dynamic else "1"
    size = "H x W" if "size" in dynamic else f"{height} x {width}"
    other = (
        f"H and W are multiples of {STEP}, at least {2 * STEP}"
        if "size" in dynamic
        else "an image of another size is resized to it, bilinear and smoothed, as Pillow does"
        if segments
        else "of an image of another size, the middle is resized to it"
    )
    return {
        "input": f"image: uint8, {images} x {size} x 3, RGB; {other}",
        "output": f"labels: uint8, {images} x {size}" if segments else f"labels: int64, {images}",
        "image_size": [height, width],
        **({} if segments else {"border": (1 - CENTER) / 2}),
        "classes": list(palette.names),
        "colours": palette.colours.tolist(),
        "not_painted": sorted(palette.bare),
        "network": network.model_dump(mode="json"),
        "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "made_by": f"stdc-search {__version__}, torch {torch.__version__}",
    }


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[Path]:
    """A temporary folder whose files move to the target when all of them exist."""
    out = Path(os.path.abspath(out))  # `.` has no name
    folder = out.with_name(f".{out.name}.{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
        out.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.replace(out / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
