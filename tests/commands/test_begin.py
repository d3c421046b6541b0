"""What is checked before a run begins, beside what tests of whole runs see."""

from __future__ import annotations

from stdc_search.commands.begin import _unscored
from stdc_search.data.survey import Labels
from stdc_search.spec.data import CAMVID_CLASSES
from tests.search_specs import tiny_search


def test_a_metric_of_a_class_that_validation_labels_lack_is_told():
    images = tuple(int(name != "car") for name in CAMVID_CLASSES)
    val = Labels("val", CAMVID_CLASSES, images, images, 0, 2)
    limits = {"score.iou.sky": {"at_least": 1}}
    spec = tiny_search(objectives={"score.iou.car": "maximize"}, limits=limits)
    (problem,) = _unscored(spec, val)
    assert problem.path == "search.objectives.score.iou.car"
    assert problem.message.startswith("val has no pixel of 'car', so its IoU is unknown; use sky, building, ")
