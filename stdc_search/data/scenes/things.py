"""The objects of a street, one function per kind.

Palettes overlap between classes on purpose: grey cars before grey road, green fences before hedges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from stdc_search.data.scenes.brush import Brush, Colour, Place, Point, Spot, palette, standing, times, tint
from stdc_search.records import IGNORED

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

STONE = palette("965846 b08c6c cdc6ba 7a7a7c 624e44 e2ded6 949c92")
LEAF = palette("465c30 5c683a 3a4c2e 70643e 545c4a")
PAINT = palette("24262a c8cacc 7a7e82 585c62 942624 243a68 b0aca0 46544c")
CLOTH = palette("22242c 46423e 343e58 802c2c a8a094 546052 c8ba46")
SKIN = palette("cea48a 8c624a 5c4234")
BOARD = palette("70563e 4a5c42 82807a 626868 bab6aa")
ASPHALT = palette("606062 706e6a 52545a 7c7a7a")
PAVING = palette("84807a 706e6c 928678 646466")
GLASS = palette("2c343c 4a5662 1e2022 96a4b0")
PLATE = palette("c42824 224e9e e2e2de 1e683e dcb430")
LAMPS = palette("28d282 f0aa32 e63228")
TYRE, REAR_LIGHT, HEAD_LIGHT, NUMBER_PLATE, DARK = palette("1a1a1c aa201e e8e6d6 cec480 202022")

VEHICLES = (
    ((0, 0.3), (0, 0.9), (0.1, 1.0), (0.5, 1.46), (2.0, 1.5), (2.9, 1.0), (3.9, 0.8), (4.0, 0.3)),
    ((0, 0.35), (0, 0.95), (0.9, 1.0), (1.4, 1.4), (2.6, 1.44), (3.4, 1.0), (4.4, 0.8), (4.5, 0.35)),
    ((0, 0.35), (0, 1.0), (0.05, 1.1), (0.3, 1.75), (2.7, 1.8), (3.4, 1.1), (4.5, 1.0), (4.6, 0.35)),
    ((0, 0.35), (0, 1.15), (0.02, 1.2), (0.1, 2.1), (3.6, 2.1), (4.3, 1.2), (4.9, 1.0), (5.0, 0.35)),
    ((0, 0.4), (0, 1.3), (0.02, 1.4), (0.1, 3.0), (9.0, 3.0), (9.1, 1.4), (9.2, 1.3), (9.2, 0.4)),
)
"""Side views (ahead, up) from the rear: hatchback, saloon, off-roader, van, bus. Points 2 to 5 are the cabin."""


def building(brush: Brush, rng: Random, x: float, back: float, near: float, far: float, height: float) -> None:
    """A house: front along the street at x, end wall facing the camera, roof, windows, sometimes a shop."""
    wall, frame, glass, slate = (tint(rng, colours) for colours in (STONE, STONE, GLASS, STONE + GLASS[:1]))
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
        window, board = times(tint(rng, GLASS), lit), times(tint(rng, PLATE + PAINT), lit)
        brush.wall((x, near + 0.3), (x, far - 0.3), 0.4, shop, window, BUILDING)
        brush.wall((x, near + 0.2), (x, far - 0.2), shop - 0.2, shop + 0.5, board, BUILDING)
    if near > 60:
        return
    storey, high, share = rng.uniform(2.6, 3.6), rng.uniform(1.2, 2.0), rng.uniform(0.35, 0.65)
    bays = min(int((far - near) / rng.uniform(1.8, 3.4)), 8)
    sills = [y for k in range(6) if (y := shop + 0.9 + k * storey) + high < height]
    for bay in range(bays):
        start = near + (far - near) * (bay + 0.5 - share / 2) / bays
        end = start + (far - near) * share / bays
        for y in sills:
            if near < 30:
                brush.wall((x, start - 0.15), (x, end + 0.15), y - 0.15, y + high + 0.1, times(frame, lit), BUILDING)
            brush.wall((x, start), (x, end), y, y + high, times(glass, lit * rng.uniform(0.7, 1.35)), BUILDING)


def fence(brush: Brush, rng: Random, start: Place, end: Place) -> None:
    """A fence of railings or boards. Railings let the background show, but the whole fence gets the label."""
    height, colour = rng.uniform(0.9, 1.9), tint(rng, BOARD + LEAF[:2])
    (x0, z0), (x1, z1) = start, end
    along = [(x0 + (x1 - x0) * k / 40, z0 + (z1 - z0) * k / 40) for k in range(41)]
    if rng.random() < 0.5:
        brush.relabel(((x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)), FENCE)
        for y in (0.25, height):
            brush.stroke(((x0, y, z0), (x1, y, z1)), 0.07, colour, FENCE)
        for x, z in along:
            brush.stroke(((x, 0, z), (x, height, z)), 0.04, colour, FENCE)
    else:
        brush.wall(start, end, 0, height, colour, FENCE)
        for one, other in pairwise(along[::2]):
            brush.wall(one, other, 0.05, height, times(colour, rng.uniform(0.82, 1.12)), FENCE)


def hedge(brush: Brush, rng: Random, start: Place, end: Place) -> None:
    leaf, height = tint(rng, LEAF), rng.uniform(0.8, 2.2)
    (x0, z0), (x1, z1) = start, end
    brush.wall(start, end, 0, height * 0.9, times(leaf, 0.8), TREE)
    for k in range(36):
        at = (x0 + (x1 - x0) * k / 36, height * rng.uniform(0.3, 0.95), z0 + (z1 - z0) * k / 36)
        brush.ball(at, height * 0.28, height * 0.16, times(leaf, rng.uniform(0.65, 1.2)), TREE)


def tree(brush: Brush, rng: Random, x: float, z: float, height: float) -> None:
    """A trunk and a crown of leaves; one in five is bare."""
    bark, leaf = times(tint(rng, BOARD[:1] + LEAF), 0.75), tint(rng, LEAF)
    radius, sunny = height * rng.uniform(0.22, 0.36), brush.light.sun[0] * brush.light.direct
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
    """A branch of a bare tree and the branches that grow on it."""
    x, y, z = base
    tip = (x + length * math.cos(angle), y + length * math.sin(angle), z)
    brush.stroke((base, tip), length * 0.07, colour, TREE)
    if length > (0.7 if z < 30 else 1.2):
        for turn in (-0.5, 0.05, 0.5):
            turned, shorter = angle + turn + rng.uniform(-0.25, 0.25), length * rng.uniform(0.55, 0.75)
            branch(brush, rng, tip, turned, shorter, colour)


def lamp(brush: Brush, rng: Random, x: float, z: float, arm: float) -> None:
    """A street lamp whose arm reaches out to x + arm."""
    height, colour = rng.uniform(5, 9), tint(rng, BOARD[1:] + PAINT[:4])
    brush.stroke(((x, 0, z), (x, height, z), (x + arm, height + 0.3, z)), 0.15, colour, POLE)
    brush.stroke(((x, 0, z), (x, 1.2, z)), 0.24, colour, POLE)
    brush.stroke(((x + arm * 0.7, height + 0.25, z), (x + arm * 1.2, height + 0.3, z)), 0.2, times(colour, 1.2), POLE)


def sign(brush: Brush, rng: Random, x: float, z: float) -> None:
    """A traffic light, or a round, triangular or square sign, on a pole."""
    pole, plate, ground = tint(rng, BOARD[2:] + PAINT[:4]), tint(rng, PLATE, 0.15), tint(rng, PLATE[1:3], 0.1)
    y, size, kind = rng.uniform(2.0, 2.9), rng.uniform(0.3, 0.5), rng.randrange(4)
    brush.stroke(((x, 0, z), (x, y + size, z)), 0.11, pole, POLE)
    if kind == 0:
        on = rng.randrange(3)
        brush.wall((x - 0.22, z), (x + 0.22, z), y - 0.3, y + 0.8, DARK, SIGN)
        brush.ball((x, y - 0.05 + 0.3 * on, z), 0.1, 0.1, LAMPS[on], SIGN)
    elif kind == 1:
        brush.ball((x, y, z), size, size, plate, SIGN)
        brush.ball((x, y, z), size * 0.72, size * 0.72, ground, SIGN)
    elif kind == 2:
        for r, colour in ((size * 1.15, plate), (size * 0.75, ground)):
            brush.polygon(((x - r, y - 0.6 * r, z), (x + r, y - 0.6 * r, z), (x, y + 1.15 * r, z)), colour, SIGN)
    else:
        wide, ink = size * rng.uniform(0.8, 2.2), tint(rng, PLATE, 0.1)
        brush.wall((x - wide, z), (x + wide, z), y - size, y + size, plate, SIGN)
        for middle, end in ((y + size * 0.25, 0.6), (y - size * 0.35, 0.2)):  # two lines of writing
            brush.wall((x - wide * 0.7, z), (x + wide * end, z), middle - size * 0.15, middle + size * 0.15, ink, SIGN)


def vehicle(brush: Brush, rng: Random, x: float, z: float, heading: float, profile: Sequence[Place]) -> None:
    """A car body between two side views, narrower at the roof, painted far to near. Its rear is at (x, z)."""
    spot, paint, glass = standing(x, z, heading), tint(rng, PAINT), tint(rng, GLASS[:3], 0.3)
    sin, cos, length = math.sin(heading), math.cos(heading), profile[-1][0]
    half = rng.uniform(0.84, 0.95) + 0.3 * (length > 6)
    halves = [half - 0.16 * (y > profile[2][1]) for _, y in profile]
    faces: list[tuple[float, list[Point], Colour]] = []

    def face(points: list[Point], colour: Colour, nearer: float = 0.0) -> None:
        faces.append((sum(z for _, _, z in points) / len(points) - nearer, points, colour))

    for k, ((a, low), (b, high)) in enumerate(pairwise(profile)):
        ends = ((a, -halves[k], low), (a, halves[k], low), (b, halves[k + 1], high), (b, -halves[k + 1], high))
        front = 1 if a > length / 2 else -1
        lit = brush.light.on(front * sin, front * cos) + 0.1 * (b - a > 0.5)
        face([spot(*end) for end in ends], times(glass if k in (2, 4) else paint, lit))
    (a, low), (b, high), (c, _), (d, _) = profile[2:6]
    window = ((a + 0.25, low + 0.05), (b + 0.15, high - 0.12), (c - 0.1, high - 0.12), (d - 0.3, low + 0.05))
    circle = [(0.33 * math.cos(k * 0.7), 0.33 + 0.33 * math.sin(k * 0.7)) for k in range(9)]
    for side in (-1, 1):
        lit = brush.light.on(side * cos, -side * sin)
        face([spot(ahead, side * w, y) for (ahead, y), w in zip(profile, halves, strict=True)], times(paint, lit))
        face([spot(ahead, side * half, y) for ahead, y in window], times(glass, lit), nearer=0.5)
        for hub in (0.17 * length, 0.82 * length):
            face([spot(hub + ahead, side * half, y) for ahead, y in circle], TYRE, nearer=0.5)
    for _, points, colour in sorted(faces, key=lambda item: -item[0]):
        brush.polygon(points, colour, CAR)

    end, lights = (0.0, REAR_LIGHT) if cos > 0 else (length, HEAD_LIGHT)
    for left, right, low, high, colour in (
        (-0.95, -0.6, 0.68, 0.85, lights),
        (0.6, 0.95, 0.68, 0.85, lights),
        (-0.28, 0.28, 0.48, 0.6, NUMBER_PLATE),
    ):
        corners = ((left, low), (right, low), (right, high), (left, high))
        brush.polygon([spot(end, half * across, y) for across, y in corners], colour, CAR)


def figure(brush: Brush, rng: Random, spot: Spot, hip: float, lean: float, label: int) -> None:
    """A person from the hips up: torso, arms, head."""
    coat, skin, hair = tint(rng, CLOTH, 0.4), tint(rng, SKIN), tint(rng, CLOTH)
    chest, swing = hip * 1.62, lean + rng.uniform(-0.3, 0.3)
    torso = (spot(0, -0.17, hip - 0.12), spot(0, 0.17, hip - 0.12), spot(lean, 0.2, chest), spot(0, -0.2, chest))
    brush.polygon(torso, coat, label)
    brush.stroke((spot(0, 0, hip - 0.1), spot(lean, 0, chest)), 0.36, coat, label)
    for side in (-0.24, 0.24):
        elbow, hand = spot((lean + swing) / 2, side, hip * 1.28), spot(lean * 1.4 + swing, side, hip + 0.05 + lean / 4)
        brush.stroke((spot(lean, side * 0.9, chest - 0.03), elbow, hand), 0.11, times(coat, 0.85), label)
    brush.ball(spot(lean * 1.15, 0, chest + 0.17), 0.11, 0.15, skin, label)
    brush.ball(spot(lean * 1.15, 0, chest + 0.22), 0.115, 0.11, hair, label)


def pedestrian(brush: Brush, rng: Random, x: float, z: float, heading: float) -> None:
    spot, hip, trousers = standing(x, z, heading), rng.uniform(0.72, 0.95), tint(rng, CLOTH[:4], 0.4)
    stride = rng.uniform(0.05, 0.4)
    for side, step in ((-0.09, stride), (0.09, -stride)):
        leg = (spot(0, side, hip), spot(step * 0.6, side, hip / 2), spot(step, side, 0))
        brush.stroke(leg, 0.17, trousers, PEDESTRIAN)
    figure(brush, rng, spot, hip, 0.0, PEDESTRIAN)


def bicyclist(brush: Brush, rng: Random, x: float, z: float, heading: float) -> None:
    spot, metal, trousers = standing(x, z, heading), tint(rng, PAINT), tint(rng, CLOTH[:4], 0.4)
    for hub in (-0.52, 0.52):
        tyre = [spot(hub + 0.33 * math.cos(k * 0.6), 0, 0.34 + 0.33 * math.sin(k * 0.6)) for k in range(12)]
        brush.stroke(tyre, 0.06, TYRE, BICYCLIST)
    frame, fork = ((-0.52, 0.34), (0, 0.4), (0.4, 0.85), (-0.15, 0.85), (-0.52, 0.34)), ((0.52, 0.34), (0.38, 1.05))
    for tube in (frame, fork):
        brush.stroke([spot(ahead, 0, y) for ahead, y in tube], 0.06, metal, BICYCLIST)
    brush.stroke((spot(0.4, -0.26, 1.05), spot(0.4, 0.26, 1.05)), 0.05, metal, BICYCLIST)
    for side, pedal in ((-0.1, 0.3), (0.1, 0.62)):
        leg = (spot(-0.15, side, 1.0), spot(0.25, side, pedal + 0.35), spot(0.05, side, pedal - 0.05))
        brush.stroke(leg, 0.16, trousers, BICYCLIST)
    figure(brush, rng, standing(x - 0.12 * math.sin(heading), z, heading), 1.0, 0.32, BICYCLIST)


def clutter(brush: Brush, rng: Random, x: float, z: float) -> None:
    """A bin, box or bench, which belongs to none of the eleven classes."""
    half, height, colour = rng.uniform(0.15, 0.45), rng.uniform(0.5, 1.5), tint(rng, PAINT + BOARD)
    brush.wall((x - half, z), (x + half, z), 0, height, colour, IGNORED)
    brush.wall((x - half * 1.1, z), (x + half * 1.1, z), height * 0.85, height, times(colour, 1.15), IGNORED)
