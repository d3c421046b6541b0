"""Training: ours against the plain way, as the released training does it. `make bench-train` runs it.

A step, the samples that it takes, and two trainings at once. Every `x_over_y` is a ratio of rates: above 1, x is the
quicker one.
The plain way is MichaelFan01/STDC-Seg's, `train.py`, `loss/` and `transform.py`, in our words.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from itertools import count
from math import isclose, log
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision.transforms import functional as vision

from benchmarks.bench import report
from stdc_search.data.cache import Cached
from stdc_search.data.camvid import open_camvid
from stdc_search.data.decoding import IdMasks
from stdc_search.data.files import LabelledFiles, Sample
from stdc_search.data.scenes import Scenes
from stdc_search.data.transforms import MEAN, STD, TrainingSamples
from stdc_search.device.loop import interleave, warm
from stdc_search.network.builder import build
from stdc_search.network.models.decoder import Head
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.models.stdc import Backbone
from stdc_search.spec.base import replace
from stdc_search.spec.data import CAMVID_CLASSES, CamvidSpec, ScenesSpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.training import ScaledCropSpec, SgdSpec, TrainingSpec
from stdc_search.tasks.task import task_of
from stdc_search.training.optimizer import make_optimizer, parameter_groups

SPEC = "experiments/stdc1_camvid480/spec.yaml"  # the paper's recipe
DEPTHS = {"stdc1": (2, 2, 2), "stdc2": (4, 5, 3)}
STEPS = 12
EPOCHS = 15
TURNS, STEPS_A_TURN = 3, 10


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data-root", type=Path, default=os.environ.get("STDC_SEARCH_DATA"), help="CamVid, too")
    arguments.add_argument("--worker", action="store_true", help="be one of the two trainings")
    given = arguments.parse_args()
    spec = load(SPEC)
    if given.worker:
        return work(spec)
    figures: dict[str, float] = {"threads": torch.get_num_threads()}
    figures |= time_steps(spec)
    with tempfile.TemporaryDirectory() as folder:
        small, large = draw(Path(folder, "small"), (360, 480), 16), draw(Path(folder, "large"), (1024, 2048), 6)
        training = training_of(spec)
        how = training.augmentation.model_copy(update={"jitter": 0.5})
        assert isinstance(how, ScaledCropSpec)
        figures |= time_loaders("scenes_360x480", small, training.crop, how)
        figures |= time_loaders("scenes_1024x2048", large, (512, 1024), ScaledCropSpec())  # the paper's for Cityscapes
    if given.data_root and Path(given.data_root, "train.txt").is_file():
        camvid = open_camvid(CamvidSpec(kind="camvid"), "train", Path(given.data_root))
        camvid.samples = camvid.samples[:16]
        figures |= time_loaders("camvid_360x480", camvid, training.crop, how)
    figures |= time_two_trainings(training.batch)
    report("train", figures)


def training_of(spec: RunSpec) -> TrainingSpec:
    assert spec.training is not None
    return spec.training


# ---- a step


def time_steps(spec: RunSpec) -> dict[str, float]:
    """Forward, losses, backward and optimiser of one batch."""
    batch = next(batches(spec))
    ways: dict[str, Callable[[], float]] = {}
    for name, depths in DEPTHS.items():
        network = replace(spec, {f"network.backbone.stages.{i}.depth": depth for i, depth in enumerate(depths)})
        torch.manual_seed(0)
        module = build(network.network)
        ours, plain = our_step(deepcopy(module), network), plain_step(module, network)
        losses = ours(*batch), plain(*batch)
        assert isclose(*losses, rel_tol=1e-4), losses
        ways[f"{name}_step_ours"] = lambda step=ours: step(*batch)
        ways[f"{name}_step_plain"] = lambda step=plain: step(*batch)
    runs = list(ways.values())
    warm(runs, most=1)
    samples = dict(zip(ways, interleave(runs, repeats=STEPS), strict=True))
    figures = {f"{way}_images_per_s": 1e3 * len(batch[0]) / median(ms) for way, ms in samples.items()}
    for name in DEPTHS:
        ours, plain = (figures[f"{name}_step_{way}_images_per_s"] for way in ("ours", "plain"))
        figures[f"{name}_step_ours_over_plain"] = ours / plain
    return figures


def batches(spec: RunSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Drawn scenes without end; all of them are drawn before the first."""
    training = training_of(spec)
    scenes = Scenes(ScenesSpec(kind="scenes", train=2 * training.batch), "train")
    samples = TrainingSamples(scenes, crop=training.crop, augmentation=training.augmentation, seed=0)
    for index in range(len(scenes)):
        _ = scenes[index]
    for epoch in count():
        for first in range(0, len(samples), training.batch):
            yield default_collate([samples[epoch, index] for index in range(first, first + training.batch)])


