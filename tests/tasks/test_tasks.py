"""What tells pixels and images apart: the wiring from a run to its samples, loss and score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stdc_search.data import DataError, class_shares
from stdc_search.evaluation import metrics
from stdc_search.evaluation.views import Views
from stdc_search.network.builder import build
from stdc_search.network.models.segmenter import Segmenter, TrainingOutput
from stdc_search.network.weights import save_weights
from stdc_search.run_folder import sample_folders, worst_folders
from stdc_search.spec.base import dump, replace
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.training import DistillationSpec, SegmentationLossSpec
from stdc_search.tasks import task_of
from stdc_search.tasks.classification import Classification
from stdc_search.tasks.segmentation import Segmentation, SegmentationLoss, telling, worst
from stdc_search.training import losses

SEGMENTER = {
    "network": {"kind": "segmenter", "classes": 3},
    "data": {"kind": "folder", "class_names": ("a", "b", "c")},
    "training": {"epochs": 1, "crop": (32, 48)},
}
CLASSIFIER = {
    "network": {"kind": "classifier", "classes": 3},
    "data": {"kind": "imagenet", "classes": 3},
    "training": {
        "epochs": 1,
        "crop": (32, 48),
        "augmentation": {"kind": "resized_crop"},
        "loss": {"kind": "classification", "label_smoothing": 0.2},
    },
}


class Maps:
    """Two images whose labels hold class 0 thrice as often as class 1, class 2 never, and ignored pixels."""

    class_names = ("a", "b", "c")

    def __len__(self) -> int:
        return 2

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        label = torch.zeros(40, 60, dtype=torch.uint8)
        label[:, :20], label[:, 20:30] = 255, 1
        return torch.full((3, 40, 60), 90, dtype=torch.uint8), label

    def label(self, index: int) -> Tensor:
        return self[index][1]


class Rare(Maps):
    """Forty images of class 0; two of them show class 1, and one class 2."""

    def __len__(self) -> int:
        return 40

    def label(self, index: int) -> Tensor:
        label = torch.zeros(4, 6, dtype=torch.uint8)
        label[0, 0] = {7: 1, 20: 1, 33: 2}.get(index, 0)
        return label


def test_images_that_are_shown_have_the_rare_classes():
    chosen = telling(Rare())
    assert len(chosen) == 4 == len(set(chosen))
    assert {7, 20, 33} < {*chosen} and chosen == sorted(chosen)


def test_the_worst_images_are_those_with_labels_and_the_lowest_scores():
    assert worst(torch.tensor([0.5, torch.nan, 0.2, 0.9, 0.2, 0.0])) == [5, 2, 4]
    assert worst(torch.tensor([torch.nan, 0.3])) == [1]
    assert worst(torch.zeros(0)) == []


def test_what_is_kept_of_single_images_is_that_of_the_last_training(tmp_path):
    class Named(Maps):
        def name(self, index: int) -> str:
            return 'a, "b"' if index else "plain"

    task, module = Segmentation(RunSpec.model_validate(SEGMENTER)), torch.nn.Conv2d(3, 3, 1)
    for scores in ((0.25, 0.125), (torch.nan, 0.5)):
        counts = metrics.Counts(torch.eye(3), torch.zeros(4, 3), torch.tensor(scores))
        task.save_sample(module, Named(), counts, tmp_path)
    assert (tmp_path / "images.csv").read_text() == 'image,name,miou\n0,plain,\n1,"a, ""b""",50.00\n'
    assert [(folder.name, *rest) for folder, *rest in worst_folders(tmp_path)] == [("1", 'a, "b"', 50.0)]
    assert [path.name for path in sample_folders(tmp_path)] == ["0", "1"]
    (tmp_path / "images.csv").rename(tmp_path / "kept.csv")
    assert worst_folders(tmp_path) == []  # somebody removed the scores: the report does without
    assert {path.name for path in (tmp_path / "sample/worst/1").iterdir()} == {
        "image.png",
        "truth.png",
        "prediction.png",
    }


class Heads(Segmenter):
    """Gives set scores."""

    def __init__(self, output: TrainingOutput) -> None:
        nn.Module.__init__(self)
        self.output, self.asked = output, {}
        self.detail_target = None

    def scores(self, image: Tensor) -> Tensor:
        return self.output.logits

    def forward_training(self, image: Tensor, **asked: bool) -> TrainingOutput:
        self.asked = asked
        return self.output


def test_a_segmenter_learns_pixels_and_a_classifier_images() -> None:
    assert isinstance(task_of(RunSpec.model_validate(SEGMENTER)), Segmentation)
    assert isinstance(task_of(RunSpec.model_validate(CLASSIFIER)), Classification)


