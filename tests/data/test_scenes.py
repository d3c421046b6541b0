from __future__ import annotations

import zlib
from typing import get_args

import numpy as np
import pytest
import torch

from stdc_search.data import scenes
from stdc_search.data.scenes import Scenes, render
from stdc_search.data.scenes.brush import Brush, Camera, Light, palette
from stdc_search.data.scenes.style import STYLES
from stdc_search.data.scenes.things import CAR, FENCE
from stdc_search.records import IGNORED
from stdc_search.spec.data import CAMVID_CLASSES, SIMPLE_CLASSES, ScenesSpec
from tests.locked import made_with

SMALL = (60, 80)
COUNT = 16


@pytest.fixture(scope="module")
def labels() -> list[np.ndarray]:
    return [render(SMALL, 0, "train", index)[1] for index in range(COUNT)]


def small(**how: object) -> ScenesSpec:
    return ScenesSpec.model_validate({"kind": "scenes", "size": SMALL, "train": 3, "val": 2, **how})


@pytest.mark.parametrize("size", [(32, 32), (60, 80), (33, 101), (90, 64)])
def test_a_scene_has_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    image, label = render(size, 0, "train", 0)
    assert image.shape == (3, *size) and label.shape == size
    assert image.dtype == label.dtype == np.uint8


def test_a_scene_is_the_same_each_time() -> None:
    for one, other in zip(render(SMALL, 3, "val", 7), render(SMALL, 3, "val", 7), strict=True):
        np.testing.assert_array_equal(one, other)


def test_seed_split_and_index_each_give_another_scene() -> None:
    scenes = [render(SMALL, *key)[1] for key in ((0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "train", 1))]
    assert len({label.tobytes() for label in scenes}) == 4


@made_with("pillow")
def test_the_streets_are_those_that_records_were_made_with() -> None:
    """If this changes, so do all scores on scenes: say so in the CHANGELOG. Pillow's way of drawing counts, too."""
    digests = [zlib.crc32(render((120, 160), 0, split, 0)[1].tobytes()) for split in ("train", "val")]
    assert digests == [3210381960, 1243801865]


def test_labels_are_camvids_classes_and_void(labels: list[np.ndarray]) -> None:
    assert set(np.unique(labels).tolist()) == {*range(len(CAMVID_CLASSES)), IGNORED}


def test_every_class_is_in_most_images(labels: list[np.ndarray]) -> None:
    there = {name: sum((label == id).any() for label in labels) / COUNT for id, name in enumerate(CAMVID_CLASSES)}
    assert {name: share for name, share in there.items() if share < 0.8} == {}


def test_shares_of_classes_are_like_camvids(labels: list[np.ndarray]) -> None:
    """CamVid's training labels, counted on the public copy, in percent; half to twice of it, small classes wider."""
    camvid = {"sky": 16.8, "building": 23.6, "road": 31.7, "pavement": 4.6, "tree": 9.9, "car": 5.6}
    rare = ("pole", "sign", "fence", "pedestrian", "bicyclist")
    counts = np.bincount(np.ravel(labels), minlength=256) / np.size(labels) * 100
    share = {name: counts[id] for id, name in enumerate(CAMVID_CLASSES)}
    assert {name: share[name] for name, percent in camvid.items() if not percent / 2 < share[name] < percent * 2} == {}
    assert {name: share[name] for name in rare if not 0.2 < share[name] < 4} == {}
    assert counts[IGNORED] < 6


def test_the_styles_are_those_of_the_spec() -> None:
    assert set(STYLES) == set(get_args(ScenesSpec.model_fields["style"].annotation))


def test_a_simple_scene_is_the_one_that_records_were_made_with() -> None:
    _, label = Scenes(small(style="simple", size=(120, 160)), "train")[0]
    assert zlib.crc32(label.numpy().tobytes()) == 2020229942


def test_every_simple_class_is_in_most_simple_images_and_nothing_else_is() -> None:
    data = Scenes(small(style="simple", train=COUNT), "train")
    labels = [data[index][1].numpy() for index in range(COUNT)]
    assert set(np.unique(labels).tolist()) == set(range(len(SIMPLE_CLASSES)))
    there = {name: sum((label == id).any() for label in labels) / COUNT for id, name in enumerate(data.class_names)}
    assert {name: share for name, share in there.items() if share < 0.8} == {}


