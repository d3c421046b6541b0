from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError, open_dataset
from stdc_search.data.survey import Labels, Survey, count_labels, faults, open_what_can_be, remarks, survey
from stdc_search.spec.data import CAMVID_CLASSES, CamvidSpec, CityscapesSpec, FolderSpec, ImagenetSpec
from tests.data.conftest import SIZE, write_image, write_mask

NAMES = ("road", "tree", "car")


def of_train(spec: CamvidSpec | FolderSpec | ImagenetSpec) -> Survey:
    return survey(open_dataset(spec, "train"), "train")


def listed(root: Path, train: str, val: str) -> FolderSpec:
    """The folder, split by lists of one-letter names."""
    for split, names in (("train", train), ("val", val)):
        (root / f"{split}.txt").write_text("\n".join(names))
    return FolderSpec(kind="folder", root=root, class_names=NAMES, split={"kind": "list"})  # pyright: ignore


def test_pixels_and_images_of_each_class_are_counted(folder: Callable[..., Path]) -> None:
    root = folder("a", "b", "c")
    write_mask(root / "masks" / "a.png", 0)
    write_mask(root / "masks" / "b.png", np.array([[0] * 8, [1] * 8, *[[255] * 8] * 4]))
    found = of_train(listed(root, "ab", "c"))
    assert found.labelled == (48 + 8, 8, 0)
    assert found.images == (2, 1, 0)
    assert found.ignored == 32
    assert found.shares == (87.5, 12.5, 0)
    assert found.ignored_share == pytest.approx(100 * 32 / 96)
    assert found.absent == ("car",)


def test_sizes_are_told_the_commonest_first(folder: Callable[..., Path]) -> None:
    root = folder("a", "b", "c", "d")
    write_image(root / "images" / "a.jpg", (4, 5))
    write_mask(root / "masks" / "a.png", np.zeros((4, 5)))
    assert of_train(listed(root, "abc", "d")).sizes == ((SIZE, 2), ((4, 5), 1))


def test_images_with_an_exif_orientation_are_counted(folder: Callable[..., Path]) -> None:
    root = folder("a", "b", "c", "d")
    for name, way in (("a", 6), ("b", 3), ("c", 1)):
        exif = Image.Exif()
        exif[0x0112] = way
        Image.new("RGB", SIZE if way == 6 else SIZE[::-1]).save(root / "images" / f"{name}.jpg", exif=exif)
    assert of_train(listed(root, "abc", "d")).turned == 2


def test_classes_of_images_are_counted_in_images(class_folders: Path) -> None:
    (class_folders / "train" / "bee" / "bee-a.jpg").unlink()
    found = of_train(ImagenetSpec(kind="imagenet", root=class_folders, classes=3))
    assert found.labelled == found.images == (2, 1, 2)
    assert found.ignored is None and found.ignored_share is None


def test_every_broken_file_is_named_and_the_others_are_counted(camvid: Path) -> None:
    broken = [camvid / "train" / "a1.png", camvid / "trainannot" / "a1.png", camvid / "trainannot" / "a3.png"]
    for path in broken:
        path.write_bytes(b"no image")
    found = of_train(CamvidSpec(kind="camvid", root=camvid))
    assert [problem.split(":")[0] for problem in found.problems] == [str(path) for path in broken]
    assert (found.whole, found.broken, found.sizes) == ((1,), 2, ((SIZE, 1),))


def test_a_mask_of_another_size_and_one_of_unknown_ids_are_named(folder: Callable[..., Path]) -> None:
    root = folder("a", "b", "c")
    write_mask(root / "masks" / "a.png", np.zeros((2, 3)))
    write_mask(root / "masks" / "b.png", 7)
    first, second = of_train(listed(root, "ab", "c")).problems
    assert "a.png: is 2 x 3" in first
    assert "b.png: has class id 7" in second


def test_a_split_in_which_nothing_is_whole_has_no_classes_and_no_sizes(camvid: Path) -> None:
    for name in ("a1", "a2", "a3"):
        (camvid / "train" / f"{name}.png").write_bytes(b"no image")
    found = of_train(CamvidSpec(kind="camvid", root=camvid))
    assert (found.whole, found.sizes, set(found.shares), found.spread(12)) == ((), (), {0.0}, [])


