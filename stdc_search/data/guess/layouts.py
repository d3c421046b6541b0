"""Where images and masks lie in a folder, by the names of its sub-folders and files."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stdc_search.data.camvid import FRAME
from stdc_search.data.dataset import DataError
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    LOSSY_ENDINGS,
    MASK_ENDINGS,
    files_below,
    files_by_name,
    nfc,
    read_list,
)
from stdc_search.data.folder import by_image, common_suffix, in_list
from stdc_search.data.splits import TEST, part_of, usual_split
from stdc_search.errors import several

MASKS = (
    "mask", "label", "annotation", "annot", "groundtruth", "ground_truth", "segmentation", "target", "semantic",
    "instance", "panoptic",
)  # fmt: skip
"""Starts and ends of the names of folders that hold masks."""
FINER = ("instance", "panoptic")
"""Those of folders whose masks tell objects apart."""
SHORT = ("gt", "seg", "ann")
"""Words that do so where they stand alone: `gt_fine`, but not `anna`."""
VERSION = re.compile(r"v\d[\d.]*")
"""Folders of masks may lie in a folder of this name."""
IMAGES = ("image", "img", "photo", "frame", "rgb")
"""Starts and ends of the names of folders that hold images."""
LISTS = (
    ("train.txt", "val.txt"),
    ("train.txt", "valid.txt"),
    ("train.txt", "validation.txt"),
    ("train.txt", "test.txt"),
)

Pair = tuple[Path, Path]


class Found(NamedTuple):
    """Images with their masks."""

    pairs: list[Pair]
    places: dict[str, str]
    """`images` and `masks` of the section; empty if no two folders hold all of them."""
    split: dict[str, Any]
    """`split` of the section, or nothing."""
    notes: list[str]
    """What a person should check."""


def known(folder: Path) -> dict[str, Any] | None:
    """The section of a data set that has a kind of its own."""
    if (folder / "701_StillsRaw_full").is_dir():
        return {"kind": "camvid", "layout": "original"}
    if (folder / "label_colors.txt").is_file():  # a tool's copy of these layouts, with classes of its own
        return None
    if (folder / "leftImg8bit").is_dir() and (folder / "gtFine").is_dir():
        return {"kind": "cityscapes"}
    if (folder / "trainannot").is_dir() and (folder / "train.txt").is_file():
        frames = files_below(folder / "train", IMAGE_ENDINGS)
        return {"kind": "camvid"} if frames and FRAME.fullmatch(frames[0].stem) else None
    return None


def paired(folder: Path) -> Found:
    """Images and masks of a folder.

    Masks lie in folders whose names say so (`masks`, `train/labels`), or beside their images with a suffix or another
    ending (`a_mask.png`, `a.jpg` and `a.png`).

    Raises:
        DataError: there are no images, no masks, or none that belong together.
    """
    files = files_below(folder, IMAGE_ENDINGS)
    if not files:
        raise DataError(f"{folder}: holds no image ({', '.join(IMAGE_ENDINGS)}); give the folder of your data set")
    paths = [path.relative_to(folder) for path in files]
    of_both = _of_both(paths)
    roots = sorted({root for path in paths if (root := _mask_root(path, of_both)) is not None})
    if not roots:
        return _in_one_folder(folder, files)
    roots, finer = _of_classes(roots, paths)
    homes = [_home(root, paths) for root in roots]
    groups = [_beside(folder, home, root, files) for home, root in zip(homes, roots, strict=True)]
    alone = [*finer, *_without_masks(paths, homes)]
    if len(groups) == 1:
        return groups[0]._replace(notes=[*groups[0].notes, *alone])
    pairs = [pair for group in groups for pair in group.pairs]
    if len({image for image, _ in pairs}) < len(pairs):
        raise DataError(
            f"{folder}: has several masks for an image, in {several([str(root) for root in roots], 4)}; give `init` a "
            "folder with one of these, or name it in `data.masks` of a spec"
        )
    return _listed(folder, pairs, [*(note for group in groups for note in group.notes), *alone])


def _listed(folder: Path, pairs: list[Pair], notes: list[str]) -> Found:
    """Pairs that no two folders describe."""
    split = usual_split([f"{_part(image.relative_to(folder))}/{image.name}" for image, _ in pairs])
    return Found(pairs, {}, {"split": {"kind": "column"}} if split else {}, [*notes, *stands_in(split)])


def _part(path: Path) -> str | None:
    """What the names of an image's folders say of its split, else the words in them: `images_prepped_train`."""
    words = (word for part in path.parts[:-1] for word in re.split(r"[\W_]+", _subject(part, IMAGES)))
    return part_of(path.as_posix()) or part_of(Path(*words, path.name).as_posix())


def stands_in(section: Mapping[str, Any]) -> list[str]:
    """What to say if test images stand in for those of validation."""
    words = re.findall("[a-z]+", str(section.get("split", {}).get("val", "")).lower())
    told = "nothing is named val, so the images of test are scored; keep others for a last test"
    return [told] if {*words} & {*TEST} else []


