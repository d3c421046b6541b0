"""Decoding of image and mask files: images as a viewer shows them, masks as class indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin
from torch import Tensor

from stdc_search.data.dataset import DataError
from stdc_search.errors import several
from stdc_search.records import IGNORED
from stdc_search.spec.encodings import AnyEncoding, BinarySpec, ColoursSpec, IdsSpec
from stdc_search.storage import is_endless

LOSSLESS = ("PNG", "BMP", "TIFF")
"""Supported formats of masks. GIF is excluded, because programs that save it renumber the palette."""
UNREAD_ENDINGS = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")
"""Formats of photos that no decoder here reads."""
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
"""TIFF compressions that are lossy."""


class Masks(Protocol):
    """How mask files encode the class of a pixel."""

    def read(self, path: Path) -> Tensor:
        """A mask as uint8 H, W: class indices, 255 for pixels without a class.

        Raises:
            DataError: the file is broken, or has another encoding.
        """
        ...


def read_image(path: Path) -> Tensor:
    """An image file as uint8 3, H, W, rotated according to its EXIF orientation.

    Grey and palette images become RGB; alpha is dropped.

    Raises:
        DataError: the file is broken, or has more than 8 bits per channel.
    """
    return torch.from_numpy(_rgb(path, _decoded(path))).permute(2, 0, 1).contiguous()


def orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8. It is 1 (upright) if there is none or it cannot be read.

    This reads only the file's header.
    """
    try:
        with Image.open(path) as image:
            # PNG's own `getexif` would decode all pixels to find EXIF data after them
            found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            return found if found in range(1, 9) else 1
    except Exception:  # decoders raise whatever they like on broken files
        return 1


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of an image file, turned according to its EXIF orientation. This reads only the header.

    Raises:
        DataError: the file is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # some versions of Pillow have turned its `size`
                width, height = (image.tag_v2[tag] for tag in (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH))
    except Exception as error:  # decoders raise whatever they like on broken files
        raise DataError(f"{path}: {_unread(path, error)}") from None
    return (width, height) if orientation(path) > 4 else (height, width)


@dataclass(frozen=True)
class IdMasks:
    """One channel of class ids, or three equal ones; the pixels of a palette image are ids, too.

    Args:
        class_names: one per class.
        ids: the class index of each id in the files, None for pixels without a class.
    """

    class_names: tuple[str, ...]
    ids: Mapping[int, int | None]

    @classmethod
    def plain(cls, class_names: tuple[str, ...], void: int) -> IdMasks:
        """Masks whose class ids count from 0, with one more id for pixels without a class."""
        return cls(class_names, {**{index: index for index in range(len(class_names))}, void: None})

    def read(self, path: Path) -> Tensor:
        mask = _mask(path)
        if (content := _ids(path, mask)) is None:
            raise DataError(
                f"{path}: has mode {mask.mode}, but a mask of class ids has one channel of at most 8 bits (mode 1, L "
                "or P). If the mask has colours, list them in `data.encoding`"
            )
        counts = np.bincount(content.ravel(), minlength=256)
        unknown = [id for id in np.flatnonzero(counts).tolist() if id not in self.ids]
        if unknown:
            first, *_, last = sorted(id for id, index in self.ids.items() if index is not None)
            names = {id: self.class_names[index] for id, index in self.ids.items() if index is not None}
            void = [id for id, index in self.ids.items() if index is None]
            raise DataError(
                f"{path}: has class id {several(unknown)} ({counts[unknown].sum()} pixels); legal ids are {first} "
                f"({names[first]}) to {last} ({names[last]}), and {several(void)} for pixels without a class"
            )
        table = np.full(256, IGNORED, np.uint8)
        for id, index in self.ids.items():
            table[id] = IGNORED if index is None else index
        return torch.from_numpy(table[content])


