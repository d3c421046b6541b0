"""The styles of `ScenesSpec`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from stdc_search.data.scenes import things
from stdc_search.data.scenes.brush import Colour, palette


class Style(NamedTuple):
    """Settings of the drawing. The defaults are the style `camvid`."""

    left_out: tuple[Callable[..., None], ...] = ()
    """Kinds of objects to omit."""
    people: float = 1.0
    """Factor on the range of distances at which people may stand."""
    paving: tuple[Colour, ...] = things.PAVING
    """Possible colours of the pavement."""
    zeniths: tuple[Colour, ...] = palette("608cc8 96b0d0 c4c8ce 969aa0")
    """Possible colours of the sky overhead."""
    direct: tuple[float, ...] = (0.1, 0.45, 0.6)
    """Possible shares of the light that come directly from the sun; small shares mean clouds."""
    visibility: tuple[float, float] = (70, 500)
    """Range in metres."""
    exposure: float = 0.3
    """Standard deviation of the logarithm of the exposure."""
    bonnet: float = 0.35
    """Probability that the bonnet of the camera's own car is in view."""


STYLES: dict[Literal["camvid", "simple"], Style] = {
    "camvid": Style(),
    "simple": Style(
        left_out=(things.bicyclist, things.sign, things.lamp, things.fence, things.clutter),
        people=0.35,
        paving=palette("beb09a ccc2b2 b4a08a"),
        zeniths=palette("5088d2 6c9cdc 86aede"),
        direct=(0.35, 0.45),
        visibility=(400, 900),
        exposure=0.1,
        bonnet=0.0,
    ),
}
