"""Predicts the time of a network as the sum of the times of its parts, which were learnt on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from stdc_search.errors import UserError
from stdc_search.latency.machine import describe_machine
from stdc_search.latency.parts import words_of
from stdc_search.network.cost import Piece, pieces
from stdc_search.records import TimeTable
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.network import NetworkSpec


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