class ColourMasks:
    """One colour per class.

    Args:
        colours: the class index of each (red, green, blue), None for pixels without a class.
        remedy: what to do with a colour that is missing.
    """

    def __init__(
        self, colours: Mapping[tuple[int, int, int], int | None], remedy: str = "add it to `data.encoding`"
    ) -> None:
        self.remedy = remedy
        codes = np.array([_code(np.array(colour, np.uint8)) for colour in colours])
        order = codes.argsort()
        self.codes = codes[order]
        self.indices = np.array([IGNORED if i is None else i for i in colours.values()], np.uint8)[order]

    def read(self, path: Path) -> Tensor:
        content = _code(_rgb(path, _mask(path)))
        places = np.searchsorted(self.codes, content).clip(max=len(self.codes) - 1)
        unknown = self.codes[places] != content
        if unknown.any():
            first, counts = np.unique(content[unknown], return_counts=True)
            raise DataError(
                f"{path}: {int(unknown.sum())} pixels have a colour of no class, most often "
                f"{_colour(first[counts.argmax()])} ([red, green, blue]); {self.remedy}, or repair "
                "the mask (smoothed borders? saved as a JPEG once?)"
            )
        return torch.from_numpy(self.indices[places])


class BinaryMasks:
    """Two classes: black is the first; white, the value 1, or the only other colour of a mask is the second."""

    def read(self, path: Path) -> Tensor:
        mask = _mask(path)
        if mask.mode in ("1", "L"):
            grey = np.asarray(mask.convert("L"))
            if not {*np.unique(grey).tolist()} <= {0, 255} and (values := np.unique(_stored(path, mask))).max() > 1:
                raise DataError(
                    f"{path}: has the values {several(values.tolist())}, but a binary mask has 0, and either 1 or 255"
                )
            return torch.from_numpy((grey > 0).astype(np.uint8))
        pixels = _code(_rgb(path, mask))
        if len(others := np.unique(pixels[pixels > 0])) > 1:
            raise DataError(
                f"{path}: has the colours {several([_colour(other) for other in others])} besides black, but a binary "
                "mask has only one; use `encoding: {kind: colours, ...}`"
                + (", or `{kind: ids}` if its palette indices are class ids" if mask.mode == "P" else "")
            )
        return torch.from_numpy((pixels > 0).astype(np.uint8))


class Code(NamedTuple):
    """What a pixel of a mask stores: a class id, a colour, or both, as in masks with a palette and in grey RGB."""

    id: int | None
    colour: tuple[int, ...] | None


class Codes(NamedTuple):
    """What a mask of unknown meaning holds."""

    pixels: Counter[Code]
    """Number of pixels of each code."""
    inner: Counter[Code]
    """Number of those whose four neighbours have the same code. A smoothed border has none."""


def mask_codes(path: Path) -> Codes:
    """What a mask of unknown meaning holds.

    Raises:
        DataError: the file is broken, or no mask.
    """
    mask = _mask(path)
    ids = _ids(path, mask)
    content = _code(_rgb(path, mask)) if ids is None else ids
    palette = [*(mask.getpalette() or ()), *bytes(3 * 256)]  # short palettes end in black

    def code(value: int) -> Code:
        match mask.mode:
            case "1" | "L":
                return Code(value, None)
            case "P":
                return Code(value, tuple(palette[3 * value : 3 * value + 3]))
            case _:
                return Code(None, tuple(_colour(value))) if ids is None else Code(value, (value, value, value))

    def counted(pixels: NDArray[Any]) -> Counter[Code]:
        values, counts = np.unique(pixels, return_counts=True)
        return Counter(dict(zip(map(code, values.tolist()), counts.tolist(), strict=True)))

    return Codes(counted(content), counted(_inner(content)))


def _inner(content: NDArray[Any]) -> NDArray[Any]:
    """The pixels whose four neighbours equal them."""
    middle = content[1:-1, 1:-1]
    sides = (content[:-2, 1:-1], content[2:, 1:-1], content[1:-1, :-2], content[1:-1, 2:])
    return middle[np.logical_and.reduce([middle == side for side in sides])]


