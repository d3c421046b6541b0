"""What a file's `training` gets for fields that it omits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stdc_search.spec.advice import advice
from stdc_search.spec.base import dump
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.training import AdamwSpec, ScaledCropSpec, SegmentationLossSpec, SgdSpec, TrainingSpec

NETWORK = "{kind: segmenter, classes: 2, backbone: {kind: stdc, stem: [{width: 8}, {width: 16}], stages: STAGES}}"
STAGES = "[{width: 16, depth: 1}, {width: 16, depth: 1}, {width: 16, depth: 1}]"
DATA = "{kind: folder, class_names: [a, b]}"
CLASSIFIER = "{kind: classifier, classes: 2, backbone: {kind: stdc, stem: [{width: 8}, {width: 16}], stages: STAGES}}"

Load = Callable[..., RunSpec]
Complaints = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path) -> Load:
    def load_run(training: str, network: str = NETWORK, data: str = DATA, more: str = "") -> RunSpec:
        file = tmp_path / "spec.yaml"
        network = network.replace("STAGES", STAGES)
        file.write_text(f"image_size: [96, 400]\nnetwork: {network}\ndata: {data}\ntraining: {training}\n{more}")
        return load(file)

    return load_run


def how(run: RunSpec) -> TrainingSpec:
    assert run.training is not None
    return run.training


@pytest.mark.parametrize(
    "training", ["{epochs: 1}", "{epochs: 1, batch: 4, seeds: [1]}", "{epochs: 1, recipe: scratch, start_from: x.pt}"]
)
def test_a_training_that_only_says_how_long_starts_from_scratch(run: Load, training: str) -> None:
    got = how(run(training))
    assert got.recipe is None
    assert got.backbone_norms == "trained"
    assert got.optimizer == AdamwSpec(kind="adamw", learning_rate=2e-3, weight_decay=0.01)
    assert got.loss == SegmentationLossSpec(ohem=None, class_weights="log", auxiliary_weight=0.4)


@pytest.mark.parametrize(
    "field", ["start_from: x.pt", "recipe: paper", "head_rate: 10.0", "ema: null", "schedule: {}", "loss: {}"]
)
def test_a_training_that_says_more_has_the_papers_values_for_the_rest(run: Load, field: str) -> None:
    got = how(run(f"{{epochs: 1, {field}}}"))
    assert (got.batch, got.crop, got.backbone_norms) == (48, (512, 1024), "frozen")
    assert got.optimizer == SgdSpec(kind="sgd")


def test_a_classifier_has_the_papers_values(run: Load) -> None:
    how_ = "{epochs: 1, loss: {kind: classification}, augmentation: {kind: resized_crop}}"
    got = how(run(how_, CLASSIFIER, "{kind: imagenet, classes: 2}"))
    assert got.batch == 48
    with pytest.raises(SpecError, match="classification"):
        run("{epochs: 1}", CLASSIFIER, "{kind: imagenet, classes: 2}")


def test_given_values_stand_beside_those_of_the_recipe(run: Load) -> None:
    got = how(run("{recipe: scratch, epochs: 1, optimizer: {learning_rate: 0.1}, loss: {dice: squared}, ema: null}"))
    assert got.optimizer == AdamwSpec(kind="adamw", learning_rate=0.1, weight_decay=0.01)
    assert isinstance(got.loss, SegmentationLossSpec)
    assert (got.loss.dice, got.loss.ohem, got.ema) == ("squared", None, None)


def test_a_section_of_another_kind_has_its_own_defaults(run: Load) -> None:
    assert how(run("{recipe: scratch, epochs: 1, optimizer: {kind: sgd}}")).optimizer == SgdSpec(kind="sgd")


def test_crop_and_scales_fit_the_image_size(run: Load) -> None:
    got = how(run("{epochs: 1}"))
    assert got.crop == (64, 288)
    assert isinstance(got.augmentation, ScaledCropSpec)
    assert (got.augmentation.base_size, got.augmentation.scales) == ((96, 400), (0.8, 1.6))


def test_images_keep_their_size_if_windows_slide(run: Load) -> None:
    got = how(run("{epochs: 1}", more="evaluation: {window: {size: [96, 96]}}\n"))
    assert isinstance(got.augmentation, ScaledCropSpec)
    assert got.augmentation.base_size is None


def test_sections_of_the_finals_have_the_recipe_too(run: Load) -> None:
    vary = "{network.head.width: {kind: choice, of: [8, 16]}}"
    finals = "{networks: 1, epochs: 2, loss: {dice: squared}, augmentation: {jitter: 0.2}}"
    got = run("{epochs: 1}", more=f"search: {{vary: {vary}, trials: 2, finals: {finals}}}\n").finals_run.training
    assert got is not None
    assert got.loss == SegmentationLossSpec(ohem=None, class_weights="log", auxiliary_weight=0.4, dice="squared")
    assert isinstance(got.augmentation, ScaledCropSpec)
    assert (got.augmentation.base_size, got.augmentation.jitter) == ((96, 400), 0.2)
    assert got.batch == 8


def test_a_wrong_section_of_the_training_is_reported_once_if_there_are_finals(run: Load) -> None:
    more = "search: {vary: {network.head.width: {kind: choice, of: [8, 16]}}, trials: 9, finals: {epochs: 2}}\n"
    with pytest.raises(SpecError) as caught:
        run("{epochs: 1, augmentation: {jitter: abc}}", more=more)
    assert [problem.path for problem in caught.value.problems] == ["training.augmentation.jitter"]


def test_a_dumped_spec_needs_no_recipe(run: Load, tmp_path: Path) -> None:
    spec = run("{epochs: 1}")
    dump(spec, tmp_path / "again.yaml")
    assert load(tmp_path / "again.yaml") == spec


@pytest.mark.parametrize("training", ["[1]", "{epochs: 1, recipe: none}", "{epochs: 1, loss: [], recipe: scratch}"])
def test_values_of_a_wrong_type_are_reported(run: Load, training: str) -> None:
    with pytest.raises(SpecError, match=r"training(\.recipe|\.loss\.kind)?: "):
        run(training)


@pytest.mark.parametrize("height", ["1e999", "9" * 400])
def test_an_image_size_without_a_recipe_is_reported(complaints: Complaints, height: str) -> None:
    rest = f"network: {NETWORK}\ndata: {DATA}\ntraining: {{epochs: 1}}\n".replace("STAGES", STAGES)
    told = complaints(f"image_size: [{height}, 480]\n{rest}")
    assert [line.split(": ")[1] for line in told] == ["image_size.0"]


def test_a_recipe_outside_of_a_file_is_an_error() -> None:
    with pytest.raises(ValueError, match="recipe: has an effect only"):
        TrainingSpec(epochs=1, recipe="scratch")


def test_frozen_norms_of_random_weights_are_pointed_out(run: Load) -> None:
    assert len([*advice(run("{epochs: 1, recipe: paper}"))]) == 1
    assert not [*advice(run("{epochs: 1}"))]
    assert not [*advice(run("{epochs: 1, start_from: x.pt}"))]
