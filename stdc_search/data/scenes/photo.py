"""Effects that turn painted polygons into a photograph: sky, shadows, haze, texture, lens and sensor.

Planes are arrays of (channels, H, W), which NumPy adds several times faster than arrays of (H, W, channels).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stdc_search.data.scenes.brush import Camera, Light, palette, tint
from stdc_search.data.scenes.street import Thing
from stdc_search.data.scenes.style import Style
from stdc_search.data.scenes.things import SKY

CLOUDS = palette("f0f0f2 d6d8dc")
_BY_CLASS = [(0, 0), (5, 6), (2, 0), (2, 1), (3, 1), (15, 12), (2, 2), (6, 5), (1, 4), (6, 6), (5, 5)]
ROUGHNESS = np.array(_BY_CLASS + [(3, 5)] * (256 - len(_BY_CLASS)), np.float32)
"""Standard deviation of fine and coarse texture, in percent of the colour, by label."""


def planes_of(canvas: Image.Image) -> np.ndarray:
    return np.stack([np.asarray(plane) for plane in canvas.split()])


def canvas_of(planes: np.ndarray) -> Image.Image:
    return Image.merge("RGBA"[: len(planes)], [Image.fromarray(plane) for plane in planes])


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def noise(generator: np.random.Generator, shape: tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise, float32 with about unit variance; `cells` is the number of bumps over the height."""
    height, width = shape
    small = (max(2, round(cells)), max(2, round(cells * width / height)))
    field = Image.fromarray(generator.standard_normal(small, dtype=np.float32))
    return np.asarray(field.resize((width, height), Image.Resampling.BILINEAR))


def sky(
    rng: Random, generator: np.random.Generator, camera: Camera, light: Light, size: tuple[int, int], style: Style
) -> Image.Image:
    """A canvas of sky, drawn small and enlarged: haze at the horizon, blue or grey above it, and clouds."""
    small, horizon = (72, 96), camera.horizon / size[0]
    up = np.clip(1 - np.linspace(0, 1, small[0], dtype=np.float32) / horizon, 0, 1)[:, None]
    cover = noise(generator, small, 4) * 0.6 + noise(generator, small, 12) * 0.25 + rng.uniform(-0.8, 0.8)
    cover = 0.8 * np.clip(cover, 0, 1)
    channels = zip(light.haze, rng.choice(style.zeniths), tint(rng, CLOUDS, 0.1), strict=True)
    planes = [(haze * (1 - up) + blue * up) * (1 - cover) + cloud * cover for haze, blue, cloud in channels]
    canvas = canvas_of(as_bytes(np.stack(planes))).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    canvas.putalpha(SKY)  # after resizing, which weights colours by alpha
    return canvas


def shadows(things: Iterable[Thing], camera: Camera, light: Light, size: tuple[int, int]) -> np.ndarray:
    """Share of the sun that is hidden from each pixel of the ground: float32 on [0, 1]."""
    mask = Image.new("L", (size[1], size[0]))
    draw = ImageDraw.Draw(mask)
    for (x0, x1, z0, z1), height, _ in things:
        dx, dz = (-axis * light.reach * height for axis in light.sun)
        for (ax, az), (bx, bz) in (((x0, z0), (x1, z1)), ((x0, z1), (x1, z0))):
            ground = ((ax, az), (bx, bz), (bx + dx, bz + dz), (ax + dx, az + dz))
            draw.polygon(camera.see((x, 0, max(z, 1.5)) for x, z in ground), fill=210)
    return np.asarray(mask.filter(ImageFilter.BoxBlur(size[0] / 200))) / np.float32(255)


def weather(
    canvas: Image.Image, shadow: np.ndarray, generator: np.random.Generator, camera: Camera, light: Light
) -> Image.Image:
    """Add texture in perspective, shadows and haze by depth to the canvas below the horizon."""
    planes = planes_of(canvas)
    _, height, width = planes.shape
    top = math.ceil(camera.horizon + 1)
    z = (camera.focal * camera.eye / (np.arange(top, height, dtype=np.float32) - camera.horizon))[:, None]
    x = (np.arange(width, dtype=np.float32) - camera.centre) * z / camera.focal - camera.bend * z * z
    shade = 1 - light.direct * shadow[top:]
    grain, stains = generator.standard_normal((256, 256), dtype=np.float32), noise(generator, (256, 256), 32)
    for field, per_metre, depth, strength in ((grain, 24, 15, 0.07), (stains, 5, 60, 0.06)):
        u, v = (x * per_metre).astype(np.int32) & 255, (z * per_metre).astype(np.int32) & 255
        shade *= 1 + strength * np.exp(-z / depth) * field.ravel()[v * 256 + u]
    clear = np.exp(-z / light.visibility)
    haze = np.array(light.haze, np.float32)[:, None, None] * (1 - clear)
    planes[:3, top:] = as_bytes(planes[:3, top:] * (shade * clear) + haze)
    return canvas_of(planes)


def photograph(
    planes: np.ndarray, label: np.ndarray, rng: Random, generator: np.random.Generator, spread: float
) -> np.ndarray:
    """Add surface texture, lens blur, exposure, colour cast, vignette and sensor noise: uint8, 3, H, W.

    `spread` is the standard deviation of the logarithm of the exposure.
    """
    height, width = label.shape
    fine, coarse = noise(generator, label.shape, height / 2.5), noise(generator, label.shape, 28)
    planes = as_bytes(planes * (1 + (ROUGHNESS[:, 0][label] * fine + ROUGHNESS[:, 1][label] * coarse) / 100))
    v, u = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - rng.uniform(0, 0.16) * (u * u + v * v)).astype(np.float32)
    blur = ImageFilter.BoxBlur(rng.uniform(0.3, 0.8) * (height / 360) ** 0.5)
    exposure, lift, gamma = math.exp(rng.gauss(0, spread)), rng.uniform(-6, 14), rng.uniform(0.8, 1.25)
    photo = generator.standard_normal(planes.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 6))
    for plane, out in zip(planes, photo, strict=True):
        levels = (np.arange(256) * exposure * rng.uniform(0.96, 1.04) + lift) / 255
        curve = (255 * np.clip(levels, 0, 1) ** gamma).astype(np.float32)
        out += curve[np.asarray(Image.fromarray(plane).filter(blur))] * vignette
    return as_bytes(photo)