def test_labels_without_a_class_give_no_score_but_say_why() -> None:
    counts = metrics.Counts(torch.zeros(3, 3, dtype=torch.int64), torch.zeros(4, 3))
    task = task_of(RunSpec.model_validate(SEGMENTER))
    for scored in (lambda: task.headline(counts), lambda: task.score([counts], Maps())):
        with pytest.raises(DataError, match="all pixels of the validation labels are ignored"):
            scored()


def test_shares_of_classes_are_of_the_labelled_pixels() -> None:
    torch.testing.assert_close(class_shares(Maps()), torch.tensor([0.75, 0.25, 0.0]))


def test_shares_of_many_images_are_those_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Many(Maps):
        def __len__(self) -> int:
            return 1000

        def label(self, index: int) -> Tensor:
            return torch.full((2, 2), index % 2)

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            raise AssertionError("no image is read")

    monkeypatch.setattr("stdc_search.data.dataset.MOST", 9)
    torch.testing.assert_close(class_shares(Many()), torch.tensor([5 / 9, 4 / 9, 0.0]))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("log", losses.log_weights(torch.tensor([0.75, 0.25, 0.0]))),
        ((1.0, 2.0, 3.0), torch.tensor([1.0, 2.0, 3.0])),
        (None, None),
    ],
)
def test_class_weights_are_those_of_the_spec_or_of_the_training_images(weights, expected: Tensor | None) -> None:
    run = replace(RunSpec.model_validate(SEGMENTER), {"training.loss.class_weights": weights})
    loss = Segmentation(run).loss(run.training.loss, Maps())
    assert isinstance(loss, SegmentationLoss)
    torch.testing.assert_close(loss.class_weights, expected)


def test_weights_smoothing_and_plain_cross_entropy_reach_every_head() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(2, 3, 8, 8, generator=generator) for _ in range(3)]
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    weights = torch.tensor([1.0, 2.0, 4.0])
    spec = SegmentationLossSpec(ohem=None, label_smoothing=0.1, auxiliary_weight=0.5)
    module = Heads(TrainingOutput(scores[0], tuple(scores[1:]), None))
    loss = SegmentationLoss(spec, weights)(module, torch.zeros(2, 3, 8, 8), labels)
    each = [losses.cross_entropy(s, labels, weights, 0.1) for s in scores]
    torch.testing.assert_close(loss, each[0] + 0.5 * (each[1] + each[2]))


@pytest.mark.parametrize(("auxiliary", "detail"), [(1.0, 0.0), (0.0, 1.0)])
def test_heads_without_a_loss_are_not_computed(auxiliary: float, detail: float) -> None:
    module = Heads(TrainingOutput(torch.zeros(1, 3, 8, 8), (), None))
    spec = SegmentationLossSpec(auxiliary_weight=auxiliary, detail_weight=detail)
    SegmentationLoss(spec)(module, torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))
    assert module.asked == {"auxiliary": auxiliary > 0, "detail": detail > 0}


def test_a_classifier_is_trained_with_smoothed_labels() -> None:
    scores, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1])

    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return scores

    run = RunSpec.model_validate(CLASSIFIER)
    loss = Classification(run).loss(run.training.loss, Maps())(Fixed(), torch.zeros(4, 3, 8, 8), labels)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(scores, labels, label_smoothing=0.2))


def test_views_are_those_of_the_evaluation() -> None:
    how = {"scales": (0.5, 1.0), "flip": True, "window": {"size": (64, 32), "overlap": 0.5}}
    run = RunSpec.model_validate({**SEGMENTER, "image_size": (64, 96), "evaluation": how})
    assert Views.of(run) == Views((64, 96), (0.5, 1.0), True, (64, 32), 0.5)
    assert Views.of(RunSpec.model_validate({**SEGMENTER, "image_size": (64, 96)})) == Views((64, 96), overlap=0.0)


