"""Street scenes drawn by a program: CamVid's classes, no download, any size, the same for the same seed.

A scene is planned in metres: a road with a bend, and things that stand beside and on it. They are painted far to
near, so that what is nearer hides what is farther, into image and label alike; shadows, haze, texture, blur and
noise follow in the image alone. The geometry does not depend on the size: one index shows the same street at
120 x 160 and at 720 x 960.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from stdc_search.data.scene_things import (
    ASPHALT, BUILDING, LEAF, PAINT, PAVEMENT, PAVING, ROAD, SKY, STONE, TREE, VEHICLES, VOID,
    Brush, Camera, Colour, Light, Thing,
    bicyclist, building, clutter, fence, hedge, lamp, pedestrian, sign, times, tint, tree, vehicle,
)  # fmt: skip
from stdc_search.spec.data import CAMVID_CLASSES, ScenesSpec

REMEMBERED_BYTES = 2 << 30
"""Rendered samples that one data set keeps in memory; what is beyond is drawn again."""

# ---- the street ----------------------------------------------------------------------------------------------------


class Street(NamedTuple):
    """Where a street's parts lie, in metres from the camera."""

    kerbs: tuple[float, float]
    fronts: tuple[float, float]
    """x at which the pavements end and houses or gardens begin."""
    crossing: float
    """z at which another street crosses."""


