from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stdc_search.data import DataError, open_dataset
from stdc_search.data.camvid import COLOURS, FRAMES, LABELS, open_camvid, split_of
from stdc_search.data.dataset import Dataset, Split
from stdc_search.data.files import LabelledFiles
from stdc_search.spec.data import CamvidSpec
from tests.data.conftest import write_camvid_split, write_image


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
    path.write_bytes("\n".join(map(rewrite, path.read_text("utf-8").splitlines())).encode())
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
        "train/f5.png and 2 more; copy them there, or remove their lines from the list"
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
    with pytest.raises(DataError, match=rf"train\.txt: '{line}' does not have the form"):
        opened(camvid)


def test_a_frame_that_is_listed_twice_is_an_error(camvid: Path) -> None:
    path = camvid / "train.txt"
    path.write_text(path.read_text("utf-8") * 2)
    with pytest.raises(DataError, match="names a1, a2, a3 more than once"):
        opened(camvid)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_frame_in_both_splits_is_an_error(split: Split, camvid: Path) -> None:
    write_camvid_split(camvid, "val", ["b1", "a2"])
    with pytest.raises(DataError, match="1 images are in both train and val: a2; remove them from one list"):
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


def write_original(root: Path, *frames: str) -> Path:
    for frame in frames:
        write_image(root / FRAMES / f"{frame}.png", size=(4, 8))
        colours = [colour for its in COLOURS.values() for colour in its] + [(0, 0, 0)]
        pixels = np.array(colours, np.uint8).reshape(4, 8, 3)
        (root / LABELS).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / LABELS / f"{frame}_L.png")
    return root


def original(root: Path, split: Split, **how: Any) -> LabelledFiles:
    return open_camvid(CamvidSpec(kind="camvid", root=root, layout="original", **how), split, None)


ONE_OF_EACH = ("0001TP_008520", "0001TP_008550", "0006R0_f00930", "0016E5_07959", "0016E5_07980", "Seq05VD_f00000")


def test_the_32_colours_of_the_original_labels_become_11_classes_and_void(tmp_path: Path) -> None:
    data = original(write_original(tmp_path, *ONE_OF_EACH), "train")
    ids = data[0][1].flatten().tolist()
    assert len({colour for its in COLOURS.values() for colour in its}) == 31
    assert tuple(COLOURS) == data.class_names
    assert ids == [i for i, its in enumerate(COLOURS.values()) for _ in its] + [255]


def test_original_frames_are_split_as_the_lists_of_the_copy(tmp_path: Path) -> None:
    root = write_original(tmp_path, *ONE_OF_EACH)

    def frames(split: Split, **how: Any) -> list[str]:
        data = original(root, split, **how)
        return [data.name(i) for i in range(len(data))]

    train, val, test = ONE_OF_EACH[0::2], ONE_OF_EACH[3:4], (ONE_OF_EACH[1], ONE_OF_EACH[5])
    assert (frames("train"), frames("val")) == ([train[0], train[1], train[2]], list(val))
    assert frames("val", val="test") == list(test)
    assert frames("train", train="trainval", val="test") == sorted([*train, *val])


def test_the_rule_of_the_splits_is_that_of_the_published_lists(camvid_root: Path) -> None:
    for split, frames in (("train", 367), ("val", 101)):
        names = [
            Path(line.split()[0]).stem
            for line in (camvid_root / f"{split}.txt").read_text("utf-8").splitlines()
            if line
        ]
        assert len(names) == frames and {split_of(name) for name in names} == {split}


def test_original_frames_without_labels_or_of_another_name_are_errors(tmp_path: Path) -> None:
    root = write_original(tmp_path, *ONE_OF_EACH)
    (root / LABELS / f"{ONE_OF_EACH[0]}_L.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 listed labels are missing: .*0001TP_008520_L\.png"):
        original(root, "train")
    write_image(root / FRAMES / "holiday.png")
    with pytest.raises(DataError, match=r"holiday\.png is not a CamVid frame"):
        original(root, "train")


def test_the_copy_where_the_original_is_meant_is_an_error(camvid: Path) -> None:
    with pytest.raises(DataError, match=f"{FRAMES}: no such folder; .* `data.root` holds {FRAMES} and {LABELS}"):
        original(camvid, "train")
