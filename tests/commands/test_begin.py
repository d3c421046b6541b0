"""What is checked before a run begins, beside what tests of whole runs see."""

from __future__ import annotations

import pytest

from stdc_search.commands.begin import _unscored, begin_folder
from stdc_search.data.survey import Labels
from stdc_search.spec.base import dump
from stdc_search.spec.data import CAMVID_CLASSES
from stdc_search.spec.problems import SpecError
from tests.search_specs import tiny_search


def test_a_spec_of_ones_own_in_the_output_folder_is_never_replaced(tmp_path):
    mine = tmp_path / "spec.yaml"
    text = f"# hours of work\n{dump(tiny_search(trials=3))}"
    mine.write_text(text)
    with pytest.raises(SpecError, match=r"spec\.yaml: exists and is not of a run; give a new folder with --out"):
        begin_folder(tmp_path, tiny_search(trials=4), None)
    begin_folder(tmp_path, tiny_search(trials=3), None)
    assert mine.read_text() == text


def test_a_metric_of_a_class_that_validation_labels_lack_is_told():
    images = tuple(int(name != "car") for name in CAMVID_CLASSES)
    val = Labels("val", CAMVID_CLASSES, images, images, 0, 2)
    limits = {"score.iou.sky": {"at_least": 1}}
    spec = tiny_search(objectives={"score.iou.car": "maximize"}, limits=limits)
    (problem,) = _unscored(spec, val)
    assert problem.path == "search.objectives.score.iou.car"
    assert problem.message.startswith("val has no pixel of 'car', so its IoU is unknown; use sky, building, ")


@pytest.mark.parametrize(("bare", "told"), [(2, 1), (1, 0)])
def test_boundaries_of_labels_of_one_class_each_cannot_be_scored(bare: int, told: int):
    several = tuple(int(name in ("sky", "road")) for name in CAMVID_CLASSES)
    val = Labels(
        "val", CAMVID_CLASSES, several, several, 0, 2, bare=tuple(bare * int(name == "sky") for name in CAMVID_CLASSES)
    )
    spec = tiny_search(objectives={"score.boundary_f": "maximize", "cost.macs": "minimize"})
    problems = [*_unscored(spec, val)]
    assert [problem.path for problem in problems] == ["search.objectives.score.boundary_f"] * told
