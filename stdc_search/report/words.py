"""What a report says in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from stdc_search.device.disturbance import BUSY
from stdc_search.doubt import doubts
from stdc_search.errors import several
from stdc_search.ranking import rank_correlation
from stdc_search.records import METRICS, Direction, ImageScore, Latency, Machine, Record, Score, TimeTable
from stdc_search.report.tables import MARK
from stdc_search.search.halving import Halving
from stdc_search.spec.data import CamvidSpec, CityscapesSpec, DataSpec
from stdc_search.spec.own import OwnSpec
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import HalvingSpec
from stdc_search.spec.start import PRESETS

RUNTIMES = {
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
}
FEWEST_RANKED = 3
"""Fewest networks for which a rank correlation is reported."""
NAMED = 4
"""Most candidates that a note names."""
REFERENCE = "reference"
DOUBTFUL = "doubtful"
MORE = ", and no network has more: train longer"


def label(record: Record) -> str:
    """What a candidate is called: STDC1, base, or as its folder."""
    if record.name is not None:
        return title_of(record.name)
    return "base" if record.origin == "base" else f"{record.number:04d}"


def title_of(network: str) -> str:
    """A start network's name as people write it."""
    return network.upper() if network in PRESETS else network


def heading(run: RunSpec, records: Sequence[Record], name: str) -> str:
    """The heading names the run, the data set, the image size and the length of the training."""
    parts = ["Front of" if run.search else "Network of", name]
    if run.data is not None and run.training is not None and (data := _data_set(run.data)) not in ("", name):
        parts.append(f"on {data}")
    sizes = {record.image_size for record in records}
    parts.append("at {} × {}".format(*sizes.pop()) if len(sizes) == 1 else "at several image sizes")
    return " ".join(filter(None, [*parts, length(run)]))


def length(run: RunSpec) -> str:
    """How long every network trains; empty if nothing is trained, or if the length is varied."""
    if run.data is None or run.training is None:
        return ""
    varied = [path for name in run.search.vary for path in run.search.paths(name)] if run.search else []
    for unit, n in {"epochs": run.training.epochs, "steps": run.training.steps}.items():
        if n and f"training.{unit}" not in varied:
            return f"after {n} {unit if n > 1 else unit.removesuffix('s')}"
    return ""


def _data_set(data: DataSpec) -> str:
    match data:
        case CamvidSpec():
            return f"CamVid {data.val}"
        case CityscapesSpec():
            return f"Cityscapes {data.val}"
        case OwnSpec():
            return data.root.name
        case _:
            return data.kind


def conditions(records: Sequence[Record], machines: Mapping[str, Machine]) -> str:
    """Runtimes and machines that the figures hold for."""
    parts = [
        f"{RUNTIMES.get(timed.runtime, timed.runtime)} to {timed.output}, {timed.precision}, "
        f"{timed.threads} thread{'s' * (timed.threads != 1)}"
        for timed in (record.latency for record in records)
        if timed is not None
    ]
    guessed = sum(record.latency is not None and record.latency.source == "predicted" for record in records)
    parts += [f"{guessed} of {len(records)} times predicted"] if guessed else []
    precisions = sorted({record.precision for record in records if record.precision is not None})
    parts += [f"trained in {' and '.join(precisions)}"] if precisions else []
    used = {record.machine for record in records}
    timed_on = {record.latency.machine for record in records if record.latency is not None}
    parts += [f"timed on {device(machine)}" for name, machine in machines.items() if name in timed_on]
    parts += [device(machine) for name, machine in machines.items() if name in used - timed_on]
    return " · ".join(dict.fromkeys(parts))


def doubtful(shown: Iterable[Record], records: Iterable[Record]) -> dict[str, str]:
    """The networks whose times are doubtful, each with the reasons.

    Args:
        shown: the networks of a table.
        records: all that were measured: any of them may show how fast its machine is when it is idle.
    """
    fastest: dict[tuple[str, bool], float] = {}
    for record in records:
        if record.latency is not None and record.latency.reference_fastest_ms is not None:
            place = _place(record, record.latency)
            fastest[place] = min(record.latency.reference_fastest_ms, fastest.get(place, math.inf))
    return {
        label(record): why
        for record in shown
        if record.latency is not None and (why := doubts(record.latency, fastest.get(_place(record, record.latency))))
    }


