from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError, open_dataset
from stdc_search.data.dataset import Dataset, Split
from stdc_search.data.folder import split_by_share
from stdc_search.spec.data import FolderSpec, SplitByList, SplitByShare
from tests.data.conftest import write_image, write_mask

Writer = Callable[..., Path]
NAMES = [f"n{k}" for k in range(10)]


def opened(root: Path, side: Split = "train", **how: object) -> Dataset:
    spec = FolderSpec.model_validate({"kind": "folder", "root": root, "class_names": ("road", "tree"), **how})
    return open_dataset(spec, side)


def listed(root: Path, train: str, val: str) -> dict[str, object]:
    """A split by two lists with these lines."""
    (root / "train.txt").write_text(train)
    (root / "val.txt").write_text(val)
    return {"split": SplitByList(kind="list")}


def names(data: Dataset) -> list[str]:
    return [data.name(index) for index in range(len(data))]


def test_a_share_is_held_back_and_no_image_is_lost(folder: Writer) -> None:
    root = folder(*NAMES)
    train, val = names(opened(root)), names(opened(root, "val"))
    assert len(val) == 2
    assert sorted(train + val) == NAMES


def test_the_seed_draws_another_share() -> None:
    drawn = {tuple(split_by_share(NAMES, 0.3, seed, Path())["val"]) for seed in range(5)}
    assert len(drawn) > 1


def test_the_share_does_not_depend_on_the_order_on_disk() -> None:
    assert split_by_share(NAMES, 0.3, 0, Path()) == split_by_share(NAMES[::-1], 0.3, 0, Path())


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("images", [2, 3, 7])
def test_each_side_has_an_image(share: float, images: int) -> None:
    sides = split_by_share(NAMES[:images], share, 0, Path())
    assert sides["train"] and sides["val"]


def test_a_new_image_moves_at_most_one_other_across() -> None:
    before, after = (set(split_by_share(NAMES[:n], 0.3, 0, Path())["val"]) for n in (9, 10))
    assert len(after - before - {NAMES[9]}) + len(before - after) <= 1


def test_one_image_cannot_be_split(folder: Writer) -> None:
    with pytest.raises(DataError, match="has 1 image; a split into train and val needs at least 2"):
        opened(folder("a"))


def test_lists_name_images_with_or_without_ending(folder: Writer) -> None:
    root = folder("a", "b", "c.d", "unlisted")
    how = listed(root, "a\nb.jpg\n", "c.d\n")
    assert names(opened(root, **how)) == ["a", "b"]
    assert names(opened(root, "val", **how)) == ["c.d"]


def test_sub_folders_are_mirrored(folder: Writer) -> None:
    root = folder("day/a", "night/a")
    how = listed(root, "day/a", "night/a.jpg")
    assert names(opened(root, **how)) == ["day/a"]
    assert names(opened(root, "val", **how)) == ["night/a"]


def test_images_that_are_not_listed_need_no_mask(folder: Writer) -> None:
    root = folder("a", "b")
    write_image(root / "images" / "c.jpg")
    assert len(opened(root, **listed(root, "a", "b"))) == 1


def test_a_listed_image_that_is_missing_is_an_error_with_the_nearest_name(folder: Writer) -> None:
    root = folder("street1", "street2", "b")
    with pytest.raises(DataError, match=r"train\.txt: 1 of 2 names have no image: streat1; did you mean `street1`"):
        opened(root, **listed(root, "streat1\nstreet2", "b"))


def test_an_image_on_both_lists_is_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    with pytest.raises(DataError, match="1 images are both trained on and scored, b"):
        opened(root, **listed(root, "a\nb", "b.jpg"))


def test_an_image_twice_on_a_list_is_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    with pytest.raises(DataError, match=r"train\.txt: names a more than once"):
        opened(root, **listed(root, "a\na.jpg", "b"))


