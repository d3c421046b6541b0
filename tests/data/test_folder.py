from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError, open_dataset
from stdc_search.data.dataset import Dataset, Split
from stdc_search.data.splits import split_by_share
from stdc_search.spec.data import FolderSpec
from stdc_search.spec.splits import SplitByList, SplitByShare
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
    with pytest.raises(DataError, match="1 images are in both train and val: b"):
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
    with pytest.warns(UserWarning, match=r"1 masks have no image: .*c\.png"):
        assert len(opened(root)) == 1


def test_two_images_of_one_name_are_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    write_image(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png have the same name"):
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
    with pytest.raises(DataError, match=r"masks: contains no file that ends in \.png"):
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
    with pytest.raises(DataError, match=r"has class id 2 .*; legal ids are 0 \(road\) to 1 \(tree\), and 255"):
        data[0]


@pytest.mark.parametrize("suffix", ["_mask", "-gt", ".labels", " mask", "_gtFine_labelIds"])
def test_masks_may_have_the_name_of_their_image_and_one_suffix(suffix: str, folder: Writer) -> None:
    root = folder("day/1", "day/10", "night/1")
    for path in [*(root / "masks").rglob("*.png")]:
        path.rename(path.with_name(f"{path.stem}{suffix}.png"))
    both = opened(root), opened(root, "val")
    assert sorted(names(both[0]) + names(both[1])) == ["day/1", "day/10", "night/1"]
    assert all(one.files(i)[1].name == f"{one.name(i)[-2:].strip('/')}{suffix}.png" for one in both for i in range(1))


def test_masks_with_several_suffixes_are_an_error_that_names_pairs(folder: Writer) -> None:
    root = folder("a", "b")
    for path in [*(root / "masks").iterdir()]:
        shutil.copy(path, path.with_name(f"{path.stem}_colour.png"))
        path.rename(path.with_name(f"{path.stem}_ids.png"))
    named = r"masks there are named like ([ab])_colour\.png, \1_ids\.png\."
    with pytest.raises(DataError, match=rf"2 of 2 images .*; {named} .* list the pairs in a CSV file .* `data.pairs`"):
        opened(root)


def test_a_suffix_that_is_part_of_another_name_pairs_nothing(folder: Writer) -> None:
    root = folder("a1", "a2")
    for number, name in enumerate(("a11", "a22"), start=1):
        (root / "masks" / f"a{number}.png").rename(root / "masks" / f"{name}.png")
    with pytest.raises(DataError, match="2 of 2 images have no mask"):
        opened(root)


def test_photos_and_masks_may_lie_in_one_folder(folder: Writer) -> None:
    root = folder("a", "b")
    for path in [*(root / "masks").iterdir()]:
        path.rename(root / "images" / path.name)
    data = opened(root, masks="images")
    assert [path.suffix for path in data.files(0)] == [".jpg", ".png"] and len(opened(root, "val", masks="images")) == 1


def test_pngs_and_masks_in_one_folder_are_told_apart_by_the_suffix_of_masks(folder: Writer) -> None:
    root = folder()
    for name in "abc":
        write_image(root / f"{name}.png")
        write_mask(root / f"{name}_mask.png")
    data = opened(root, images=".", masks=".")
    assert [path.name for path in data.files(0)] == [f"{data.name(0)}.png", f"{data.name(0)}_mask.png"]
    assert sorted(names(data) + names(opened(root, "val", images=".", masks="."))) == ["a", "b", "c"]


def test_photos_beside_masks_with_a_suffix_may_be_jpegs_and_pngs(folder: Writer) -> None:
    root = folder()
    for name in ("a.jpg", "b.jpg", "b_2.jpg", "c.png", "sub/d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / name)
        write_mask((root / name).with_name(f"{Path(name).stem}_mask.png"))
    both = [opened(root, side, images=".", masks=".") for side in ("train", "val")]
    assert sorted(name for data in both for name in names(data)) == ["a", "b", "b_2", "c", "sub/d"]
    assert all(f"{one.name(i)}_mask.png" == one.files(i)[1].relative_to(root).as_posix() for one in both for i in (0,))


def test_jpegs_and_pngs_of_one_name_are_pairs_whatever_they_add_to_other_names(folder: Writer) -> None:
    root = folder("a", "a_2", "b", "b_2")
    for path in [*(root / "masks").iterdir()]:
        path.rename(root / "images" / path.name)
    data = opened(root, masks="images")
    assert {path.suffix for i in range(len(data)) for path in data.files(i)[:1]} == {".jpg"}
    assert len(data) + len(opened(root, "val", masks="images")) == 4


def test_pngs_and_masks_in_one_folder_cannot_be_told_apart(folder: Writer) -> None:
    root = folder("a", "b")
    with pytest.raises(
        DataError, match=r"no file that ends in \.jpg .*; .* holds a\.png, b\.png\. .* two folders, or list"
    ):
        opened(root, images="masks")


@pytest.mark.parametrize("ending", ["bmp", "tif", "TIFF"])
def test_masks_may_have_other_lossless_formats(ending: str, folder: Writer) -> None:
    root = folder("a", "b")
    for path in [*(root / "masks").iterdir()]:
        with Image.open(path) as mask:
            mask.save(path.with_suffix(f".{ending}"))
        path.unlink()
    assert opened(root)[0][1].unique().tolist() == [0, 1]


def test_masks_of_a_lossy_format_are_named_with_the_endings_that_work(folder: Writer) -> None:
    root = folder("a", "b")
    for path in [*(root / "masks").iterdir()]:
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(DataError, match=r"contains no file that ends in \.png .* holds a\.jpg, b\.jpg"):
        opened(root)


def test_linked_folders_are_followed(folder: Writer) -> None:
    root = folder("a", "b")
    for kind in ("images", "masks"):
        (root / "far" / kind).mkdir(parents=True)
        for path in [*(root / kind).iterdir()]:
            shutil.copy(path, root / "far" / kind / f"c{path.name}")
        (root / kind / "linked").symlink_to(root / "far" / kind)
    both = names(opened(root)) + names(opened(root, "val"))
    assert sorted(both) == ["a", "b", "linked/ca", "linked/cb"]


WAYS = {
    "name": "{name}",
    "ending": "{name}.jpg",
    "from the root": "images/{name}.jpg",
    "from here": "./{name}.jpg",
    "absolute": "{root}/images/{name}.jpg",
    "over a link": "{root}/../alias/images/{name}.jpg",
    "as on windows": "images\\{name}.jpg",
    "with its mask": "{name}.jpg {name}.png",
    "with paths": "images/{name}.jpg masks/{name}.png",
    "with absolute paths": "{root}/images/{name}.jpg {root}/masks/{name}.png",
    "parted by commas": "images/{name}.jpg, masks/{name}.png",
    "parted by tabs": "images/{name}.jpg\tmasks/{name}.png",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_lists_may_write_an_image_in_any_of_these_ways(way: str, folder: Writer) -> None:
    root = folder("x/a", "b")
    (root.parent / "alias").symlink_to(root)
    how = listed(root, *(way.format(name=name, root=root) + "\n" for name in ("x/a", "b")))
    data = opened(root, **how)
    assert names(data) == ["x/a"] and [file.name for file in data.files(0)] == ["a.jpg", "a.png"]
    assert names(opened(root, "val", **how)) == ["b"]


def test_a_name_on_a_list_may_have_a_space(folder: Writer) -> None:
    root = folder("my photo", "b")
    how = listed(root, "my photo.jpg", "b")
    assert names(opened(root, **how)) == ["my photo"]


def test_a_list_may_name_masks_of_any_name(folder: Writer) -> None:
    root = folder("a", "b")
    (root / "masks" / "a.png").rename(root / "masks" / "other.png")
    how = listed(root, "a.jpg other.png", "b")
    assert opened(root, **how).files(0)[1] == root / "masks" / "other.png"


def test_a_mask_on_a_list_that_is_not_there_is_an_error(folder: Writer) -> None:
    root = folder("a", "b")
    with pytest.raises(DataError, match="1 of 2 images have no mask: a"):
        opened(root, **listed(root, "a.jpg other.png", "b"))


@pytest.mark.parametrize(("stored", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accented_names_pair_however_they_are_spelt(stored: str, written: str, folder: Writer) -> None:
    there, asked = (unicodedata.normalize(form, "caf\u00e9") for form in (stored, written))
    root = folder(there, "b")
    (root / "masks" / f"{there}.png").rename(root / "masks" / f"{asked}.png")
    assert len(names(opened(root, **listed(root, f"{asked}.jpg", "b")))) == 1
    rows = f"image,mask,split\nimages/{asked}.jpg,masks/{there}.png,train\nimages/b.jpg,masks/b.png,val\n"
    assert opened(root, **write_pairs(root, rows), split={"kind": "column"})[0][1].shape


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


ROWS = (("image", "mask"), ("images/a.jpg", "masks/a.png"), ("images/b.jpg", "masks/b.png"))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("beyond", ["", ",,", ",\n,,,\n,"])
def test_pairs_may_come_from_a_spreadsheet(mark: str, encoding: str, beyond: str, folder: Writer) -> None:
    root = folder("a", "b")
    text = "\n".join(mark.join(row) + beyond.replace(",", mark) for row in ROWS)
    how = write_pairs(root, "")
    (root / "pairs.csv").write_bytes(text.encode(encoding))
    assert len(opened(root, **how)) == 1


def test_pairs_may_be_absolute(folder: Writer) -> None:
    root = folder("a", "b")
    how = write_pairs(root, "image,mask\n" + "".join(f"{root}/images/{n}.jpg,{root}/masks/{n}.png\n" for n in "ab"))
    assert sorted(names(opened(root, **how)) + names(opened(root, "val", **how))) == ["images/a", "images/b"]


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
            "has no column image, or several; its first line has picture, mask; the first line must name",
        ),
        ("image,mask\n", "has no lines after the header"),
        ("image,mask\n\n\nimages/a.jpg\n", r"pairs\.csv:4: has a different number of cells than the first line"),
        (
            "image,mask\nimages/a.jpg,masks/a.png\nimages/./a.jpg,masks/b.png\n",
            r"pairs\.csv:3: images/a\.jpg has the same name as",
        ),
        (
            "image,mask\nimages/a.jpg,masks/a.png\nimages/a.png,masks/b.png\n",
            r"pairs\.csv:3: images/a\.png has the same name as",
        ),
        ("image,mask\nmasks/a.png,masks/a.png\n", r"pairs\.csv:2: masks/a\.png is given as both image and mask"),
        ("image,mask\nimages/a.jpg,\n", r"pairs\.csv:2: lacks an image or a mask"),
        (
            "image,mask\nimages/a.jpg,masks/z.png\n",
            r"1 of the listed files cannot be found: .*z\.png; did you mean `[ab].png`",
        ),
        ("image,mask,split\nimages/a.jpg,masks/a.png,training\n", "unknown split 'training'; use train, val or test"),
        (
            "image,mask,split\nimages/a.jpg,masks/a.png,train\n",
            r"has a column `split`; use it with `split: \{kind: column\}`",
        ),
        (
            "image,mask\n" + "images/a.jpg,masks/a.png\n" * 2,
            r"pairs\.csv:3: images/a\.jpg has the same name as .*; list each image once",
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
    with pytest.raises(DataError, match="no line has val in its column `split`"):
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
    with pytest.raises(
        DataError, match=r"has no column split, or several; .* must name the columns: `image,mask,split`"
    ):
        opened(root, **how, split={"kind": "column"})


def test_folders_may_say_the_split(folder: Writer) -> None:
    root = folder("Train/a", "train/deep/b", "valid/c", "test/d")
    how = {"split": {"kind": "folders"}}
    assert names(opened(root, **how)) == ["Train/a", "train/deep/b"]
    assert names(opened(root, "val", **how)) == ["valid/c"]


def test_frames_of_one_video_stay_together(folder: Writer) -> None:
    root = folder(*(f"{video}_{frame}" for video in ("x", "y", "z") for frame in range(4)))
    how = {"split": {"kind": "group", "pattern": "(.+)_[0-9]+$", "val": 0.4}}
    train, val = ({name.split("_")[0] for name in names(opened(root, side, **how))} for side in ("train", "val"))
    assert len(train) == 2 and len(val) == 1 and not train & val


def test_a_photo_of_a_format_that_is_not_read_is_named_with_a_remedy(folder: Writer) -> None:
    root = folder("a", "b")
    (root / "images" / "c.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(DataError, match=r"c\.HEIC: is a HEIC photo, a format that cannot be read; convert it to JPEG"):
        opened(root)
    write_image(root / "images" / "c.jpg")
    write_mask(root / "masks" / "c.png")
    assert len(opened(root)) == 2


def test_ids_may_be_mapped_to_classes(folder: Writer) -> None:
    root = folder("a", "b")
    for name in "ab":
        write_mask(root / "masks" / f"{name}.png", np.array([[0, 3, 7, 255]]).repeat(6, 0).repeat(2, 1))
    data = opened(root, encoding={"map": {0: "ignore", 7: 0, 3: 1}})
    assert data[0][1][0, ::2].tolist() == [255, 1, 0, 255]
    with pytest.raises(DataError, match=r"has class id 0 .* legal ids are 3 \(tree\) to 7 \(road\), and 255"):
        opened(root, encoding={"map": {7: 0, 3: 1}})[0]


def test_black_may_be_the_colour_of_a_class(folder: Writer) -> None:
    root = folder("a", "b")
    for name in "ab":
        Image.new("RGB", (8, 6)).save(root / "masks" / f"{name}.png")
    data = opened(root, encoding={"kind": "colours", "colours": [[0, 0, 0], [9, 9, 9]]})
    assert data[0][1].unique().tolist() == [0]