def our_step(module: nn.Module, spec: RunSpec) -> Callable[[Tensor, Tensor], float]:
    """What `train` does with each batch."""
    training = training_of(spec)
    module.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(module, training)
    scenes = Scenes(ScenesSpec(kind="scenes"), "train")  # the loss looks at data only where classes are weighted
    loss = task_of(spec).loss(training.loss, scenes)

    def step(images: Tensor, labels: Tensor) -> float:
        value = loss(module, images.to(memory_format=torch.channels_last), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def plain_step(module: nn.Module, spec: RunSpec) -> Callable[[Tensor, Tensor], float]:
    """NCHW, detail heads that have no loss, OHEM by sorting, four Laplacians, an optimiser that is not fused."""
    training = training_of(spec)
    assert isinstance(module, Segmenter) and isinstance(module.backbone, Backbone)
    assert isinstance(training.optimizer, SgdSpec)
    guided = {"stem.0": 32, "stem.1": 64, "stages.1": 512}  # 1/2, 1/4, 1/16, and their channels
    for part, channels in guided.items():
        head = Head(channels, 64, 1, 1)
        module.backbone.get_submodule(part).register_forward_hook(
            lambda _part, _inputs, output, head=head: void(head(output))
        )
    module.train()
    groups = parameter_groups(module, training)  # without those heads: they never have a gradient
    optimizer = torch.optim.SGD(groups, lr=training.optimizer.learning_rate, momentum=training.optimizer.momentum)

    def step(images: Tensor, labels: Tensor) -> float:
        output = module.forward_training(images)
        assert output.detail is not None
        value = plain_detail(output.detail, labels)
        for logits in (output.logits, *output.auxiliary):
            value = value + plain_ohem(logits, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def void(_: object) -> None:
    """A hook that gives something would replace what the hooked part gives."""


def plain_ohem(logits: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none").flatten()
    losses = losses.sort(descending=True).values
    fewest, threshold = losses.numel() // 16, -log(0.7)
    return (losses[losses > threshold] if losses[fewest] > threshold else losses[:fewest]).mean()


def plain_detail(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE and dice."""
    kernel = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])[None, None]
    size = labels.shape[1:]
    maps = []
    for stride in (1, 2, 4, 8):  # the last is not used
        edges = F.conv2d(labels[:, None].float(), kernel, stride=stride, padding=1).clamp(min=0)
        maps.append((F.interpolate(edges, size, mode="nearest") > 0.1).float())
    target = (F.conv2d(torch.cat(maps[:3], 1), torch.tensor([0.6, 0.3, 0.1]).view(1, 3, 1, 1)) > 0.1).float()
    logits = F.interpolate(logits, size, mode="bilinear", align_corners=True)
    found, wanted = logits.sigmoid().flatten(1), target.flatten(1)
    dice = 1 - (2 * (found * wanted).sum(1) + 1) / (found.sum(1) + wanted.sum(1) + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + dice.mean()


# ---- samples


def draw(folder: Path, size: tuple[int, int], images: int) -> LabelledFiles:
    """Scenes as PNGs."""
    folder.mkdir()
    scenes = Scenes(ScenesSpec(kind="scenes", size=size, train=images), "train")
    samples = []
    for index in range(images):
        image, label = scenes[index]
        samples.append(Sample(scenes.name(index), folder / f"{index}.png", folder / f"{index}_mask.png"))
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(samples[-1].image)
        Image.fromarray(label.numpy()).save(samples[-1].label)
    return LabelledFiles(samples, CAMVID_CLASSES, IdMasks.plain(CAMVID_CLASSES, 255))


def time_loaders(name: str, files: LabelledFiles, crop: tuple[int, int], how: ScaledCropSpec) -> dict[str, float]:
    """Samples in this process: ours once all images are decoded, ours that decodes each time, the plain way."""
    check_loaders(files)
    cached = Cached(files, limit=float("inf"))
    cached.fill()

    def ours(data: Cached | LabelledFiles) -> Callable[[], None]:
        samples, epochs = TrainingSamples(data, crop=crop, augmentation=how, seed=0), count()
        return lambda: epoch_of(samples.__getitem__, next(epochs))

    def epoch_of(sample: Callable[[tuple[int, int]], object], epoch: int) -> None:
        for index in range(len(files)):
            sample((epoch, index))

    epochs = count()
    ways = {
        "ours": ours(cached),
        "ours_uncached": ours(files),
        "plain": lambda: epoch_of(lambda key: plain_sample(files.samples[key[1]], crop, how, key), next(epochs)),
    }
    runs = list(ways.values())
    warm(runs, most=1)
    samples = interleave(runs, repeats=EPOCHS)
    rates = {way: 1e3 * len(files) / median(ms) for way, ms in zip(ways, samples, strict=True)}
    return {
        **{f"loader_{name}_{way}_samples_per_s": rate for way, rate in rates.items()},
        **{f"loader_{name}_{way}_over_plain": rates[way] / rates["plain"] for way in ("ours", "ours_uncached")},
    }


def plain_sample(
    files: Sample, crop: tuple[int, int], how: ScaledCropSpec, key: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Jitter, flip and scale of the whole image, then the crop."""
    rng = random.Random(f"{key}")
    image, label = Image.open(files.image).convert("RGB"), Image.open(files.label)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(1 - how.jitter, 1 + how.jitter))
    if rng.random() < how.flip:
        image, label = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (image, label))
    low, high = how.scales
    scale = rng.uniform(low, high)
    if how.scale_step is not None:
        scale = how.scale_step * rng.randint(round(low / how.scale_step), round(high / how.scale_step))
    image, label = scaled(image, label, scale)
    h, w = crop
    if image.width < w or image.height < h:
        image, label = scaled(image, label, max(w / image.width, h / image.height), more=1)
    left, top = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
    image, label = (part.crop((left, top, left + w, top + h)) for part in (image, label))
    return vision.normalize(vision.to_tensor(image), MEAN, STD), vision.pil_to_tensor(label)[0].long()


def scaled(image: Image.Image, label: Image.Image, scale: float, more: int = 0) -> tuple[Image.Image, Image.Image]:
    size = int(scale * image.width + more), int(scale * image.height + more)
    return image.resize(size, Image.Resampling.BILINEAR), label.resize(size, Image.Resampling.NEAREST)


def check_loaders(files: LabelledFiles) -> None:
    """Where nothing is left to chance, both ways give the same sample; ids of pixels without a class aside."""
    _, label = files[0]
    height, width = label.shape
    crop, how = (height, width), ScaledCropSpec(jitter=0, flip=0, scales=(1, 1), scale_step=None)
    ours = TrainingSamples(files, crop=crop, augmentation=how, seed=0)[0, 0]
    plain = plain_sample(files.samples[0], crop, how, (0, 0))
    torch.testing.assert_close(ours[0], plain[0])
    assert torch.equal(ours[1][label != 255], plain[1][label != 255])


# ---- two trainings


def time_two_trainings(batch: int) -> dict[str, float]:
    """Two trainings at once with a thread each, against one after the other with two threads each."""
    images = 2 * STEPS_A_TURN * batch
    with ExitStack() as stack:
        single, double = ([stack.enter_context(worker(threads)) for _ in range(2)] for threads in (1, 2))
        for process in (*single, *double):
            told(process)  # it is ready

        def side_by_side() -> None:
            for process in single:
                go(process)
            for process in single:
                told(process)

        def in_turn() -> None:
            for process in double:
                go(process)
                told(process)

        samples = interleave([side_by_side, in_turn], repeats=TURNS)
        for process in (*single, *double):
            assert process.stdin is not None
            process.stdin.close()
    together, turns = (median(ms) / 1e3 for ms in samples)
    return {
        "two_trainings_images": images,
        "side_by_side_s": together,
        "in_turn_s": turns,
        "side_by_side_images_per_s": images / together,
        "in_turn_images_per_s": images / turns,
        "side_by_side_over_in_turn": turns / together,
    }


def worker(threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.train", "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{STEPS_A_TURN}\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline(), "a training process failed; its output is above"


def work(spec: RunSpec) -> None:
    """As many steps as each line that comes in says, loading included."""
    torch.manual_seed(0)
    step, samples = our_step(build(spec.network), spec), batches(spec)
    step(*next(samples))
    print("ready", flush=True)
    for steps in sys.stdin:
        for _ in range(int(steps)):
            step(*next(samples))
        print("done", flush=True)


if __name__ == "__main__":
    main()
