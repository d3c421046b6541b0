"""Tiny data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.data.cityscapes import LABEL_IDS, VOID_IDS

SIZE = (6, 8)
"""(height, width) of what is written here."""


def write_image(path: Path, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Path:
    """Noise, its own for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(path.name.encode())).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def write_mask(path: Path, ids: np.ndarray | int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(np.array(ids, np.uint8), SIZE if np.ndim(ids) == 0 else np.shape(ids))).save(path)
    return path


def write_camvid_split(root: Path, split: str, frames: list[str], ending: str = "png") -> None:
    """Images and labels of a split and its list, which names the images as PNGs."""
    for frame in frames:
        write_image(root / split / f"{frame}.{ending}")
        write_mask(root / f"{split}annot" / f"{frame}.png", np.arange(48).reshape(SIZE) % 12)
    lines = [f"{split}/{frame}.png {split}annot/{frame}.png" for frame in frames]
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A CamVid of three frames to train on and two to score."""
    root = tmp_path / "camvid"
    write_camvid_split(root, "train", ["a1", "a2", "a3"])
    write_camvid_split(root, "val", ["b1", "b2"])
    return root


def write_cityscapes_split(root: Path, split: str, city: str, frames: int, seed: int = 0) -> None:
    """Images of 32 x 64 and labels of cells that hold any id."""
    rng = np.random.default_rng(seed)
    for kind in ("leftImg8bit", "gtFine"):
        (root / kind / split / city).mkdir(parents=True)
    for frame in range(frames):
        name = f"{city}_{frame:06d}_000019"
        pixels = rng.integers(256, size=(32, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        cells = rng.choice([*LABEL_IDS, *VOID_IDS], size=(8, 16)).astype(np.uint8)
        Image.fromarray(cells.repeat(4, 0).repeat(4, 1)).save(
            root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        )


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """A Cityscapes of two cities to train on and one to score."""
    root = tmp_path / "cityscapes"
    write_cityscapes_split(root, "train", "aachen", 2)
    write_cityscapes_split(root, "train", "ulm", 1, seed=1)
    write_cityscapes_split(root, "val", "frankfurt", 4, seed=2)
    return root


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Three classes of two images to train on and one to score."""
    root = tmp_path / "classes"
    for kind, names in (("train", "ab"), ("val", "c")):
        for label in ("ant", "bee", "cat"):
            for name in names:
                write_image(root / kind / label / f"{label}-{name}.jpg", size=(6 + len(names), 8))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder data set of the given names: images as JPEG, masks of ids 0 and 1 as PNG."""

    def write(*names: str) -> Path:
        root = tmp_path / "mine"
        for name in names:
            write_image(root / "images" / f"{name}.jpg")
            write_mask(root / "masks" / f"{name}.png", np.arange(48).reshape(SIZE) % 2)
        return root

    return write


@pytest.fixture(autouse=True)
def drawn_labels(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labels are kept that are drawn from annotations."""
    folder = tmp_path_factory.mktemp("labels")
    monkeypatch.setenv("STDC_SEARCH_CACHE", str(folder))
    return folder
