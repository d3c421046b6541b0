"""Your own data: images and masks in folders, paired by name, or a list of pairs."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from stdc_search.data.dataset import SPLITS, DataError, Split
from stdc_search.data.decoding import decoder
from stdc_search.data.files import (
    IMAGE_ENDINGS,
    LOSSY_ENDINGS,
    MASK_ENDINGS,
    LabelledFiles,
    Sample,
    as_spelt,
    check_disjoint,
    check_readable,
    check_unique,
    files_below,
    hint,
    keep_paired,
    named_files,
    nfc,
    read_list,
    read_text,
    resolve_root,
)
from stdc_search.data.splits import divided
from stdc_search.errors import alike, several
from stdc_search.spec.data import FolderSpec
from stdc_search.spec.splits import SplitByColumn, SplitByFolders, SplitByGroup, SplitByList, SplitByShare

Sides = dict[Split, list[Sample]]
"""The samples of each split."""
PAIRS = "list the pairs in a CSV file with the columns `image` and `mask`, and name it in `data.pairs`"


def open_folder(
    spec: FolderSpec, data_root: Path | None, problems: list[str] | None = None
) -> dict[Split, LabelledFiles]:
    """Open both splits. A mask without an image is a warning; an image without a mask is an error."""
    root = resolve_root(spec.root, data_root)
    if spec.pairs is not None:
        sides = _from_pairs(spec, root, root / spec.pairs, problems)
    else:
        sides = _from_folders(spec, root, problems)
    if problems is not None:
        sides = {split: keep_paired(sides[split], problems) for split in SPLITS}
    masks = decoder(spec.encoding, spec.class_names)
    return {split: LabelledFiles(sides[split], spec.class_names, masks) for split in SPLITS}


def _from_pairs(spec: FolderSpec, root: Path, path: Path, problems: list[str] | None) -> Sides:
    by_column = isinstance(spec.split, SplitByColumn)
    pairs, splits = _pairs(path, root, by_column, problems)
    if isinstance(spec.split, SplitByShare | SplitByGroup | SplitByFolders):
        if splits:
            raise DataError(f"{path}: has a column `split`; use it with `split: {{kind: column}}`")
        names = divided(pairs, spec.split, path)
        return {part: [pairs[name] for name in names[part]] for part in SPLITS}
    sides: Sides = {part: [pair for name, pair in pairs.items() if splits[name] == part] for part in SPLITS}
    for part, samples in sides.items():
        if not samples:
            raise DataError(f"{path}: no line has {part} in its column `split`")
    return sides


def _from_folders(spec: FolderSpec, root: Path, problems: list[str] | None) -> Sides:
    folder, mask_folder = as_spelt(root / spec.images), as_spelt(root / spec.masks)
    images, found = _images_and_masks(folder, mask_folder, problems)
    masks = by_image(images, found)
    match spec.split:
        case SplitByList():
            paths: dict[Split, Path] = {"train": root / spec.split.train, "val": root / spec.split.val}
            names = {part: _listed(path, images, folder, mask_folder, root, problems) for part, path in paths.items()}
            check_disjoint(names["train"], names["val"], root)
            for listed in names.values():
                masks |= {name: mask for name, mask in listed.items() if mask is not None}
        case SplitByColumn():
            raise AssertionError("a split by column needs `pairs`")
        case _:
            names = divided(images, spec.split, folder)
    orphans = sorted(str(mask) for mask in {*found.values()} - {masks[name] for name in images if name in masks})
    wanted = [*names["train"], *names["val"]]
    if problems is None or not any(name in masks for name in wanted):
        _all_masked(wanted, masks, mask_folder)
    if problems is not None:
        problems += [f"{mask}: has no image in {folder}" for mask in orphans]
    elif orphans:
        warnings.warn(f"{mask_folder}: {len(orphans)} masks have no image: {several(orphans)}", stacklevel=2)
    return {
        part: [Sample(name, images[name], masks.get(name) or mask_folder / f"{name}.png") for name in names[part]]
        for part in SPLITS
    }


def _pairs(
    path: Path, root: Path, by_column: bool, problems: list[str] | None
) -> tuple[dict[str, Sample], dict[str, str]]:
    """Samples of a CSV file by name, and their splits if the file has that column."""
    first, *_ = read_list(path, "its path is relative to `data.root`")
    delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")  # spreadsheets write any of these
    reader = csv.DictReader(read_text(as_spelt(path)).splitlines(), skipinitialspace=True, delimiter=delimiter)
    columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    wanted = ["image", "mask", *(["split"] if by_column else [])]
    if missing := [name for name in wanted if columns.count(name) != 1]:
        remedy = f"the first line must name the columns: `{','.join(wanted)}`"
        has = f"its first line has {', '.join(columns)}"
        raise DataError(f"{path}: has no column {' and no column '.join(missing)}, or several; {has}; {remedy}")
    samples: dict[str, Sample] = {}
    splits: dict[str, str] = {}
    for line in reader:
        where = f"{path}:{reader.line_num}"
        beyond = line.pop(None, [])  # a spreadsheet's empty cells to the right and lines below
        if not any(cell and cell.strip() for cell in (*line.values(), *beyond)):
            continue
        if any(cell.strip() for cell in beyond) or None in line.values():
            raise DataError(f"{where}: has a different number of cells than the first line ({len(columns)})")
        if not line["image"].strip() or not line["mask"].strip():
            raise DataError(f"{where}: lacks an image or a mask; each line needs both")
        cells = (line[column].strip().replace("\\", "/") for column in ("image", "mask"))
        image, mask = (os.path.relpath(as_spelt(root / cell), root) for cell in cells)
        name = nfc(Path(image).with_suffix("").as_posix())
        if image == mask:
            raise DataError(f"{where}: {image} is given as both image and mask")
        if name in samples:
            raise DataError(f"{where}: {image} has the same name as {samples[name].image}; list each image once")
        samples[name] = Sample(name, root / image, root / mask)
        if "split" in columns:
            splits[name] = line["split"].strip()
            if splits[name] not in ("train", "val", "test"):
                raise DataError(f"{where}: unknown split {splits[name]!r}; use train, val or test")
    if not samples:
        raise DataError(f"{path}: has no lines after the header")
    if problems is not None:
        keep_paired(samples.values(), problems)  # checks all lines, including those of test
    elif lost := [str(file) for _, *pair in samples.values() for file in pair if not file.is_file()]:
        raise DataError(
            f"{path}: {len(lost)} of the listed files cannot be found: {several(lost)}{hint(Path(lost[0]))}"
        )
    return samples, splits


def _images_and_masks(
    folder: Path, mask_folder: Path, problems: list[str] | None
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by name. In one folder, masks are the PNGs among JPEGs, or the files with a common suffix.

    With a suffix, images may be JPEGs and PNGs: `a.jpg`, `a_mask.png`, `b.png`, `b_mask.png`.
    """
    if folder.resolve() != mask_folder.resolve():
        images = named_files(folder, IMAGE_ENDINGS, without=mask_folder)
        check_readable(folder, images, problems)
        return images, named_files(mask_folder, MASK_ENDINGS, without=folder)
    if files_below(folder, LOSSY_ENDINGS):
        images, masks = named_files(folder, LOSSY_ENDINGS), named_files(folder, MASK_ENDINGS)
        check_readable(folder, images, problems)
        suffix = common_suffix({*images, *masks})
        if suffix is None or images.keys() & masks.keys() or not any(name + suffix in masks for name in masks):
            return images, masks
    every = named_files(folder, IMAGE_ENDINGS)
    suffix = common_suffix(every)
    if suffix is None:
        raise DataError(
            f"{folder}: contains no file that ends in {' or '.join(LOSSY_ENDINGS)}{hint(folder / '*')}. Images beside "
            f"masks need these endings, or all masks a suffix; else use two folders, or {PAIRS}"
        )
    masks = {name for name in every if name.endswith(suffix)}
    return {name: every[name] for name in every.keys() - masks}, {name: every[name] for name in masks}