def decoder(encoding: AnyEncoding, class_names: tuple[str, ...]) -> Masks:
    """The decoder of an encoding's masks."""
    match encoding:
        case IdsSpec(ignore=ignore, map=ids) if ids:
            return IdMasks(class_names, {ignore: None, **{id: None if i == "ignore" else i for id, i in ids.items()}})
        case IdsSpec(ignore=ignore):
            return IdMasks.plain(class_names, ignore)
        case ColoursSpec(colours=colours, ignore=ignored):
            return ColourMasks({**{c: i for i, c in enumerate(colours)}, **dict.fromkeys(ignored)})
        case BinarySpec():
            return BinaryMasks()
    assert_never(encoding)


def advice(path: Path) -> str:
    """What to do with a photo in one of the formats that cannot be read."""
    return (
        f"is a {path.suffix[1:].upper()} photo, a format that cannot be read; convert it to JPEG (on a Mac: "
        f"`sips -s format jpeg {path.name} --out {path.stem}.jpg`; elsewhere: `magick {path.name} {path.stem}.jpg`)"
    )


def _unread(path: Path, error: Exception) -> str:
    if path.suffix.lower() in UNREAD_ENDINGS:
        return advice(path)
    if isinstance(error, FileNotFoundError):
        return "cannot be read: the file does not exist"
    return f"cannot be read; the file is broken or not an image: {error}"


def _decoded(path: Path) -> Image.Image:
    if is_endless(path):
        raise DataError(f"{path}: is a pipe or a device, not a file")
    try:
        with Image.open(path) as image:
            image.load()
            with suppress(Exception):  # broken EXIF data; pixels are rotated before Pillow rewrites it
                ImageOps.exif_transpose(image, in_place=True)
            return image
    except Exception as error:  # decoders raise whatever they like on broken files
        raise DataError(f"{path}: {_unread(path, error)}") from None


def _mask(path: Path) -> Image.Image:
    mask = _decoded(path)
    compression = mask.info.get("compression")
    if mask.format not in LOSSLESS or (mask.format == "TIFF" and compression in LOSSY_TIFF):
        kind = f"a TIFF with {compression} compression" if mask.format == "TIFF" else f"a {mask.format}"
        raise DataError(f"{path}: is {kind}, and lossy compression corrupts class ids; save masks as PNG")
    return mask


def _rgb(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """RGB pixels as H, W, 3."""
    if image.mode[0] in "IF":
        raise DataError(f"{path}: has more than 8 bits per channel (mode {image.mode}); save it with 8 bits")
    try:
        return np.array(image.convert("RGB"))
    except ValueError:
        raise DataError(f"{path}: has mode {image.mode}, which cannot become RGB; save it as RGB") from None


def _ids(path: Path, mask: Image.Image) -> NDArray[np.uint8] | None:
    """The values of one channel, or of three equal ones, as programs write that know RGB only. None for colours."""
    if mask.mode in ("1", "L", "P"):
        return _stored(path, mask)
    pixels = _rgb(path, mask)
    return pixels[..., 0] if (pixels == pixels[..., :1]).all() else None


def _stored(path: Path, mask: Image.Image) -> NDArray[np.uint8]:
    """The values that a one-channel mask stores in its file.

    Pillow changes some of them: it scales grey values of 1, 2 and 4 bits to 0 to 255, inverts a TIFF in which 0 is
    white, and reads each byte of a 4-bit grey BMP as a pixel.
    """
    content, bits = np.asarray(mask), 8
    if isinstance(mask, TiffImagePlugin.TiffImageFile):
        bits = mask.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
        if mask.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            raise DataError(f"{path}: is a TIFF in which 0 is white, so its ids are ambiguous; save it as PNG")
    elif mask.format == "PNG":
        bits = _header(path)[24]  # the bit depth; the standard fixes its place
    elif mask.format == "BMP" and _header(path)[28] == 4 and mask.mode == "L":
        raise DataError(f"{path}: is a grey BMP of 4 bits, which cannot be read; save it as PNG")
    if mask.mode != "L":
        return content.astype(np.uint8)
    return content // (255 // (2**bits - 1))


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _code(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Pack red, green and blue of the last axis into one number."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _colour(code: int) -> list[int]:
    return [int(code) >> shift & 255 for shift in (16, 8, 0)]
