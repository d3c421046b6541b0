"""Pixels of image and mask files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stdc_search.data import DataError
from stdc_search.data.decoding import BinaryMasks, ColourMasks, IdMasks, orientation, read_image, size_of
from tests.data.conftest import SIZE, write_image, write_mask

CLASSES = ("road", "tree", "sign")


def label_of(path: Path) -> torch.Tensor:
    return IdMasks.plain(CLASSES, void=9).read(path)


def test_an_image_is_read_as_its_pixels(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    image = read_image(path)
    assert image.dtype == torch.uint8 and image.is_contiguous()
    with Image.open(path) as stored:
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(stored))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_images_of_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    assert read_image(write_image(tmp_path / "a.png", mode=mode)).shape == (3, *SIZE)


def test_an_image_of_16_bits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full(SIZE, 40000, np.uint16)).save(path)
    with pytest.raises(
        DataError, match=r"deep\.png: has more than 8 bits per channel \(mode I;16\); save it with 8 bits"
    ):
        read_image(path)


def write_turned(path: Path, way: int, pixels: np.ndarray) -> Path:
    exif = Image.Exif()
    exif[0x0112] = way
    Image.fromarray(pixels).save(path, exif=exif)
    return path


SEEN = {
    1: lambda raw: raw,
    2: lambda raw: raw[:, ::-1],
    3: lambda raw: raw[::-1, ::-1],
    4: lambda raw: raw[::-1],
    5: lambda raw: raw.swapaxes(0, 1),
    6: lambda raw: raw[::-1].swapaxes(0, 1),
    7: lambda raw: raw[::-1, ::-1].swapaxes(0, 1),
    8: lambda raw: raw[:, ::-1].swapaxes(0, 1),
}
"""The pixels that a viewer shows, by EXIF orientation."""


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("way", SEEN)
def test_an_image_is_turned_as_viewers_show_it(way: int, ending: str, tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(256, size=(*SIZE, 3), dtype=np.uint8)
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = way
    Image.fromarray(raw).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0).numpy(), SEEN[way](raw))
    assert orientation(path) == way
    assert size_of(path) == SEEN[way](raw).shape[:2]


def test_a_mask_is_turned_as_viewers_show_it(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2], [9, 9, 0]], np.uint8)
    assert label_of(write_turned(tmp_path / "a.png", 6, ids)).tolist() == [[255, 0], [255, 1], [0, 2]]


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path) -> None:
    path = write_turned(tmp_path / "a.jpg", 9, np.zeros((*SIZE, 3), np.uint8))
    assert read_image(path).shape == (3, *SIZE) and orientation(path) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns about the broken tags
@pytest.mark.parametrize("seed", range(20))
def test_broken_exif_data_does_not_cost_the_image(seed: int, tmp_path: Path) -> None:
    exif, rng = Image.Exif(), np.random.default_rng(seed)
    exif[0x0112], exif[0x010F] = 6, "maker"
    content = bytearray(exif.tobytes())
    for place in rng.integers(len(content), size=4):
        content[place] = rng.integers(256)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (SIZE[1], SIZE[0])).save(path, exif=bytes(content[: len(content) - seed]))
    assert read_image(path).shape in ((3, *SIZE), (3, *SIZE[::-1]))
    assert orientation(path) in range(1, 9)


def test_a_file_that_cannot_be_read_has_no_orientation(tmp_path: Path) -> None:
    assert orientation(tmp_path / "missing.jpg") == 1


def write_grey_png(path: Path, ids: np.ndarray, bits: int) -> Path:
    """A PNG of one grey channel of few bits, which Pillow does not write."""
    height, width = ids.shape
    digits = (ids[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = b"".join(b"\0" + np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in digits)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    content = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    return path


def write_grey_tiff(path: Path, ids: np.ndarray, bits: int, white: int) -> Path:
    """A TIFF of one row of grey values of few bits; 0 is white, or the highest value."""
    digits = (ids[0][:, None] >> np.arange(bits - 1, -1, -1)) & 1
    row = np.packbits(digits.astype(np.uint8).ravel()).tobytes()
    row += b"\0" * (len(row) % 2)
    tags = {256: ids.size, 257: 1, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: 1, 279: len(row)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(row)) + row
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0")
    return path


def ids_of(path: Path, classes: int) -> torch.Tensor:
    return IdMasks.plain(tuple(f"c{i}" for i in range(classes)), void=255).read(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_grey_png_of_few_bits_holds_the_ids_that_are_in_the_file(bits: int, tmp_path: Path) -> None:
    ids = np.arange(min(2**bits, 16)).reshape(2, -1)
    assert ids_of(write_grey_png(tmp_path / "a.png", ids, bits), classes=16).tolist() == ids.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_grey_tiff_of_few_bits_holds_the_ids_that_are_in_the_file(bits: int, tmp_path: Path) -> None:
    ids = np.arange(min(2**bits, 16))[None]
    assert ids_of(write_grey_tiff(tmp_path / "a.tif", ids, bits, white=1), classes=16).tolist() == ids.tolist()


def test_an_unknown_id_of_two_bits_is_named_as_it_is_in_the_file(tmp_path: Path) -> None:
    path = write_grey_png(tmp_path / "a.png", np.array([[0, 3]]), bits=2)
    with pytest.raises(DataError, match=r"has class id 3 \(1 pixels\)"):
        ids_of(path, classes=3)


def test_ids_of_a_tiff_in_which_0_is_white_are_ambiguous(tmp_path: Path) -> None:
    path = write_grey_tiff(tmp_path / "a.tif", np.array([[0, 1]]), bits=8, white=0)
    with pytest.raises(DataError, match=r"a\.tif: is a TIFF in which 0 is white, .*; save it as PNG"):
        ids_of(path, classes=2)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.bmp", {}), *(("a.tif", {"compression": how}) for how in (None, "tiff_lzw", "tiff_deflate"))],
)
def test_masks_may_have_any_lossless_format(name: str, options: dict[str, str], tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8)).save(tmp_path / name, **options)
    assert ids_of(tmp_path / name, classes=3).tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.webp", {}, "is a WEBP"),
        ("a.gif", {}, "is a GIF"),
        ("a.png", {"format": "JPEG"}, "is a JPEG"),
        ("a.tif", {"compression": "jpeg"}, "is a TIFF with jpeg compression"),
    ],
)
def test_a_mask_that_need_not_keep_ids_is_an_error(
    name: str, options: dict[str, str], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path, **options)
    with pytest.raises(DataError, match=rf"{kind}, and lossy compression corrupts class ids; save masks as PNG"):
        label_of(path)


def test_void_becomes_255_and_classes_keep_their_ids(tmp_path: Path) -> None:
    label = label_of(write_mask(tmp_path / "a.png", np.array([[0, 1], [2, 9]])))
    assert label.dtype == torch.uint8
    assert label.tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_ids_may_be_saved_as_grey_rgb(mode: str, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [2, 9]], np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert label_of(tmp_path / "a.png").tolist() == [[0, 1], [2, 255]]


def test_of_a_palette_mask_the_indices_are_the_ids(tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[0, 1], [2, 9]], np.uint8))
    mask.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] + [7] * 21)
    assert mask.mode == "P"
    mask.save(tmp_path / "a.png")
    assert label_of(tmp_path / "a.png").tolist() == [[0, 1], [2, 255]]


def test_an_unknown_id_is_named_with_the_legal_ones(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "a.png", np.array([[0, 7], [7, 255]]))
    with pytest.raises(DataError) as error:
        label_of(path)
    assert str(error.value) == (
        f"{path}: has class id 7, 255 (3 pixels); legal ids are 0 (road) to 2 (sign), and 9 for pixels without a class"
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_mask_that_holds_no_ids_is_an_error(mode: str, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", mode=mode)
    with pytest.raises(DataError, match=rf"a\.png: has mode {mode}, but a mask of class ids has one channel"):
        label_of(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0, 12, 0.6])
def test_a_cut_file_is_an_error_that_names_it(name: str, kept: float, tmp_path: Path) -> None:
    path = write_image(tmp_path / name, size=(64, 64))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=rf"{name}: cannot be read; the file is broken or not an image"):
        read_image(path)


def test_a_png_with_broken_content_is_an_error(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 4
    content[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        label_of(path)


COLOURS = ColourMasks({(128, 64, 128): 0, (0, 128, 0): 1, (1, 128, 0): 2, (0, 0, 0): None})


def write_colours(path: Path, *pixels: tuple[int, int, int]) -> Path:
    Image.fromarray(np.array([pixels], np.uint8)).save(path)
    return path


def test_colours_become_the_ids_of_their_classes(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "a.png", (1, 128, 0), (0, 0, 0), (128, 64, 128), (0, 128, 0))
    label = COLOURS.read(path)
    assert label.dtype == torch.uint8 and label.tolist() == [[2, 255, 0, 1]]


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_colours_may_come_with_alpha_or_a_palette(mode: str, tmp_path: Path) -> None:
    path = write_colours(tmp_path / "a.png", (128, 64, 128), (0, 128, 0))
    with Image.open(path) as image:
        image.convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    assert COLOURS.read(path).tolist() == [[0, 1]]


def test_colours_that_are_no_class_are_counted_and_the_commonest_is_named(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "a.png", (0, 128, 0), (255, 255, 255), (0, 127, 0), (0, 127, 0))
    with pytest.raises(DataError, match=r"3 pixels have a colour of no class, most often \[0, 127, 0\]"):
        COLOURS.read(path)


def test_ids_where_colours_are_meant_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"48 pixels have a colour of no class, most often \[1, 1, 1\]"):
        COLOURS.read(write_mask(tmp_path / "a.png", 1))


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("L", 1), ("1", 255)])
def test_black_is_the_first_class_and_white_the_second(mode: str, white: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, white, 0]], np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert BinaryMasks().read(tmp_path / "a.png").tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("values", [[0, 2], [0, 1, 255]])
def test_a_binary_mask_of_other_values_is_an_error(values: list[int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a binary mask has 0, and either 1 or 255"):
        BinaryMasks().read(write_mask(tmp_path / "a.png", np.array([values])))


def write_palette(path: Path, indices: list[int], *colours: tuple[int, int, int]) -> Path:
    mask = Image.fromarray(np.array([indices], np.uint8))
    mask.putpalette([value for colour in colours for value in colour])
    mask.save(path)
    return path


BLACK, WHITE, RED, BEIGE = (0, 0, 0), (255, 255, 255), (128, 0, 0), (224, 224, 192)


@pytest.mark.parametrize(
    ("colours", "expected"), [((WHITE, BLACK), [1, 0, 1]), ((BLACK, RED), [0, 1, 0]), ((BLACK, RED, BEIGE), [0, 1, 0])]
)
def test_of_a_binary_mask_with_a_palette_the_colours_of_its_pixels_count(
    colours: tuple[tuple[int, int, int], ...], expected: list[int], tmp_path: Path
) -> None:
    assert BinaryMasks().read(write_palette(tmp_path / "a.png", [0, 1, 0], *colours)).tolist() == [expected]


def test_a_binary_mask_may_be_rgb(tmp_path: Path) -> None:
    assert BinaryMasks().read(write_colours(tmp_path / "a.png", BLACK, WHITE)).tolist() == [[0, 1]]


def test_a_binary_mask_of_two_colours_beside_black_is_an_error_that_names_other_encodings(tmp_path: Path) -> None:
    path = write_palette(tmp_path / "a.png", [0, 1, 2], BLACK, RED, BEIGE)
    told = r"has the colours \[128, 0, 0\], \[224, 224, 192\] besides black.*`encoding: {kind: colours, .*`{kind: ids}`"
    with pytest.raises(DataError, match=told):
        BinaryMasks().read(path)


@pytest.mark.parametrize(("bits", "white"), [(1, 1), (2, 1), (2, 3), (4, 1), (4, 15)])
def test_a_binary_mask_of_few_bits_has_1_or_white(bits: int, white: int, tmp_path: Path) -> None:
    path = write_grey_png(tmp_path / "a.png", np.array([[0, white]]), bits)
    assert BinaryMasks().read(path).tolist() == [[0, 1]]


@pytest.mark.parametrize(("white", "expected"), [(0, [1, 0]), (1, [0, 1])])
def test_a_binary_tiff_is_read_as_it_is_shown(white: int, expected: list[int], tmp_path: Path) -> None:
    path = write_grey_tiff(tmp_path / "a.tif", np.array([[0, 1]]), bits=1, white=white)
    assert BinaryMasks().read(path).tolist() == [expected]


def test_grey_masks_may_hold_colours(tmp_path: Path) -> None:
    greys = ColourMasks({(0, 0, 0): None, (100, 100, 100): 0})
    assert greys.read(write_mask(tmp_path / "a.png", np.array([[0, 100]]))).tolist() == [[255, 0]]
