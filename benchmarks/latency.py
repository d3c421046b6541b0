"""From an image to its label map: our runtimes against the plain ways. `make bench-latency` runs it.

At 512 x 1024, batch 1. Every `x_over_y` is the median over the rounds of one interleaved run of the ratio of both
times: above 1, y is the quicker one; `low` and `high` are the ends of its interval of 99 % confidence.
`share_of_sgemm` is a network's multiply-adds a second over those of a product of matrices in the same run.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from benchmarks.bench import report
from stdc_search.data import open_dataset
from stdc_search.data.decoding import read_image
from stdc_search.data.pixels import normalise
from stdc_search.deploy.export import to_onnx
from stdc_search.deploy.quantize import calibration_images
from stdc_search.device.alone import alone, pinned
from stdc_search.device.hardware import physical_cores
from stdc_search.device.loop import Run, interleave, warm
from stdc_search.device.runtimes import INPUT
from stdc_search.latency import Entry, race
from stdc_search.latency.runtimes import prepare
from stdc_search.latency.statistics import compare
from stdc_search.latency.typical import with_regions
from stdc_search.network.builder import build
from stdc_search.network.cost import count
from stdc_search.network.weights import load_weights
from stdc_search.spec.data import ScenesSpec
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import load

SPECS = ("stdc1_seg50", "stdc2_seg50")
FP32 = {
    "eager": RuntimeSpec(runtime="eager"),
    "eager_channels_last": RuntimeSpec(runtime="eager", memory_format="channels_last"),
    "onnxruntime": RuntimeSpec(runtime="onnxruntime"),
    "openvino": RuntimeSpec(runtime="openvino"),
}
LOWER = {
    "openvino_bf16": RuntimeSpec(runtime="openvino", precision="bf16"),
    "onnxruntime_int8": RuntimeSpec(runtime="onnxruntime", precision="int8"),
    "openvino_int8": RuntimeSpec(runtime="openvino", precision="int8"),
}
WARMUP, REPEATS = 15, 30
SIDE = 2048  # of the matrices


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--trained", nargs=3, metavar=("SPEC", "WEIGHTS", "IMAGE"), help="time trained weights, too, on a real image"
    )
    given = arguments.parse_args()
    figures: dict[str, float] = {"threads": physical_cores()}
    for name in SPECS:
        figures |= {f"{name}_{figure}": value for figure, value in time_network(name).items()}
    if given.trained:
        figures |= time_trained(*given.trained)
    report("latency", figures)


def time_network(name: str) -> dict[str, float]:
    """Milliseconds of each way to label an image, and what they are to each other."""
    spec, threads = load(f"specs/{name}.yaml"), physical_cores()
    scenes = ScenesSpec(kind="scenes", size=spec.image_size, train=8, val=1)
    calibration = calibration_images(open_dataset(scenes, "train", None), spec.image_size)
    image = calibration[:1]
    torch.manual_seed(0)
    module = with_regions(build(spec.network), image).eval()
    with alone(), pinned(threads):
        runs = plain_ways(module, image, threads)
        for key, runtime in {**FP32, **LOWER}.items():
            prepared = prepare(runtime, module, image, threads, calibration)
            runs[key] = partial(prepared.run, prepared.load(image.numpy()))
        runs["sgemm"] = partial(torch.mm, torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE))
        warm(list(runs.values()), most=WARMUP)
        samples = interleave(list(runs.values()), repeats=REPEATS)
    each = dict(zip(runs, samples, strict=True))
    best = min(FP32, key=lambda key: median(each[key]))
    int8 = min((key for key in LOWER if key.endswith("int8")), key=lambda key: median(each[key]))
    figures = {f"{key}_ms": median(one) for key, one in each.items()}
    figures["sgemm_gmacs_a_second"] = SIDE**3 / figures.pop("sgemm_ms") / 1e6
    for plain, ours in (
        ("plain_eager_argmax", best),
        ("plain_onnxruntime_argmax", best),
        ("plain_eager_argmax", int8),
    ):
        ratio = compare(each[plain], each[ours])
        name = f"{plain}_over_{ours}"
        figures |= {name: ratio.median, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
    work = count(spec.network, spec.image_size).macs / SIDE**3  # in products of the matrices
    for key in FP32 | LOWER:
        figures[f"{key}_share_of_sgemm"] = work * compare(each["sgemm"], each[key]).median
    return figures


def plain_ways(module: nn.Module, image: Tensor, threads: int) -> dict[str, Run]:
    """How anybody would start: scores of each pixel, then the best."""

    @torch.inference_mode()
    def eager() -> Tensor:
        torch.set_num_threads(threads)
        return module(image).argmax(1)

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    content = to_onnx(module, (image.shape[2], image.shape[3]), "logits")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = {INPUT: image.numpy()}
    return {
        "plain_eager_argmax": eager,
        "plain_onnxruntime_logits": lambda: session.run(None, pixels),
        "plain_onnxruntime_argmax": lambda: np.argmax(session.run(None, pixels)[0], 1),
    }


def time_trained(spec: str, weights: str, image: str) -> dict[str, float]:
    """What weights and image matter to the time: trained ones on a real image, untrained ones with drawn borders."""
    run = load(spec)
    trained = build(run.network)
    load_weights(trained, Path(weights))
    pixels = torch.nn.functional.interpolate(read_image(Path(image))[None].float(), run.image_size, mode="bilinear")
    seen = normalise(pixels.round().to(torch.uint8))[0]
    entries = {
        f"{key}_{kind}": Entry(module, run.image_size, runtime, image=with_image)
        for key, runtime in FP32.items()
        for kind, module, with_image in (("trained", trained, seen), ("untrained", build(run.network), None))
    }
    times = [timing.latency.median_ms for timing in race(list(entries.values()))]
    return {f"{Path(spec).stem}_{key}_ms": value for key, value in zip(entries, times, strict=True)}


if __name__ == "__main__":
    main()
