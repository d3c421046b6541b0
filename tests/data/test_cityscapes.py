"""Cityscapes as it is distributed, scored as its own scripts do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from stdc_search.data import DataError, open_dataset
from stdc_search.data.cityscapes import LABEL_IDS
from stdc_search.evaluation import metrics
from stdc_search.evaluation.views import Views, evaluate, predict
from stdc_search.spec.data import CITYSCAPES_CLASSES, CityscapesSpec

SIZE = (32, 64)


@pytest.fixture
def root(cityscapes: Path) -> Path:
    return cityscapes


def opened(root: Path, split: str = "train", **how: object):
    return open_dataset(CityscapesSpec(kind="cityscapes", root=root, **how), split)


def test_a_split_is_its_cities_in_order(root: Path) -> None:
    names = [opened(root).name(i) for i in range(3)]
    assert names == ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"]
    assert len(opened(root, "val")) == 4
    assert len(opened(root, train="trainval")) == 7


def test_linked_cities_are_followed(root: Path) -> None:
    for kind in ("leftImg8bit", "gtFine"):
        (root / kind / "train" / "ulm").rename(root / kind / "far")
        (root / kind / "train" / "ulm").symlink_to(root / kind / "far")
    assert len(opened(root)) == 3


def test_ids_are_mapped_as_the_data_sets_own_scripts_map_them(root: Path) -> None:
    helpers = pytest.importorskip("cityscapesscripts.helpers.labels", reason="the extra `dev` is not installed")
    names = {label.trainId: label.name for label in helpers.labels if 0 <= label.trainId < 255}
    assert tuple(names[i] for i in range(19)) == CITYSCAPES_CLASSES
    path = root / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png"
    expected = np.vectorize(lambda id: helpers.id2label[id].trainId)(np.asarray(Image.open(path)))
    assert np.array_equal(opened(root)[2][1].numpy(), expected)


class Guess(nn.Module):
    """Scores that follow the colours, so that some pixels are right and most are not."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Parameter(torch.randn(19, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, image: Tensor) -> Tensor:
        return torch.einsum("nchw,kc->nkhw", image, self.colours)


def test_scores_are_those_of_the_data_sets_own_scripts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # which newer releases of NumPy no longer have
    script = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", reason="the extra `dev` is not installed"
    )
    data, module = opened(root, "val"), Guess()
    predicted, truths = [], []
    for i in range(len(data)):
        image, label = data[i]
        ids = np.asarray(LABEL_IDS, np.uint8)[predict(module, image, Views(SIZE), label.shape).numpy()]
        predicted.append(str(tmp_path / f"{data.name(i)}.png"))
        Image.fromarray(ids).save(predicted[-1])
        truths.append(str(root / f"gtFine/val/frankfurt/{data.name(i)}_gtFine_labelIds.png"))
    script.args.evalInstLevelScore, script.args.quiet, script.args.JSONOutput = False, True, False
    theirs = script.evaluateImgLists(predicted, truths, script.args)
    counts = evaluate(module, data, Views(SIZE))
    matrix = counts.confusion
    score = metrics.score([counts], data.class_names, len(data))
    assert score.miou == pytest.approx(100 * theirs["averageScoreClasses"], abs=1e-9)
    for name, iou in score.iou.items():
        assert iou == pytest.approx(100 * theirs["classScores"][name], abs=1e-9)
    used = np.ix_(LABEL_IDS, LABEL_IDS)
    assert np.array_equal(matrix.numpy(), np.asarray(theirs["confMatrix"])[used])


def test_an_image_without_labels_is_named(root: Path) -> None:
    (root / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no label file: ulm_000000_000019_gtFine_labelIds\.png"):
        opened(root)


def test_a_missing_folder_is_named_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit_trainvaltest").mkdir()
    with pytest.raises(DataError, match=r"`data\.root` holds leftImg8bit and gtFine"):
        opened(tmp_path)


def test_a_folder_without_images_says_how_they_are_named(root: Path) -> None:
    for path in (root / "leftImg8bit/val/frankfurt").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"contains no images; images are named like frankfurt/frankfurt_"):
        opened(root, "val")


def test_an_unknown_id_is_named_with_those_that_are_legal(root: Path) -> None:
    path = root / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png"
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"has class id 77 \(2048 pixels\); legal ids are 7 \(road\) to 33 \(bicy"):
        opened(root)[2]