def _mask_root(path: Path, passed: Collection[Path] = ()) -> PurePosixPath | None:
    """The outermost folder of a path whose name says that it holds masks, except some folders."""
    for above in [*reversed(path.parents)][1:]:
        if _names_masks(above.name) and above not in passed:
            return PurePosixPath(above)
    return None


def _of_classes(roots: Sequence[PurePosixPath], paths: Sequence[Path]) -> tuple[list[PurePosixPath], list[str]]:
    """Folders of masks, without those of objects if classes of the same images lie beside them; and a note on each."""
    names = {
        root: {path.relative_to(root).with_suffix("") for path in paths if path.is_relative_to(root)} for root in roots
    }
    classes = [(root.parent, names[root]) for root in roots if not _says(root.name, FINER)]
    finer = [root for root in roots if _says(root.name, FINER) and (root.parent, names[root]) in classes]
    notes = [f"{root}: holds objects and is not used, because classes lie beside it" for root in finer]
    return [root for root in roots if root not in finer], notes


def _home(root: PurePosixPath, paths: Sequence[Path]) -> PurePosixPath:
    """The folder of masks and images: that above `masks`, and `training` for `training/v2.0/labels`."""
    inside = (path.relative_to(root.parent) for path in paths if path.is_relative_to(root.parent))
    of_masks_only = all(_mask_root(path) for path in inside)
    return root.parent.parent if of_masks_only and VERSION.fullmatch(root.parent.name) else root.parent


def _of_both(paths: Sequence[Path]) -> set[Path]:
    """Folders of images and of masks, whose own names say nothing: `semantic_drone_dataset`."""
    places = {parent for path in paths for parent in path.parents}
    masks = {place for place in places if _names_masks(place.name)}
    images = {place for place in places - masks if _says(place.name, IMAGES)}
    return {above for place in masks for above in place.parents} & {
        above for place in images for above in place.parents
    }


def _without_masks(paths: Sequence[Path], parents: Sequence[PurePosixPath]) -> list[str]:
    """What to say of images in folders that have no folder of masks beside them."""
    alone = Counter(path.parent for path in paths if not any(path.is_relative_to(parent) for parent in parents))
    return [f"{at}: no masks lie beside this folder; its {count} images are left out" for at, count in alone.items()]


def _names_masks(name: str) -> bool:
    alone = {word.rstrip("s") for word in re.split(r"[\W_]+", name.lower())}
    return bool(alone & {*SHORT}) or _says(name, MASKS)


def _says(name: str, words: Sequence[str]) -> bool:
    """Whether the name of a folder begins or ends with one of some words."""
    return any(name.lower().startswith(word) or name.lower().endswith((word, f"{word}s")) for word in words)


def _subject(name: str, words: Sequence[str]) -> str:
    """What a folder's name says beside what it holds: `train` of `train_masks`; it may be nothing."""
    name, forms = name.lower(), [form for word in words for form in (f"{word}s", word)]
    ending = next((form for form in forms if name.endswith(form)), "")
    start = next((form for form in forms if name.startswith(form)), "") if not ending else ""
    return name.removesuffix(ending).removeprefix(start).strip("_-. ")


def _beside(folder: Path, home: PurePosixPath, root: PurePosixPath, files: Sequence[Path]) -> Found:
    """Masks below one folder, and the images beside it in their common home."""
    parent = folder / home
    masks = [path for path in files if path.is_relative_to(folder / root)]
    images = [path for path in files if path.is_relative_to(parent) and _mask_root(path.relative_to(parent)) is None]
    if not images:
        raise DataError(f"{parent}: holds masks ({root.name}), but no images beside them")
    tops = {path.relative_to(parent).parts[0] if path.parent != parent else "." for path in images}
    if len(tops) > 1:  # train, train_labels, val, val_labels
        tops = {top for top in tops if _subject(top, IMAGES) == _subject(root.name, (*MASKS, *SHORT))}
    top = tops.pop() if len(tops) == 1 else "."
    images = [path for path in images if path.is_relative_to(parent / top)]
    by_name = named(images, parent / top)
    mask_names = named([path for path in masks if path.suffix.lower() in MASK_ENDINGS], folder / root)
    if not mask_names:
        raise DataError(f"{folder / root}: its masks are JPEG or WebP, which corrupt class ids; save them as PNG")
    matched = by_image(by_name, mask_names)
    pairs = [(path, matched[name]) for name, path in sorted(by_name.items()) if name in matched]
    if not pairs:
        like = [several([path.relative_to(parent).as_posix() for path in its], 2) for its in (images, masks)]
        raise DataError(
            f"{folder / root}: no mask belongs to an image in {parent / top}; images are {like[0]}, masks {like[1]}. "
            "Masks lie in a folder beside that of the images. A mask has its image's name, with or without a suffix"
        )
    images_at, masks_at = (place.as_posix() for place in (home / top, root))
    split, notes = usual_split([*by_name]), []
    if not split:
        split, notes = _lists(folder, by_name, parent / top)
    if len(by_name) > len(pairs) and split.get("split", {}).get("kind") != "list":
        return _listed(folder, pairs, _left_out(len(by_name) - len(pairs), len(masks) - len(pairs)))
    return Found(pairs, {"images": images_at, "masks": masks_at}, split, notes)