def doubtful_rejections(records: Sequence[Record]) -> str:
    """The candidates that doubtful times rejected; empty if there are none."""
    rejected = [record for record in records if record.state == "rejected"]
    shaky = doubtful(rejected, records)
    names = [
        f"{label(one)} ({one.latency.median_ms:.1f} ms)" for one in rejected if one.latency and label(one) in shaky
    ]
    if not names:
        return ""
    some = several(names, NAMED)
    return f"Rejected by doubtful times: {some}; a run in a new folder, with `--from` this one, measures them again"


def _place(record: Record, latency: Latency) -> tuple[str, bool]:
    """Where the fixed work of a time ran: which machine, and whether on its CPU."""
    return latency.machine or record.machine, latency.device == "cpu"


def ties(frame: pd.DataFrame) -> str:
    """What the places of a table of times mean."""
    shared = frame.duplicated([name for name in ("place", "timed on") if name in frame]).any()
    return "Places: by the ratio of times in the same round, with 99 % confidence" + (
        "; networks with the same place do not differ significantly." if shared else "."
    )


def trust(table: TimeTable) -> str:
    """How far a table of times can be trusted, beside what measuring again gives."""
    lines = [f"{len(table.parts)} parts calibrated on {table.networks} networks; errors on {table.held_out} others:"]
    for what, errors in (("predicted", table.errors), ("measured again", table.repeatability)):
        lines.append(
            f"  {what}: {errors.mape:.1f} % off on average, {errors.largest:.1f} % at most, "
            f"{errors.within_10:.0f} % of them by at most 10 %; rank correlation {errors.spearman:.3f}"
        )
    if table.disturbed:
        busy = f"other processes used more than {BUSY:.0%} of the CPU during {table.disturbed} measurements"
        lines.append(f"  {busy}; for a better table, stop them and calibrate again with another --out")
    return "\n".join(lines)


def device(machine: Machine) -> str:
    """What networks run on there."""
    return (
        f"{machine.cpu}, {machine.cores} core{'s' * (machine.cores > 1)}" if machine.device == "cpu" else machine.device
    )


def constant_note(records: Sequence[Record]) -> str:
    """The accuracy that a network must beat, and the classes that no score is about; empty if nothing was scored."""
    scores = [record.score for record in records if record.score is not None]
    maps = [score for score in scores if isinstance(score, Score)]
    images = [score for score in scores if isinstance(score, ImageScore)]
    if maps:
        constant = max(one.constant_miou for one in maps)
        note = f"Predicting the most common class everywhere gives mIoU {constant:.1f} %"
        if max(one.miou for one in maps) <= constant:
            note += MORE
        ious = maps[-1].iou
        if lost := [name for name, value in ious.items() if value is None]:
            note += f"; mIoU is the mean over {len(ious) - len(lost)} of {len(ious)} classes; the labels lack "
            note += ", ".join(lost)
        return note
    if images:
        constant = max(one.constant_top1 for one in images)
        note = f"Predicting the most common class for every image gives top-1 {constant:.1f} %"
        return note + MORE * (max(one.top1 for one in images) <= constant)
    return ""


def expectation_note(frame: pd.DataFrame, *, finals: bool = False) -> str:
    """What expected scores are; empty where there are none."""
    noises = {name.removeprefix("noise."): frame[name].max() for name in frame if name.startswith("noise.")}
    if not noises:
        return ""
    differ = ", ".join(
        f"{noise:.1f} points of {METRICS[name].title.removesuffix(' %')}" for name, noise in noises.items()
    )
    shares = [frame[name].max() for name in frame if name.startswith("explained.")]
    learnt = "scores and training losses" if shares else "scores"
    losses = f"; losses explain {100 * min(shares):.0f} % of the variance between networks" if shares else ""
    return (
        f"Expected scores come from a Gaussian process over the {learnt} of all trained networks"
        f"{' of search and finals' * finals}, with 95 % intervals; trainings of one network differ by {differ} "
        f"(standard deviation){losses}"
    )


def finals_note(finals: pd.DataFrame, search: pd.DataFrame, objectives: Iterable[str]) -> list[str]:
    """How well a search predicted its finals: a line for each objective that is a score.

    Args:
        finals: the networks of the finals (`candidates.candidates`).
        search: those of the search.
        objectives: names of metrics.
    """
    lines = []
    for name in objectives:
        if not name.startswith("score."):
            continue
        column = f"expected.{name}" if f"expected.{name}" in search else name
        both = finals.merge(search[["number", column]].set_axis(["number", "search"], axis=1), on="number")
        title = METRICS[name].title.removesuffix(" %")
        before, after = both["search"].to_numpy(), both[name].to_numpy()
        off = after - before
        if len(both) < FEWEST_RANKED:
            ranks = "too few for a rank correlation"
        elif np.ptp(before) == 0 or np.ptp(after) == 0:
            where = "search" if np.ptp(before) == 0 else "finals"
            ranks = f"no rank correlation, since all are the same in the {where}"
        else:
            ranks = f"rank correlation {rank_correlation(before, after):.2f}"
        lines.append(
            f"Search and finals, {title} of {len(both)} network{'s' * (len(both) != 1)}: {ranks}; "
            f"finals minus search: {off.mean():+.1f} points on average ({off.min():+.1f} to {off.max():+.1f})"
        )
    return lines


