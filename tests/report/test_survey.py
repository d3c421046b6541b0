from __future__ import annotations

import dataclasses

import pytest

from stdc_search.data.survey import Survey
from stdc_search.report.survey import CLASSES, class_frame, line_of, summary
from stdc_search.report.tables import cells

SURVEY = Survey(
    split="train",
    class_names=("road", "tree", "car"),
    whole=(0, 2, 3),
    sizes=(((6, 8), 2), ((4, 5), 1)),
    images=(3, 1, 0),
    labelled=(99_970, 30, 0),
    ignored=25_000,
    samples=3,
    turned=0,
    broken=0,
    problems=(),
)


def test_the_table_has_a_row_a_class_and_two_columns_a_split():
    frame = class_frame([SURVEY, dataclasses.replace(SURVEY, split="val", images=(1, 1, 1))])
    assert list(frame.columns) == ["class", "train % of pixels", "train images", "val % of pixels", "val images"]
    assert frame["train % of pixels"].tolist() == pytest.approx([99.97, 0.03, 0])
    assert frame["val images"].tolist() == [1, 1, 1]


def test_a_rare_class_is_not_drawn_as_none():
    assert cells(class_frame([SURVEY]))["train % of pixels"].tolist() == ["99.970", "0.030", "0.000"]


def test_classes_of_images_have_shares_of_images():
    frame = class_frame([dataclasses.replace(SURVEY, labelled=(3, 1, 0), ignored=None)])
    assert frame["train % of images"].tolist() == [75, 25, 0]


def test_the_notes_tell_images_sizes_and_what_has_no_class():
    assert (
        line_of(SURVEY)
        == "train: 3 images; height x width: 6 x 8 in 2, 4 x 5 in 1; 20.00 % of the pixels have no class"
    )


def test_only_the_commonest_sizes_are_named():
    sizes = tuple(((size, size), 10 - size) for size in range(1, 7))
    assert "1 x 1 in 9, 2 x 2 in 8, 3 x 3 in 7, 3 other sizes in 15;" in line_of(
        dataclasses.replace(SURVEY, sizes=sizes)
    )


def test_images_that_cannot_be_used_are_counted():
    assert line_of(dataclasses.replace(SURVEY, broken=2)).startswith("train: 3 images, 2 more cannot be used;")


def test_a_split_without_a_whole_image_has_no_sizes_and_no_shares():
    nothing = dataclasses.replace(
        SURVEY, whole=(), sizes=(), images=(0, 0, 0), labelled=(0, 0, 0), ignored=None, broken=3
    )
    assert line_of(nothing) == "train: 0 images, 3 more cannot be used"


def test_the_summary_of_a_run_has_images_and_shares_the_commonest_first():
    val = dataclasses.replace(SURVEY, split="val", samples=1, labelled=(10, 20, 70), ignored=0)
    assert summary(dataclasses.replace(SURVEY, labelled=(30_000, 60_000, 0), ignored=10_000), val) == [
        "Data: 3 training and 1 validation images, 3 classes; 10.0 / 0 % of the pixels are ignored.",
        "Classes, % of the labelled pixels in train / val: tree 66.7 / 20.0, road 33.3 / 10.0, car 0 / 70.0.",
    ]


def test_a_class_with_few_pixels_is_not_rounded_to_none():
    assert "tree <0.1 / <0.1, car 0 / 0" in summary(SURVEY, SURVEY)[1]


def test_of_many_classes_the_commonest_and_the_rarest_are_named():
    count = 3 * CLASSES
    labelled = tuple(range(1, count + 1))
    names = tuple(f"c{i}" for i in labelled)
    many = dataclasses.replace(SURVEY, class_names=names, labelled=labelled, images=labelled, ignored=None)
    first, line = summary(many, many)
    assert f"c{count} " in line and "c1 " in line and f"c{CLASSES} " not in line
    assert f"... {count - 2 * (CLASSES // 4)} classes between ..." in line
    assert "ignored" not in first


def test_images_with_an_exif_orientation_are_counted_in_the_notes():
    assert "2 images are turned by their EXIF orientation" in line_of(dataclasses.replace(SURVEY, turned=2))
    assert "EXIF" not in line_of(SURVEY)
