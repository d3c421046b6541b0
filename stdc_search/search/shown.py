"""Times of the networks that a report shows: measured at the end, where a table predicted them during the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mean

from stdc_search.latency.forecast import Forecast
from stdc_search.ranking import front
from stdc_search.records import Record
from stdc_search.run_folder import SPEC, candidate_folder
from stdc_search.search.candidates import Candidates
from stdc_search.spec.run import load
from stdc_search.spec.search import SearchSpec


def measure_shown(candidates: Candidates, search: SearchSpec, forecast: Forecast, say: Callable[[str], None]) -> bool:
    """Measure the front and all networks with a name, side by side, until none of their times is predicted.

    Measured times may change the front, so that it has to be looked at again.

    Returns:
        Whether any record has changed.
    """
    guessed: dict[int, float] = {}
    while new := _predicted(shown := _shown(candidates, search)):
        guessed |= new
        say(f"Measuring the {len(shown)} networks of the report; {len(new)} of them have predicted times.")
        times = forecast.measure([load(candidate_folder(candidates.folder, one.number) / SPEC) for one in shown])
        for record, (latency, *also) in zip(shown, times, strict=True):
            candidates.keep(record.model_copy(update={"latency": latency, "latency_also": tuple(also)}))
    found = {one.number: one.metric("latency.median_ms") for one in candidates.records if one.number in guessed}
    if found:
        off = mean(100 * abs(guessed[number] / found[number] - 1) for number in guessed)
        stated = forecast.table.errors.mape
        say(f"Their predicted times were off by {off:.1f} % on average; the table states {stated:.1f} %.")
        limit = search.limits.get("latency.median_ms")
        if limit and (above := [number for number, time in found.items() if limit.excess(time) > 0]):
            names = ", ".join(f"{number:04d} ({found[number]:.1f} ms)" for number in above)
            say(f"Measured, these are above the limit of {limit.at_most:g} ms, which their predictions met: {names}.")
    return bool(found)


def _shown(candidates: Candidates, search: SearchSpec) -> list[Record]:
    inside = [record for record in candidates.complete if record.origin != "reference"]
    points = [[record.metric(name) for name in search.objectives] for record in inside]
    best = front(points, list(search.objectives.values())) if inside else []
    on_front = {record.number for record, its in zip(inside, best, strict=True) if its}
    return [record for record in candidates.complete if record.number in on_front or record.name]


def _predicted(records: list[Record]) -> Mapping[int, float]:
    return {
        record.number: record.latency.median_ms
        for record in records
        if record.latency is not None and record.latency.source == "predicted"
    }
