from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stdc_search.data import DataError, open_dataset
from stdc_search.data.dataset import Dataset, Split
from stdc_search.spec.data import CamvidSpec
from tests.data.conftest import write_camvid_split


def opened(root: Path, split: Split = "train", **how: object) -> Dataset:
    return open_dataset(CamvidSpec(kind="camvid", root=root, **how), split)


def names(data: Dataset) -> list[str]:
    return [data.name(index) for index in range(len(data))]


def test_a_split_holds_the_frames_of_its_list_in_its_order(camvid: Path) -> None:
    assert names(opened(camvid)) == ["a1", "a2", "a3"]
    assert names(opened(camvid, "val")) == ["b1", "b2"]


def test_void_is_255(camvid: Path) -> None:
    assert opened(camvid)[0][1].flatten()[:14].tolist() == [*range(11), 255, 0, 1]


def test_trainval_is_both_lists(camvid: Path) -> None:
    write_camvid_split(camvid, "test", ["c1"])
    assert names(opened(camvid, train="trainval", val="test")) == ["a1", "a2", "a3", "b1", "b2"]
    assert names(opened(camvid, "val", train="trainval", val="test")) == ["c1"]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda line: line.replace("train", "/SegNet/CamVid/train"),
        lambda line: line.replace("train/", ".\\train\\").replace("trainannot/", ".\\trainannot\\"),
        lambda line: f"  {line}\r\n\r",
        lambda line: line.replace("1.png ", "1.jpg "),
    ],
    ids=["prefix", "backslashes", "carriage returns and blank lines", "another ending"],
)
def test_lists_are_read_in_the_forms_that_go_about(rewrite: Callable[[str], str], camvid: Path) -> None:
    path = camvid / "train.txt"
    path.write_bytes("\n".join(map(rewrite, path.read_text().splitlines())).encode())
    assert names(opened(camvid)) == ["a1", "a2", "a3"]
    assert opened(camvid)[2][0].shape == (3, 6, 8)


def test_images_may_be_jpegs_where_the_list_says_png(camvid: Path) -> None:
    write_camvid_split(camvid, "val", ["d1"], ending="jpg")
    assert opened(camvid, "val")[0][0].shape == (3, 6, 8)


def test_a_missing_list_is_an_error_with_the_nearest_name(camvid: Path) -> None:
    (camvid / "val.txt").rename(camvid / "vals.txt")
    with pytest.raises(
        DataError, match=r"val\.txt: no such list; did you mean `vals\.txt`\?; `data\.root`, or --data-root"
    ):
        opened(camvid, "val")


def test_training_alone_needs_no_list_of_the_other_split(camvid: Path) -> None:
    (camvid / "val.txt").unlink()
    assert len(opened(camvid)) == 3


def test_a_missing_split_says_what_is_there(camvid: Path) -> None:
    with pytest.raises(DataError, match=r"test\.txt: no such list; .* holds train, train\.txt, trainannot, val"):
        opened(camvid, "val", val="test")


def test_missing_images_are_counted_and_the_first_five_named(camvid: Path) -> None:
    frames = [f"f{k}" for k in range(8)]
    write_camvid_split(camvid, "train", frames)
    for frame in frames[1:]:
        (camvid / "train" / f"{frame}.png").unlink()
    with pytest.raises(DataError) as error:
        opened(camvid)
    assert str(error.value) == (
        f"{camvid}: 7 of 8 listed images are missing: train/f1.png, train/f2.png, train/f3.png, train/f4.png, "
        "train/f5.png and 2 more; copy them there, or take their lines out of the list"
    )


def test_an_image_without_its_label_is_an_error(camvid: Path) -> None:
    (camvid / "trainannot" / "a2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 listed labels are missing: trainannot/a2\.png; copy"):
        opened(camvid)


def test_a_missing_folder_of_labels_says_what_is_there(camvid: Path) -> None:
    (camvid / "trainannot").rename(camvid / "trainanot")
    with pytest.raises(DataError, match=r"3 of 3 listed labels are missing.*did you mean `trainanot`"):
        opened(camvid)


@pytest.mark.parametrize("line", ["train/a1.png", "a1.png trainannot/a1.png", "train/a1.png trainannot/a1.png 3"])
def test_a_line_of_another_form_is_quoted(line: str, camvid: Path) -> None:
    (camvid / "train.txt").write_text(line)
    with pytest.raises(DataError, match=rf"train\.txt: '{line}' is not of the form"):
        opened(camvid)


def test_a_frame_that_is_listed_twice_is_an_error(camvid: Path) -> None:
    path = camvid / "train.txt"
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match="names a1, a2, a3 more than once"):
        opened(camvid)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_frame_in_both_splits_is_an_error(split: Split, camvid: Path) -> None:
    write_camvid_split(camvid, "val", ["b1", "a2"])
    with pytest.raises(DataError, match="1 images are both trained on and scored, a2; take them out of one list"):
        opened(camvid, split)


def test_training_on_what_is_scored_is_an_error(camvid: Path) -> None:
    with pytest.raises(ValueError, match=r"`train: trainval` trains on the images of `val: val`; score `test`"):
        CamvidSpec(kind="camvid", train="trainval")


def test_the_real_camvid_has_367_and_101_images_of_360_by_480(camvid_root: Path) -> None:
    train, val = opened(camvid_root), opened(camvid_root, "val")
    assert (len(train), len(val)) == (367, 101)
    seen: set[int] = set()
    for data, index in ((train, 0), (train, 200), (train, 366), (val, 0), (val, 100)):
        image, label = data[index]
        assert image.shape == (3, 360, 480) and label.shape == (360, 480)
        seen |= set(torch.unique(label).tolist())
    assert {0, 1, 3, 5, 8, 255} <= seen <= {*range(11), 255}
