"""The training: losses, optimiser, schedule, augmentation (paper, section 4.2; released code where it differs)."""

from __future__ import annotations

import os
from math import ceil, floor
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    model_validator,
)

from stdc_search.spec.base import Spec, at


def _from_the_specs_folder(path: Any, info: ValidationInfo) -> Any:
    if isinstance(path, str):
        path = Path(path)
    if not isinstance(path, Path):
        return path
    folder = (info.context or {}).get("folder", ".")
    return Path(os.path.abspath(Path(folder, path.expanduser())))  # since a copy of the spec lies elsewhere


WeightsPath = Annotated[
    Path,
    BeforeValidator(_from_the_specs_folder, json_schema_input_type=str),
    PlainSerializer(Path.as_posix, when_used="json"),
]


class SgdSpec(Spec):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    """Of convolutions and linear layers; norms have none, as released."""


class AdamwSpec(Spec):
    """AdamW."""

    kind: Literal["adamw"]
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01
    """Of convolutions and linear layers; norms have none."""


class ScheduleSpec(Spec):
    """Warm-up, then "poly": learning rate x (1 - step / steps)^power."""

    power: PositiveFloat = 0.9
    warmup: NonNegativeInt = 1000
    """Steps of warm-up. The released code's rise is exponential; the paper does not say."""
    warmup_start: PositiveFloat = 1e-3
    """Share of the learning rate at step 0: 1e-5 of 0.01 in the released code."""


class AugmentationSpec(Spec):
    """What is done to a training image, in this order."""

    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Brightness, contrast and saturation are each multiplied by a factor from [1 - jitter, 1 + jitter]."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    scales: tuple[PositiveFloat, PositiveFloat] = (0.125, 1.5)
    """Range of the random scale."""
    scale_step: PositiveFloat | None = 0.125
    """Scales are multiples of it, as released; null draws from the whole range."""

    @model_validator(mode="after")
    def _range(self) -> AugmentationSpec:
        low, high = self.scales
        if low > high:
            raise at("scales", f"`scales` [{low}, {high}] runs downwards; write [{high}, {low}]")
        if self.scale_step is not None and not multiples(self.scale_step, low, high):
            raise at(
                "scale_step",
                f"no multiple of `scale_step` {self.scale_step} lies within `scales` [{low}, {high}]; "
                "make it smaller, or null",
            )
        return self


def multiples(step: float, low: float, high: float) -> range:
    """The whole numbers that times `step` lie from low to high, rounding left out of account."""
    return range(ceil(low / step - 1e-6), floor(high / step + 1e-6) + 1)


class LossSpec(Spec):
    """OHEM cross-entropy on the head and the auxiliary heads, BCE and dice on the detail head."""

    ohem_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """A pixel is hard while its class has a lower probability."""
    ohem_min_kept: Annotated[float, Field(gt=0, le=1)] = 1 / 16
    """Share of a batch's pixels that is kept in any case."""
    auxiliary_weight: NonNegativeFloat = 1.0
    """Weight of each auxiliary head's loss."""
    detail_weight: NonNegativeFloat = 1.0
    """Weight of the detail losses."""
    dice: Literal["linear", "squared"] = "linear"
    """Denominator of the dice loss: sums (released code) or sums of squares (paper, Equation 5)."""


class TrainingSpec(Spec):
    """One training, from random weights to a scored network. The defaults are the paper's for Cityscapes."""

    epochs: PositiveInt | None = None
    """Passes over the training images; give either this or `steps`."""
    steps: PositiveInt | None = None
    """Optimiser steps; give either this or `epochs`."""
    batch: Annotated[int, Field(ge=2)] = 48
    """Images a step; at least 2, since norms after global pooling need more than one value."""
    crop: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = (512, 1024)
    """[height, width] of the training crops; an image that is smaller after scaling is scaled up to it."""
    start_from: WeightsPath | None = None
    """File of weights that a network takes what fits from before it is trained: our own, or a released checkpoint,
    such as the ImageNet classifier that the paper's segmenters start from. Relative to the spec's file."""
    augmentation: AugmentationSpec = AugmentationSpec()
    loss: LossSpec = LossSpec()
    optimizer: Annotated[SgdSpec | AdamwSpec, Field(discriminator="kind")] = SgdSpec(kind="sgd")
    head_rate: PositiveFloat = 10.0
    """Learning rate of the fusion module and the heads over that of the rest; 10 as released."""
    backbone_norms: Literal["frozen", "trained"] = "frozen"
    """Scales and shifts of the backbone's norms: frozen as in the released code, which needs ImageNet weights;
    train them when starting from random ones."""
    schedule: ScheduleSpec = ScheduleSpec()
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """One training a seed; the score is their mean."""
    score_every: PositiveInt | None = None
    """Epochs between points of the curve that have a validation mIoU, which the last one always has."""
    workers: NonNegativeInt | None = None
    """Processes that load images. Default: none on a CPU, one a core (at most 8) beside a GPU."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.epochs is None) == (self.steps is None):
            both = "both are given" if self.epochs else "neither is given"
            raise ValueError(f"{both} of `epochs` and `steps`; a training has one length: give one of them")
        if len(set(self.seeds)) < len(self.seeds):
            raise at("seeds", f"`seeds` {list(self.seeds)} repeats a seed; the same training would run twice")
        return self
