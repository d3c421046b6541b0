"""How images are split if nothing says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stdc_search.data.dataset import DataError
from stdc_search.data.guess.divide import divide
from stdc_search.data.splits import divided
from stdc_search.spec.splits import SplitByGroup, SplitByShare


def photos(folder: Path, names: list[str], video: bool) -> dict[str, Path]:
    """Images that are alike within a sequence, which the first letter of a name says, or all different."""
    for number, name in enumerate(names):
        draw = np.random.default_rng(ord(name[0]) if video else number)
        pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in names}


def everywhere(names: list[str]) -> dict[str, Any]:
    return {name: np.array([True, True]) for name in names}


def test_independent_photos_are_split_by_share(tmp_path: Path) -> None:
    names = [f"img_{n:03d}" for n in range(40)]
    split, notes = divide(photos(tmp_path, names, video=False), everywhere(names))
    assert split == {"kind": "share", "val": 0.2, "seed": 0} and notes == []


@pytest.mark.parametrize(
    "names",
    [
        [f"{video}_{frame:04d}" for video in "abcdef" for frame in range(8)],
        [f"{video}/{frame}" for video in "abcdef" for frame in range(8)],
    ],
)
def test_frames_of_videos_stay_together(tmp_path: Path, names: list[str]) -> None:
    split, notes = divide(photos(tmp_path, names, video=True), everywhere(names))
    assert split["kind"] == "group" and "sequences" in notes[0]
    sides = divided(names, SplitByGroup(**split), tmp_path)
    assert not {name[0] for name in sides["train"]} & {name[0] for name in sides["val"]}


def test_frames_of_one_video_are_split_by_stretches(tmp_path: Path) -> None:
    names = [f"frame{n:04d}" for n in range(100)]
    images = photos(tmp_path, [f"{'abcdefghij'[n // 10]}{n}" for n in range(100)], video=True)
    split, _ = divide(dict(zip(names, images.values(), strict=True)), everywhere(names))
    assert split["kind"] == "group"
    assert len({name[:-1] for name in divided(names, SplitByGroup(**split), tmp_path)["val"]}) == 2


@pytest.mark.parametrize(("videos", "frames", "block"), [(1, 600, 100), (3, 200, 100), (1, 40, 10)])
@pytest.mark.parametrize("form", ["v{}_{:05d}", "v{}_{}"])
def test_frames_of_few_videos_are_held_back_in_the_longest_blocks(
    videos: int, frames: int, block: int, form: str, tmp_path: Path
) -> None:
    draw, names = np.random.default_rng(0), [form.format(v, f) for v in range(videos) for f in range(frames)]
    shades = np.cumsum(draw.normal(0, 3, (len(names), 8, 8)), axis=0) + 128
    for name, pixels in zip(names, shades, strict=True):
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{name}.bmp")
    split, notes = divide({name: tmp_path / f"{name}.bmp" for name in names}, everywhere(names))
    assert f"blocks of about {block} frames" in notes[0] and "sequences" not in notes[0]
    val = divided(names, SplitByGroup(**split), tmp_path)["val"]
    assert len({(name[:2], int(name[3:]) // block) for name in val}) == len(val) / block


@pytest.mark.parametrize("video", [False, True])
def test_copies_of_a_photo_that_roboflow_augmented_stay_together(video: bool, tmp_path: Path) -> None:
    shots = [f"{'abcdef'[n // 5]}_mp4-{n % 5}_jpg" for n in range(30)]
    names = [f"train/{shot}.rf.{copy}{n:x}f" for n, shot in enumerate(shots) for copy in range(3)]
    files = photos(tmp_path, shots, video=video)
    images = {name: files[name.removeprefix("train/").partition(".rf.")[0]] for name in names}
    split, notes = divide(images, everywhere(names))
    assert "all copies of a photo are on one side" in notes[0] and len(notes) == 1 + video
    sides = divided(names, SplitByGroup(**split), tmp_path)
    end = len("train/a") if video else len("train/a_mp4-0_jpg")
    assert not {name[:end] for name in sides["train"]} & {name[:end] for name in sides["val"]}
    assert len(sides["val"]) == (15 if video else 18)


def test_the_split_has_every_class_on_both_sides(tmp_path: Path) -> None:
    names = [f"img_{n}" for n in range(20)]
    rare = {"img_3", "img_11"}
    present = {name: np.array([True, name in rare]) for name in names}
    split, notes = divide(photos(tmp_path, names, video=False), present)
    sides = divided(names, SplitByShare(**split), tmp_path)
    assert all(rare & {*side} for side in sides.values())
    assert notes == [] if split["seed"] == 0 else "more of the classes" in notes[0]


def test_names_may_have_digits_that_are_no_numbers(tmp_path: Path) -> None:
    names = [f"{n}m35²" for n in range(8)]
    assert divide(photos(tmp_path, names, video=False), everywhere(names))[0]["kind"] == "share"


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    names = [f"img_{n}" for n in range(10)]
    images = photos(tmp_path, names, video=False)
    for path in images.values():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"img_\d\.png: cannot be read"):
        divide(images, everywhere(names))