def timed_on(frame: pd.DataFrame) -> pd.Series:
    """The machine that the times of each row are of: the device that `latency.on` names, else that of the training."""
    machines = pd.Series(frame["machine"])
    devices = pd.Series(frame.get("latency.machine"), index=frame.index, dtype=object)
    return devices.fillna(machines)


def machine_note(frame: pd.DataFrame, objectives: Mapping[str, Direction]) -> str:
    """Says where times of several machines stand side by side; empty otherwise."""
    if "latency.median_ms" not in frame:
        return ""
    timed = frame.loc[frame["latency.median_ms"].notna()]
    all_machines, of_front = Counter(timed_on(timed)), Counter(timed_on(timed.loc[timed["front"]]))
    if any(name.startswith("latency.") for name in objectives) and len(of_front) > 1:
        return f"Do not compare the times on this front: they were measured on {_counted(of_front)}"
    if len(all_machines) > 1:
        return f"The times were measured on {_counted(all_machines)}; compare them only within one"
    return ""


def _counted(counts: Mapping[str, int]) -> str:
    """How many machines there are, and the number of networks of each."""
    return f"{len(counts)} machines ({', '.join(f'{count} of {machine[:8]}' for machine, count in counts.items())})"


def legend(table: pd.DataFrame) -> str:
    """What the marks of a drawn table mean."""
    if "front" not in table:
        return ""
    meanings = {MARK: "on the front", REFERENCE: "outside the search space, so never on the front"}
    used = set(table["front"])
    return "; ".join(f"{mark}: {meaning}" for mark, meaning in meanings.items() if mark in used)


def extent(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    """What a drawn table leaves out; empty if it has every network."""
    if len(table) == len(frame):
        return ""
    return f"Shown: the front and the named networks; table.csv has all {len(frame)}"


def summary(records: Sequence[Record]) -> str:
    """The number of candidates by their state, and the time that they took."""
    ends = Counter(record.state for record in records)
    taken = sum(record.taken_from is not None for record in records)
    parts = [f"{ends['complete']} complete" + (f" ({taken} of them taken over from earlier runs)" if taken else "")]
    if ends["stopped"]:
        parts.append(f"{ends['stopped']} stopped early")
    if ends["rejected"]:
        parts.append(f"{ends['rejected']} rejected by limits")
    if ends["failed"]:
        failed = next(record for record in records if record.state == "failed")
        parts.append(f"{ends['failed']} failed ({failed.number:04d}: {failed.reason})")
    seconds = sum(sum(record.seconds.values()) for record in records)
    return f"candidates: {', '.join(parts)}; {duration(seconds)}"


def halving_note(records: Iterable[Record], spec: HalvingSpec, objectives: Mapping[str, Direction]) -> str:
    """How well rungs predict final scores."""
    halving = Halving(spec, objectives)
    for record in sorted(records, key=lambda record: record.number):
        halving.note(record)
    if (trust := halving.trust) is None:
        return "Early stopping: too few candidates finished to compare rungs with final scores; none was stopped"
    told = [
        f"{one.correlation} after {one.epochs} epoch{'s' * (one.epochs > 1)} over {one.candidates} candidates"
        for one in trust
    ]
    return (
        f"Early stopping: rank correlation with final scores after removing what costs explain: {'; '.join(told)}; "
        f"candidates are stopped at a rung whose interval lies above {spec.least_correlation:g}"
    )


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds < 1:
        return "under a second"
    return f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"


def short_titles(names: Sequence[str]) -> dict[str, str]:
    """Dotted names to titles: as many of the last parts as distinguish them and start with a word."""
    titles = {}
    for name in names:
        parts = name.split(".")
        for count in range(min(2, len(parts)), len(parts) + 1):
            tail = parts[-count:]
            alike = [other for other in names if other.split(".")[-count:] == tail]
            if len(alike) == 1 and not tail[0].isdigit():
                break
        titles[name] = " ".join(tail)
    return titles