class Plan:
    """The things of a street. Those on road and pavement do not overlap: who comes first stands there."""

    def __init__(self, rng: Random):
        self.rng, self.things, self.taken = rng, [], []
        kerbs, walks = (
            (rng.uniform(2.0, 4.0), rng.uniform(3.5, 6.5)),
            (rng.uniform(1.8, 5), rng.uniform(1.8, 5)),
        )
        left, right = (0, 1) if rng.random() < 0.5 else (1, 0)  # the lane that we are in
        self.street = Street(
            (-kerbs[left], kerbs[right]),
            (-kerbs[left] - walks[left], kerbs[right] + walks[right]),
            rng.uniform(12, 80),
        )
        self.movers()
        for side in (-1, 1):
            self.furniture(side)
            self.plots(side)

    def put(
        self, paint: Callable[..., None], x: float, z: float, size: tuple[float, float, float], **how: object
    ) -> None:
        """Stand something of (width, length, height) at x, from z on, where there is room."""
        wide, long, height = size
        box = (x - wide / 2, x + wide / 2, z, z + long)
        if not any(box[0] < b and a < box[1] and box[2] < d and c < box[3] for a, b, c, d in self.taken):
            self.taken.append(box)
            self.things.append(Thing(box, height, partial(paint, x=x, z=z, **how)))

    def put_car(self, x: float, z: float, heading: float) -> None:
        profile = self.rng.choices(VEHICLES, (8, 5, 5, 3, 1))[0]
        length, height = profile[-1][0], profile[3][1]
        if abs(math.sin(heading)) > 0.7:
            return self.put(vehicle, x, z, (2 * length, 2, height), heading=heading, profile=profile)
        rear = z if math.cos(heading) > 0 else z + length
        paint = partial(vehicle, profile=profile, heading=heading)
        self.put(lambda brush, rng, x, z: paint(brush, rng, x=x, z=rear), x, z, (1.9, length, height))

    def sight(self, x: float, most: float) -> float:
        """A z from which something at x is likely inside of the picture."""
        return max(5.0, abs(x) * 2.1) * self.rng.uniform(1, most)

    def movers(self) -> None:
        """Cyclists, people and cars on the road."""
        rng, (left, right) = self.rng, self.street.kerbs
        for _ in range(rng.randint(1, 2)):
            x = rng.choice((left + 0.8, right - 0.8, rng.uniform(left, right)))
            heading = rng.choice((0, 0, math.pi, math.pi / 2)) + rng.gauss(0, 0.25)
            self.put(bicyclist, x, self.sight(x, 3), (1.2, 1.5, 1.7), heading=heading)
        for _ in range(rng.randint(0, 2)):
            x, heading = rng.uniform(left, right), rng.choice((-1, 1)) * math.pi / 2
            self.put(pedestrian, x, self.sight(x, 4), (0.6, 0.5, 1.7), heading=heading)
        for _ in range(rng.randint(2, 5)):
            lane, heading = rng.choice(((0.0, 0.0), ((left + right) * 0.8, math.pi)))
            self.put_car(lane + rng.gauss(0, 0.25), rng.uniform(7, 70), heading)
        if rng.random() < 0.5:
            z = self.street.crossing + rng.uniform(1, 4)
            self.put_car(rng.uniform(-0.5, 0.5) * z, z, rng.choice((-1, 1)) * math.pi / 2)

    def furniture(self, side: int) -> None:
        """What stands on one pavement and along its kerb."""
        rng, crossing = self.rng, self.street.crossing
        kerb, front = (line[side > 0] for line in (self.street.kerbs, self.street.fronts))
        for _ in range(rng.randint(1, 3)):
            x = kerb + side * rng.uniform(0.3, 0.8)
            self.put(sign, x, self.sight(x, 4), (0.5, 0.5, 2.5))
        for _ in range(rng.randint(1, 4)):
            x, heading = rng.uniform(kerb, front), rng.choice((0, math.pi)) + rng.gauss(0, 0.5)
            self.put(pedestrian, x, self.sight(x, 4), (0.6, 0.5, 1.7), heading=heading)
        for _ in range(rng.randint(0, 3)):
            x = rng.uniform(kerb + side * 0.4, front)
            self.put(clutter, x, self.sight(x, 2.5), (0.9, 0.5, 1))
        parked, z = rng.choice((0.1, 0.5, 0.9)), rng.uniform(7, 13)
        while z < 90:
            if rng.random() < parked and abs(z - crossing) > 9:
                heading = rng.choice((0, math.pi)) + rng.gauss(0, 0.04)
                self.put_car(kerb - side * rng.uniform(1.0, 1.2), z, heading)
            z += rng.uniform(5.6, 7.5)
        z, gap = rng.uniform(8, 25), rng.uniform(16, 34)
        while z < 90:
            self.put(lamp, kerb + side * 0.5, z, (0.3, 0.3, 7), arm=-side * rng.uniform(0.3, 2))
            z += gap
        z, gap = rng.uniform(9, 30), rng.choice((9, 20, 200))
        while z < 90 and gap < 100:
            self.put(tree, kerb + side * 1.1, z, (1, 1, 5), height=rng.uniform(4, 8))
            z += gap
        if rng.random() < 0.5:
            near = self.sight(kerb, 1.6)
            self.border(fence, kerb + side * 0.25, near, near + rng.uniform(4, 16))

    def border(self, paint: Callable[..., None], x: float, near: float, far: float) -> None:
        self.things.append(Thing((x, x, near, far), 1.2, partial(paint, start=(x, far), end=(x, near))))

    def plots(self, side: int) -> None:
        """Houses, and gardens behind fences and hedges, one after the other along a side of the street."""
        rng, front, crossing = self.rng, self.street.fronts[side > 0], self.street.crossing
        built, tall, z = rng.uniform(0.45, 1), rng.uniform(5, 14), rng.uniform(1.5, 8)
        while z < 150:
            far, setback = z + rng.uniform(7, 22), rng.choice((0, 0, 0.4, 3.5))
            if z < crossing + 7 and far > crossing - 1:
                z = crossing + 7
                continue
            house = rng.random() < built
            if house:
                x, back, height = (
                    front + side * setback,
                    front + side * rng.uniform(10, 16),
                    tall * rng.uniform(0.7, 1.3),
                )
                paint = partial(building, x=x, back=back, near=z, far=far, height=height)
                self.things.append(Thing((min(x, back), max(x, back), z, far), height, paint))
            for _ in range(0 if house else rng.randint(2, 6)):
                x, at, height = front + side * rng.uniform(1.5, 14), rng.uniform(z, far), rng.uniform(4, 13)
                paint = partial(tree, x=x, z=at, height=height)
                self.things.append(Thing((x - 1, x + 1, at, at + 1), height * 0.8, paint))
            if not house or setback > 1 or rng.random() < 0.1:
                self.border(rng.choice((fence, fence, hedge)), front + side * 0.2, z, far - 0.1)
            z = far + rng.choice((0, 0, 0, 2.5))