def test_a_missing_list_is_an_error(folder: Writer) -> None:
    with pytest.raises(DataError, match=r"train\.txt: no such list; .* holds images, masks"):
        opened(folder("a", "b"), split=SplitByList(kind="list"))


def test_images_without_masks_are_counted_and_the_way_masks_are_named_is_shown(folder: Writer) -> None:
    root = folder("a", "b", "c")
    for name in "ab":
        (root / "masks" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"2 of 3 images have no mask: .*; masks there are named like c\.png"):
        opened(root)


def test_masks_without_an_image_are_a_warning(folder: Writer) -> None:
    root = folder("a", "b")
    write_mask(root / "masks" / "c.png")
    with pytest.warns(UserWarning, match="1 masks have no image: c"):
        assert len(opened(root)) == 1


def test_two_images_of_one_name_are_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    write_image(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png have one name"):
        opened(root)


@pytest.mark.parametrize(("kind", "meant"), [("images", "imags"), ("masks", "mask")])
def test_a_missing_folder_is_an_error_with_the_nearest_name(kind: str, meant: str, folder: Writer) -> None:
    root = folder("a", "b")
    (root / kind).rename(root / meant)
    with pytest.raises(DataError, match=rf"{kind}: no such folder; did you mean `{meant}`"):
        opened(root)


def test_an_empty_folder_is_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    shutil.rmtree(root / "masks")
    (root / "masks").mkdir()
    with pytest.raises(DataError, match=r"masks: holds no file that ends in \.png"):
        opened(root)


def test_hidden_files_and_other_endings_do_not_count(folder: Writer) -> None:
    root = folder("a", "b")
    for stray in ("images/._a.jpg", "images/.cache/c.jpg", "images/notes.txt", "masks/.DS_Store"):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_bytes(b"stray")
    assert len(opened(root)) + len(opened(root, "val")) == 2


def test_masks_may_lie_below_the_images(folder: Writer) -> None:
    root = folder("a", "b")
    shutil.move(root / "masks", root / "images" / "masks")
    assert len(opened(root, masks="images/masks")) == 1


def test_the_ignored_id_becomes_255(folder: Writer) -> None:
    root = folder("a", "b")
    for name in "ab":
        write_mask(root / "masks" / f"{name}.png", 7)
    assert opened(root, encoding={"ignore": 7})[0][1].unique().tolist() == [255]


def test_an_unknown_id_is_an_error_when_it_is_read(folder: Writer) -> None:
    root = folder("a", "b")
    for name in "ab":
        write_mask(root / "masks" / f"{name}.png", 2)
    data = opened(root, split=SplitByShare(kind="share"))
    with pytest.raises(DataError, match=r"has class id 2 .*; legal are 0 \(road\) to 1 \(tree\), and 255"):
        data[0]


def write_pairs(root: Path, text: str) -> dict[str, object]:
    (root / "pairs.csv").write_text(text)
    return {"pairs": "pairs.csv"}


def test_pairs_come_from_a_list_of_any_files(folder: Writer) -> None:
    root = folder("a", "b", "c")
    (root / "masks" / "a.png").rename(root / "far.png")
    how = write_pairs(
        root,
        "mask,image,split\nfar.png,images/a.jpg,train\nmasks/b.png, images/b.jpg,val\nmasks/c.png,images/c.jpg,test\n",
    )
    how["split"] = {"kind": "column"}
    assert names(opened(root, **how)) == ["images/a"] and names(opened(root, "val", **how)) == ["images/b"]
    assert opened(root, **how)[0][1].unique().tolist() == [0, 1]


def test_a_list_of_pairs_without_splits_is_split_by_share(folder: Writer) -> None:
    root = folder("a", "b", "c")
    how = write_pairs(root, "image,mask\n" + "".join(f"images/{n}.jpg,masks/{n}.png\n" for n in "abc"))
    both = names(opened(root, **how)) + names(opened(root, "val", **how))
    assert sorted(both) == ["images/a", "images/b", "images/c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "picture,mask\nimages/a.jpg,masks/a.png\n",
            "has no column image, or several; its first line has picture, mask; write",
        ),
        ("image,mask\n", "has no line after its first"),
        ("image;mask\nimages/a.jpg;masks/a.png\n", "its first line has image;mask; cells are parted by commas"),
        ("image,mask\n\n\nimages/a.jpg\n", r"pairs\.csv:4: has more or fewer cells than the first line"),
        (
            "image,mask\nimages/a.jpg,masks/a.png\nimages/./a.jpg,masks/b.png\n",
            r"pairs\.csv:3: images/a\.jpg has the name of",
        ),
        (
            "image,mask\nimages/a.jpg,masks/a.png\nimages/a.png,masks/b.png\n",
            r"pairs\.csv:3: images/a\.png has the name of",
        ),
        ("image,mask\nimages/a.jpg,\n", r"pairs\.csv:2: names no image or no mask"),
        ("image,mask\nimages/a.jpg,masks/z.png\n", r"1 files of it do not exist: .*z\.png; did you mean `[ab].png`"),
        ("image,mask,split\nimages/a.jpg,masks/a.png,training\n", "split 'training'; legal are train, val and test"),
        (
            "image,mask,split\nimages/a.jpg,masks/a.png,train\n",
            r"has a column `split`; use it by `split: \{kind: column\}`",
        ),
        (
            "image,mask\n" + "images/a.jpg,masks/a.png\n" * 2,
            r"pairs\.csv:3: images/a\.jpg has the name of .*; an image counts once",
        ),
    ],
)
def test_a_list_of_pairs_that_cannot_be_used_is_told(folder: Writer, text: str, told: str) -> None:
    root = folder("a", "b")
    with pytest.raises(DataError, match=told):
        opened(root, **write_pairs(root, text))


