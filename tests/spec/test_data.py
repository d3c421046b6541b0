"""Rules of the data that its fields' types do not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stdc_search.spec.base import dump
from stdc_search.spec.data import CAMVID_CLASSES, SIMPLE_CLASSES, CamvidSpec, FolderSpec, ScenesSpec
from stdc_search.spec.encodings import ColoursSpec, IdsSpec
from stdc_search.spec.run import load

Complaints = Callable[..., list[str]]
FOLDER = "network: {kind: segmenter, classes: 2}\ntraining: {epochs: 1}\ndata: {kind: folder, class_names: [a, b]"


def test_scenes_and_camvid_have_the_same_eleven_classes() -> None:
    assert ScenesSpec(kind="scenes").class_names == CamvidSpec(kind="camvid").class_names == CAMVID_CLASSES
    assert len(CAMVID_CLASSES) == 11


def test_the_classes_of_scenes_follow_their_style():
    simple = ScenesSpec(kind="scenes", style="simple")
    assert simple.class_names == SIMPLE_CLASSES and simple.classes == 7
    assert set(SIMPLE_CLASSES) < set(CAMVID_CLASSES)


@pytest.mark.parametrize("root", ["pictures", "../pictures", "/data/pictures", "."])
def test_a_path_is_dumped_as_it_was_written(tmp_path: Path, root: str) -> None:
    (tmp_path / "run.yaml").write_text(f"{FOLDER}, root: {root}}}\n")
    data = load(tmp_path / "run.yaml").data
    assert isinstance(data, FolderSpec)
    assert data.root == Path(root)
    assert f"root: {root}\n" in dump(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_names": ("a", "b", "a")}, "`class_names` has a twice"),
        (
            {"class_names": ("a", "b"), "encoding": {"ignore": 1}},
            "`ignore` 1 is the id of class 'b'; use 2 or more, 255 as a rule",
        ),
        ({"class_names": ("a", "b"), "encoding": {"map": {1: 0, 2: 2}}}, "maps to class 2, but `class_names` has 2: 0"),
        ({"class_names": ("a", "b"), "encoding": {"map": {1: 0, 0: "ignore"}}}, "maps no id to b; every class needs"),
        (
            {"class_names": ("a", "b"), "encoding": {"ignore": 0, "map": {0: 0, 2: 1}}},
            "`ignore` 0 is class 0 in `map`; remove `ignore`, or map 0 to ignore",
        ),
        (
            {"class_names": ("a", "b"), "encoding": {"map": {"1": 0, "02": 1}}},
            "02 is not how an id is written; write 2",
        ),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FolderSpec(kind="folder", **fields)


def test_a_map_may_use_the_id_that_is_ignored_by_default() -> None:
    encoding = IdsSpec(map={0: 0, 255: 1})
    assert FolderSpec(kind="folder", class_names=("a", "b"), encoding=encoding).encoding == encoding


def test_a_share_of_one_leaves_nothing_to_train_on(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, split: {{kind: share, val: 1}}}}\n") == [
        "run.yaml:3: data.split.val: must be below 1, not 1"
    ]


def test_ids_are_keys_of_a_map(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"{FOLDER}, encoding: {{map: {{0: ignore, 1: 0, 2: 1}}}}}}\n")
    data = load(tmp_path / "run.yaml").data
    assert isinstance(data, FolderSpec) and isinstance(data.encoding, IdsSpec)
    assert data.encoding.map == {0: "ignore", 1: 0, 2: 1}
    for ending in ("yaml", "json"):
        dump(load(tmp_path / "run.yaml"), tmp_path / f"again.{ending}")
        assert load(tmp_path / f"again.{ending}").data == data


def test_black_is_ignored_unless_it_is_a_class() -> None:
    assert ColoursSpec(kind="colours", colours=((1, 1, 1), (2, 2, 2))).ignore == ((0, 0, 0),)
    assert ColoursSpec(kind="colours", colours=((0, 0, 0), (2, 2, 2))).ignore == ()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("{kind: group, pattern: '(.+'}", "data.split.pattern: '(.+' is not a regular expression: missing )"),
        ("{kind: group, pattern: x_}", "data.split.pattern: 'x_' has no group; put what names the video"),
        ("{kind: folders, val: [Train]}", "data.split.val: train is also in `train`; a folder belongs to one split"),
    ],
)
def test_splits_that_cannot_be_meant_are_refused(split: str, message: str, complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, split: {split}}}\n")[0].startswith(f"run.yaml:3: {message}")


def test_a_split_of_another_kind_is_told_the_kinds(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, split: {{kind: lists}}}}\n") == [
        "run.yaml:3: data.split.kind: must be share, group, folders, list or column, not 'lists'; did you mean list?"
    ]


def test_a_path_that_is_no_text_is_refused(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, root: 5}}\n") == ["run.yaml:3: data.root: must be a path, not 5"]
