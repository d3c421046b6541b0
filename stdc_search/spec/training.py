"""The training: losses, optimiser, schedule, augmentation (paper, section 4.2; released code where it differs)."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
)

from stdc_search.spec.base import WeightsPath, default_kind
from stdc_search.spec.choices import Tracker, TrainingPrecision
from stdc_search.spec.network import NetworkSpec, network_of
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Seed, Spec, rule

Share = Annotated[float, Field(gt=0, le=1)]


class SgdSpec(Spec):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: PositiveFloat = 0.01
    """Highest learning rate, after the warm-up; the paper uses 0.01 for segmentation and 0.1 for ImageNet."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the previous step's direction that a step keeps."""
    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay of convolutions and linear layers; norms have none, as in the released code."""


class AdamwSpec(Spec):
    """AdamW."""

    kind: Literal["adamw"]
    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate, after the warm-up."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Shares that a step keeps of the averages of gradients and of their squares."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay of convolutions and linear layers; norms have none."""


Warmup = Annotated[
    Annotated[NonNegativeInt, Tag("steps")] | Annotated[Annotated[float, Field(gt=0, lt=1)], Tag("share")],
    Discriminator(lambda value: "share" if isinstance(value, float) else "steps"),
]


class _WarmupSpec(Spec):
    warmup: Warmup = 1000
    """Steps of warm-up, or a share of all steps, such as 0.05. The paper uses 1000 steps for Cityscapes, 200 for CamVid
    and 5 epochs for ImageNet."""
    warmup_start: Share = 1e-3
    """Share of the learning rate at step 0: 1e-5 of 0.01 in the released code."""
    warmup_shape: Literal["exponential", "linear"] = "exponential"
    """How the rate rises during the warm-up: exponentially in the released code; the paper does not say."""

    def warmup_steps(self, steps: int) -> int:
        """Steps of warm-up in a training of so many."""
        return round(self.warmup * steps) if isinstance(self.warmup, float) else self.warmup


class PolySpec(_WarmupSpec):
    """Warm-up, then "poly": learning rate x (1 - step / steps)^power."""

    kind: Literal["poly"] = "poly"
    power: PositiveFloat = 0.9
    """1 is a linear decay; smaller values keep the rate high for longer."""


class CosineSpec(_WarmupSpec):
    """Warm-up, then half a cosine towards 0, as the paper trains on ImageNet."""

    kind: Literal["cosine"]


ScheduleSpec = Annotated[
    Annotated[PolySpec, Tag("poly")] | Annotated[CosineSpec, Tag("cosine")], Discriminator(default_kind("poly"))
]
"""`kind` is `poly` where it is not written."""


Scale = Annotated[float, Field(ge=0.01, le=100)]


class ScaledCropSpec(Spec):
    """A crop of the scaled image, for masks: the steps applied to a training image, in this order."""

    kind: Literal["scaled_crop"] = "scaled_crop"
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Brightness, contrast and saturation are each multiplied by a factor from [1 - jitter, 1 + jitter]."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    scales: tuple[Scale, Scale] = (0.125, 1.5)
    """Range of the random scale."""
    base_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """[height, width] of an image at scale 1, such as `image_size`; null: the size of the file."""
    scale_step: Annotated[float, Field(ge=1e-3, le=100)] | None = 0.125
    """Scales are multiples of this step, as in the released code; null draws from the whole range."""

    @rule
    def _range(self) -> Iterator[Problem]:
        low, high = self.scales
        if low > high:
            yield Problem("scales", f"`scales` [{low}, {high}] decreases; write [{high}, {low}]")
        elif self.scale_step is not None and not multiples(self.scale_step, low, high):
            yield Problem(
                "scale_step",
                f"no multiple of `scale_step` {self.scale_step} is within `scales` [{low}, {high}]; "
                "make it smaller, or write null",
            )


class ResizedCropSpec(Spec):
    """A part of the image with random size and shape, resized to the crop: for classification.

    The paper says "as in ResNet"; area and aspect are what is meant by that as a rule.
    """

    kind: Literal["resized_crop"]
    area: tuple[Share, Share] = (0.08, 1.0)
    """Range of the share of the image that the part covers."""
    aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    """Range of width over height, drawn on a logarithmic scale."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Brightness, contrast and saturation are each multiplied by a factor from [1 - jitter, 1 + jitter]."""

    @rule
    def _ranges(self) -> Iterator[Problem]:
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                yield Problem(name, f"`{name}` [{low}, {high}] decreases; write [{high}, {low}]")


AugmentationSpec = Annotated[
    Annotated[ScaledCropSpec, Tag("scaled_crop")] | Annotated[ResizedCropSpec, Tag("resized_crop")],
    Discriminator(default_kind("scaled_crop")),
]
"""`kind` is `scaled_crop` where it is not written."""


