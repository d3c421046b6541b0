from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stdc_search.palette import Palette, colours
from stdc_search.report.samples import draw_samples, sample_page, save_samples

NAMES = ("road", "tree", "$car$")
PALETTE = Palette(NAMES, colours(NAMES))
GREY = np.full((4, 6, 3), 100, np.uint8)


def labels(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.uint8), (4, 6))


def test_an_image_is_shown_plain_and_with_its_labels():
    page = sample_page("page", ["a", "b"], [(GREY, labels(0, 1)), (GREY, labels(255))], PALETTE)
    assert [name for name, _ in page.cells] == ["a", "", "b", ""]
    assert np.array_equal(page.cells[0][1], GREY)
    assert np.array_equal(page.cells[1][1], PALETTE.blend(GREY, labels(0, 1)))


def test_the_legend_has_the_classes_of_all_images_in_their_order():
    page = sample_page("page", ["a", "b"], [(GREY, labels(2, 255)), (GREY, labels(0))], PALETTE)
    assert [name for name, _ in page.legend] == ["road", "$car$", "ignored"]
    assert [colour for _, colour in page.legend] == [tuple(colours(NAMES)[0]), tuple(colours(NAMES)[2]), (0, 0, 0)]


def test_an_image_of_one_class_has_its_name_and_no_legend():
    page = sample_page("page", ["a", "b"], [(GREY, 2), (GREY, 0)], PALETTE)
    assert [name for name, _ in page.cells] == ["$car$", "road"]
    assert np.array_equal(page.cells[0][1], GREY)
    assert page.legend == ()


def test_a_long_name_does_not_shrink_its_image():
    def width(name):
        figure = draw_samples(sample_page("page", [name] * 8, [(GREY, labels(0, 1))] * 8, PALETTE))
        figure.canvas.draw()
        return figure.axes[0].get_window_extent().width

    assert width("city/" * 30 + "0001") > 0.95 * width("1")


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_every_sample_is_drawn_with_its_name(count):
    names = [f"sample {i}" for i in range(count)]
    figure = draw_samples(sample_page("page", names, [(GREY, labels(0, 1))] * count, PALETTE))
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.texts[0].get_text() for axes in drawn[::2]] == names
    assert figure.get_suptitle() == "page"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["road", "tree"]


def test_a_page_of_whole_image_classes_is_drawn_without_a_legend():
    assert draw_samples(sample_page("page", ["a"], [(GREY, 2)], PALETTE)).legends == []


def test_the_page_is_saved_where_there_was_no_folder(tmp_path):
    path = save_samples(sample_page("page", ["a"], [(GREY, labels(0))], PALETTE), tmp_path / "new" / "samples.png")
    with Image.open(path) as image:
        assert image.width == 12 * 180
