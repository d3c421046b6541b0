"""Whether a run's data is what it was: moved, touched and copied it is; with a pixel more it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stdc_search.data import open_dataset
from stdc_search.data.contents import Contents, differences, look
from stdc_search.errors import DamagedError
from stdc_search.spec.data import CamvidSpec, DataSpec, FolderSpec, ImagenetSpec, ScenesSpec
from stdc_search.storage import write_atomically
from tests.data.conftest import write_image, write_mask


def contents(spec: DataSpec, before: Contents | None = None) -> Contents:
    return look(spec, {split: open_dataset(spec, split) for split in ("train", "val")}, None, before)


def changed(before: Contents, root: Path) -> list[str]:
    return differences(before.files, contents(CamvidSpec(kind="camvid", root=root)).files)


@pytest.fixture
def began(camvid: Path) -> Contents:
    return contents(CamvidSpec(kind="camvid", root=camvid))


def test_data_that_moved_is_the_same(began: Contents, camvid: Path, tmp_path: Path) -> None:
    assert changed(began, Path(shutil.move(camvid, tmp_path / "elsewhere"))) == []


def test_files_that_were_copied_with_other_times_are_the_same(began: Contents, camvid: Path) -> None:
    for path in camvid.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    assert changed(began, camvid) == []


def test_images_added_removed_and_changed_are_counted_and_named(began: Contents, camvid: Path) -> None:
    write_image(camvid / "train" / "a4.png")
    write_mask(camvid / "trainannot" / "a4.png")
    write_image(camvid / "train" / "a2.png", (5, 4))
    (camvid / "train.txt").write_text(
        "".join(f"train/{name}.png trainannot/{name}.png\n" for name in ("a2", "a3", "a4"))
    )
    assert changed(began, camvid) == [
        "train images: 1 added (train/a4.png), 1 removed (train/a1.png), 1 changed (train/a2.png)"
    ]


def test_a_mask_that_changed_changes_its_image(began: Contents, camvid: Path) -> None:
    write_mask(camvid / "valannot" / "b1.png", 3)
    assert changed(began, camvid) == ["val images: 1 changed (val/b1.png)"]


def test_a_mask_with_other_pixels_and_the_same_number_of_bytes_is_another_one(camvid: Path) -> None:
    mask = camvid / "valannot" / "b1.png"
    size = write_mask(mask, 3).stat().st_size
    before = contents(CamvidSpec(kind="camvid", root=camvid))
    assert write_mask(mask, 4).stat().st_size == size
    assert changed(before, camvid) == ["val images: 1 changed (val/b1.png)"]


def test_an_image_on_the_other_side_of_the_split_is_noticed(folder: Callable[..., Path]) -> None:
    root = folder(*"abcdef")
    spec = FolderSpec(kind="folder", root=root, class_names=("road", "tree"))
    before = contents(spec)
    other = contents(
        FolderSpec(kind="folder", root=root, class_names=("road", "tree"), split={"kind": "share", "val": 0.5})
    )  # pyright: ignore
    train, val = differences(before.files, other.files)
    assert "removed" in train and "added" in val


def test_only_the_splits_that_are_asked_for_are_compared(began: Contents, camvid: Path) -> None:
    write_mask(camvid / "valannot" / "b1.png", 3)
    now = contents(CamvidSpec(kind="camvid", root=camvid))
    assert differences(began.files, now.files, ("train",)) == []


def test_labels_are_read_once(began: Contents, camvid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stdc_search.data.contents.count_labels", None)
    assert contents(CamvidSpec(kind="camvid", root=camvid), began).labels == began.labels


def test_files_and_labels_are_told_to_the_end(camvid: Path) -> None:
    spec = CamvidSpec(kind="camvid", root=camvid)
    told: dict[tuple[str, str], tuple[int, int]] = {}
    splits = {split: open_dataset(spec, split) for split in ("train", "val")}
    look(spec, splits, told=lambda what, split, *counts: told.update({(what, split): counts}))
    assert told == {(what, split): (n, n) for what in ("files", "labels") for split, n in (("train", 3), ("val", 2))}


def test_a_mask_with_the_old_time_and_another_size_is_noticed(began: Contents, camvid: Path) -> None:
    mask = camvid / "valannot" / "b1.png"
    time = mask.stat().st_mtime_ns
    write_mask(mask, np.full((6, 8), 3))
    os.utime(mask, ns=(time, time))
    now = look(
        CamvidSpec(kind="camvid", root=camvid),
        {"val": open_dataset(CamvidSpec(kind="camvid", root=camvid), "val")},
        None,
        began,
    )
    assert differences(began.files, now.files, ("val",)) == ["val images: 1 changed (val/b1.png)"]


def test_contents_that_are_written_again_are_read_again(began: Contents, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(began.model_dump_json())
    assert Contents.read(path) is Contents.read(path)
    other = began.model_copy(update={"files": {}})
    write_atomically(path, other.model_dump_json())
    assert Contents.read(path) == other


def test_labels_that_changed_are_read_again(began: Contents, camvid: Path) -> None:
    write_mask(camvid / "valannot" / "b1.png", np.full((6, 8), 3))
    again = contents(CamvidSpec(kind="camvid", root=camvid), began)
    assert again.labels["val"].labelled[3] > began.labels["val"].labelled[3]


def test_labels_that_are_read_in_another_way_are_read_again(folder: Callable[..., Path]) -> None:
    root = folder("a", "b")
    before = contents(FolderSpec(kind="folder", root=root, class_names=("road", "tree")))
    after = contents(FolderSpec(kind="folder", root=root, class_names=("road", "tree", "car")), before)
    assert len(after.labels["train"].labelled) == 3


def test_contents_are_read_as_they_were_written(began: Contents, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(began.model_dump_json())
    assert Contents.read(tmp_path / "data.json") == began
    assert Contents.read(tmp_path / "other.json") is None


def test_damaged_contents_are_named(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"data\.json: damaged; delete it"):
        Contents.read(tmp_path / "data.json")


def test_scenes_have_labels_and_no_files() -> None:
    found = contents(ScenesSpec(kind="scenes", size=(32, 40), train=2, val=1))
    assert found.files == {"train": {}, "val": {}}
    assert found.labels["train"].samples == 2 and sum(found.labels["train"].labelled) > 0


def test_class_folders_have_a_file_an_image(class_folders: Path) -> None:
    found = contents(ImagenetSpec(kind="imagenet", root=class_folders, classes=3))
    assert len(found.files["train"]) == 6 and all(len(files) == 1 for files in found.files["train"].values())