def multiples(step: float, low: float, high: float) -> range:
    """The whole numbers that times `step` lie from low to high, rounding left out of account."""
    return range(ceil(low / step - 1e-6), floor(high / step + 1e-6) + 1)


class OhemSpec(Spec):
    """Online hard example mining: only the hardest pixels have a loss."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Pixels whose class has a lower probability are hard."""
    min_kept: Annotated[float, Field(gt=0, le=1)] = 1 / 16
    """Share of the pixels of a batch that always have a loss."""


def _filed(network: Any, info: ValidationInfo) -> Any:
    return network_of(network, info)[1] if isinstance(network, str) else network


ClassWeights = Annotated[
    Annotated[Literal["log"], Tag("word")]
    | Annotated[Annotated[tuple[PositiveFloat, ...], Field(min_length=2)], Tag("list")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "list"),
]


class DistillationSpec(Spec):
    """A trained network, the teacher, whose scores the head learns in addition to the labels."""

    network: Annotated[NetworkSpec, BeforeValidator(_filed, json_schema_input_type=NetworkSpec | str)]
    """The teacher's network; in a file, the path of a spec that contains it."""
    weights: WeightsPath
    """File of its weights, relative to the spec's file."""
    weight: PositiveFloat = 1.0
    """Weight of the divergence from its probabilities."""
    temperature: PositiveFloat = 1.0
    """Temperature: scores are divided by it before they become probabilities; larger values make them softer."""

    @rule
    def _label_maps(self) -> Iterator[Problem]:
        if self.network.task == "classification":
            yield Problem("network", f"the teacher is a {self.network.kind}; give a segmenter")
        if self.network.kind == "onnx_file":
            yield Problem("network", "an ONNX file cannot be a teacher; give a network of this package and its weights")


class SegmentationLossSpec(Spec):
    """Cross-entropy on the head and the auxiliary heads, BCE and dice on the detail head."""

    kind: Literal["segmentation"] = "segmentation"
    ohem: OhemSpec | None = OhemSpec()
    """Online hard example mining; null takes the mean over all labelled pixels: plain cross-entropy."""
    class_weights: ClassWeights | None = None
    """Factors of the loss of a pixel: one number per class, in order, or "log" for 1 / log(1.1 + the class's share of
    the training pixels, in 5,000 images at most); null, as in the paper, weighs all classes equally."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a pixel's probability that is spread over all classes; neither the paper nor the released code does this
    here."""
    auxiliary_weight: NonNegativeFloat = 1.0
    """Weight of each auxiliary head's loss; the paper does not mention these heads, the released code gives them 1."""
    detail_weight: NonNegativeFloat = 1.0
    """Weight of the detail losses."""
    dice: Literal["linear", "squared"] = "linear"
    """Denominator of the dice loss: sums (released code) or sums of squares (paper, Equation 5)."""
    detail_ignored: Literal["counted", "masked"] = "counted"
    """Pixels without a class: a class of their own whose border is detail (released code), or left out of the detail
    losses."""
    distillation: DistillationSpec | None = None
    """A teacher; neither the paper nor the released code has one."""