def test_a_class_that_both_styles_have_looks_alike_in_their_label_maps() -> None:
    """Sky and road are large in both; an error in the mapping of ids would swap them for others."""
    camvid, simple = (Scenes(small(style=style, train=COUNT), "train") for style in ("camvid", "simple"))
    for name in ("sky", "road", "building"):
        shares = [
            np.mean([(data[index][1] == data.class_names.index(name)).float().mean() for index in range(COUNT)])
            for data in (camvid, simple)
        ]
        assert shares[1] == pytest.approx(shares[0], rel=0.35), name


def test_the_street_does_not_depend_on_the_size() -> None:
    fine, coarse = (render(size, 0, "train", 5)[1] for size in ((240, 320), (120, 160)))
    assert (fine[1::2, 1::2] == coarse).mean() > 0.9


def test_images_are_neither_black_nor_white_nor_alike() -> None:
    means = [render(SMALL, 0, "train", index)[0].mean() for index in range(6)]
    assert min(means) > 20 and max(means) < 235
    assert np.std(means) > 5


def test_rendered_samples_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(scenes, "render", lambda *key: calls.append(key[3]) or render(*key))
    data = Scenes(small(), "train")
    first = data[0]
    assert data[0] is first
    assert calls == [0]


def test_what_does_not_fit_into_memory_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "REMEMBERED_BYTES", 4 * SMALL[0] * SMALL[1])  # one sample
    data = Scenes(small(), "train")
    first, second = data[0], data[1]
    assert data[0] is first
    assert data[1] is not second and torch.equal(data[1][0], second[0])


def test_lengths_and_names_follow_the_spec() -> None:
    data = Scenes(small(), "val")
    assert len(data) == 2
    assert [data.name(index) for index in range(2)] == ["val_00000", "val_00001"]


CAMERA = Camera(focal=100, centre=40, horizon=30, eye=1.5, bend=0)
LIGHT = Light(sun=(1, 0), reach=1, direct=0.5, haze=(255, 255, 255), visibility=1e9)


def canvas() -> Brush:
    return Brush(CAMERA, LIGHT, scenes.photo.canvas_of(np.zeros((4, 60, 80), np.uint8)))


def test_what_is_twice_as_far_is_half_as_far_from_the_vanishing_point() -> None:
    near, far = CAMERA.see([(2, 0, 10)]), CAMERA.see([(2, 0, 20)])
    assert near == [60, 45] and far == [50, 37.5]


def test_one_stroke_paints_colour_and_class() -> None:
    brush = canvas()
    brush.wall((-1, 10), (1, 10), 0, 2, (10, 20, 30), CAR)
    planes = scenes.photo.planes_of(brush.canvas)
    painted = planes[3] == CAR
    assert painted.any() and (planes[:3, painted].T == (10, 20, 30)).all() and not planes[:, ~painted].any()


def test_what_one_can_see_through_keeps_its_colours() -> None:
    brush = canvas()
    brush.wall((-1, 10), (1, 10), 0, 2, (10, 20, 30), CAR)
    before = scenes.photo.planes_of(brush.canvas)
    brush.relabel([(-1, 0, 10), (1, 0, 10), (1, 2, 10), (-1, 2, 10)], FENCE)
    after = scenes.photo.planes_of(brush.canvas)
    assert (after[:3] == before[:3]).all()
    assert ((after[3] == FENCE) == (before[3] == CAR)).all()


def test_haze_hides_what_is_far() -> None:
    brush = Brush(CAMERA, LIGHT._replace(visibility=10), canvas().canvas)
    assert brush.ink((0, 0, 0), 0, CAR) == (0, 0, 0, CAR)
    assert brush.ink((0, 0, 0), 1000, CAR) == (255, 255, 255, CAR)


def test_a_face_towards_the_sun_is_brighter_than_one_away_from_it() -> None:
    assert LIGHT.on(1, 0) == 1 and LIGHT.on(-1, 0) == 0.5


def test_palettes_are_hexadecimal() -> None:
    assert palette("ff0001 0a0b0c") == ((255, 0, 1), (10, 11, 12))
