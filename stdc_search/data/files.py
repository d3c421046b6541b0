"""Images and labels in files: roots, lists, reading, and what to say where something is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stdc_search.data.dataset import IGNORED, DataError
from stdc_search.errors import alike

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class Sample(NamedTuple):
    name: str
    image: Path
    label: Path


class Masks(Protocol):
    """How mask files say which class a pixel has."""

    def read(self, path: Path) -> Tensor:
        """A mask as uint8 H, W: indices of classes, 255 for none.

        Raises:
            DataError: the file is broken, or says something else.
        """
        ...


class LabelledFiles:
    """A data set of image files and mask files, read anew each time.

    An orientation in EXIF is left out of account, in images as in masks: pixels are taken as they are stored.

    Args:
        samples: what it holds, in its order.
        class_names: one a class.
        masks: reads the masks.
    """

    def __init__(self, samples: Sequence[Sample], class_names: tuple[str, ...], masks: Masks) -> None:
        self.samples, self.class_names, self.masks = samples, class_names, masks

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        return self.samples[index].name

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        image, label = _both(lambda: read_image(sample.image), lambda: self.masks.read(sample.label))
        if image.shape[1:] != label.shape:
            (height, width), (image_height, image_width) = label.shape, image.shape[1:]
            raise DataError(
                f"{sample.label}: is {height} x {width} (height x width), its image {sample.image} "
                f"{image_height} x {image_width}; both must be of one size"
            )
        return image, label

    def label(self, index: int) -> Tensor:
        return self.masks.read(self.samples[index].label)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.samples[index].image, self.samples[index].label


def _both(image: Callable[[], Tensor], label: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """What the two read; where both files are broken, the error names both."""
    try:
        pixels = image()
    except DataError as error:
        try:
            label()
        except DataError as other:
            raise DataError(f"{error}\n{other}") from None
        raise
    return pixels, label()


def read_image(path: Path) -> Tensor:
    """An image file as uint8 3, H, W; grey and palette images are turned into RGB, alpha is dropped."""
    image = _decoded(path)
    if image.mode[0] in "IF":
        raise DataError(f"{path}: has more than 8 bits a value (mode {image.mode}); save it with 8")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class IdMasks:
    """One channel of ids; of a palette image, the indices are the ids.

    Args:
        class_names: one a class.
        ids: the class of each id in the files, none for pixels that have no class.
    """

    class_names: tuple[str, ...]
    ids: Mapping[int, int | None]

    @classmethod
    def plain(cls, class_names: tuple[str, ...], void: int) -> IdMasks:
        """Of masks that count the classes from 0, and have one id for pixels without a class."""
        return cls(class_names, {**{index: index for index in range(len(class_names))}, void: None})

    def read(self, path: Path) -> Tensor:
        mask = _png(path)
        if mask.mode not in ("L", "P"):  # with 1 bit, white may mean 1 or 255
            raise DataError(
                f"{path}: has mode {mask.mode}; a mask has one channel of 8 bits that holds class ids (mode L or P). "
                "Masks in colours or in black and white are read too: `data.encoding`"
            )
        content = np.asarray(mask)
        counts = np.bincount(content.ravel(), minlength=256)
        unknown = [id for id in np.flatnonzero(counts).tolist() if id not in self.ids]
        if unknown:
            first, *_, last = [id for id, index in self.ids.items() if index is not None]
            void = [id for id, index in self.ids.items() if index is None]
            raise DataError(
                f"{path}: has class id {several(unknown)} ({counts[unknown].sum()} pixels); legal are {first} "
                f"({self.class_names[0]}) to {last} ({self.class_names[-1]}), and {several(void)} for pixels without a "
                "class"
            )
        table = np.full(256, IGNORED, np.uint8)
        for id, index in self.ids.items():
            table[id] = IGNORED if index is None else index
        return torch.from_numpy(table[content])


class ColourMasks:
    """A colour a class.

    Args:
        colours: the class of each (red, green, blue), none for pixels that have no class.
    """

    def __init__(self, colours: Mapping[tuple[int, int, int], int | None]) -> None:
        codes = np.array([_code(np.array(colour, np.uint8)) for colour in colours])
        order = codes.argsort()
        self.codes = codes[order]
        self.indices = np.array([IGNORED if i is None else i for i in colours.values()], np.uint8)[order]

    def read(self, path: Path) -> Tensor:
        mask = _png(path)
        if mask.mode[0] in "IF":
            raise DataError(f"{path}: has more than 8 bits a value (mode {mask.mode}); a mask of colours is RGB")
        content = _code(np.array(mask.convert("RGB")))
        places = np.searchsorted(self.codes, content).clip(max=len(self.codes) - 1)
        unknown = self.codes[places] != content
        if unknown.any():
            first, counts = np.unique(content[unknown], return_counts=True)
            colour = [int(first[counts.argmax()]) >> shift & 255 for shift in (16, 8, 0)]
            raise DataError(
                f"{path}: {int(unknown.sum())} pixels have a colour that is no class, the commonest is {colour} "
                "([red, green, blue]); name it in `data.encoding`, or mend the mask (smoothed borders? a JPEG once?)"
            )
        return torch.from_numpy(self.indices[places])


class BinaryMasks:
    """Black, 0, is the first class, white, 1 or 255, the second."""

    def read(self, path: Path) -> Tensor:
        mask = _png(path)
        if mask.mode not in ("1", "L", "P"):
            raise DataError(f"{path}: has mode {mask.mode}; a binary mask has one channel (mode 1, L or P)")
        if mask.mode == "P":  # its palette says which index is black
            mask = mask.convert("L")
        content = np.asarray(mask).astype(np.uint8)
        values = np.unique(content).tolist()
        if not (set(values) <= {0, 1} or set(values) <= {0, 255}):
            raise DataError(f"{path}: has the values {several(values)}; a binary mask has 0, and either 1 or 255")
        return torch.from_numpy((content > 0).astype(np.uint8))


def _code(pixels: np.ndarray) -> np.ndarray:
    """Red, green, blue along the last axis as one number."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _png(path: Path) -> Image.Image:
    mask = _decoded(path)
    if mask.format != "PNG":
        raise DataError(f"{path}: is a {mask.format}, which need not keep ids as they are; masks are PNGs")
    return mask


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # decoders of broken files raise what they like
        raise DataError(f"{path}: cannot be read, the file is broken or no image: {error}") from None


