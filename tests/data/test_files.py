from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stdc_search.data import DataError
from stdc_search.data.files import (
    BinaryMasks,
    ColourMasks,
    IdMasks,
    LabelledFiles,
    Sample,
    hint,
    read_image,
    read_list,
    resolve_root,
    several,
)
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
    with pytest.raises(DataError, match=r"deep\.png: has more than 8 bits a value \(mode I;16\); save it with 8"):
        read_image(path)


def test_an_orientation_in_exif_is_left_out_of_account(tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (SIZE[1], SIZE[0])).save(path, exif=exif)
    assert read_image(path).shape == (3, *SIZE)


def test_void_becomes_255_and_classes_keep_their_ids(tmp_path: Path) -> None:
    label = label_of(write_mask(tmp_path / "a.png", np.array([[0, 1], [2, 9]])))
    assert label.dtype == torch.uint8
    assert label.tolist() == [[0, 1], [2, 255]]


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
        f"{path}: has class id 7, 255 (3 pixels); legal are 0 (road) to 2 (sign), and 9 for pixels without a class"
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1"])
def test_a_mask_that_holds_no_ids_is_an_error(mode: str, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", mode=mode)
    with pytest.raises(DataError, match=rf"a\.png: has mode {mode}; a mask has one channel of 8 bits"):
        label_of(path)


def test_a_mask_that_was_compressed_with_loss_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(path, format="JPEG")
    with pytest.raises(DataError, match=r"a\.png: is a JPEG, which need not keep ids as they are"):
        label_of(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0, 12, 0.6])
def test_a_cut_file_is_an_error_that_names_it(name: str, kept: float, tmp_path: Path) -> None:
    path = write_image(tmp_path / name, size=(64, 64))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=rf"{name}: cannot be read, the file is broken or no image"):
        read_image(path)


def test_a_png_with_broken_content_is_an_error(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 4
    content[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        label_of(path)


def test_a_label_of_another_size_is_an_error_that_names_both(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.png")
    label = write_mask(tmp_path / "label.png", np.zeros((3, 4)))
    with pytest.raises(DataError) as error:
        LabelledFiles([Sample("a", image, label)], CLASSES, IdMasks.plain(CLASSES, 255))[0]
    assert str(error.value) == (
        f"{label}: is 3 x 4 (height x width), its image {image} 6 x 8; both must be of one size"
    )


def test_lists_may_have_blank_lines_carriage_returns_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\n  b \r\n")
    assert read_list(path, "") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n \n", "names no image"), (b"", "names no image"), (b"\x89PNG\xff\x00", "is not a text file")],
)
def test_a_list_that_names_nothing_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_list(path, "")


def test_a_relative_root_starts_from_the_argument_else_the_variable_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("argument", "variable", "here")]
    for place in places:
        (place / "data").mkdir(parents=True)
    argument, variable, here = places
    monkeypatch.chdir(here)
    monkeypatch.setenv("STDC_SEARCH_DATA", str(variable))
    assert resolve_root(Path("data"), argument) == argument / "data"
    assert resolve_root(Path("data"), None) == variable / "data"
    monkeypatch.setenv("STDC_SEARCH_DATA", "")
    assert resolve_root(Path("data"), None).samefile(here / "data")
    assert resolve_root(variable / "data", argument) == variable / "data"


def test_a_missing_root_says_where_it_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "camvid").mkdir()
    with pytest.raises(DataError) as error:
        resolve_root(Path("camvit"), tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'camvit'}: no such folder (`data.root` camvit, from --data-root); did you mean `camvid`?"
    )


def test_the_hint_lists_what_is_there_where_nothing_is_alike(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / name).touch()
    assert hint(tmp_path / "train.txt") == f"; {tmp_path} holds a, b, c, d, e and 2 more"
    assert hint(tmp_path / "no" / "train.txt") == f"; {tmp_path / 'no'} does not exist either"


def test_several_shows_five() -> None:
    assert several([1, 2, 3, 4, 5]) == "1, 2, 3, 4, 5"
    assert several([1, 2, 3, 4, 5, 6]) == "1, 2, 3, 4, 5 and 1 more"


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
    with pytest.raises(DataError, match=r"3 pixels have a colour that is no class, the commonest is \[0, 127, 0\]"):
        COLOURS.read(path)


def test_ids_where_colours_are_meant_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"48 pixels have a colour that is no class, the commonest is \[1, 1, 1\]"):
        COLOURS.read(write_mask(tmp_path / "a.png", 1))


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("L", 1), ("1", 255)])
def test_black_is_the_first_class_and_white_the_second(mode: str, white: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, white, 0]], np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert BinaryMasks().read(tmp_path / "a.png").tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("values", [[0, 2], [0, 1, 255]])
def test_a_binary_mask_of_other_values_is_an_error(values: list[int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a binary mask has 0, and either 1 or 255"):
        BinaryMasks().read(write_mask(tmp_path / "a.png", np.array([values])))


def test_of_a_binary_mask_with_a_palette_the_colours_count(tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[0, 1, 0]], np.uint8))
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(tmp_path / "a.png")
    assert BinaryMasks().read(tmp_path / "a.png").tolist() == [[1, 0, 1]]


def test_grey_masks_may_hold_colours(tmp_path: Path) -> None:
    greys = ColourMasks({(0, 0, 0): None, (100, 100, 100): 0})
    assert greys.read(write_mask(tmp_path / "a.png", np.array([[0, 100]]))).tolist() == [[255, 0]]
