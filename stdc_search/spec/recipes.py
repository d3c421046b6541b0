"""Recipes: the values that the section `training` of a file gets for fields that it omits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCRATCH: dict[str, Any] = {
    "batch": 8,
    "augmentation": {"kind": "scaled_crop", "jitter": 0.0, "flip": 0.5, "scales": (0.8, 1.6), "scale_step": None},
    "loss": {"kind": "segmentation", "ohem": None, "class_weights": "log", "auxiliary_weight": 0.4},
    "optimizer": {"kind": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01},
    "head_rate": 1.0,
    "backbone_norms": "trained",
    "schedule": {"kind": "poly", "power": 0.9, "warmup": 0.05, "warmup_start": 0.01},
    "ema": {"decay": 0.999},
}
"""Small data from random weights: what was best on CamVid (experiments/camvid_recipe). Crop and scale depend on
`image_size`, see `with_recipe`."""
CROPPED, UNIT = 0.75, 32
"""Share of `image_size` that a crop has, rounded to a multiple of UNIT pixels, the stride of STDC networks."""


def with_recipe(values: Any) -> Any:
    """The content of a file, whose `training` has the values of its recipe where it gives none.

    Sections of `search.finals` get them, too. Values of the wrong type stay as they are; validation finds them.
    """
    if not (isinstance(values, Mapping) and isinstance(training := values.get("training"), Mapping)):
        return values
    recipe = training.get("recipe")
    rest = {name: value for name, value in training.items() if name != "recipe"}
    if recipe == "paper":
        return {**values, "training": rest}
    if recipe != "scratch" and (recipe is not None or not _leaves_the_choice(values, training)):
        return values
    scratch = _scratch(values)
    filled = {**values, "training": _filled(scratch, rest)}
    match values.get("search"):
        case {"finals": Mapping() as finals} as search:
            sections = {name: scratch[name] for name in finals if name in scratch}
            filled["search"] = {**search, "finals": _filled(sections, finals)}
    return filled


def _leaves_the_choice(values: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
    """Whether a file says nothing on how to train. A file that gives some of it means the paper's values for the rest,
    as do the specs of old run folders."""
    match values.get("network"):
        case {"kind": "classifier"}:
            return False
    return training.get("start_from") is None and not training.keys() & SCRATCH.keys() - {"batch"}


def _scratch(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe for a file's `image_size`."""
    evaluation = values.get("evaluation")
    if isinstance(evaluation, Mapping) and evaluation.get("window") is not None:
        return SCRATCH  # images keep their sizes
    try:
        height, width = map(int, values.get("image_size", (512, 1024)))
        crop = tuple(max(round(CROPPED * length / UNIT), 1) * UNIT for length in (height, width))
    except (TypeError, ValueError, OverflowError):
        return SCRATCH
    return {**SCRATCH, "crop": crop, "augmentation": {**SCRATCH["augmentation"], "base_size": (height, width)}}


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given values, and defaults for those that are missing; a section of another kind gets none."""
    filled: dict[str, Any] = {**defaults, **given}
    for name, section in defaults.items():
        its = given.get(name)
        if isinstance(section, Mapping) and isinstance(its, Mapping):
            same = its.get("kind", section.get("kind")) == section.get("kind")
            filled[name] = {**section, **its} if same else its
    return filled
