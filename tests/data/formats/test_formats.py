"""The same scene, written as each tool writes it, gives the same labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from stdc_search.data import DataError, open_dataset
from stdc_search.data.contents import look
from stdc_search.data.formats import FORMATS, recognise
from stdc_search.data.survey import faults, open_what_can_be, survey
from stdc_search.spec.annotations import kinds_of
from stdc_search.spec.data import DataSpec, FolderSpec
from stdc_search.spec.own import OwnSpec
from tests.data.formats.conftest import SPEC, Opened
from tests.data.formats.scene import NAMES, SPLITS, WRITERS, label_of

each_kind = pytest.mark.parametrize("kind", WRITERS)
each_named = pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "hub"])  # which has no names


def test_every_format_has_the_scene() -> None:
    tools = [spec for spec in get_args(get_args(DataSpec)[0]) if issubclass(spec, OwnSpec) and spec is not FolderSpec]
    assert {kind for spec in tools for kind in kinds_of(spec)} == {*WRITERS} and len(FORMATS) == len(WRITERS)


@each_kind
def test_the_labels_are_those_of_the_scene(kind: str, opened: Opened) -> None:
    for split, names in SPLITS.items():
        data = opened(kind, split)
        found = [Path(data.name(index)).name for index in range(len(data))]
        assert found == (["000000", "000001"] if kind == "hub" else list(names)), "rows of a table have numbers"
        for index, name in enumerate(names):
            assert data.label(index).tolist() == label_of(name).tolist()
            assert data[index][0].shape == (3, *label_of(name).shape)


@each_named
def test_classes_follow_the_order_of_the_spec(kind: str, opened: Opened) -> None:
    label = opened(kind, class_names=NAMES[::-1]).label(0)
    assert (2 - label).tolist() == label_of("a").tolist()


@each_named
def test_a_map_says_what_becomes_of_other_names(kind: str, opened: Opened) -> None:
    label = opened(kind, class_names=("background", "road"), map={"car": "ignore"}).label(0)
    assert label.tolist() == [[{0: 0, 1: 1, 2: 255}[id] for id in row] for row in label_of("a").tolist()]
    rest = opened(kind, class_names=("background", "road"), map={"*": "road"}).label(0)
    assert rest.tolist() == label_of("a").clip(max=1).tolist()


@each_named
def test_a_name_that_the_spec_lacks_is_an_error_with_the_line_to_write(kind: str, opened: Opened) -> None:
    with pytest.raises(DataError, match=r"has 'car', which `data.class_names` .* or write `map: \{car: ignore\}`"):
        opened(kind, class_names=("background", "road"))


@each_named
def test_a_name_that_the_tool_lacks_is_an_error_with_the_nearest_one(kind: str, opened: Opened) -> None:
    with pytest.raises(DataError, match=r"no 'rod' of `data.class_names`; did you mean 'road'(.|\n)*`class_names: \["):
        opened(kind, class_names=("background", "rod", "car"))
    with pytest.raises(DataError, match=r"has no 'tree' of `data.map`"):
        opened(kind, map={"tree": "ignore"})


@each_kind
def test_the_folder_is_recognised(kind: str, opened: Opened, root: Path) -> None:
    opened(kind)
    section = recognise(root)
    assert section is not None and section["kind"] == kind
    assert kind == "hub" or {*section["class_names"]} == {*NAMES}
    section |= {"class_names": NAMES} if kind == "hub" else {}
    data = open_dataset(SPEC.validate_python({**section, "root": root}), "train")
    assert data.label(0).shape == label_of("a").shape


@each_kind
def test_a_survey_finds_no_problem(kind: str, opened: Opened, root: Path) -> None:
    spec = spec_of(kind, opened, root)
    found, problems = open_what_can_be(spec)
    surveys = {split: survey(data, split) for split, data in found.items()}
    assert [*problems, *(problem for one in surveys.values() for problem in one.problems), *faults(spec, surveys)] == []
    assert surveys["train"].samples == 2


@each_kind
def test_a_label_that_changes_changes_the_fingerprint_of_its_image_alone(kind: str, opened: Opened, root: Path) -> None:
    spec = spec_of(kind, opened, root)
    marks = look(spec, {"train": open_dataset(spec, "train")}).files["train"]
    assert look(spec, {"train": open_dataset(spec, "train")}).files["train"] == marks
    assert len(marks) == 2 and all(len(files) == 2 for files in marks.values())


@each_named
def test_a_missing_image_is_named(kind: str, opened: Opened, root: Path) -> None:
    opened(kind)
    for image in [*root.rglob("a.jpg"), *root.rglob("a.png")]:
        if "ask" not in image.name and image.parent.name != "SegmentationClass":
            image.unlink()
    with pytest.raises(DataError, match=r"\ba\b"):
        opened(kind)
    problems: list[str] = []
    assert len(opened(kind, problems=problems)) == 1
    assert len(problems) == 1 and "a" in problems[0]


@each_kind
def test_other_folders_are_not_recognised(kind: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert recognise(tmp_path) is None


def spec_of(kind: str, opened: Opened, root: Path) -> Any:
    opened(kind)
    shutil.rmtree(root)
    return SPEC.validate_python({"root": root, "class_names": NAMES, **WRITERS[kind](root)})
