"""Predicts the time of a network as the sum of the times of its parts, which were learnt on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import ValidationError

from stdc_search.errors import UserError
from stdc_search.latency.machine import describe_machine
from stdc_search.latency.parts import words_of
from stdc_search.network.cost import Piece, pieces
from stdc_search.ranking import rank_correlation
from stdc_search.records import Errors, TimeTable
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.network import NetworkSpec

TRUST = 0.2
"""By which share of a part's time a correction may move it as easily as a network's time may be off by `NOISE`."""
NOISE = 0.02


def errors_of(found: Sequence[float], measured: Sequence[float]) -> Errors:
    """How far times lie from those measured, of at least two networks."""
    off = np.abs(np.asarray(found) / np.asarray(measured) - 1)
    return Errors(
        mape=100 * float(off.mean()),
        within_10=100 * float((off <= 0.1).mean()),
        largest=100 * float(off.max()),
        spearman=rank_correlation(found, measured),
    )


class UnknownPartError(UserError):
    """A network has a part that is not in the table."""


class Predictor:
    """Predicts within microseconds, once a network's pieces are known.

    Args:
        parts: milliseconds of parts by their words.
    """

    def __init__(self, parts: Mapping[str, float]) -> None:
        self.parts = parts
        self._known: dict[Piece, float] = {}

    def __call__(self, network: NetworkSpec, image_size: tuple[int, int]) -> float:
        """Milliseconds of one call.

        Raises:
            UnknownPartError: a part of the network is not in the table.
        """
        return sum([self._time(piece) for piece in pieces(network, image_size)])

    def _time(self, piece: Piece) -> float:
        found = self._known.get(piece)
        if found is None:
            words = [words_of(part) for part in piece.parts]
            if unknown := [one for one in words if one not in self.parts]:
                raise UnknownPartError(f"the table has no {unknown[0]}; calibrate the search space of this network")
            found = self._known[piece] = sum(self.parts[one] for one in words)
        return found


def load_table(path: Path, runtime: RuntimeSpec) -> TimeTable:
    """Read a table that fits the wanted prediction.

    Raises:
        UserError: it is missing or damaged, or of another machine or runtime.
    """
    make = f"stdc-search calibrate SPEC --out {path.parent}"
    again = f"; calibrate again: {make}"
    try:
        table = TimeTable.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; make it with: {make}") from None
    except ValidationError as error:
        raise UserError(f"{path}: is not a table of times ({error.errors()[0]['msg']}){again}") from None
    if table.machine != (here := describe_machine().id):
        raise UserError(f"{path}: was calibrated on another machine or with other versions (here: {here}){again}")
    wanted = runtime.model_dump(mode="json", include=set(RuntimeSpec.model_fields))
    if different := [name for name, value in wanted.items() if table.runtime.get(name) != value]:
        name = different[0]
        raise UserError(f"{path}: its {name} is {table.runtime.get(name)}, and `latency` says {wanted[name]}{again}")
    return table


def fit(seen: Sequence[Sequence[tuple[str, float]]], measured: Sequence[float]) -> dict[str, float]:
    """Milliseconds of each part from whole networks: what profiles say on average, then corrected.

    A ridge regression corrects the times of the parts, as little as possible, so that the sums agree with the measured
    times.

    Args:
        seen: for each network, the words and milliseconds of its parts; a part may occur several times.
        measured: milliseconds of each network.
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