def pave(brush: Brush, rng: Random, street: Street) -> None:
    """The ground: grass or stone, pavements, kerbs, road, its marks and repairs."""
    left, right = street.kerbs
    start, stop = street.crossing, street.crossing + 6
    road, paving, white = (
        tint(rng, ASPHALT),
        tint(rng, PAVING),
        times((196, 194, 188), rng.uniform(0.75, 1.15)),
    )

    def strip(x0: float, x1: float, colour: Colour, label: int, near: float = 1, far: float = 320) -> None:
        zs = [near, *(z for z in (3, 5, 8, 12, 18, 27, 40, 60, 90, 140, 220) if near < z < far), far]
        brush.polygon([(x0, 0, z) for z in zs] + [(x1, 0, z) for z in reversed(zs)], colour, label)

    for far_side in (-400, 400):
        grass = rng.random() < 0.6
        strip(0, far_side, tint(rng, LEAF) if grass else times(paving, 0.95), TREE if grass else PAVEMENT)
    strip(-400, 400, road, ROAD, start, stop)
    stone = times(paving, rng.choice((0.7, 1.2)))
    for side, kerb, front in zip((-1, 1), street.kerbs, street.fronts, strict=True):
        lines = rng.random() < 0.35
        for near, far in ((1, start), (stop, 320)):
            strip(kerb, front, paving, PAVEMENT, near, far)
            strip(kerb, kerb + side * 0.18, stone, PAVEMENT, near, far)
    strip(left, right, road, ROAD)
    for side, kerb in zip((-1, 1), street.kerbs, strict=True):
        lines = rng.random() < 0.35
        for near, far in ((1, start), (stop, 320)):
            strip(kerb, kerb - side * 0.3, times(road, 0.82), ROAD, near, far)  # gutter
            if lines:
                strip(kerb - side * 0.4, kerb - side * 0.52, (176, 150, 60), ROAD, near, far)
    for _ in range(rng.randint(2, 6)):
        x, z = rng.uniform(left, right), rng.uniform(3, 40)
        strip(
            x,
            x + rng.uniform(0.3, 1.6),
            times(road, rng.uniform(0.75, 1.2)),
            ROAD,
            z,
            z + rng.uniform(0.5, 8),
        )
    middle, dash, z = (left + right) / 2, rng.uniform(1.5, 5), rng.uniform(1, 4)
    while z < 100 and dash < 4.6:
        strip(middle - 0.07, middle + 0.07, white, ROAD, z, z + dash)
        z += 2.2 * dash
    if rng.random() < 0.5:  # stop line, or zebra
        strip(min(middle, 0), max(middle, 0), white, ROAD, start - 2.4, start - 2)
    else:
        for k in range(int(right - left)):
            strip(left + 0.3 + k, left + 0.8 + k, white, ROAD, start - 4.6, start - 2)


def skyline(brush: Brush, rng: Random) -> None:
    """Far trees and houses where the street ends."""
    for z in (280.0, 180.0):
        x = -z
        while x < z:
            wide, height = rng.uniform(12, 35), rng.uniform(5, 16)
            if rng.random() < 0.4:
                brush.wall((x, z), (x + wide, z), -1, height, tint(rng, STONE), BUILDING)
            else:
                for _ in range(4):
                    at = (x + rng.uniform(0, wide), height * rng.uniform(0.1, 0.6), z)
                    brush.ball(at, wide * 0.3, height * 0.35, tint(rng, LEAF), TREE)
            x += wide * rng.uniform(0.7, 1.2)


# ---- light, haze, texture, lens ------------------------------------------------------------------------------------