def common_suffix(names: Collection[str]) -> str | None:
    """What most names add to other names, such as `_mask` in `a`, `a_mask`, `b`, `b_mask`; it starts with a mark."""
    counts = Counter(
        name[cut:]
        for name in sorted(names)
        for cut in range(1, len(name))
        if name[cut] in "_-. " and name[:cut] in names
    )
    return counts.most_common(1)[0][0] if counts else None


def by_image(images: Collection[str], masks: Mapping[str, Path]) -> dict[str, Path]:
    """Masks by the names of their images. If no mask has the name of an image, all may have one common suffix."""
    if masks.keys() & {*images}:
        return dict(masks)
    suffixed: dict[str, dict[str, Path]] = {}
    for mask, path in masks.items():
        cuts = (cut for cut in range(len(mask) - 1, 0, -1) if mask[cut] in "_-. " and mask[:cut] in images)
        if cut := next(cuts, 0):
            suffixed.setdefault(mask[cut:], {})[mask[:cut]] = path
    return suffixed.popitem()[1] if len(suffixed) == 1 else dict(masks)


def _listed(
    path: Path, images: Mapping[str, Path], folder: Path, mask_folder: Path, root: Path, problems: list[str] | None
) -> dict[str, Path | None]:
    """Names of the images in a list, each with the mask on its line, if any."""
    listed: list[tuple[str, Path | None]] = []
    unknown: list[str] = []
    for line in read_list(path, "its path is relative to `data.root`"):
        if (found := in_list(line, images, folder, root)) is None:
            unknown.append(line)
        else:
            name, mask = found
            listed.append((name, None if mask is None else _mask_at(mask, mask_folder, root)))
    if problems is not None:
        problems += [f"{path}: `{line}` has no image" for line in unknown]
    elif unknown:
        written = next(_ways(unknown[0], folder, root))
        meant = alike(written, images)
        raise DataError(
            f"{path}: {len(unknown)} of {len(unknown) + len(listed)} names have no image: {several(unknown)}; "
            + (f"did you mean `{meant}`?" if meant else f"images are named like `{next(iter(images))}`")
        )
    check_unique([name for name, _ in listed], path)
    return dict(listed)


