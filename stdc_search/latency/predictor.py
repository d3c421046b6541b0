"""The time of a network as the sum of the times of its parts, learnt on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.stats import spearmanr

from stdc_search.cost import Part, Piece, Shapes, pieces
from stdc_search.latency.machine import describe_machine
from stdc_search.models.decoder import ContextPath
from stdc_search.spec.base import UserError
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.network import NetworkSpec

TRUST = 0.2
"""By which share of a part's time a correction may move it as easily as a network's time may be off by `NOISE`."""
NOISE = 0.02


class Errors(NamedTuple):
    """How far times lie from measured ones."""

    mape: float
    """Mean of the errors, as shares of what was measured, in percent."""
    within_10: float
    """Networks whose error is at most 10 %, in percent."""
    spearman: float
    """Rank correlation."""

    @classmethod
    def of(cls, found: Sequence[float], measured: Sequence[float]) -> Errors:
        """Of at least two networks."""
        off = np.abs(np.asarray(found) / np.asarray(measured) - 1)
        rank, _ = spearmanr(found, measured)
        return cls(100 * float(off.mean()), 100 * float((off <= 0.1).mean()), float(cast(float, rank)))


class TimeTable(BaseModel):
    """What was learnt, as it is saved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    """`Machine.id` of where it was learnt; it says nothing of others."""
    runtime: RuntimeSpec
    image_size: tuple[int, int]
    parts: dict[str, float]
    """Milliseconds of each part, by its words."""
    networks: int
    """How many were measured for it."""
    held_out: int
    """How many further ones its errors are of."""
    errors: Errors
    """Of predictions for the held-out networks."""
    repeatability: Errors
    """Of measuring the held-out networks a second time: what no prediction can be better than."""


class HeldOut(NamedTuple):
    """A network that a table was not fitted to."""

    macs: int
    measured_ms: float
    again_ms: float
    predicted_ms: float


class Predictor:
    """Predicts within microseconds, once a network's pieces are known."""

    def __init__(self, parts: Mapping[str, float], image_size: tuple[int, int]) -> None:
        """Milliseconds of parts by their words, all of them at one image size."""
        self.parts, self.image_size = parts, image_size
        self._known: dict[Piece, float] = {}

    @classmethod
    def load(cls, path: Path, runtime: RuntimeSpec, image_size: tuple[int, int]) -> Predictor:
        """Read a table for what is to be predicted.

        Raises:
            UserError: it is missing or damaged, or of another machine, runtime or size.
        """
        again = f"; learn it again: stdc-search calibrate SPEC --out {path.parent}"
        try:
            table = TimeTable.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: is not there{again}") from None
        except ValidationError as error:
            raise UserError(f"{path}: is no table of times ({error.errors()[0]['msg']}){again}") from None
        if table.machine != (here := describe_machine().id):
            raise UserError(f"{path}: was learnt on another machine, or with other versions (here: {here}){again}")
        base = RuntimeSpec(**{name: getattr(runtime, name) for name in RuntimeSpec.model_fields})
        for what, mine, wanted in (("runtime", table.runtime, base), ("image_size", table.image_size, image_size)):
            if mine != wanted:
                raise UserError(f"{path}: is of another {what}: {mine}, wanted: {wanted}{again}")
        return cls(table.parts, table.image_size)

    def __call__(self, network: NetworkSpec) -> float:
        """Milliseconds of one call.

        Raises:
            UserError: a part of the network is not in the table.
        """
        return sum([self._time(piece) for piece in pieces(network, self.image_size)])

    def _time(self, piece: Piece) -> float:
        found = self._known.get(piece)
        if found is None:
            words = [words_of(part) for part in piece.parts]
            if unknown := [one for one in words if one not in self.parts]:
                raise UserError(f"the table of times has no {unknown[0]}; calibrate the space that the network is of")
            found = self._known[piece] = sum(self.parts[one] for one in words)
        return found


def words_of(part: Part) -> str:
    """What a part's time depends on."""
    if part.kind is ContextPath:  # of the shallowest features it looks at their size alone
        ((batch, _, *size), *deep), *rest = cast(tuple[Shapes, ...], part.inputs)
        part = part._replace(inputs=(((batch, *size), *deep), *rest))
    return str(part)


def fit(seen: Sequence[Sequence[tuple[str, float]]], measured: Sequence[float]) -> dict[str, float]:
    """Milliseconds of each part from whole networks: what profiles say on average, then corrected.

    The correction is the least one, in the sense of least squares, that makes the sums what was measured: a ridge
    regression on how far each part's time is off.

    Args:
        seen: of each network the words and milliseconds of each of its parts, some of which may be alike.
        measured: of each network its milliseconds.
    """
    times = defaultdict(list)
    for parts in seen:
        for words, milliseconds in parts:
            times[words].append(milliseconds)
    first = np.array([median(each) for each in times.values()])
    column = {words: i for i, words in enumerate(times)}
    shares = np.zeros((len(seen), len(first)))
    for row, (parts, whole) in enumerate(zip(seen, measured, strict=True)):
        for words, _ in parts:
            shares[row, column[words]] += first[column[words]] / whole
    off = 1 - shares.sum(1)
    weighed = np.concatenate([shares / NOISE, np.eye(len(first)) / TRUST])
    change, *_ = np.linalg.lstsq(weighed, np.concatenate([off / NOISE, np.zeros(len(first))]), rcond=None)
    return dict(zip(times, (first * (1 + change)).clip(0).tolist(), strict=True))