def named(paths: Collection[Path], place: Path) -> dict[str, Path]:
    """Files by their paths below a folder, without their endings."""
    return files_by_name(((nfc(path.relative_to(place).with_suffix("").as_posix()), path) for path in paths), place)


def _left_out(images: int, masks: int) -> list[str]:
    lines = [f"{images} images have no mask and are left out"] if images else []
    return [*lines, f"{masks} masks have no image and are left out"] if masks else lines


def _in_one_folder(folder: Path, files: Sequence[Path]) -> Found:
    """Masks beside their images: with a suffix, or PNG files among JPEG files."""
    by_name = {nfc(path.relative_to(folder).with_suffix("").as_posix()): path for path in files}
    images: Collection[str]
    if len(by_name) < len(files):  # a.jpg and a.png
        photos = named([path for path in files if path.suffix.lower() in LOSSY_ENDINGS], folder)
        masks = named([path for path in files if path.suffix.lower() in MASK_ENDINGS], folder)
        images, pairs = photos, [(photos[name], masks[name]) for name in sorted(photos.keys() & masks.keys())]
    else:
        suffix = common_suffix(by_name)
        pairs = [
            (by_name[name.removesuffix(suffix)], path)
            for name, path in sorted(by_name.items())
            if suffix is not None and name.endswith(suffix) and name.removesuffix(suffix) in by_name
        ]
        images = [name for name in by_name if suffix is None or not name.endswith(suffix)]
        if suffix is not None:
            _check_single(images, by_name, suffix)
    if not pairs:
        if gifs := files_below(folder, (".gif",)):
            raise DataError(
                f"{gifs[0]}: is a GIF, a format that is not read; convert such masks to PNG "
                f"(`magick mogrify -format png {shlex.quote(str(gifs[0].parent))}/*.gif`)"
            )
        if beside := _masks_beside(folder, {path.stem for path in files}):
            raise DataError(
                f"{folder}: holds images and no masks, which seem to lie beside it, in {several(beside, 3)}; give the "
                f"folder of both: `stdc-search init {shlex.quote(str(folder.parent))}`"
            )
        raise DataError(
            f"{folder}: holds {len(files)} images ({several([path.name for path in files], 3)}) and no masks. Masks "
            "lie in a folder named `masks` or `labels`, or beside their images (`a.jpg`, `a_mask.png`). To label "
            "images, use a tool such as CVAT or LabelMe, and give the folder that it exports"
        )
    if len(images) > len(pairs):
        return _listed(folder, pairs, _left_out(len(images) - len(pairs), 0))
    split = usual_split([image.relative_to(folder).as_posix() for image, _ in pairs])
    return Found(pairs, {"images": ".", "masks": "."}, split, [])


def _check_single(images: Collection[str], every: Mapping[str, Path], suffix: str) -> None:
    """Raise if an image has a second mask, whose name goes on after the suffix: `a_mask`, `a_mask_1`."""
    for name in images:
        first = name.rpartition(suffix)[0] + suffix
        if first != suffix and first in every and name + suffix not in every:
            raise DataError(f"{every[name]}: is a second mask beside {every[first].name}; merge the masks of an image")


def _masks_beside(folder: Path, names: set[str]) -> list[str]:
    """Folders beside this one that seem to hold masks of images with these names."""
    with suppress(OSError):
        others = (one for one in sorted(folder.parent.iterdir()) if one.is_dir() and one != folder)
        masks = [one for one in others if _names_masks(one.name)]
        return [one.name for one in masks if names & {path.stem for path in files_below(one, MASK_ENDINGS)}]
    return []


def _lists(folder: Path, images: Collection[str], place: Path) -> tuple[dict[str, Any], list[str]]:
    """`split` of the section if there are two lists of these images, and what to say of lists of others."""
    for lists in LISTS:
        if all((folder / name).is_file() for name in lists):
            train, val = lists
            if all(in_list(read_list(folder / name, "")[0], images, place, folder) for name in lists):
                return {"split": {"kind": "list", "train": train, "val": val}}, []
            return {}, [f"{train} and {val} do not name these images, so they are not used"]
    return {}, []


def parts_of(paths: Sequence[Path], folder: Path) -> list[str]:
    """The split that the folders of each image say: train, val or test. Without any val, test images stand in.

    Raises:
        DataError: the folders of an image say none.
    """
    said = {path: _part(path) for path in paths}
    if strays := [path.as_posix() for path, part in said.items() if part is None]:
        raise DataError(
            f"{folder}: {len(strays)} of {len(paths)} images lie in no folder of a split: {several(strays)}; others "
            "lie in train, val or test. Move the images into one of these, or elsewhere"
        )
    parts = [str(said[path]) for path in paths]
    return parts if "val" in parts else [part.replace("test", "val") for part in parts]
