"""The plan of a street in metres: its objects, its ground, and the skyline at its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

from stdc_search.data.scenes import things
from stdc_search.data.scenes.brush import Box, Brush, Colour, times, tint
from stdc_search.data.scenes.style import Style
from stdc_search.data.scenes.things import BUILDING, PAVEMENT, ROAD, TREE

FAR = 320.0
"""Distance at which the ground ends, in metres."""


class Thing(NamedTuple):
    """An object on the ground."""

    box: Box
    """The ground that the object covers. Objects are painted in descending order of their far ends."""
    height: float
    paint: Callable[[Brush, Random], None]


class Street:
    """A random street, seen from one of its lanes. x is 0 at the camera, z grows ahead.

    Attributes:
        kerbs: x of the road's left and right edges.
        fronts: x at which the pavements end and houses or gardens begin.
        crossing: z at which another street crosses.
        things: the objects. On road and pavement they do not overlap: an object in an occupied place is dropped.
    """

    def __init__(self, rng: Random, style: Style) -> None:
        self.rng, self.style = rng, style
        near, far = rng.uniform(2.0, 4.0), rng.uniform(3.5, 6.5)  # our side of the road, then the other
        left, right = (near, far) if rng.random() < 0.5 else (far, near)
        self.kerbs = -left, right
        self.fronts = -left - rng.uniform(1.8, 5), right + rng.uniform(1.8, 5)
        self.crossing = rng.uniform(12, 80)
        self.things: list[Thing] = []
        self._taken: list[Box] = []
        self._traffic()
        for side in (-1, 1):
            self._pavement(side)
            self._plots(side)

    def _put(self, paint: partial[None], box: Box, height: float) -> None:
        if paint.func in self.style.left_out:
            return
        x0, x1, z0, z1 = box
        if not any(x0 < b and a < x1 and z0 < d and c < z1 for a, b, c, d in self._taken):
            self._taken.append(box)
            self.things.append(Thing(box, height, paint))

    def _put_person(self, kind: Callable[..., None], x: float, heading: float, most: float) -> None:
        z = self._in_sight(x, 1 + (most - 1) * self.style.people)
        self._put(partial(kind, x=x, z=z, heading=heading), (x - 0.5, x + 0.5, z, z + 1), 1.7)

    def _put_vehicle(self, x: float, z: float, heading: float) -> None:
        profile = self.rng.choices(things.VEHICLES, (8, 5, 5, 3, 1))[0]
        length, height = profile[-1][0], profile[3][1]
        across = abs(math.sin(heading)) > 0.7
        wide, long = (length, 1) if across else (0.95, length)
        rear = z if across or math.cos(heading) > 0 else z + length
        paint = partial(things.vehicle, x=x, z=rear, heading=heading, profile=profile)
        self._put(paint, (x - wide, x + wide, z, z + long), height)

    def _in_sight(self, x: float, most: float) -> float:
        """A random z at which an object at x is likely in the picture, up to `most` times the smallest such z."""
        return max(5.0, abs(x) * 2.1) * self.rng.uniform(1, most)

    def _traffic(self) -> None:
        """Cyclists, people and cars on the road."""
        rng, (left, right) = self.rng, self.kerbs
        for _ in range(rng.randint(1, 2)):
            x = rng.choice((left + 0.8, right - 0.8, rng.uniform(left, right)))
            heading = rng.choice((0, 0, math.pi, math.pi / 2)) + rng.gauss(0, 0.25)
            self._put_person(things.bicyclist, x, heading, 3)
        for _ in range(rng.randint(0, 2)):
            self._put_person(things.pedestrian, rng.uniform(left, right), rng.choice((-1, 1)) * math.pi / 2, 4)
        for _ in range(rng.randint(2, 5)):
            lane, heading = rng.choice(((0.0, 0.0), ((left + right) * 0.8, math.pi)))
            self._put_vehicle(lane + rng.gauss(0, 0.25), rng.uniform(7, 70), heading)
        if rng.random() < 0.5:
            z = self.crossing + rng.uniform(1, 4)
            self._put_vehicle(rng.uniform(-0.5, 0.5) * z, z, rng.choice((-1, 1)) * math.pi / 2)

    def _pavement(self, side: int) -> None:
        """The objects on one pavement and along its kerb."""
        rng = self.rng
        kerb, front = self.kerbs[side > 0], self.fronts[side > 0]
        for _ in range(rng.randint(1, 3)):
            x = kerb + side * rng.uniform(0.3, 0.8)
            z = self._in_sight(x, 4)
            self._put(partial(things.sign, x=x, z=z), (x - 0.3, x + 0.3, z, z + 0.5), 2.5)
        for _ in range(rng.randint(1, 4)):
            heading = rng.choice((0, math.pi)) + rng.gauss(0, 0.5)
            self._put_person(things.pedestrian, rng.uniform(kerb, front), heading, 4)
        for _ in range(rng.randint(0, 3)):
            x = rng.uniform(kerb + side * 0.4, front)
            z = self._in_sight(x, 2.5)
            self._put(partial(things.clutter, x=x, z=z), (x - 0.5, x + 0.5, z, z + 0.5), 1)
        parked, z = rng.choice((0.1, 0.5, 0.9)), rng.uniform(7, 13)
        while z < 90:
            if rng.random() < parked and abs(z - self.crossing) > 9:
                heading = rng.choice((0, math.pi)) + rng.gauss(0, 0.04)
                self._put_vehicle(kerb - side * rng.uniform(1.0, 1.2), z, heading)
            z += rng.uniform(5.6, 7.5)
        z, gap = rng.uniform(8, 25), rng.uniform(16, 34)
        while z < 90:
            x, arm = kerb + side * 0.5, -side * rng.uniform(0.3, 2)
            self._put(partial(things.lamp, x=x, z=z, arm=arm), (x - 0.2, x + 0.2, z, z + 0.3), 7)
            z += gap
        z, gap = rng.uniform(9, 30), rng.choice((9, 20, FAR))
        while z < 90 and gap < FAR:
            x = kerb + side * 1.1
            paint = partial(things.tree, x=x, z=z, height=rng.uniform(4, 8))
            self._put(paint, (x - 0.5, x + 0.5, z, z + 1), 5)
            z += gap
        if rng.random() < 0.5:
            near = self._in_sight(kerb, 1.6)
            self._border(things.fence, kerb + side * 0.25, near, near + rng.uniform(4, 16))

    def _plots(self, side: int) -> None:
        """Houses, and gardens behind fences and hedges, in a row along one side of the street."""
        rng, front = self.rng, self.fronts[side > 0]
        built, tall, near = rng.uniform(0.45, 1), rng.uniform(5, 14), rng.uniform(1.5, 8)
        while near < 150:
            far, setback = near + rng.uniform(7, 22), rng.choice((0, 0, 0.4, 3.5))
            if near < self.crossing + 7 and far > self.crossing - 1:
                near = self.crossing + 7
                continue
            house = rng.random() < built
            if house:
                self._house(front + side * setback, front + side * rng.uniform(10, 16), near, far, tall)
            else:
                for _ in range(rng.randint(2, 6)):
                    self._garden_tree(front + side * rng.uniform(1.5, 14), rng.uniform(near, far))
            if not house or setback > 1 or rng.random() < 0.1:
                border = rng.choice((things.fence, things.fence, things.hedge))
                self._border(border, front + side * 0.2, near, far - 0.1)
            near = far + rng.choice((0, 0, 0, 2.5))

    def _house(self, x: float, back: float, near: float, far: float, tall: float) -> None:
        height = tall * self.rng.uniform(0.7, 1.3)
        paint = partial(things.building, x=x, back=back, near=near, far=far, height=height)
        self.things.append(Thing((min(x, back), max(x, back), near, far), height, paint))

    def _garden_tree(self, x: float, z: float) -> None:
        height = self.rng.uniform(4, 13)
        paint = partial(things.tree, x=x, z=z, height=height)
        self.things.append(Thing((x - 1, x + 1, z, z + 1), height * 0.8, paint))

    def _border(self, kind: Callable[..., None], x: float, near: float, far: float) -> None:
        """A fence or a hedge, starting at its far end."""
        if kind in self.style.left_out:
            return
        self.things.append(Thing((x, x, near, far), 1.2, partial(kind, start=(x, far), end=(x, near))))


def pave(brush: Brush, rng: Random, street: Street) -> None:
    """Paint the ground: grass or stone, pavements, kerbs, the road with its markings and repairs."""
    left, right = street.kerbs
    before, behind = street.crossing, street.crossing + 6
    road, paving, white = tint(rng, things.ASPHALT), tint(rng, street.style.paving), tint(rng, things.PLATE[2:3])
    stone, gutter, yellow = times(paving, rng.choice((0.7, 1.2))), times(road, 0.82), tint(rng, things.PLATE[-1:])

    def strip(x0: float, x1: float, colour: Colour, label: int, near: float = 1.0, far: float = FAR) -> None:
        zs = [near, *(z for z in (3, 5, 8, 12, 18, 27, 40, 60, 90, 140, 220) if near < z < far), far]
        brush.polygon([(x0, 0, z) for z in zs] + [(x1, 0, z) for z in reversed(zs)], colour, label)

    for edge in (-400, 400):
        grass = rng.random() < 0.6
        strip(0, edge, tint(rng, things.LEAF) if grass else times(paving, 0.95), TREE if grass else PAVEMENT)
    strip(-400, 400, road, ROAD, before, behind)
    strip(left, right, road, ROAD)
    for side, kerb, front in zip((-1, 1), street.kerbs, street.fronts, strict=True):
        no_parking = rng.random() < 0.35
        for near, far in ((1.0, before), (behind, FAR)):
            strip(kerb, front, paving, PAVEMENT, near, far)
            strip(kerb, kerb + side * 0.18, stone, PAVEMENT, near, far)
            strip(kerb, kerb - side * 0.3, gutter, ROAD, near, far)
            if no_parking:
                strip(kerb - side * 0.4, kerb - side * 0.52, times(yellow, 0.8), ROAD, near, far)
    for _ in range(rng.randint(2, 6)):  # repairs
        x, z, colour = rng.uniform(left, right), rng.uniform(3, 40), times(road, rng.uniform(0.75, 1.2))
        strip(x, x + rng.uniform(0.3, 1.6), colour, ROAD, z, z + rng.uniform(0.5, 8))
    middle, dash, z = (left + right) / 2, rng.uniform(1.5, 5), rng.uniform(1, 4)
    while z < 100 and dash < 4.6:
        strip(middle - 0.07, middle + 0.07, white, ROAD, z, z + dash)
        z += 2.2 * dash
    if rng.random() < 0.5:  # stop line, or zebra
        strip(min(middle, 0), max(middle, 0), white, ROAD, before - 2.4, before - 2)
    else:
        for k in range(int(right - left)):
            strip(left + 0.3 + k, left + 0.8 + k, white, ROAD, before - 4.6, before - 2)


def skyline(brush: Brush, rng: Random) -> None:
    """Paint distant trees and houses where the street ends."""
    for z in (280.0, 180.0):
        x = -z
        while x < z:
            wide, height = rng.uniform(12, 35), rng.uniform(5, 16)
            if rng.random() < 0.4:
                brush.wall((x, z), (x + wide, z), -1, height, tint(rng, things.STONE), BUILDING)
            else:
                for _ in range(4):
                    at = (x + rng.uniform(0, wide), height * rng.uniform(0.1, 0.6), z)
                    brush.ball(at, wide * 0.3, height * 0.35, tint(rng, things.LEAF), TREE)
            x += wide * rng.uniform(0.7, 1.2)