@pytest.mark.parametrize(
    ("base", "changes", "complaint"),
    [
        (
            CLASSIFIER,
            {"training": {"epochs": 1, "loss": {"kind": "classification"}}},
            "'scaled_crop' does not work for a classifier; use resized_crop",
        ),
        (
            CLASSIFIER,
            {"training": {"epochs": 1, "augmentation": {"kind": "resized_crop"}}},
            "'segmentation' does not work for a classifier; use classification",
        ),
        (
            SEGMENTER,
            {"training": {"epochs": 1, "augmentation": {"kind": "resized_crop"}}},
            "'resized_crop' does not work for a segmenter; use scaled_crop",
        ),
        (
            SEGMENTER,
            {"data": {"kind": "imagenet", "classes": 3}},
            "'imagenet' has a class per image, which a segmenter cannot learn; use classifier",
        ),
        (
            CLASSIFIER,
            {"evaluation": {"flip": True}},
            "applies to label maps, but this network is a classifier; remove it",
        ),
        (CLASSIFIER, {"data": {"kind": "imagenet", "classes": 4}}, "3 classes, but `data` has 4; write 4"),
        (
            CLASSIFIER,
            {"search": {"vary": {"network.hidden": {"kind": "choice", "of": [8]}}, "trials": 1}},
            "search.objectives.score.miou: is not measured for a classifier; use one of score.top1, score.top5",
        ),
        (
            SEGMENTER,
            {
                "search": {
                    "vary": {"network.head.width": {"kind": "choice", "of": [8]}},
                    "trials": 1,
                    "objectives": {"score.top1": "maximize"},
                }
            },
            "is not measured for a segmenter; use one of score.miou, score.pixel_accuracy, score.boundary_f",
        ),
    ],
)
def test_what_belongs_to_the_other_task_is_refused(tmp_path: Path, base, changes, complaint: str) -> None:
    import json

    (tmp_path / "run.json").write_text(json.dumps({**base, **changes}))
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        load(tmp_path / "run.json")


def test_a_classifier_takes_the_backbone_of_a_preset() -> None:
    vary = {"network.backbone.stages.0.depth": {"kind": "int", "low": 1, "high": 5}}
    run = RunSpec.model_validate(
        {
            **CLASSIFIER,
            "search": {"vary": vary, "trials": 2, "start": ["stdc2"], "objectives": {"score.top1": "maximize"}},
        }
    )
    started = run.start_candidate(run.required_search.start[0])
    assert isinstance(started.network, ClassifierSpec) and started.network.backbone.stages[0].depth == 4


def test_a_teacher_adds_the_divergence_from_its_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    own, goal = (torch.randn(2, 3, 8, 8, generator=generator) for _ in range(2))
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    how = DistillationSpec(
        network=SegmenterSpec(kind="segmenter", classes=3), weights=Path("w"), weight=2, temperature=4
    )
    spec = SegmentationLossSpec(ohem=None, distillation=how)

    class Teacher(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return goal

    images = torch.zeros(2, 3, 8, 8)
    alone = SegmentationLoss(spec)(Heads(TrainingOutput(own, (), None)), images, labels)
    taught = SegmentationLoss(spec, teacher=Teacher())(Heads(TrainingOutput(own, (), None)), images, labels)
    p, q = (goal / 4).softmax(1), (own / 4).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean() * 16
    torch.testing.assert_close(taught - alone, 2 * divergence)


def test_a_teacher_is_another_specs_network_with_its_weights(tmp_path: Path) -> None:
    """Trained by its own run, it has nothing to teach itself."""
    small = "{kind: segmenter, classes: 3, head: {width: 8}}"
    (tmp_path / "teacher.yaml").write_text(f"network: {small}\n")
    torch.manual_seed(0)
    module = build(load(tmp_path / "teacher.yaml").network)
    save_weights(module, tmp_path / "teacher.safetensors")
    (tmp_path / "run.yaml").write_text(
        f"network: {small}\ndata: {{kind: folder, class_names: [a, b, c]}}\n"
        "training: {epochs: 1, loss: {distillation: {network: teacher.yaml, weights: teacher.safetensors}}}\n"
    )
    run = load(tmp_path / "run.yaml")
    loss = Segmentation(run).loss(run.training.loss, Maps())
    assert isinstance(loss, SegmentationLoss) and loss.teacher is not None
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.teacher(images), module.eval()(images))
    assert not any(parameter.requires_grad for parameter in loss.teacher.parameters())
    dump(run, tmp_path / "elsewhere.yaml")
    assert load(tmp_path / "elsewhere.yaml") == run


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        ({"class_weights": [1, 2]}, "2 numbers for 3 classes; give one per class"),
        (
            {"distillation": {"network": {"kind": "segmenter"}, "weights": "w"}},
            "the teacher has 19 classes, and `data` has 3",
        ),
        (
            {"distillation": {"network": {"kind": "classifier"}, "weights": "w"}},
            "the teacher is a classifier; give a segmenter",
        ),
        ({"distillation": {"network": "nowhere.yaml", "weights": "w"}}, "nowhere.yaml does not exist"),
    ],
)
def test_a_loss_that_does_not_fit_the_classes_is_refused(loss, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RunSpec.model_validate({**SEGMENTER, "training": {"epochs": 1, "loss": loss}})
