"""Times of the networks that reports show: measured side by side at the end of a search."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from statistics import mean

from torch import Tensor

from stdc_search.deploy.quantize import calibration_images
from stdc_search.expectation import front_of
from stdc_search.latency import this_machine
from stdc_search.latency.again import measure_until_sure
from stdc_search.latency.forecast import Forecast
from stdc_search.latency.together import measure_together
from stdc_search.records import Record
from stdc_search.run_folder import SPEC, candidate_folder
from stdc_search.search.candidates import Candidates
from stdc_search.search.finals import finalists
from stdc_search.spec.measurement import ELSEWHERE, LatencySpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import SearchSpec
from stdc_search.trial.training import Datasets


def measure_shown(
    candidates: Candidates,
    search: SearchSpec,
    latency: LatencySpec,
    datasets: Datasets | None,
    forecast: Forecast | None,
    say: Callable[[str], None],
    others: Collection[int] = (),
) -> bool:
    """Measure the front, the finalists and all networks with a name side by side, so that their times can be compared.

    Times that were measured during the search come from different minutes, and may be predicted. Measured times may
    change the front, so it is looked at again until all of it was measured like this. If a time is doubtful, all are
    measured again. What another machine measured stays, and so do predictions for a device that cannot be reached.
    `others` are numbers of further networks, those of earlier finals.

    Returns:
        Whether any record has changed.
    """
    if latency.on == ELSEWHERE:
        return False
    guessed: dict[int, float] = {}
    measured: set[int] = set()
    # What took turns once does so again, since the times of a front must all come from one measurement.
    while _apart(shown := _shown(candidates, search, {*others, *measured})) or (
        measured and {one.number for one in shown} - measured
    ):
        measured = {one.number for one in shown}
        guessed |= (new := _predicted(shown))
        note = f"; {len(new)} of them have predicted times" if new else ""
        say(f"Measuring the networks of the report ({len(shown)}) side by side{note}.")
        runs = [load(candidate_folder(candidates.folder, one.number) / SPEC) for one in shown]
        images = [_calibration(run, latency, datasets) for run in runs]
        times = measure_until_sure(partial(measure_together, runs, latency, images))
        for record, (first, *also) in zip(shown, times, strict=True):
            update = {"latency": first, "latency_also": tuple(also), "machine": this_machine().id}
            candidates.keep(record.model_copy(update=update))
    found = {one.number: one.metric("latency.median_ms") for one in candidates.records if one.number in guessed}
    if found and forecast is not None:
        off = mean(100 * abs(guessed[number] / found[number] - 1) for number in guessed)
        stated = forecast.table.errors.mape
        say(f"Their predicted times were off by {off:.1f} % on average; the table states {stated:.1f} %.")
    limit = search.limits.get("latency.median_ms")
    if measured and limit:
        times_of = {one.number: one.metric("latency.median_ms") for one in _shown(candidates, search, others)}
        if above := [number for number, time in times_of.items() if limit.excess(time) > 0]:
            names = ", ".join(f"{number:04d} ({times_of[number]:.1f} ms)" for number in above)
            say(f"Measured side by side, these are above the limit of {limit.bound:g} ms: {names}.")
    return bool(measured)


def _shown(candidates: Candidates, search: SearchSpec, others: Collection[int]) -> list[Record]:
    """The networks of the report and of the finals, except those whose folders were removed."""
    complete = candidates.complete
    numbers = front_of(complete, search) | {record.number for record in finalists(complete, search)} | {*others}
    shown = [record for record in complete if record.number in numbers or (record.name and record.repeats is None)]
    return [record for record in shown if (candidate_folder(candidates.folder, record.number) / SPEC).exists()]


def _apart(records: list[Record]) -> bool:
    """Whether any of these was not yet measured side by side with others, on this machine."""
    timed = [record for record in records if record.latency is not None]
    if any(_measured_by_another(record) for record in timed):
        return bool(_predicted(records))
    devices = {record.latency and record.latency.machine for record in timed}
    return len(devices) > 1 or any(record.latency is not None and record.latency.beside is None for record in timed)


def _measured_by_another(record: Record) -> bool:
    """Whether its time was measured on another machine than this one, by a search that ran there."""
    latency = record.latency
    return (
        latency is not None
        and latency.source == "measured"
        and latency.machine is None
        and record.machine != this_machine().id
    )


def _calibration(run: RunSpec, latency: LatencySpec, datasets: Datasets | None) -> Tensor | None:
    if datasets is None or all(one.precision != "int8" for one in (latency, *latency.also)):
        return None
    return calibration_images(datasets.train, run.image_size)


def _predicted(records: list[Record]) -> Mapping[int, float]:
    return {
        record.number: record.latency.median_ms
        for record in records
        if record.latency is not None and record.latency.source == "predicted"
    }
