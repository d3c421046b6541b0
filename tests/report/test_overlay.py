from __future__ import annotations

import numpy as np
import pytest

from stdc_search.report.overlay import CAMVID_COLOURS, blend, colours, draw_overlay, overlay
from stdc_search.spec.data import CAMVID_CLASSES
from tests.report.fakes import record, write_sample

SCORE = record(7, 45.1).score


def test_camvids_classes_have_its_colours():
    assert colours(CAMVID_CLASSES).tolist() == [list(CAMVID_COLOURS[name]) for name in CAMVID_CLASSES]


@pytest.mark.parametrize("count", [2, 19, 150])
def test_classes_of_any_data_have_colours_of_their_own(count):
    palette = colours([f"class {i}" for i in range(count)])
    assert len(np.unique(palette, axis=0)) == count


def test_colours_that_are_made_up_stay_away_from_known_ones():
    sky, other = colours(["sky", "other"]).astype(int)
    assert np.linalg.norm(sky - other) > 100


def test_a_blend_is_mostly_the_classs_colour_and_dark_where_ignored():
    image = np.full((1, 2, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 255]], dtype=np.uint8)
    palette = np.array([[200, 0, 50]], dtype=np.uint8)
    assert blend(image, labels, palette).tolist() == [[[160, 40, 70], [40, 40, 40]]]


def test_the_panels_are_image_truth_and_prediction(tmp_path):
    write_sample(tmp_path)
    panels = dict(overlay(tmp_path, CAMVID_CLASSES, SCORE, "0007").panels)
    assert list(panels) == ["image", "truth", "prediction"]
    assert {panel.shape for panel in panels.values()} == {(24, 32, 3)}
    assert (panels["image"] == 100).all()
    assert (panels["truth"][:4, :4] == 40).all()
    assert not (panels["prediction"][:4, :4] == 40).all(axis=-1).any()


def test_the_title_says_whose_prediction_it_is_where_there_are_several_seeds(tmp_path):
    write_sample(tmp_path)
    several = SCORE.model_copy(update={"seed_miou": (20.0, 30.0)})
    assert overlay(tmp_path, CAMVID_CLASSES, several, "0007").title.endswith("% over 2 seeds; prediction of the first")


def test_the_legend_tells_the_iou_of_what_is_in_the_picture(tmp_path):
    write_sample(tmp_path, size=(8, 22))
    legend = [name for name, _ in overlay(tmp_path, CAMVID_CLASSES, SCORE, "0007").legend]
    assert legend[0] == "sky 25.1"
    assert legend[7] == "fence"  # has no IoU
    assert legend[-1] == "ignored"


def test_a_class_that_is_not_in_the_picture_is_not_in_the_legend(tmp_path):
    write_sample(tmp_path, size=(8, 5))
    names = [name.split()[0] for name, _ in overlay(tmp_path, CAMVID_CLASSES, SCORE, "0007").legend]
    assert "building" not in names


def test_an_overlay_is_drawn_with_its_panels_and_classes(tmp_path):
    write_sample(tmp_path)
    figure = draw_overlay(overlay(tmp_path, CAMVID_CLASSES, SCORE, "0007"))
    assert [axes.get_title() for axes in figure.axes] == ["image", "truth", "prediction"]
    assert len(figure.legends[0].get_texts()) == 12
    assert figure.get_suptitle() == "0007: mIoU 45.1 %"
