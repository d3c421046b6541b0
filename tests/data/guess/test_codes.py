"""What masks hold tells their encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

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


def test_colours_count_where_each_file_numbers_them_anew(tmp_path: Path) -> None:
    masks = [stripes(BLACK, RED, GREEN), stripes(GREEN, RED, RED, RED), stripes(BLACK, GREEN)]
    files = saved(tmp_path, *(mask.quantize(256) for mask in masks[:2]), masks[2])
    names, encoding, notes = encoding_of(files)
    assert (names, encoding["encoding"]["colours"]) == (["colour_0_200_0", "colour_200_0_0"], [[*GREEN], [*RED]])
    assert any("the colours count, not the ids" in note for note in notes)


def test_ids_count_where_all_palettes_are_alike(tmp_path: Path) -> None:
    masks = [stripes(0, 1, 2), stripes(2, 1)]
    for mask in masks:
        mask.putpalette([*BLACK, *RED, *GREEN])
    assert encoding_of(saved(tmp_path, *masks, stripes(0, 1)))[:2] == (["class_0", "class_1", "class_2"], {})
