"""A pinhole camera over flat ground, the light, and the brush that paints colour and class with one stroke."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

Point = tuple[float, float, float]
"""x to the right of the camera, y above the ground, z ahead; metres."""
Place = tuple[float, float]
"""x, z: a point of the ground."""
Box = tuple[float, float, float, float]
"""x0, x1, z0, z1: a rectangle of the ground."""
Colour = tuple[float, float, float]
"""Red, green, blue on [0, 255]."""
Spot = Callable[[float, float, float], Point]
"""(forward, sideways, up) relative to an object -> Point."""


class Camera(NamedTuple):
    focal: float
    """Pixels."""
    centre: float
    """Column of the vanishing point."""
    horizon: float
    """Row of the horizon."""
    eye: float
    """Metres above the ground."""
    bend: float
    """The street drifts by bend z^2 metres to the right."""

    def see(self, points: Iterable[Point]) -> list[float]:
        """Project points to pixels: u0, v0, u1, v1, ..."""
        focal, centre, horizon, eye, bend = self
        seen = []
        for x, y, z in points:
            scale = focal / z
            seen += (centre + scale * (x + bend * z * z), horizon + scale * (eye - y))
        return seen

    def may_see(self, box: Box, width: int) -> bool:
        """Whether an object in the box, or up to 3 m beside it, may be in a picture of this width."""
        x0, x1, z0, z1 = box
        columns = self.see((x, 0, max(z, 0.6)) for x in (x0 - 3, x1 + 3) for z in (z0, z1))[::2]
        return min(columns) < width and max(columns) > 0


class Light(NamedTuple):
    sun: tuple[float, float]
    """Horizontal unit vector (x, z) towards the sun."""
    reach: float
    """Length of a shadow divided by the height of its object."""
    direct: float
    """Share of the light that comes directly from the sun: 0 under clouds."""
    haze: Colour
    visibility: float
    """Distance in metres at which 1/e of the contrast is left."""

    def on(self, x: float, z: float) -> float:
        """Brightness of a vertical face with this normal."""
        return 1 - self.direct * (0.5 - 0.5 * (x * self.sun[0] + z * self.sun[1]))


class Brush:
    """Paints on an RGBA canvas whose alpha channel is the label."""

    def __init__(self, camera: Camera, light: Light, canvas: Image.Image) -> None:
        self.camera, self.light, self.canvas = camera, light, canvas
        self.draw = ImageDraw.Draw(canvas)

    def ink(self, colour: Colour, z: float, label: int) -> tuple[int, int, int, int]:
        """The colour with haze for its distance, and the label."""
        clear = math.exp(-z / self.light.visibility)
        (r, g, b), (haze_r, haze_g, haze_b), haze = colour, self.light.haze, 1 - clear
        r, g, b = int(r * clear + haze_r * haze), int(g * clear + haze_g * haze), int(b * clear + haze_b * haze)
        return min(r, 255), min(g, 255), min(b, 255), label

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        z = (points[0][2] + points[len(points) // 2][2]) / 2
        self.draw.polygon(self.camera.see(points), fill=self.ink(colour, z, label))

    def wall(self, start: Place, end: Place, bottom: float, top: float, colour: Colour, label: int) -> None:
        """Vertical rectangle over the line between two points of the ground."""
        (x0, z0), (x1, z1) = start, end
        self.polygon(((x0, bottom, z0), (x1, bottom, z1), (x1, top, z1), (x0, top, z0)), colour, label)

    def stroke(self, points: Sequence[Point], width: float, colour: Colour, label: int) -> None:
        """Line with a width in metres, at least one pixel."""
        z = points[0][2]
        pixels = max(1, round(width * self.camera.focal / z))
        self.draw.line(self.camera.see(points), fill=self.ink(colour, z, label), width=pixels)

    def ball(self, at: Point, rx: float, ry: float, colour: Colour, label: int) -> None:
        """Ellipse that faces the camera, with radii in metres."""
        (u, v), scale = self.camera.see((at,)), self.camera.focal / at[2]
        box = (u - rx * scale, v - ry * scale, u + rx * scale, v + ry * scale)
        self.draw.ellipse(box, fill=self.ink(colour, at[2], label))

    def relabel(self, points: Iterable[Point], label: int) -> None:
        """Change the class of a polygon but not its colours, for objects that one can see through."""
        labels, mask = self.canvas.getchannel("A"), Image.new("1", self.canvas.size)
        ImageDraw.Draw(mask).polygon(self.camera.see(points), fill=1)
        labels.paste(label, mask=mask)
        self.canvas.putalpha(labels)


def palette(colours: str) -> tuple[Colour, ...]:
    """Colours from hexadecimal numbers."""
    return tuple((n >> 16, n >> 8 & 255, n & 255) for n in (int(code, 16) for code in colours.split()))


def tint(rng: Random, colours: Sequence[Colour], spread: float = 0.25) -> Colour:
    """One of the colours with random brightness and a small random shift in each channel."""
    bright = rng.uniform(1 - spread, 1 + spread)
    r, g, b = (channel * bright * rng.uniform(0.94, 1.06) for channel in rng.choice(colours))
    return r, g, b


def times(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return r * factor, g * factor, b * factor


def standing(x: float, z: float, heading: float) -> Spot:
    """Coordinates of an object at (x, z) that faces away from the camera (heading 0) or to the right (pi / 2)."""
    sin, cos = math.sin(heading), math.cos(heading)
    return lambda ahead, side, up: (x + ahead * sin + side * cos, up, max(z + ahead * cos - side * sin, 0.6))
