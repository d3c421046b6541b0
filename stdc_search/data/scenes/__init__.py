"""Generated street scenes: CamVid's classes, no download, any size, the same for the same seed.

A scene is planned in metres (`street`). Its objects are painted into image and label from far to near, so that near
objects hide far ones (`things`, `brush`). Shadows, haze, texture, blur and noise are added to the image only (`photo`).
The street does not depend on the size: an index gives the same one at 120 x 160 and 720 x 960.
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from stdc_search.data.dataset import Split
from stdc_search.data.scenes import photo
from stdc_search.data.scenes.brush import Brush, Camera, Light, palette, tint
from stdc_search.data.scenes.street import Street, pave, skyline
from stdc_search.data.scenes.style import STYLES, Style
from stdc_search.data.scenes.things import PAINT
from stdc_search.records import IGNORED
from stdc_search.spec.data import CAMVID_CLASSES, ScenesSpec

REMEMBERED_BYTES = 2 << 30
"""Memory for the samples of one data set; others are drawn again at each access."""
HAZES = palette("ced2d8 dad6ce b8babe")


class Scenes:
    """One split. A sample is drawn at its first access and kept in memory."""

    def __init__(self, spec: ScenesSpec, split: Split) -> None:
        self.spec = spec
        self.class_names = spec.class_names
        self.split: Split = split
        height, width = spec.size
        self._ids = np.full(256, IGNORED, np.uint8)
        self._ids[[CAMVID_CLASSES.index(name) for name in self.class_names]] = range(len(self.class_names))
        self._room = REMEMBERED_BYTES // (4 * height * width)
        self._remembered: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self.spec.train if self.split == "train" else self.spec.val

    def name(self, index: int) -> str:
        return f"{self.split}_{index:05d}"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        if index in self._remembered:
            return self._remembered[index]
        image, label = render(self.spec.size, self.spec.seed, self.split, index, STYLES[self.spec.style])
        sample = torch.from_numpy(image), torch.from_numpy(self._ids[label])
        if len(self._remembered) < self._room:
            self._remembered[index] = sample
        return sample

    def label(self, index: int) -> Tensor:
        return self[index][1]

    def files(self, index: int) -> tuple[Path, ...]:
        return ()


def render(
    size: tuple[int, int], seed: int, split: Split, index: int, style: Style = STYLES["camvid"]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene of size (height, width).

    Returns:
        Image 3, H, W and label H, W, both uint8. Labels are ids of `CAMVID_CLASSES` in every style.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split == "val", index)))
    # For thousands of single draws, the standard library's generator is ten times faster and as portable.
    key = int(generator.integers(1 << 62))
    rng = Random(key)
    camera, light, street = _camera(rng, size), _light(rng, style), Street(rng, style)

    canvas = photo.sky(rng, generator, camera, light, size, style)
    skyline(Brush(camera._replace(bend=0), light, canvas), rng)
    pave(Brush(camera, light._replace(visibility=math.inf), canvas), rng, street)
    shadow = photo.shadows(street.things, camera, light, size)
    canvas = photo.weather(canvas, shadow, generator, camera, light)
    brush = Brush(camera, light, canvas)
    for number, thing in sorted(enumerate(street.things), key=lambda item: -item[1].box[3]):
        if camera.may_see(thing.box, size[1]):
            thing.paint(brush, Random(key + number))  # its own draws: skipping one changes no other
    if rng.random() < style.bonnet:
        _bonnet(brush, rng, size)
    planes = photo.planes_of(canvas)
    return photo.photograph(planes[:3], planes[3], rng, generator, style.exposure), planes[3]


def _camera(rng: Random, size: tuple[int, int]) -> Camera:
    height, width = size
    focal = rng.uniform(1.05, 1.4) * height
    return Camera(
        focal=focal,
        centre=width / 2 + focal * rng.gauss(0, 0.07),
        horizon=height * rng.uniform(0.38, 0.54),
        eye=rng.uniform(1.2, 1.9),
        bend=rng.triangular(-0.004, 0.004, 0),
    )


def _light(rng: Random, style: Style) -> Light:
    azimuth = rng.uniform(0, 2 * math.pi)
    return Light(
        sun=(math.cos(azimuth), math.sin(azimuth)),
        reach=rng.uniform(0.4, 2.2),
        direct=rng.choice(style.direct),
        haze=tint(rng, HAZES, 0.1),
        visibility=rng.uniform(*style.visibility),
    )


def _bonnet(brush: Brush, rng: Random, size: tuple[int, int]) -> None:
    """Paint the bonnet of the car that carries the camera."""
    height, width = size
    box = (width * -0.1, height * rng.uniform(0.9, 0.97), width * 1.1, height * 1.3)
    brush.draw.ellipse(box, fill=brush.ink(tint(rng, PAINT), 0, IGNORED))
