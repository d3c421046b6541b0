"""Predicts the time of a network as the sum of the times of its parts, which were learnt on its device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from stdc_search.errors import UserError
from stdc_search.latency.machine import describe_machine
from stdc_search.latency.parts import words_of
from stdc_search.network.cost import Piece, pieces
from stdc_search.records import Machine, TimeTable
from stdc_search.spec.measurement import ELSEWHERE, RuntimeSpec
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
    how = {None: "calibrate", ELSEWHERE: "bundle"}.get(runtime.on, f"calibrate --on {runtime.on}")
    make = f"stdc-search {how} SPEC --out {path.parent}"
    again = f"; make it again: {make}"
    try:
        table = TimeTable.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; make it with: {make}") from None
    except ValidationError as error:
        raise UserError(f"{path}: is not a table of times ({error.errors()[0]['msg']}){again}") from None
    left_out = {"python", "on"} if runtime.on == ELSEWHERE else {"python"}  # it may be of any device that it names
    wanted = runtime.model_dump(mode="json", include=set(RuntimeSpec.model_fields) - left_out)
    if table.runtime.get("on") == ELSEWHERE != runtime.on:
        raise UserError(f"{path}: is of a device that was timed by hand; write `on: {ELSEWHERE}` in `latency`")
    if runtime.on == ELSEWHERE and table.described is None:
        raise UserError(f"{path}: does not describe its machine, as tables of older versions; make it again there")
    if different := [name for name, value in wanted.items() if table.runtime.get(name) != value]:
        name = different[0]
        raise UserError(f"{path}: its {name} is {table.runtime.get(name)}, and `latency` says {wanted[name]}{again}")
    if runtime.on is None and table.machine != (here := describe_machine().id):
        raise UserError(
            f"{path}: was calibrated on another machine or with other versions (here: {here}); if its times are those "
            f"that you want, write `on: {ELSEWHERE}` in `latency`, else make it again: {make}"
        )
    return table


def check_device(path: Path, table: TimeTable, found: Machine) -> None:
    """Compare the device that a table was learnt on with the one at its address.

    Raises:
        UserError: they differ, or versions there have changed.
    """
    if table.machine != found.id:
        raise UserError(
            f"{path}: was calibrated on another device or with other versions than those at {table.runtime['on']}; "
            f"make it again: stdc-search calibrate --on {table.runtime['on']} SPEC --out {path.parent}"
        )
