"""What masks hold tells their encoding."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data.dataset import DataError
from stdc_search.data.guess.codes import encoding_of

SIZE = (24, 32)
BLACK, RED, GREEN = (0, 0, 0), (200, 0, 0), (0, 200, 0)


def stripes(*values: int | tuple[int, int, int]) -> Image.Image:
    """A mask with equal stripes of ids or colours."""
    rows = np.array(values, np.uint8)[np.arange(SIZE[0]) * len(values) // SIZE[0]]
    return Image.fromarray(np.stack([rows] * SIZE[1], axis=1))


def saved(folder: Path, *masks: Image.Image) -> list[Path]:
    """Files of masks, in order."""
    files = [folder / f"{number}.png" for number in range(len(masks))]
    for file, mask in zip(files, masks, strict=True):
        mask.save(file)
    return files


def test_an_id_that_one_of_many_masks_has_is_a_class(tmp_path: Path) -> None:
    common, rare = saved(tmp_path, stripes(0, 1), stripes(0, 2))
    names, _, _ = encoding_of([common] * 2000 + [rare] + [common] * 2001)
    assert names == ["class_0", "class_1", "class_2"]


def painted(*colours: tuple[int, int, int]) -> Image.Image:
    """Equal stripes of colours, numbered in this order by a palette."""
    mask = stripes(*range(len(colours)))
    mask.putpalette(bytes(value for colour in colours for value in colour))
    return mask


@pytest.mark.parametrize("other", [painted(GREEN, BLACK), stripes(GREEN, BLACK), stripes(GREEN, BLACK).quantize(256)])
def test_colours_count_where_other_masks_number_them_otherwise(other: Image.Image, tmp_path: Path) -> None:
    names, encoding, notes = encoding_of(saved(tmp_path, painted(BLACK, RED, GREEN), other))
    assert (names, encoding["encoding"]["colours"]) == (["colour_0_200_0", "colour_200_0_0"], [[*GREEN], [*RED]])
    assert any("palettes" in note for note in notes) == (other.mode == "P")


def test_ids_count_where_all_palettes_are_alike(tmp_path: Path) -> None:
    masks = [painted(BLACK, RED, GREEN), painted(BLACK, RED), stripes(0, 1)]
    assert encoding_of(saved(tmp_path, *masks))[:2] == (["class_0", "class_1", "class_2"], {})


def circle(number: int, scale: int = 1) -> Image.Image:
    """A white circle on black."""
    y, x = np.indices((scale * 60, scale * 80)) / scale
    return Image.fromarray(((y - 30) ** 2 + (x - 35 - number) ** 2 < (12 + number) ** 2).astype(np.uint8) * 255)


def jpeg(mask: Image.Image, quality: int) -> Image.Image:
    mask.save(content := BytesIO(), "JPEG", quality=quality)
    return Image.open(content)


def red(mask: Image.Image) -> Image.Image:
    black = Image.new("L", mask.size)
    return Image.merge("RGB", (mask, black, black))


@pytest.mark.parametrize("change", [lambda mask: mask, red])
@pytest.mark.parametrize(
    "masks",
    [
        [circle(i, 4).resize((80, 60), Image.Resampling.BILINEAR) for i in range(4)],
        [circle(i).resize((160, 120), Image.Resampling.BICUBIC) for i in range(4)],
        [circle(i) for i in range(3)] + [circle(4, 2).resize((80, 60), Image.Resampling.BILINEAR)],
        [jpeg(circle(i), 90) for i in range(4)],
        [jpeg(circle(i, 5), 50) for i in range(4)],
    ],
)
def test_smoothed_masks_are_an_error(
    masks: list[Image.Image], change: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    told = r"\.png: this and other masks have .* occur only at borders, .* nearest neighbour"
    with pytest.raises(DataError, match=told):
        encoding_of(saved(tmp_path, *map(change, masks)))


@pytest.mark.parametrize("void", [0, 255])
@pytest.mark.parametrize("space", [1, 7])
def test_many_rare_ids_are_classes(space: int, void: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(34) * space
    masks = []
    for _ in range(40):
        mask = np.full((60, 80), void, np.uint8)
        mask[20:] = 0
        for id in rng.choice(classes, 5):
            y, x, height, width = (*rng.integers(50, size=2), *rng.integers(1, 9, size=2))
            mask[y : y + height, x : x + width] = id
        masks.append(Image.fromarray(mask))
    assert encoding_of(saved(tmp_path, *masks))[0] == [f"class_{id}" for id in classes]


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_black_and_white(tmp_path: Path) -> None:
    masks = [stripes(0, 255), stripes(0, 1), stripes(255)]
    names, encoding, notes = encoding_of(saved(tmp_path, *masks))
    assert (names, encoding) == (["background", "foreground"], {"encoding": {"kind": "binary"}})
    assert "no mask holds both 1 and 255" in notes[0]
    assert encoding_of(saved(tmp_path, *masks, stripes(1, 255)))[0] == ["class_0", "class_1"]


def test_more_ids_than_a_label_can_tell_apart_are_an_error(tmp_path: Path) -> None:
    noise = np.arange(256, dtype=np.uint8).reshape(2, 8, 16)
    with pytest.raises(DataError, match=r"0\.png: this and other masks have 256 ids or colours"):
        encoding_of(saved(tmp_path, *map(Image.fromarray, noise)))


@pytest.mark.parametrize("ids", [(0, 127, 255), (0, 85, 170, 255), (0, 76, 149, 255), (0, 51, 102, 204, 255)])
def test_255_is_a_class_where_ids_are_stretched_up_to_it(ids: tuple[int, ...], tmp_path: Path) -> None:
    names, encoding, notes = encoding_of(saved(tmp_path, stripes(*ids), stripes(*ids)))
    assert names == [f"class_{id}" for id in ids]
    assert encoding["encoding"]["map"] == {id: index for index, id in enumerate(ids)}
    assert "255 is a class" in notes[1]


@pytest.mark.parametrize("ids", [(0, 1), (3, 7), (7, 8, 11, 33), (0, 60), tuple(range(0, 200, 10))])
def test_255_is_ignored_where_it_stands_apart(ids: tuple[int, ...], tmp_path: Path) -> None:
    names, _, notes = encoding_of(saved(tmp_path, stripes(*ids, 255), stripes(*ids)))
    assert names == [f"class_{id}" for id in ids] and "255" in notes[0] and "is ignored" in notes[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_grey_rgb_masks_hold_ids(mode: str, tmp_path: Path) -> None:
    masks = [stripes(0, 1, 2).convert(mode), stripes(0, 2).convert(mode), stripes(1, 255)]
    names, encoding, notes = encoding_of(saved(tmp_path, *masks))
    assert (names, encoding) == (["class_0", "class_1", "class_2"], {}) and "is ignored" in notes[0]


def test_grey_rgb_masks_hold_colours_where_others_do_or_a_file_names_them(tmp_path: Path) -> None:
    black, grey = stripes(BLACK), stripes(BLACK, (128, 128, 128))
    names, _, notes = encoding_of(saved(tmp_path, black, grey, stripes(BLACK, RED)))
    assert {*names} == {"colour_128_128_128", "colour_200_0_0"} and not any("palettes" in note for note in notes)
    named = {BLACK: "soil", (128, 128, 128): "weed"}
    assert encoding_of(saved(tmp_path, black, grey), named=named)[0] == ["soil", "weed"]
