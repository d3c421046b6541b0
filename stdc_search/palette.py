"""Colours of classes, and label maps in them over images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.records import IGNORED
from stdc_search.spec.data import DataSpec, FolderSpec, ImagenetSpec
from stdc_search.spec.encodings import BinarySpec, ColoursSpec
from stdc_search.spec.formats import HubSpec
from stdc_search.spec.own import ShapesSpec

SHARE = 0.5
"""Opacity of a class's colour over the image; the edges of a class are opaque."""
ALIKE = 16
"""Distance of two colours, in RGB, up to which people may take one for the other."""
BLACK = (0, 0, 0)
BACKGROUNDS = {"background", "_background_", "bg", "other", "others", "rest", "void", "unlabelled", "unlabeled"}
"""Names of classes that are of no interest."""

CAMVID_COLOURS = {
    "sky": (125, 185, 232),
    "building": (160, 30, 30),
    "pole": (225, 225, 150),
    "road": (128, 64, 128),
    "pavement": (60, 50, 225),
    "tree": (110, 150, 20),
    "sign": (245, 150, 160),
    "fence": (85, 90, 150),
    "car": (95, 10, 175),
    "pedestrian": (250, 160, 0),
    "bicyclist": (0, 170, 215),
}
"""Red, green, blue: near the data set's own, brighter where those look alike over a dark image."""

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Palette:
    """How classes are painted."""

    names: tuple[str, ...]
    colours: Rgb
    """[classes, 3]."""
    bare: frozenset[int] = frozenset()
    """Classes that are not painted, so that the image is seen there."""

    @classmethod
    def of(cls, data: DataSpec | None, classes: int) -> Palette:
        """The colours of a data set: its own where its spec has some, else ours. The background is not painted."""
        if data is None or isinstance(data, ImagenetSpec):
            names = tuple(f"class {i}" for i in range(classes))
            return cls(names, colours(names))
        names, own, bare = data.class_names, _own_colours(data), backgrounds(data)
        if own is None:
            return cls(names, colours(names), bare)
        return cls(names, np.array(own, dtype=np.uint8), bare | {i for i, one in enumerate(own) if one == BLACK})

    def blend(self, image: Rgb, labels: NDArray[np.uint8]) -> Rgb:
        """Class colours over an image, with opaque edges; ignored pixels are darkened instead."""
        table, opacity = np.zeros((256, 3)), np.full((256, 1), SHARE)
        table[: len(self.colours)] = self.colours
        opacity[[*self.bare]] = 0
        share = opacity[labels]
        share[_edges(labels) & (share[..., 0] > 0) & (labels != IGNORED)] = 1
        return (share * table[labels] + (1 - share) * image).round().astype(np.uint8)

    def legend(
        self, seen: Iterable[int], entries: Sequence[str] | None = None
    ) -> tuple[tuple[str, Colour | None], ...]:
        """The classes that are seen, with their colours; None for what is not painted. Ignored pixels are the last.

        Args:
            seen: ids in the label maps.
            entries: what the legend says of each class; default: its name.
        """
        seen, entries = sorted(seen), entries or self.names
        legend = [
            (f"{entries[i]} (not painted)", None) if i in self.bare else (entries[i], _colour(self.colours[i]))
            for i in seen
            if i < len(entries)
        ]
        return (*legend, ("ignored", BLACK)) if IGNORED in seen else tuple(legend)


def backgrounds(data: DataSpec) -> frozenset[int]:
    """Classes of no interest: the one that a spec calls background, and those that are named like one."""
    if isinstance(data, ImagenetSpec):
        return frozenset()
    names = enumerate(data.class_names)
    return frozenset(i for i, name in names if name == _background(data) or name.lower() in BACKGROUNDS)


def _own_colours(data: DataSpec) -> tuple[Colour, ...] | None:
    """The colours that a spec gives its classes, unless some look alike."""
    if not isinstance(data, FolderSpec | HubSpec) or not isinstance(data.encoding, ColoursSpec):
        return None
    own = data.encoding.colours
    near = (np.linalg.norm(np.subtract(one, other)) <= ALIKE for one, other in combinations(own, 2))
    return None if any(near) else own


def _background(data: DataSpec) -> str | None:
    """The class that a spec calls background."""
    if isinstance(data, ShapesSpec):
        return data.background
    if isinstance(data, FolderSpec | HubSpec) and isinstance(data.encoding, BinarySpec):
        return data.class_names[0]
    return None


def _edges(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of which one of the four neighbours has another class."""
    edges = np.zeros(labels.shape, dtype=bool)
    for ids, marks in ((labels, edges), (labels.T, edges.T)):
        change = ids[1:] != ids[:-1]
        marks[1:] |= change
        marks[:-1] |= change
    return edges


def colours(names: Sequence[str]) -> Rgb:
    """Colours of classes, [classes, 3]: CamVid's where it has the name, else far from all others."""
    levels = np.arange(0, 256, 51)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = [CAMVID_COLOURS[name] for name in names if name in CAMVID_COLOURS]
    far = np.full(len(grid), np.inf)
    for used in [(0, 0, 0), (255, 255, 255), *chosen]:
        far = np.minimum(far, np.linalg.norm(grid - used, axis=1))
    result = []
    for name in names:
        colour = CAMVID_COLOURS.get(name)
        if colour is None:
            colour = _colour(grid[far.argmax()])
            far = np.minimum(far, np.linalg.norm(grid - colour, axis=1))
        result.append(colour)
    return np.array(result, dtype=np.uint8)


def _colour(rgb: NDArray[Any]) -> Colour:
    red, green, blue = rgb.tolist()
    return red, green, blue
