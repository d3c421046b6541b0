"""What stands in a drawn street, one function a kind, and the brush that paints it.

Everything is in metres, on flat ground. A pinhole camera sees it, and the brush paints the same polygons into image
and label. Colours overlap between classes on purpose: grey cars before grey road, green fences before hedges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
VOID = 255

Point = tuple[float, float, float]
"""x to the right of the camera, y above the ground, z ahead; metres."""
Place = tuple[float, float]
"""x, z: a point of the ground."""
Colour = tuple[float, float, float]
Spot = Callable[[float, float, float], Point]
"""(forward, sideways, up) from where a thing stands -> Point."""

STONE = (
    (150, 88, 70),
    (176, 140, 108),
    (205, 198, 186),
    (122, 122, 124),
    (98, 78, 68),
    (226, 222, 214),
    (148, 156, 146),
)
LEAF = ((70, 92, 48), (92, 104, 58), (58, 76, 46), (112, 100, 62), (84, 92, 74))
PAINT = (
    (36, 38, 42),
    (200, 202, 204),
    (122, 126, 130),
    (88, 92, 98),
    (148, 38, 36),
    (36, 58, 104),
    (176, 172, 160),
    (70, 84, 76),
)
CLOTH = (
    (34, 36, 44),
    (70, 66, 62),
    (52, 62, 88),
    (128, 44, 44),
    (168, 160, 148),
    (84, 96, 82),
    (200, 186, 70),
)
BOARD = ((112, 86, 62), (74, 92, 66), (130, 128, 122), (92, 98, 104), (186, 182, 170))
ASPHALT = ((96, 96, 98), (112, 110, 106), (82, 84, 90), (124, 122, 122))
PAVING = ((132, 128, 122), (112, 110, 108), (146, 134, 120), (100, 100, 102))
GLASS = ((44, 52, 60), (74, 86, 98), (30, 32, 34), (150, 164, 176))
PLATE = ((196, 40, 36), (34, 78, 158), (226, 226, 222), (30, 104, 62), (220, 180, 48))

VEHICLES = (
    ((0, 0.3), (0, 0.9), (0.1, 1.0), (0.5, 1.46), (2.0, 1.5), (2.9, 1.0), (3.9, 0.8), (4.0, 0.3)),
    ((0, 0.35), (0, 0.95), (0.9, 1.0), (1.4, 1.4), (2.6, 1.44), (3.4, 1.0), (4.4, 0.8), (4.5, 0.35)),
    ((0, 0.35), (0, 1.0), (0.05, 1.1), (0.3, 1.75), (2.7, 1.8), (3.4, 1.1), (4.5, 1.0), (4.6, 0.35)),
    ((0, 0.35), (0, 1.15), (0.02, 1.2), (0.1, 2.1), (3.6, 2.1), (4.3, 1.2), (4.9, 1.0), (5.0, 0.35)),
    ((0, 0.4), (0, 1.3), (0.02, 1.4), (0.1, 3.0), (9.0, 3.0), (9.1, 1.4), (9.2, 1.3), (9.2, 0.4)),
)
"""Side views (forward, up) from the rear bumper: hatchback, saloon, off-roader, van, bus. Points 2 to 5 are the cabin."""


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
    """The road drifts by bend z^2 metres to the right."""

    def see(self, x: float, y: float, z: float) -> tuple[float, float]:
        scale = self.focal / z
        return self.centre + scale * (x + self.bend * z * z), self.horizon + scale * (self.eye - y)

    def within(self, box: tuple[float, float, float, float], width: int) -> bool:
        """Whether something on this ground (x0, x1, z0, z1), or 3 m beside it, may be in a picture of that width."""
        x0, x1, z0, z1 = box
        columns = [self.see(x, 0, max(z, 0.6))[0] for x in (x0 - 3, x1 + 3) for z in (z0, z1)]
        return min(columns) < width and max(columns) > 0


class Light(NamedTuple):
    towards: tuple[float, float]
    """Horizontal unit vector (x, z) to the sun."""
    reach: float
    """Length of a shadow over the height that casts it."""
    direct: float
    """Share of the light that comes from the sun: 0 under clouds."""
    haze: Colour
    visibility: float
    """Metres after which 1/e of the contrast is left."""

    def on(self, nx: float, nz: float) -> float:
        """Brightness of an upright face with this normal."""
        return 1 - self.direct * (0.5 - 0.5 * (nx * self.towards[0] + nz * self.towards[1]))


class Brush:
    """Paints colour and class with one stroke: the alpha channel of the canvas (mode RGBA) is the label."""

    def __init__(self, camera: Camera, light: Light, canvas: Image.Image):
        self.camera, self.light, self.canvas = camera, light, canvas
        self.draw = ImageDraw.Draw(canvas)

    def seen(self, points: Iterable[Point]) -> list[float]:
        """u0, v0, u1, v1, ...: Camera.see, without a call a point."""
        focal, centre, horizon, eye, bend = self.camera
        flat = []
        for x, y, z in points:
            scale = focal / z
            flat += (centre + scale * (x + bend * z * z), horizon + scale * (eye - y))
        return flat

    def hazy(self, colour: Colour, z: float, label: int) -> tuple[int, int, int, int]:
        clear = math.exp(-z / self.light.visibility)
        (r, g, b), (fog_r, fog_g, fog_b), fog = colour, self.light.haze, 1 - clear
        r, g, b = int(r * clear + fog_r * fog), int(g * clear + fog_g * fog), int(b * clear + fog_b * fog)
        return min(r, 255), min(g, 255), min(b, 255), label

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        z = (points[0][2] + points[len(points) // 2][2]) / 2
        self.draw.polygon(self.seen(points), fill=self.hazy(colour, z, label))

    def wall(self, start: Place, end: Place, bottom: float, top: float, colour: Colour, label: int) -> None:
        """Upright rectangle over the line between two points (x, z) of the ground."""
        (x0, z0), (x1, z1) = start, end
        self.polygon(((x0, bottom, z0), (x1, bottom, z1), (x1, top, z1), (x0, top, z0)), colour, label)

    def stroke(self, points: Sequence[Point], width: float, colour: Colour, label: int) -> None:
        """Line of a width in metres, at least one pixel."""
        z = points[0][2]
        pixels = max(1, round(width * self.camera.focal / z))
        self.draw.line(self.seen(points), fill=self.hazy(colour, z, label), width=pixels)

    def ball(self, at: Point, rx: float, ry: float, colour: Colour, label: int) -> None:
        """Ellipse that faces the camera."""
        (u, v), scale = self.seen((at,)), self.camera.focal / at[2]
        box = (u - rx * scale, v - ry * scale, u + rx * scale, v + ry * scale)
        self.draw.ellipse(box, fill=self.hazy(colour, at[2], label))

    def relabel(self, points: Iterable[Point], label: int) -> None:
        """Give a polygon a class and keep its colours, for what one can see through."""
        alpha, mask = self.canvas.getchannel("A"), Image.new("1", self.canvas.size)
        ImageDraw.Draw(mask).polygon(self.seen(points), fill=1)
        alpha.paste(label, mask=mask)
        self.canvas.putalpha(alpha)


class Thing(NamedTuple):
    """Something that stands on the ground."""

    box: tuple[float, float, float, float]
    """Ground it takes: x0, x1, z0, z1. Things are painted in falling order of z1."""
    height: float
    paint: Callable[[Brush, Random], None]


def tint(rng: Random, palette: Sequence[Colour], spread: float = 0.25) -> Colour:
    """A colour of the palette, darker or lighter, a little off in each channel."""
    (r, g, b), bright = rng.choice(palette), rng.uniform(1 - spread, 1 + spread)
    return (
        r * bright * rng.uniform(0.94, 1.06),
        g * bright * rng.uniform(0.94, 1.06),
        b * bright * rng.uniform(0.94, 1.06),
    )


def times(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return r * factor, g * factor, b * factor


def standing(x: float, z: float, heading: float) -> Spot:
    """Points of a thing that stands at (x, z) and looks away from the camera (heading 0) or to the right (pi/2)."""
    sin, cos = math.sin(heading), math.cos(heading)
    return lambda forward, side, up: (
        x + forward * sin + side * cos,
        up,
        max(z + forward * cos - side * sin, 0.6),
    )


# ---- what stands on the ground -------------------------------------------------------------------------------------


def building(brush: Brush, rng: Random, x: float, back: float, near: float, far: float, height: float) -> None:
    """House front along the street at x, its end wall towards the camera, a roof, windows, perhaps a shop."""
    wall, frame, glass, slate = (tint(rng, palette) for palette in (STONE, STONE, GLASS, STONE + GLASS[:1]))
    side = math.copysign(1, back - x)
    lit, end_lit = brush.light.on(-side, 0), brush.light.on(0, -1)
    brush.wall((x, near), (back, near), 0, height, times(wall, end_lit * 0.95), BUILDING)
    brush.wall((x, near), (x, far), 0, height, times(wall, lit), BUILDING)
    if rng.random() < 0.55:
        ridge, top = (x + back) / 2, height + rng.uniform(1.5, 3.5)
        brush.polygon(((x, height, near), (back, height, near), (ridge, top, near)), times(wall, end_lit), BUILDING)
        roof = ((x, height, near), (x, height, far), (ridge, top, far), (ridge, top, near))
        brush.polygon(roof, times(slate, 0.5 + lit / 2), BUILDING)
        brush.wall((ridge, near + 1), (ridge + side, near + 1), height, top + 0.9, times(wall, 0.8), BUILDING)
    shop = rng.uniform(2.6, 3.4) if rng.random() < 0.4 else 0.0
    if shop:
        brush.wall((x, near + 0.3), (x, far - 0.3), 0.4, shop, times(tint(rng, GLASS), lit), BUILDING)
        brush.wall(
            (x, near + 0.2),
            (x, far - 0.2),
            shop - 0.2,
            shop + 0.5,
            times(tint(rng, PLATE + PAINT), lit),
            BUILDING,
        )
    if near > 60:
        return
    storey, bay = rng.uniform(2.6, 3.6), rng.uniform(1.8, 3.4)
    share_up, share_along = rng.uniform(0.4, 0.62), rng.uniform(0.35, 0.65)
    rows = [y for k in range(6) if (y := shop + 0.9 + k * storey) + storey * share_up < height]
    bays = min(int((far - near) / bay), 8)
    for column in range(bays):
        start = near + (far - near) * (column + 0.5 - share_along / 2) / bays
        end = start + (far - near) * share_along / bays
        for y in rows:
            pane = times(glass, lit * rng.uniform(0.7, 1.35))
            if near < 30:
                brush.wall(
                    (x, start - 0.15),
                    (x, end + 0.15),
                    y - 0.15,
                    y + storey * share_up + 0.1,
                    times(frame, lit),
                    BUILDING,
                )
            brush.wall((x, start), (x, end), y, y + storey * share_up, pane, BUILDING)


def fence(brush: Brush, rng: Random, start: Place, end: Place) -> None:
    """Railings that show what is behind them, boards, or a low wall; the label is the whole of it."""
    height, colour = rng.uniform(0.9, 1.9), tint(rng, BOARD + LEAF[:2])
    (x0, z0), (x1, z1) = start, end
    along = [(x0 + (x1 - x0) * t, z0 + (z1 - z0) * t) for t in (k / 40 for k in range(41))]
    if rng.random() < 0.5:
        brush.relabel(((x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)), FENCE)
        for y in (0.25, height):
            brush.stroke(((x0, y, z0), (x1, y, z1)), 0.07, colour, FENCE)
        for x, z in along:
            brush.stroke(((x, 0, z), (x, height, z)), 0.04, colour, FENCE)
        return
    brush.wall(start, end, 0, height, colour, FENCE)
    for near, far in zip(along[::2], along[2::2], strict=False):
        brush.wall(near, far, 0.05, height, times(colour, rng.uniform(0.82, 1.12)), FENCE)


def tree(brush: Brush, rng: Random, x: float, z: float, height: float) -> None:
    """A trunk and a crown of leaves; one in five is bare."""
    bark, leaf = times(tint(rng, BOARD[:1] + LEAF), 0.75), tint(rng, LEAF)
    radius, sunny = height * rng.uniform(0.22, 0.36), brush.light.towards[0] * brush.light.direct
    brush.stroke(((x, 0, z), (x, height - radius, z)), 0.03 * height, bark, TREE)
    if rng.random() < 0.2:
        branch(brush, rng, (x, height * 0.35, z), math.pi / 2, height * 0.28, times(bark, 0.9))
        return
    brush.ball((x, height - radius, z), 0.75 * radius, 0.7 * radius, times(leaf, 0.8), TREE)
    masses, sprays = (18, 36) if z < 25 else (10, 10) if z < 60 else (6, 0)
    for k in range(masses + sprays):
        angle, inner = rng.uniform(0, 2 * math.pi), k < masses
        out = 0.85 * math.sqrt(rng.random()) if inner else rng.uniform(0.5, 1)
        right, up = out * math.cos(angle), out * math.sin(angle)
        size = radius * (rng.uniform(0.34, 0.52) if inner else rng.uniform(0.06, 0.16))
        shade = 0.82 + 0.2 * up + 0.22 * right * sunny + rng.uniform(-0.2, 0.2)
        brush.ball((x + right * radius, height + radius * (up - 1), z), size, size * 0.8, times(leaf, shade), TREE)


def branch(brush: Brush, rng: Random, base: Point, angle: float, length: float, colour: Colour) -> None:
    x, y, z = base
    tip = (x + length * math.cos(angle), y + length * math.sin(angle), z)
    brush.stroke((base, tip), length * 0.07, colour, TREE)
    if length > (0.7 if z < 30 else 1.2):
        for turn in (-0.5, 0.05, 0.5):
            branch(
                brush,
                rng,
                tip,
                angle + turn + rng.uniform(-0.25, 0.25),
                length * rng.uniform(0.55, 0.75),
                colour,
            )


def hedge(brush: Brush, rng: Random, start: Place, end: Place) -> None:
    leaf, height = tint(rng, LEAF), rng.uniform(0.8, 2.2)
    brush.wall(start, end, 0, height * 0.9, times(leaf, 0.8), TREE)
    for k in range(36):
        t = 1 - k / 36
        at = (
            start[0] + (end[0] - start[0]) * t,
            height * rng.uniform(0.3, 0.95),
            start[1] + (end[1] - start[1]) * t,
        )
        brush.ball(at, height * 0.28, height * 0.16, times(leaf, rng.uniform(0.65, 1.2)), TREE)


def lamp(brush: Brush, rng: Random, x: float, z: float, arm: float) -> None:
    height, colour = rng.uniform(5, 9), tint(rng, BOARD[1:] + PAINT[:4])
    brush.stroke(((x, 0, z), (x, height, z), (x + arm, height + 0.3, z)), 0.15, colour, POLE)
    brush.stroke(((x, 0, z), (x, 1.2, z)), 0.24, colour, POLE)
    brush.stroke(((x + arm * 0.7, height + 0.25, z), (x + arm * 1.2, height + 0.3, z)), 0.2, times(colour, 1.2), POLE)


def sign(brush: Brush, rng: Random, x: float, z: float) -> None:
    """A traffic light, or a round, three-cornered or square plate, on a pole."""
    pole, plate, kind = tint(rng, BOARD[2:] + PAINT[:4]), tint(rng, PLATE, 0.15), rng.random()
    y, size = rng.uniform(2.0, 2.9), rng.uniform(0.3, 0.5)
    brush.stroke(((x, 0, z), (x, y + size, z)), 0.11, pole, POLE)
    if kind < 0.25:
        brush.wall((x - 0.22, z), (x + 0.22, z), y - 0.3, y + 0.8, (32, 32, 34), SIGN)
        on = rng.randrange(3)
        brush.ball((x, y - 0.05 + 0.3 * on, z), 0.1, 0.1, ((40, 210, 130), (240, 170, 50), (230, 50, 40))[on], SIGN)
    elif kind < 0.5:
        brush.ball((x, y, z), size, size, plate, SIGN)
        brush.ball((x, y, z), size * 0.72, size * 0.72, tint(rng, PLATE[1:3], 0.1), SIGN)
    elif kind < 0.7:
        for part, colour in ((1.15, plate), (0.75, (222, 222, 216))):
            corners = ((x - size * part, y - size * part * 0.6, z), (x + size * part, y - size * part * 0.6, z),
                       (x, y + size * part * 1.15, z))  # fmt: skip
            brush.polygon(corners, colour, SIGN)
    else:
        wide = size * rng.uniform(0.8, 2.2)
        brush.wall((x - wide, z), (x + wide, z), y - size, y + size, plate, SIGN)
        brush.wall(
            (x - wide * 0.7, z),
            (x + wide * 0.6, z),
            y + size * 0.1,
            y + size * 0.4,
            tint(rng, PLATE, 0.1),
            SIGN,
        )
        brush.wall(
            (x - wide * 0.7, z),
            (x + wide * 0.2, z),
            y - size * 0.5,
            y - size * 0.2,
            tint(rng, PLATE, 0.1),
            SIGN,
        )


def vehicle(
    brush: Brush, rng: Random, x: float, z: float, heading: float, profile: Sequence[tuple[float, float]]
) -> None:
    """A body between two side views, narrower at the roof, faces painted far to near."""
    spot, paint, glass = standing(x, z, heading), tint(rng, PAINT), tint(rng, GLASS[:3], 0.3)
    half, roof, length = rng.uniform(0.84, 0.95), max(y for _, y in profile), profile[-1][0]
    half += 0.3 * (roof > 2.5)
    wide = [half - 0.16 * (y > profile[2][1]) for _, y in profile]
    faces: list[tuple[float, list[Point], Colour]] = []
    for k, ((a, y), (b, top)) in enumerate(zip(profile, profile[1:], strict=False)):
        quad = [
            spot(a, -wide[k], y),
            spot(a, wide[k], y),
            spot(b, wide[k + 1], top),
            spot(b, -wide[k + 1], top),
        ]
        ahead = 1 if a > length / 2 else -1
        lit = brush.light.on(ahead * math.sin(heading), ahead * math.cos(heading)) + 0.1 * (b - a > 0.5)
        faces.append((sum(p[2] for p in quad) / 4, quad, times(glass if k in (2, 4) else paint, lit)))
    for side in (-1, 1):
        lit = brush.light.on(side * math.cos(heading), -side * math.sin(heading))
        outline = [spot(a, side * w, y) for (a, y), w in zip(profile, wide, strict=True)]
        faces.append((sum(p[2] for p in outline) / len(outline), outline, times(paint, lit)))
        (a, low), (b, high), (c, _), (d, _) = profile[2:6]
        window = [spot(a + 0.25, side * half, low + 0.05), spot(b + 0.15, side * half, high - 0.12),
                  spot(c - 0.1, side * half, high - 0.12), spot(d - 0.3, side * half, low + 0.05)]  # fmt: skip
        faces.append((faces[-1][0] - 1e-3, window, times(glass, lit)))
        for hub in (0.17 * length, 0.82 * length):
            tyre = [
                spot(hub + 0.33 * math.cos(k * 0.7), side * half, 0.33 + 0.33 * math.sin(k * 0.7)) for k in range(9)
            ]
            faces.append((faces[-1][0] - 1e-3, tyre, (26, 26, 28)))
    for _, face, colour in sorted(faces, key=lambda face: -face[0]):
        brush.polygon(face, colour, CAR)
    seen_end, lights = (0.0, (170, 32, 30)) if math.cos(heading) > 0 else (length, (232, 230, 214))
    for side in (-1, 1):
        corner = [spot(seen_end, side * half * u, y) for u, y in ((0.6, 0.68), (0.95, 0.68), (0.95, 0.85), (0.6, 0.85))]
        brush.polygon(corner, lights, CAR)
    plate = [spot(seen_end, half * u, y) for u, y in ((-0.28, 0.48), (0.28, 0.48), (0.28, 0.6), (-0.28, 0.6))]
    brush.polygon(plate, (206, 196, 128), CAR)


def figure(brush: Brush, rng: Random, spot: Spot, hip: float, lean: float, label: int) -> None:
    """Hip to head of a person: torso, arms, head."""
    coat, skin, hair = (
        tint(rng, CLOTH, 0.4),
        tint(rng, ((206, 164, 138), (140, 98, 74), (92, 66, 52))),
        tint(rng, CLOTH),
    )
    tall = hip * 0.62
    back, front = spot(0, -0.2, hip + tall), spot(lean, 0.2, hip + tall)
    brush.polygon((spot(0, -0.17, hip - 0.12), spot(0, 0.17, hip - 0.12), front, back), coat, label)
    brush.stroke((spot(0, 0, hip - 0.1), spot(lean, 0, hip + tall)), 0.36, coat, label)
    swing = lean + rng.uniform(-0.3, 0.3)
    for side in (-0.24, 0.24):
        elbow = spot(lean / 2 + swing / 2, side, hip + tall * 0.45)
        hand = spot(lean * 1.4 + swing, side, hip + (0.05 if not lean else 0.12))
        brush.stroke((spot(lean, side * 0.9, hip + tall * 0.95), elbow, hand), 0.11, times(coat, 0.85), label)
    head = spot(lean * 1.15, 0, hip + tall + 0.17)
    brush.ball(head, 0.11, 0.15, skin, label)
    brush.ball((head[0], head[1] + 0.05, head[2]), 0.115, 0.11, hair, label)


def pedestrian(brush: Brush, rng: Random, x: float, z: float, heading: float) -> None:
    spot, hip, trousers = standing(x, z, heading), rng.uniform(0.72, 0.95), tint(rng, CLOTH[:4], 0.4)
    stride = rng.uniform(0.05, 0.4)
    for side, step in ((-0.09, stride), (0.09, -stride)):
        brush.stroke(
            (spot(0, side, hip), spot(step * 0.6, side, hip / 2), spot(step, side, 0)),
            0.17,
            trousers,
            PEDESTRIAN,
        )
    figure(brush, rng, spot, hip, 0.0, PEDESTRIAN)


def bicyclist(brush: Brush, rng: Random, x: float, z: float, heading: float) -> None:
    spot, metal, trousers = standing(x, z, heading), tint(rng, PAINT), tint(rng, CLOTH[:4], 0.4)
    for hub in (-0.52, 0.52):
        tyre = [spot(hub + 0.33 * math.cos(k * 0.6), 0, 0.34 + 0.33 * math.sin(k * 0.6)) for k in range(12)]
        brush.stroke(tyre, 0.06, (30, 30, 32), BICYCLIST)
    for ends in (
        ((-0.52, 0.34), (0, 0.4), (0.4, 0.85), (-0.15, 0.85), (-0.52, 0.34)),
        ((0.52, 0.34), (0.38, 1.05)),
    ):
        brush.stroke([spot(a, 0, y) for a, y in ends], 0.06, metal, BICYCLIST)
    brush.stroke((spot(0.4, -0.26, 1.05), spot(0.4, 0.26, 1.05)), 0.05, metal, BICYCLIST)
    for side, pedal in ((-0.1, 0.3), (0.1, 0.62)):
        leg = (spot(-0.15, side, 1.0), spot(0.25, side, pedal + 0.35), spot(0.05, side, pedal - 0.05))
        brush.stroke(leg, 0.16, trousers, BICYCLIST)
    figure(brush, rng, standing(x - 0.12 * math.sin(heading), z, heading), 1.0, 0.32, BICYCLIST)


def clutter(brush: Brush, rng: Random, x: float, z: float) -> None:
    """A bin, a box, a bench: nothing of the eleven classes."""
    wide, height, colour = rng.uniform(0.3, 0.9), rng.uniform(0.5, 1.5), tint(rng, PAINT + BOARD)
    brush.wall((x - wide / 2, z), (x + wide / 2, z), 0, height, colour, VOID)
    brush.wall((x - wide * 0.55, z), (x + wide * 0.55, z), height * 0.85, height, times(colour, 1.15), VOID)