def noise(generator: np.random.Generator, shape: tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise of about unit variance, float32, with so many bumps over the height."""
    height, width = shape
    small = (max(2, round(cells)), max(2, round(cells * width / height)))
    field = Image.fromarray(generator.standard_normal(small, dtype=np.float32))
    return np.asarray(field.resize((width, height), Image.Resampling.BILINEAR))


def planes_of(canvas: Image.Image) -> np.ndarray:
    """Planes (channels, H, W): sums over planes are several times quicker than over pixels of three values."""
    return np.stack([np.asarray(plane) for plane in canvas.split()])


def canvas_of(planes: np.ndarray) -> Image.Image:
    return Image.merge("RGBA"[: len(planes)], [Image.fromarray(plane) for plane in planes])


def bytes_of(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def paint_sky(
    rng: Random, generator: np.random.Generator, light: Light, camera: Camera, shape: tuple[int, int]
) -> Image.Image:
    """Haze at the horizon, blue or grey above it, clouds; drawn small and enlarged."""
    small, share = (72, 96), camera.horizon / shape[0]
    up = np.clip(1 - np.linspace(0, 1, small[0], dtype=np.float32) / share, 0, 1)[:, None]
    zenith = rng.choice(((96, 140, 200), (150, 176, 208), (196, 200, 206), (150, 154, 160)))
    cloud = tint(rng, ((240, 240, 242), (214, 216, 220)), 0.1)
    cover = noise(generator, small, 4) * 0.6 + noise(generator, small, 12) * 0.25 + rng.uniform(-0.8, 0.8)
    cover = 0.8 * np.clip(cover, 0, 1)
    planes = [
        (h * (1 - up) + z * up) * (1 - cover) + c * cover for h, z, c in zip(light.haze, zenith, cloud, strict=True)
    ]
    sky = canvas_of(bytes_of(np.stack(planes))).resize(shape[::-1], Image.Resampling.BILINEAR)
    sky.putalpha(SKY)  # after resizing, which weights colours by alpha
    return sky


def cast_shadows(things: Iterable[Thing], camera: Camera, light: Light, shape: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(mask)
    for (x0, x1, z0, z1), height, _ in things:
        dx, dz = (-axis * light.reach * height for axis in light.towards)
        for a, b in (((x0, z0), (x1, z1)), ((x0, z1), (x1, z0))):
            ground = (a, b, (b[0] + dx, b[1] + dz), (a[0] + dx, a[1] + dz))
            draw.polygon([camera.see(x, 0, max(z, 1.5)) for x, z in ground], fill=210)
    return mask.filter(ImageFilter.BoxBlur(shape[0] / 200))


def weather_ground(
    canvas: Image.Image, shadows: Image.Image, generator: np.random.Generator, camera: Camera, light: Light
) -> Image.Image:
    """Texture in perspective, shadows, and haze by depth on all that is painted so far below the horizon."""
    planes = planes_of(canvas)
    _, height, width = planes.shape
    top = math.ceil(camera.horizon + 1)
    z = (camera.focal * camera.eye / (np.arange(top, height, dtype=np.float32) - camera.horizon))[:, None]
    x = (np.arange(width, dtype=np.float32) - camera.centre) * z / camera.focal - camera.bend * z * z
    shade = 1 - light.direct / 255 * np.asarray(shadows)[top:].astype(np.float32)
    for field, metre, depth, strength in (
        (generator.standard_normal((256, 256), dtype=np.float32), 24, 15, 0.07),
        (noise(generator, (256, 256), 32), 5, 60, 0.06),
    ):
        u, v = (x * metre).astype(np.int32) & 255, (z * metre).astype(np.int32) & 255
        shade *= 1 + strength * np.exp(-z / depth) * field.ravel()[v * 256 + u]
    clear = np.exp(-z / light.visibility)
    haze = np.float32(light.haze)[:, None, None] * (1 - clear)
    planes[:3, top:] = bytes_of(planes[:3, top:] * (shade * clear) + haze)
    return canvas_of(planes)


ROUGHNESS = np.array(
    [(0, 0), (5, 6), (2, 0), (2, 1), (3, 1), (15, 12), (2, 2), (6, 5), (1, 4), (6, 6), (5, 5)] + [(3, 5)] * 245, np.float32
)  # fmt: skip
"""Standard deviation of fine and coarse texture, in percent of the colour, by class."""


def photograph(planes: np.ndarray, label: np.ndarray, rng: Random, generator: np.random.Generator) -> np.ndarray:
    """Surface texture, lens blur, exposure, colour cast, vignette, and the sensor's noise."""
    height, width = label.shape
    texture = ROUGHNESS[:, 0][label] * noise(generator, label.shape, height / 2.5)
    texture += ROUGHNESS[:, 1][label] * noise(generator, label.shape, 28)
    planes = bytes_of(planes * (1 + texture / 100))
    v, u = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - rng.uniform(0, 0.16) * (u * u + v * v)).astype(np.float32)
    blur = ImageFilter.BoxBlur(rng.uniform(0.3, 0.8) * (height / 360) ** 0.5)
    exposure, lift, gamma = math.exp(rng.gauss(0, 0.3)), rng.uniform(-6, 14), rng.uniform(0.8, 1.25)
    photo = generator.standard_normal(planes.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 6))
    for plane, out in zip(planes, photo, strict=True):
        levels = (np.arange(256) * exposure * rng.uniform(0.96, 1.04) + lift) / 255
        curve = (255 * np.clip(levels, 0, 1) ** gamma).astype(np.float32)
        out += curve[np.asarray(Image.fromarray(plane).filter(blur))] * vignette
    return bytes_of(photo)


