"""A search's times by a table that `calibrate` wrote: predicted for candidates, measured for the networks of the
report."""

from __future__ import annotations

from pathlib import Path

from stdc_search.errors import UserError
from stdc_search.latency import devices_of, predicted
from stdc_search.latency.again import Times, measure_until_sure
from stdc_search.latency.predictor import Predictor, UnknownPartError, check_device, load_table
from stdc_search.latency.together import measure_together
from stdc_search.records import Latency, Machine
from stdc_search.spec.measurement import ELSEWHERE, LatencySpec
from stdc_search.spec.run import RunSpec

ALLOWED = 2
"""How many times the largest error that a table states it may be off."""


class Forecast:
    """Predicts the times of a search's networks.

    Args:
        latency: how a search measures.
        table: the file of its table.

    Raises:
        UserError: the table is missing or damaged, or of another machine or runtime.
    """

    def __init__(self, latency: LatencySpec, table: Path) -> None:
        self.latency = latency
        self.table = load_table(table, latency)
        self.predict = Predictor(self.table.parts)
        self.device = self.table.described if latency.on is not None else None
        """What its times are of, if that is not this machine."""

    @classmethod
    def of(cls, latency: LatencySpec | None) -> Forecast | None:
        """The forecast of a section `latency`, or None if it has no table."""
        return None if latency is None or latency.table is None else cls(latency, latency.table)

    def __call__(self, run: RunSpec) -> Latency | None:
        """A network's time; none where it has a part that is not in the table, so that it has to be measured.

        Raises:
            UnknownPartError: it has one, and nothing can be measured on its device.
        """
        try:
            milliseconds = self.predict(run.network, run.image_size)
        except UnknownPartError:
            if self.latency.on == ELSEWHERE:
                raise
            return None
        return predicted(self.latency, run.image_size, self.table.device, milliseconds, self.device)

    def check(self, run: RunSpec) -> None:
        """Hold the table against a network that is measured now, unless its device cannot be reached.

        Raises:
            UserError: it is worse than it states.
        """
        if self.latency.on == ELSEWHERE or (guess := self(run)) is None:
            return

        def off_by(times: Times) -> float:
            return 100 * abs(guess.median_ms / times[0][0].median_ms - 1)

        allowed = ALLOWED * self.table.errors.largest
        times = measure_until_sure(lambda: measure_together([run], self.latency), lambda times: off_by(times) > allowed)
        ((found, *_),), off = times, off_by(times)
        load = found.other_load
        others = "" if load is None else f" Other processes used {load:.0%} of the CPU meanwhile."
        if off > allowed:
            raise UserError(
                f"{self.latency.table}: predicts {guess.median_ms:.1f} ms for the file's own network, which takes "
                f"{found.median_ms:.1f} ms; {off:.0f} % is more than twice the largest error that it states "
                f"({self.table.errors.largest:.1f} %).{others} If the machine is busy, wait until it is not; otherwise "
                "calibrate again: stdc-search calibrate"
            )


def reach_devices(latency: LatencySpec | None, forecast: Forecast | None) -> list[Machine]:
    """The devices that a search's times are of, if there are others than this machine.

    Raises:
        UserError: one cannot be reached, lacks something, or is not the one that the table was learnt on.
    """
    if latency is None:
        return []
    found = devices_of(latency)
    if forecast is not None and latency.table is not None and forecast.device is not None:
        if latency.on != ELSEWHERE:
            check_device(latency.table, forecast.table, found[0])
        found.append(forecast.device)
    return found