class ClassificationLossSpec(Spec):
    """Cross-entropy of the images' classes."""

    kind: Literal["classification"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of an image's probability that is spread over all classes; the paper does not give a value."""


LossSpec = Annotated[
    Annotated[SegmentationLossSpec, Tag("segmentation")] | Annotated[ClassificationLossSpec, Tag("classification")],
    Discriminator(default_kind("segmentation")),
]
"""`kind` is `segmentation` where it is not written."""


class EmaSpec(Spec):
    """A moving average of the trained weights, which is scored and saved."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the average that a step keeps; at most (1 + steps done) / (10 + steps done), so the first weights are
    soon forgotten."""


MEANS = {"score_every", "checkpoint_every", "tensorboard", "log_to", "cache_gb", "workers"}
"""Fields of `training` that change nothing about the trained network."""


class TrainingSpec(Spec):
    """One training, from random weights to a scored network. The defaults are those of `recipe: paper`, for
    Cityscapes."""

    recipe: Literal["paper", "scratch"] | None = None
    """Values of the fields that a file omits. `paper`: the defaults below, which need ImageNet weights. `scratch`: for
    small data and random weights (docs/training.md). Default: `scratch` for a segmenter whose file gives neither
    `start_from` nor any other field of the recipe, except `batch` and `crop`; else `paper`. A spec that was read has
    all fields and no recipe."""

    epochs: PositiveInt | None = None
    """Passes over the training images; give either this or `steps`."""
    steps: PositiveInt | None = None
    """Optimiser steps; give either this or `epochs`."""
    batch: Annotated[int, Field(ge=2)] = 48
    """Images per step; at least 2, because norms after global pooling need more than one value."""
    crop: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = (512, 1024)
    """[height, width] of the training crops; images that are smaller after scaling are enlarged to it."""
    start_from: WeightsPath | None = None
    """File of initial weights; the network takes all tensors that fit. It may be ours or a released checkpoint, such as
    the ImageNet classifier that the paper's segmenters start from. Relative to the spec file. For a backbone of a
    library, the library's own weights by name: `torchvision:IMAGENET1K_V1` or `timm:a1_in1k`."""
    augmentation: AugmentationSpec = ScaledCropSpec()
    """Augmentation of training images: `scaled_crop` for masks, `resized_crop` for classification."""
    augment_on: Literal["cpu", "device"] = "cpu"
    """Where images are resized, flipped, jittered and normalised: on the `cpu`, by the processes that load them, or on
    the `device` that trains, for a GPU whose CPU is too slow. The random choices are the same, but a GPU rounds
    differently. Without a GPU both give the same."""
    loss: LossSpec = SegmentationLossSpec()
    """The loss: `segmentation` for masks, `classification` for classes of images."""
    optimizer: Annotated[SgdSpec | AdamwSpec, Field(discriminator="kind")] = SgdSpec(kind="sgd")
    """SGD as in the paper, or AdamW."""
    head_rate: PositiveFloat = 10.0
    """Ratio of the learning rate of the fusion module and the heads to that of all other layers; 10 as released."""
    backbone_norms: Literal["frozen", "trained"] = "frozen"
    """Scales and shifts of the backbone's norms: frozen as in the released code, which needs ImageNet weights;
    train them when starting from random ones."""
    norm_statistics: Literal["moving", "fixed"] = "moving"
    """Whether norms use the statistics of each batch and learn their averages, or keep their initial statistics, which
    suits small batches and needs trained weights."""
    schedule: ScheduleSpec = PolySpec()
    """The schedule of the learning rate."""
    ema: EmaSpec | None = None
    """Averaged weights; neither the paper nor the released code averages weights."""
    precision: TrainingPrecision = "auto"
    """Precision of convolutions and matrix products; weights and sums stay in fp32. `auto` is bf16 where the device has
    instructions for it, else fp32. fp16 needs a GPU."""
    compile: bool = False
    """Whether to use torch.compile for network and loss: minutes at the start, then faster steps."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, json_schema_extra=ONCE)] = (0,)
    """Seeds; the network is trained once with each, and its score is the mean."""
    score_every: PositiveInt | None = None
    """Epochs between validation scores in the curve; the last epoch always has one."""
    checkpoint_every: PositiveInt = 1
    """Epochs between checkpoints, from which an interrupted training resumes."""
    tensorboard: bool = False
    """Whether to write the curve for TensorBoard, too; needs the extra `tensorboard`."""
    log_to: Annotated[tuple[Tracker, ...], Field(json_schema_extra=ONCE)] = ()
    """Experiment trackers that also receive the settings and the curve: `mlflow` is MLflow, `wandb` Weights & Biases.
    Each needs the extra of the same name. Environment variables of the tracker say where runs are stored
    (docs/training.md)."""
    cache_gb: NonNegativeFloat = 2.0
    """Memory for decoded images, in GB; images that do not fit are decoded again each time."""
    workers: NonNegativeInt | None = None
    """Processes that load images; default: none on a CPU, one per CPU thread (at most 8) with a GPU."""

    def same_but_for_seeds(self, other: TrainingSpec) -> bool:
        """Whether a seed gives the same network with both."""
        fixed = type(self).model_fields.keys() - {"seeds", *MEANS}
        return all(getattr(self, name) == getattr(other, name) for name in fixed)

    @rule
    def _recipe_is_of_a_file(self) -> Iterator[Problem]:
        if self.recipe is not None:
            yield Problem("recipe", "has an effect only in the section `training` of a file; give single fields")

    @rule
    def _one_length(self) -> Iterator[Problem]:
        if (self.epochs is None) == (self.steps is None):
            both = "both are given" if self.epochs else "neither is given"
            yield Problem("", f"{both} of `epochs` and `steps`; give one of them")

    @rule
    def _each_tracker_once(self) -> Iterator[Problem]:
        if len(set(self.log_to)) < len(self.log_to):
            yield Problem("log_to", f"`log_to` {list(self.log_to)} names a tracker twice; name each once")

    @rule
    def _each_seed_once(self) -> Iterator[Problem]:
        if len(set(self.seeds)) < len(self.seeds):
            yield Problem(
                "seeds", f"`seeds` {list(self.seeds)} contains a seed twice; the same training would run twice"
            )
