from __future__ import annotations

import pytest

from stdc_search.palette import Palette, colours
from stdc_search.report.overlay import Overlay, Predictor, draw_overlay, overlay
from stdc_search.spec.data import CAMVID_CLASSES
from tests.report.fakes import record, write_sample

PALETTE = Palette(CAMVID_CLASSES, colours(CAMVID_CLASSES))


def predictor(folder, name="0007", miou=45.1, **changes) -> Predictor:
    return Predictor(name, record(7, miou).score.model_copy(update=changes), folder)


@pytest.fixture
def several(tmp_path) -> Overlay:
    for name in "ab":
        for image in (3, 12):
            write_sample(tmp_path / name / "sample" / str(image))
    write_sample(tmp_path / "old" / "sample")
    names = {"a": 45.1, "b": 40.0, "old": 30.0}
    picture = overlay([predictor(tmp_path / name, name, miou) for name, miou in names.items()], PALETTE)
    assert picture is not None
    return picture


def test_a_row_has_an_image_its_truth_and_what_each_network_predicts(several):
    assert several.columns == ("image", "truth", "a: mIoU 45.1 %", "b: mIoU 40.0 %")
    assert [len(row) for row in several.rows] == [4, 4]
    image, truth, *predictions = several.rows[0]
    assert (image == 100).all()
    assert (truth[1:3, 1:3] == 50).all()  # ignored
    assert not any((one[1:3, 1:3] == 50).all() for one in predictions)


def test_the_legend_has_the_iou_of_each_network_that_is_shown(several):
    legend = [name for name, _ in several.legend]
    assert legend[0] == "sky 25.1 / 20.0"
    assert legend[7] == "fence"  # has no IoU
    assert legend[-1] == "ignored"


def test_a_sample_of_an_older_run_is_shown(tmp_path):
    write_sample(tmp_path / "sample")
    picture = overlay([predictor(tmp_path)], PALETTE)
    assert picture is not None and len(picture.rows) == 1


def test_without_samples_there_is_no_picture(tmp_path):
    assert overlay([predictor(tmp_path)], PALETTE) is None


def test_the_title_says_whose_prediction_it_is_where_there_are_several_seeds(tmp_path):
    write_sample(tmp_path / "sample")
    picture = overlay([predictor(tmp_path, seed_miou=(20.0, 30.0))], PALETTE)
    assert picture is not None and picture.columns[-1].endswith(
        "% \nover 2 seeds; prediction of the first".lstrip("% ")
    )


def test_a_class_that_is_not_in_the_picture_is_not_in_the_legend(tmp_path):
    write_sample(tmp_path / "sample", size=(8, 5))
    picture = overlay([predictor(tmp_path)], PALETTE)
    assert picture is not None and "building" not in [name.split()[0] for name, _ in picture.legend]


def test_an_overlay_is_drawn_with_its_panels_and_classes(several):
    figure = draw_overlay(several)
    assert [axes.get_title() for axes in figure.axes] == [*several.columns, "", "", "", ""]
    assert len(figure.legends[0].get_texts()) == 12