def resolve_root(root: Path, data_root: Path | None) -> Path:
    """Where a data set lies: a relative root starts from `data_root`, else $STDC_SEARCH_DATA, else the working folder.

    Raises:
        DataError: there is no such folder.
    """
    start, named = data_root, "--data-root"
    if start is None and (value := os.environ.get("STDC_SEARCH_DATA")):
        start, named = Path(value), "$STDC_SEARCH_DATA"
    elif start is None:
        start, named = Path(), "the working folder, since neither --data-root nor $STDC_SEARCH_DATA is given"
    path = (start.expanduser() / root.expanduser()).absolute()
    if not path.is_dir():
        whence = "" if root.is_absolute() else f" (`data.root` {root}, from {named})"
        raise DataError(f"{path}: no such folder{whence}{hint(path)}")
    return path


def read_list(path: Path, place: str) -> list[str]:
    """Lines of a list that are not blank, stripped.

    Args:
        path: the list.
        place: said where the list is missing: where lists lie.

    Raises:
        DataError: it is missing, no text, or empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such list{hint(path)}; {place}")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file; a list has one image a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: names no image; a list has one image a line")
    return lines


def keep_paired(samples: Iterable[Sample], problems: list[str]) -> list[Sample]:
    """Samples that have both of their files; `problems` gets a line for each of the others."""
    whole = []
    for sample in samples:
        match sample.image.is_file(), sample.label.is_file():
            case True, True:
                whole.append(sample)
            case True, False:
                problems.append(f"{sample.image}: has no label; {sample.label} does not exist")
            case False, True:
                problems.append(f"{sample.label}: has no image; {sample.image} does not exist")
            case _:
                problems.append(f"{sample.image}: does not exist, nor does its label {sample.label}")
    return whole


def check_unique(names: Sequence[str], source: Path) -> None:
    """Raise if a list names an image twice."""
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        raise DataError(f"{source}: names {several(twice)} more than once; an image counts once")


def check_disjoint(train: Iterable[str], val: Iterable[str], where: Path, remedy: str = "take them out of one") -> None:
    """Raise if an image is both trained on and scored."""
    both = sorted({*train} & {*val})
    if both:
        raise DataError(f"{where}: {len(both)} images are both trained on and scored, {several(both)}; {remedy}")


def several(items: Sequence[object], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def hint(missing: Path) -> str:
    """What lies where something is missing: the name that is most alike, or the first few."""
    folder = missing.parent
    if not folder.is_dir():
        return f"; {folder} does not exist either"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    meant = alike(missing.name, names)
    return f"; did you mean `{meant}`?" if meant else f"; {folder} holds {several(names) or 'nothing'}"