def render(
    size: tuple[int, int], seed: int, split: Literal["train", "val"], index: int
) -> tuple[np.ndarray, np.ndarray]:
    """One scene.

    Returns:
        Image (3, H, W) and label (H, W), both uint8.
    """
    height, width = size
    generator = np.random.default_rng([seed, ("train", "val").index(split), index])
    # Thousands of single draws: ten times quicker from the standard library, and as portable.
    key = int(generator.integers(1 << 62))
    rng = Random(key)
    focal = rng.uniform(1.05, 1.4) * height
    centre, horizon = width / 2 + focal * rng.gauss(0, 0.07), height * rng.uniform(0.38, 0.54)
    camera = Camera(focal, centre, horizon, rng.uniform(1.2, 1.9), rng.triangular(-0.004, 0.004, 0))
    azimuth, haze = (
        rng.uniform(0, 2 * math.pi),
        tint(rng, ((206, 210, 216), (218, 214, 206), (184, 186, 190)), 0.1),
    )
    light = Light(
        (math.cos(azimuth), math.sin(azimuth)),
        rng.uniform(0.4, 2.2),
        rng.choice((0.1, 0.45, 0.6)),
        haze,
        rng.uniform(70, 500),
    )
    plan = Plan(rng)

    canvas = paint_sky(rng, generator, light, camera, size)
    skyline(Brush(camera._replace(bend=0), light, canvas), rng)
    pave(Brush(camera, light._replace(visibility=math.inf), canvas), rng, plan.street)
    canvas = weather_ground(canvas, cast_shadows(plan.things, camera, light, size), generator, camera, light)
    brush = Brush(camera, light, canvas)
    for number, thing in sorted(enumerate(plan.things), key=lambda item: -item[1].box[3]):
        if camera.within(thing.box, width):
            thing.paint(brush, Random(key + number))  # its own draws: what is left out changes nothing else
    if rng.random() < 0.35:  # the bonnet of the car that carries the camera
        box = (width * -0.1, height * rng.uniform(0.9, 0.97), width * 1.1, height * 1.3)
        brush.draw.ellipse(box, fill=brush.hazy(tint(rng, PAINT), 0, VOID))
    planes = planes_of(canvas)
    return photograph(planes[:3], planes[3], rng, generator), planes[3]


class Scenes:
    """A split of the drawn scenes. Sample tensors are remembered: do not write into them."""

    class_names = CAMVID_CLASSES

    def __init__(self, spec: ScenesSpec, split: Literal["train", "val"]):
        self.spec, self.split = spec, split
        height, width = spec.size
        self._room = REMEMBERED_BYTES // (4 * height * width)
        self._remembered: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self.spec.train if self.split == "train" else self.spec.val

    def name(self, index: int) -> str:
        return f"{self.split}_{index:05d}"

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index in self._remembered:
            return self._remembered[index]
        if not 0 <= index < len(self):
            raise IndexError(index)
        image, label = render(self.spec.size, self.spec.seed, self.split, index)
        sample = torch.from_numpy(image), torch.from_numpy(label)
        if len(self._remembered) < self._room:
            self._remembered[index] = sample
        return sample
