from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError
from stdc_search.data.decoding import IdMasks
from stdc_search.data.files import LabelledFiles, Sample, as_spelt, files_below, hint, read_list, resolve_root
from stdc_search.errors import several
from tests.data.conftest import SIZE, write_image, write_mask

CLASSES = ("road", "tree", "sign")


def test_a_label_of_another_size_is_an_error_that_names_both(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.png")
    label = write_mask(tmp_path / "label.png", np.zeros((3, 4)))
    with pytest.raises(DataError) as error:
        LabelledFiles([Sample("a", image, label)], CLASSES, IdMasks.plain(CLASSES, 255))[0]
    assert str(error.value) == (
        f"{label}: is 3 x 4 (height x width), but its image {image} is 6 x 8; both must have the same size"
    )


def test_lists_may_have_blank_lines_carriage_returns_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\n  b \r\n")
    assert read_list(path, "") == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_may_be_in_utf_8_and_utf_16(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("é\r\nb\r\n".encode(encoding))
    assert read_list(path, "") == ["é", "b"]


@pytest.mark.parametrize("way", [5, 6, 7, 8])
@pytest.mark.parametrize("turned", ["image", "label"])
def test_a_label_that_fits_the_raw_pixels_only_is_an_error_that_names_exif(
    way: int, turned: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = way
    for name in ("image", "label"):
        Image.new("L", (SIZE[1], SIZE[0])).save(tmp_path / f"{name}.png", **({"exif": exif} if name == turned else {}))
    image, label = tmp_path / "image.png", tmp_path / "label.png"
    with pytest.raises(DataError) as error:
        LabelledFiles([Sample("a", image, label)], CLASSES, IdMasks.plain(CLASSES, 255))[0]
    sizes = ("6 x 8", "8 x 6") if turned == "image" else ("8 x 6", "6 x 8")
    other = "mask" if turned == "image" else "image"
    assert str(error.value) == (
        f"{label}: is {sizes[0]} (height x width), but its image {image} is {sizes[1]}. EXIF orientation {way} turned "
        f"{turned}.png, and the {other} fits its raw pixels only; turn the {other} too, or remove the orientation "
        f"(`exiftool -Orientation= {turned}.png`)"
    )


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_below_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b/c.png", "b.png", "a.PNG", "d.txt", "._a.png", ".cache/e.png")))
    assert files_below(tmp_path, (".png",)) == [tmp_path / name for name in ("a.PNG", "b/c.png", "b.png")]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "deep" / "a.png", tmp_path / "b.png", tmp_path / "in" / "c.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "d.png").symlink_to(tmp_path / "b.png")
    found = [path.relative_to(tmp_path / "in").as_posix() for path in files_below(tmp_path / "in", (".png",))]
    assert found == ["c.png", "d.png", "linked/deep/a.png"]


def test_a_folder_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").symlink_to("elsewhere")
    assert files_below(tmp_path / "in", (".png",)) == [tmp_path / "in" / "a.png"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "masks" / "a.png", tmp_path / "in" / "x" / "a.png", tmp_path / "in" / "y" / "b.png")
    for place, target in (("in/self", "."), ("in/up", ".."), ("in/x/to", "../y"), ("in/y/to", "../x")):
        (tmp_path / place).symlink_to(target)
    found = [path.relative_to(tmp_path / "in").as_posix() for path in files_below(tmp_path / "in", (".png",))]
    assert found == ["x/a.png", "y/b.png"]


def test_a_folder_counts_once_and_by_its_own_path(tmp_path: Path) -> None:
    touch(tmp_path / "z" / "a.png")
    (tmp_path / "alias").symlink_to("z")
    assert files_below(tmp_path, (".png",)) == [tmp_path / "z" / "a.png"]


@pytest.mark.parametrize("name", ["a.png", "folder"])
def test_a_link_that_leads_nowhere_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("gone")
    with pytest.raises(DataError, match=rf"{name}: links to gone, which does not exist"):
        files_below(tmp_path, (".png",))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        files_below(tmp_path, (".png",))


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accented_letters_may_be_spelt_in_either_way(written: str, stored: str, tmp_path: Path) -> None:
    there, asked = (tmp_path / unicodedata.normalize(form, "\u00fcben/caf\u00e9.png") for form in (stored, written))
    touch(there)
    assert as_spelt(asked).samefile(there)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "lists no images"),
        (b"", "lists no images"),
        (b"\x89PNG\xff\x00", "is not text in UTF-8"),
        ("a\nb".encode("utf-16-le"), "or in UTF-16 with a byte order mark"),
    ],
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