def test_a_column_of_splits_needs_both(folder: Writer) -> None:
    root = folder("a", "b")
    how = write_pairs(root, "image,mask,split\nimages/a.jpg,masks/a.png,train\n")
    with pytest.raises(DataError, match="no line says val in its column `split`"):
        opened(root, **how, split={"kind": "column"})


def test_masks_may_be_colours_or_black_and_white(folder: Writer) -> None:
    root = folder("a", "b")
    colours = {"encoding": {"kind": "colours", "colours": [[9, 9, 9], [0, 200, 0]], "ignore": [[0, 0, 0]]}}
    for name in "ab":
        pixels = np.array([[[9, 9, 9], [0, 200, 0], [0, 0, 0]]], np.uint8).repeat(6, 0)
        write_image(root / "images" / f"{name}.jpg", size=(6, 3))
        Image.fromarray(pixels).save(root / "masks" / f"{name}.png")
    assert opened(root, **colours)[0][1][0].tolist() == [0, 1, 255]
    for name in "ab":
        Image.fromarray(np.array([[0, 255, 255]], np.uint8).repeat(6, 0)).save(root / "masks" / f"{name}.png")
    assert opened(root, encoding={"kind": "binary"})[0][1][0].tolist() == [0, 1, 1]


def test_columns_may_be_padded_and_paths_written_as_on_windows(folder: Writer) -> None:
    root = folder("a", "b")
    how = write_pairs(root, "image , mask\nimages\\a.jpg , masks\\a.png\nimages/b.jpg,masks/b.png\n")
    assert sorted(names(opened(root, **how)) + names(opened(root, "val", **how))) == ["images/a", "images/b"]


def test_a_column_of_splits_that_is_not_there_is_told(folder: Writer) -> None:
    root = folder("a", "b")
    how = write_pairs(root, "image,mask\nimages/a.jpg,masks/a.png\n")
    with pytest.raises(DataError, match=r"has no column split, or several; .* write `image,mask,split` there"):
        opened(root, **how, split={"kind": "column"})