def test_samples_are_taken_from_all_over_what_is_whole(camvid: Path) -> None:
    found = of_train(CamvidSpec(kind="camvid", root=camvid))
    assert found.spread(2) == [0, 1]
    assert found.spread(12) == [0, 1, 2]


def test_progress_is_told_to_the_end(camvid: Path) -> None:
    told: list[tuple[int, int]] = []
    survey(open_dataset(CamvidSpec(kind="camvid", root=camvid), "train"), "train", lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_all_files_without_their_counterpart_are_named_once(folder: Callable[..., Path]) -> None:
    root = folder(*"abcdefghijklmnopqrst")
    lost = [root / "masks" / f"{name}.png" for name in "abcdefgh"]
    orphans = [root / "masks" / f"{name}.png" for name in "ijklmno"]
    for path in lost:
        path.unlink()
    for path in orphans:
        (root / "images" / path.name).with_suffix(".jpg").unlink()
    opened, problems = open_what_can_be(FolderSpec(kind="folder", root=root, class_names=NAMES))
    assert len(problems) == len(lost) + len(orphans)
    assert all(any(str(path) in problem for problem in problems) for path in lost + orphans)
    names = {data.name(i) for data in opened.values() for i in range(len(data))}
    assert names == set("pqrst")


def test_a_listed_name_without_an_image_is_named(folder: Callable[..., Path]) -> None:
    spec = listed(folder("a", "b"), "ax", "by")
    opened, problems = open_what_can_be(spec)
    assert [problem.split(": ")[1] for problem in problems] == ["`x` has no image", "`y` has no image"]
    assert {split: len(data) for split, data in opened.items()} == {"train": 1, "val": 1}


def test_lost_files_of_a_list_of_pairs_are_named(folder: Callable[..., Path]) -> None:
    root = folder("a", "b", "c")
    lines = [
        f"images/{name}.jpg,masks/{name}.png,{split}" for name, split in (("a", "train"), ("b", "val"), ("c", "test"))
    ]
    (root / "pairs.csv").write_text("\n".join(["image,mask,split", *lines, "images/d.jpg,masks/d.png,train"]))
    (root / "masks" / "c.png").unlink()
    spec = FolderSpec(kind="folder", root=root, class_names=NAMES, pairs="pairs.csv", split={"kind": "column"})  # pyright: ignore
    opened, problems = open_what_can_be(spec)
    assert len(problems) == 2
    assert "c.jpg: has no label" in problems[0] and "d.jpg: does not exist, nor does its label" in problems[1]
    assert {split: len(data) for split, data in opened.items()} == {"train": 1, "val": 1}


def test_lost_frames_of_camvid_are_named(camvid: Path) -> None:
    (camvid / "train" / "a1.png").unlink()
    (camvid / "valannot" / "b2.png").unlink()
    opened, problems = open_what_can_be(CamvidSpec(kind="camvid", root=camvid))
    assert "a1.png: has no image" in problems[0] and "b2.png: has no label" in problems[1]
    assert {split: len(data) for split, data in opened.items()} == {"train": 2, "val": 1}


def test_lost_labels_of_cityscapes_are_named(cityscapes: Path) -> None:
    label = next((cityscapes / "gtFine" / "train" / "aachen").iterdir())
    label.unlink()
    opened, problems = open_what_can_be(CityscapesSpec(kind="cityscapes", root=cityscapes))
    assert len(problems) == 1 and str(label) in problems[0]
    assert len(opened["train"]) == 2


def test_a_class_folder_without_images_is_named(class_folders: Path) -> None:
    (class_folders / "val" / "bee" / "bee-c.jpg").unlink()
    opened, problems = open_what_can_be(ImagenetSpec(kind="imagenet", root=class_folders, classes=3))
    assert len(problems) == 1 and "bee: contains no image" in problems[0]
    assert survey(opened["val"], "val").absent == ("bee",)


def test_a_split_that_cannot_be_opened_leaves_the_other(camvid: Path) -> None:
    (camvid / "val.txt").unlink()
    opened, problems = open_what_can_be(CamvidSpec(kind="camvid", root=camvid))
    assert list(opened) == ["train"]
    assert len(problems) == 1 and "val.txt: no such list" in problems[0]


def test_a_training_still_refuses_files_without_their_counterpart(camvid: Path) -> None:
    (camvid / "trainannot" / "a1.png").unlink()
    with pytest.raises(DataError, match="1 of 3 listed labels are missing"):
        open_dataset(CamvidSpec(kind="camvid", root=camvid), "train")


def test_labels_alone_are_counted_as_with_their_images(camvid: Path, class_folders: Path) -> None:
    for spec in (CamvidSpec(kind="camvid", root=camvid), ImagenetSpec(kind="imagenet", root=class_folders, classes=3)):
        data = open_dataset(spec, "train")
        full, quick = survey(data, "train"), count_labels(data, "train")
        assert (quick.images, quick.labelled, quick.ignored) == (full.images, full.labelled, full.ignored)
        assert quick.samples == len(full.whole) == len(data)


def test_labels_are_counted_without_reading_images(camvid: Path) -> None:
    (camvid / "train" / "a1.png").write_bytes(b"no image")
    assert count_labels(open_dataset(CamvidSpec(kind="camvid", root=camvid), "train"), "train").samples == 3


def test_broken_masks_stop_the_count_with_the_first_ones(camvid: Path) -> None:
    for name in ("a1", "a3"):
        (camvid / "trainannot" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a1\.png: cannot be read(.|\n)*a3\.png: cannot be read"):
        count_labels(open_dataset(CamvidSpec(kind="camvid", root=camvid), "train"), "train")


def labels(split: str, *labelled: int, ignored: int | None = 0, names: tuple[str, ...] = NAMES) -> Labels:
    """Of two images, in the first of which each class occurs that has pixels."""
    return Labels(split, names[: len(labelled)], tuple(map(bool, labelled)), labelled, ignored, samples=2)  # pyright: ignore


def told(train: Labels, val: Labels, **spec: object) -> str:
    """Every fault of a folder's labels."""
    mine = FolderSpec(kind="folder", class_names=train.class_names, **spec)  # pyright: ignore
    return "\n".join(map(str, faults(mine, {"train": train, "val": val})))


def test_labels_with_every_class_have_no_faults() -> None:
    assert told(labels("train", 5, 3, 2), labels("val", 1, 1, 1)) == ""


def test_masks_of_0_and_255_without_an_encoding_are_told_to_be_binary() -> None:
    found = told(labels("train", 40, 0, ignored=8), labels("val", 20, 0, ignored=4))
    assert found.startswith("data.encoding: the masks hold only 0 (road) and 255 (ignored), so no pixel is 'tree'")
    assert "`encoding: {kind: binary}`" in found and "\n" not in found


def test_masks_of_0_1_and_255_are_ids() -> None:
    assert told(labels("train", 40, 3, ignored=8), labels("val", 20, 1, ignored=4)) == ""


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_which_everything_is_ignored_is_a_fault(split: str) -> None:
    full = {"train": labels("train", 5, 3, 2), "val": labels("val", 1, 1, 1)}
    found = told(**{**full, split: labels(split, 0, 0, 0, ignored=48)})
    assert f"data: every pixel of the 2 {split} masks is ignored" in found and "\n" not in found


def test_the_last_class_without_a_pixel_is_to_be_taken_out() -> None:
    found = told(labels("train", 5, 3, 0), labels("val", 1, 1, 0))
    assert found.startswith("data.class_names: no training mask has a pixel of 'car'")
    assert found.endswith("or remove it: `class_names: [road, tree]`, `network.classes: 2`")


def test_a_class_amid_others_without_a_pixel_moves_the_ids_after_it() -> None:
    found = told(labels("train", 5, 0, 3), labels("val", 1, 0, 1))
    assert "`class_names: [road, car]`" in found
    assert found.endswith("and renumber the ids: `encoding: {map: {0: 0, 2: 1}}`")


def test_a_class_of_mapped_ids_without_a_pixel_leaves_the_map() -> None:
    encoding = {"map": {0: "ignore", 1: 0, 2: 1, 3: 2}}
    found = told(labels("train", 5, 0, 3), labels("val", 1, 0, 1), encoding=encoding)
    assert found.endswith("and renumber the ids: `encoding: {map: {0: ignore, 1: 0, 3: 1}}`")


def test_a_class_of_colours_without_a_pixel_is_taken_out_with_its_colour() -> None:
    encoding = {"kind": "colours", "colours": [[1, 1, 1], [2, 2, 2], [3, 3, 3]]}
    found = told(labels("train", 5, 0, 3), labels("val", 1, 0, 1), encoding=encoding)
    assert found.endswith("and remove its colour from `encoding.colours`")


def test_a_class_that_only_val_has_needs_another_split() -> None:
    found = told(labels("train", 5, 3, 0), labels("val", 1, 1, 1))
    assert found.startswith("data.split: ") and "draw another split (`seed: 1`" in found
    by_list = told(labels("train", 5, 3, 0), labels("val", 1, 1, 1), split={"kind": "list"})
    assert by_list.endswith("val has 'car', so move some of those images to train")


def test_black_masks_of_binary_need_images_and_not_fewer_classes() -> None:
    found = told(labels("train", 5, 0), labels("val", 1, 0), encoding={"kind": "binary"})
    assert "which cannot be learned; add images that show it" in found and "take it out" not in found


def test_a_val_of_one_class_is_a_fault() -> None:
    found = told(labels("train", 5, 3, 2), labels("val", 9, 0, 0))
    assert "all labelled pixels of val are 'road', so predicting it everywhere scores 100 %" in found


def test_a_class_that_val_lacks_is_a_remark_with_the_number_that_is_averaged() -> None:
    spec = FolderSpec(kind="folder", class_names=NAMES)
    found = {"train": labels("train", 5, 3, 2), "val": labels("val", 9, 1, 0)}
    assert faults(spec, found) == []  # pyright: ignore
    assert remarks(spec, found) == [  # pyright: ignore
        "val has no pixel of car, which gets no score; mIoU is the mean over the other 2 classes."
    ]


@pytest.mark.parametrize(("first", "noted"), [("background", True), ("wall", False)])
def test_images_without_an_object_are_a_remark(folder: Callable[..., Path], first: str, noted: bool) -> None:
    root = folder("a", "b", "c", "d")
    spec = listed(root, "abc", "d").model_copy(update={"class_names": (first, "crack")})
    masks = {"a": 0, "b": np.array([[0] * 8] * 5 + [[255] * 8]), "c": np.array([[0] * 8] * 5 + [[1] * 8])}
    for name, mask in masks.items():
        write_mask(root / "masks" / f"{name}.png", mask)
    found = {"train": count_labels(open_dataset(spec, "train"), "train"), "val": labels("val", 5, 3)}
    assert found["train"].bare == (2, 0)
    assert remarks(spec, found) == noted * [  # pyright: ignore
        "2 of 3 train images show only background; leave out those that nobody has labelled."
    ]


def test_a_class_of_a_fixed_list_that_is_never_seen_is_a_remark() -> None:
    lacks_sky = (0, *[5] * 10)
    found = {
        "train": labels("train", *lacks_sky, names=CAMVID_CLASSES),
        "val": labels("val", *[1] * 11, names=CAMVID_CLASSES),
    }
    spec = CamvidSpec(kind="camvid")
    assert faults(spec, found) == []  # pyright: ignore
    assert remarks(spec, found) == [  # pyright: ignore
        "train has no pixel of sky, which cannot be learned; sky will score 0, since val has it."
    ]


def test_a_split_without_a_usable_image_has_faults_of_its_own_only() -> None:
    nothing = Labels("train", NAMES, (0, 0, 0), (0, 0, 0), None, samples=0)
    assert told(nothing, labels("val", 1, 1, 1)) == ""
