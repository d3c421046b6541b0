from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest

from stdc_search.data import DataError, open_dataset
from stdc_search.data.dataset import Split
from stdc_search.data.imagenet import ClassFolders
from stdc_search.spec.data import ImagenetSpec
from tests.data.conftest import write_image


def opened(root: Path, split: Split = "train", classes: int = 3) -> ClassFolders:
    data = open_dataset(ImagenetSpec(kind="imagenet", root=root, classes=classes), split)
    assert isinstance(data, ClassFolders)
    return data


def test_folders_are_classes_in_the_order_of_their_names(class_folders: Path) -> None:
    data = opened(class_folders)
    assert data.class_names == ("ant", "bee", "cat")
    assert [(data.name(i), int(data[i][1])) for i in range(len(data))] == [
        (f"{name}/{name}-{image}", label) for label, name in enumerate(data.class_names) for image in "ab"
    ]


def test_linked_class_folders_and_images_are_followed(class_folders: Path) -> None:
    shutil.move(class_folders / "train" / "bee", class_folders / "elsewhere")
    (class_folders / "train" / "bee").symlink_to(class_folders / "elsewhere")
    (class_folders / "train" / "ant" / "ant-c.jpg").symlink_to("ant-a.jpg")
    data = opened(class_folders)
    assert [data.name(i) for i in range(len(data))][:5] == [
        "ant/ant-a",
        "ant/ant-b",
        "ant/ant-c",
        "bee/bee-a",
        "bee/bee-b",
    ]


def test_a_linked_image_that_is_not_there_is_an_error(class_folders: Path) -> None:
    (class_folders / "train" / "ant" / "ant-c.jpg").symlink_to("gone.jpg")
    with pytest.raises(DataError, match=r"ant-c\.jpg: links to gone\.jpg, which does not exist"):
        opened(class_folders)


def test_class_names_are_equal_however_their_accents_are_spelt(class_folders: Path) -> None:
    for split, form in (("train", "NFC"), ("val", "NFD")):
        (class_folders / split / "bee").rename(class_folders / split / unicodedata.normalize(form, "b\u00e9"))
    assert opened(class_folders).class_names == opened(class_folders, "val").class_names


def test_another_number_of_classes_is_an_error_that_names_both(class_folders: Path) -> None:
    with pytest.raises(DataError, match=r"train: has 3 folders, one per class; `data.classes` is 1000; write 3"):
        opened(class_folders, classes=1000)


def test_a_class_that_one_split_lacks_is_an_error(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "val" / "bee")
    with pytest.raises(DataError, match="val: bee is not a class in both train and val"):
        opened(class_folders, "val")


def test_validation_images_without_folders_are_an_error_that_says_what_to_do(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "val")
    write_image(class_folders / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match="val: contains no folder; images must be in one folder per class"):
        opened(class_folders, "val")


def test_a_class_without_images_is_an_error(class_folders: Path) -> None:
    for image in (class_folders / "train" / "cat").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="cat: contains no image"):
        opened(class_folders)


def test_a_missing_split_is_an_error_with_the_nearest_name(class_folders: Path) -> None:
    (class_folders / "train").rename(class_folders / "trian")
    with pytest.raises(DataError, match="train: no such folder; did you mean `trian`"):
        opened(class_folders)


def test_what_is_trained_on_is_not_scored(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "val")
    (class_folders / "val").symlink_to(class_folders / "train")
    with pytest.raises(DataError, match="val: is used for both training and validation"):
        opened(class_folders)


def test_hidden_files_are_no_images_and_nested_folders_are_an_error(class_folders: Path) -> None:
    (class_folders / "train" / "ant" / "._ant-a.jpg").write_bytes(b"stray")
    assert len(opened(class_folders)) == 6
    write_image(class_folders / "train" / "ant" / "more" / "x.jpg")
    with pytest.raises(DataError, match="more: is a folder inside a class folder"):
        opened(class_folders)
