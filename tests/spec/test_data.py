"""Rules of the data that its fields' types do not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stdc_search.spec.base import dump
from stdc_search.spec.data import CAMVID_CLASSES, SIMPLE_CLASSES, CamvidSpec, FolderSpec, ScenesSpec
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
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FolderSpec(kind="folder", **fields)


def test_a_share_of_one_leaves_nothing_to_train_on(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, split: {{kind: share, val: 1}}}}\n") == [
        "run.yaml:3: data.split.val: must be below 1, not 1"
    ]


def test_a_split_of_another_kind_is_told_the_kinds(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, split: {{kind: lists}}}}\n") == [
        "run.yaml:3: data.split.kind: must be list, share or column, not 'lists'; did you mean list?"
    ]


def test_a_path_that_is_no_text_is_refused(complaints: Complaints) -> None:
    assert complaints(f"{FOLDER}, root: 5}}\n") == ["run.yaml:3: data.root: must be a path, not 5"]
