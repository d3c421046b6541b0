"""The pictures in the page: samples of networks, small enough to be kept in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stdc_search.palette import Palette
from stdc_search.report.overlay import read_sample

PICTURES = 2_500_000
"""Bytes of pictures in the page, at most."""
WIDTH = 360
"""Pixels of a picture's longer side."""


class Pictures:
    """The pictures in the page. Photos and labels that several networks share are kept once."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette
        self.kept: dict[str, str] = {}
        self.bytes = 0
        self.seen: set[int] = set()

    def of(self, samples: Iterable[Path], number: int) -> list[dict[str, str]]:
        """Names of the pictures of a network's samples: photo, truth and prediction; fewer once there are too many.

        A sample that is damaged is left out.
        """
        found = []
        for sample in samples:
            if (parts := read_sample(sample)) is None:
                continue
            image, truth, prediction = parts
            names = {
                "image": f"{sample.name}",
                "truth": f"{sample.name} truth",
                "prediction": f"{sample.name} {number}",
            }
            drawn = {"image": image, "truth": self._blend(image, truth), "prediction": self._blend(image, prediction)}
            new = {names[part]: _jpeg(picture) for part, picture in drawn.items() if names[part] not in self.kept}
            if self.bytes + sum(map(len, new.values())) > PICTURES:
                break
            self.bytes += sum(map(len, new.values()))
            self.kept.update(new)
            found.append(names)
        return found

    def _blend(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        self.seen |= {*np.unique(labels).tolist()}
        return self.palette.blend(image, labels)

    def legend(self) -> list[list[Any]]:
        """The classes in the pictures, each with its colour; none for a class that is not painted."""
        return [[name, colour] for name, colour in self.palette.legend(self.seen)]


def _jpeg(picture: np.ndarray) -> str:
    """A picture as the address of itself."""
    from PIL import Image

    small, buffer = Image.fromarray(picture), io.BytesIO()
    small.thumbnail((WIDTH, WIDTH))
    small.save(buffer, format="jpeg", quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
