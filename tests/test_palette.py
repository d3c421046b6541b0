from __future__ import annotations

import numpy as np
import pytest

from stdc_search.palette import CAMVID_COLOURS, Palette, colours
from stdc_search.records import IGNORED
from stdc_search.spec.data import CAMVID_CLASSES, CamvidSpec, FolderSpec
from stdc_search.spec.formats import CocoSpec

FIELD = ("soil", "crop", "weed")


def folder(names=FIELD, **more) -> FolderSpec:
    return FolderSpec.model_validate({"kind": "folder", "class_names": names, **more})


def test_camvids_classes_have_its_colours():
    assert colours(CAMVID_CLASSES).tolist() == [list(CAMVID_COLOURS[name]) for name in CAMVID_CLASSES]


@pytest.mark.parametrize("count", [2, 19, 150])
def test_classes_of_any_data_have_colours_of_their_own(count):
    palette = colours([f"class {i}" for i in range(count)])
    assert len(np.unique(palette, axis=0)) == count


def test_colours_that_are_made_up_stay_away_from_known_ones():
    sky, other = colours(["sky", "other"]).astype(int)
    assert np.linalg.norm(sky - other) > 100


def test_a_spec_that_has_colours_is_drawn_in_them_and_its_black_class_is_not_painted():
    own = [[0, 0, 0], [60, 180, 75], [230, 25, 75]]
    palette = Palette.of(folder(encoding={"kind": "colours", "colours": own, "ignore": []}), 3)
    assert palette.colours.tolist() == own
    assert palette.bare == {0}


def test_codes_that_nobody_can_tell_apart_are_no_colours_to_draw_in():
    palette = Palette.of(folder(encoding={"kind": "colours", "colours": [[1, 1, 1], [2, 2, 2], [3, 3, 3]]}), 3)
    assert palette.colours.tolist() == colours(FIELD).tolist()


@pytest.mark.parametrize(
    ("data", "bare"),
    [
        (folder(), set()),
        (folder(("Background", "crop")), {0}),
        (folder(("crop", "other", "weed"), encoding={"map": {0: 1, 1: 0, 2: 2, 3: 1}}), {1}),
        (folder(("sound", "crack"), encoding={"kind": "binary"}), {0}),
        (CocoSpec(kind="coco", class_names=("crop", "soil"), background="soil", annotations="a.json"), {1}),
        (CamvidSpec(kind="camvid"), set()),
        (None, set()),
    ],
)
def test_what_is_of_no_interest_is_not_painted(data, bare):
    assert Palette.of(data, 3).bare == bare


def test_a_class_is_half_its_colour_inside_and_all_of_it_at_its_edge():
    labels = np.array([[0, 0, 1], [0, 0, 1]], dtype=np.uint8)
    image = np.full((2, 3, 3), 100, dtype=np.uint8)
    palette = Palette(("a", "b"), np.array([[200, 0, 50], [10, 20, 30]], dtype=np.uint8))
    assert palette.blend(image, labels)[0].tolist() == [[150, 50, 75], [200, 0, 50], [10, 20, 30]]


def test_the_image_shows_where_a_class_is_not_painted_and_is_dark_where_ignored():
    labels = np.array([[0, 0, IGNORED, IGNORED]], dtype=np.uint8)
    image = np.full((1, 4, 3), 100, dtype=np.uint8)
    painted = Palette(("a",), np.array([[200, 0, 50]], dtype=np.uint8), frozenset({0})).blend(image, labels)
    assert painted[0, :, 0].tolist() == [100, 100, 50, 50]


def test_the_legend_has_what_is_seen_in_the_order_of_classes():
    palette = Palette(FIELD, colours(FIELD), frozenset({0}))
    legend = palette.legend({255, 2, 0})
    assert [name for name, _ in legend] == ["soil (not painted)", "weed", "ignored"]
    assert [colour for _, colour in legend] == [None, tuple(colours(FIELD)[2].tolist()), (0, 0, 0)]