def in_list(line: str, images: Collection[str], folder: Path, root: Path) -> tuple[str, str | None] | None:
    """The image that a line of a list names, and the mask if the line has one; None if it names no image.

    Args:
        line: name or path of an image, alone or before that of a mask.
        images: names of the images.
        folder: that of the images.
        root: that of the data set.
    """
    if (name := _known(line, images, folder, root)) is not None:  # first: names may contain spaces
        return name, None
    cells = next((cells for mark in (",", "\t", None) if len(cells := line.split(mark)) > 1), [])
    if len(cells) == 2 and (name := _known(cells[0].strip(), images, folder, root)) is not None:
        return name, cells[1].strip()
    return None


def _known(written: str, images: Collection[str], folder: Path, root: Path) -> str | None:
    return next((name for name in _ways(written, folder, root) if name in images), None)


def _ways(written: str, folder: Path, root: Path) -> Iterator[str]:
    """Possible names of an image in a list: relative to its folder or the root, absolute, or through links."""
    path = written.replace("\\", "/")
    places = (os.path.join(base, path) for base in (folder, root))
    ways = [(place, folder) for place in places]
    for place, start in ways:
        way = Path(os.path.relpath(nfc(place), nfc(str(start))))
        yield (way.with_suffix("") if way.suffix.lower() in IMAGE_ENDINGS else way).as_posix()
    place = as_spelt(folder / path)
    if place.exists():
        yield nfc(Path(os.path.relpath(place.resolve(), folder.resolve())).with_suffix("").as_posix())


def _mask_at(written: str, folder: Path, root: Path) -> Path:
    """A mask in a list: relative to its folder or the root, or absolute."""
    path = written.replace("\\", "/")
    places = [Path(os.path.normpath(as_spelt(base / path))) for base in (folder, root)]
    return next((place for place in places if place.is_file()), places[-1])


def _all_masked(names: Collection[str], masks: Mapping[str, Path], folder: Path) -> None:
    missing = [name for name in names if name not in masks or not os.path.isfile(masks[name])]
    if missing:
        like = [name for name in masks if name.startswith(missing[0])]
        like = like or [alike(missing[0], masks) or next(iter(masks))]
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images have no mask: {several(missing)}; masks there are named "
            f"like {several([masks[name].name for name in like])}. A mask has its image's name, or that and a suffix "
            f"such as `_mask`, the same for all. For other names, {PAIRS}"
        )
