"""Whole networks -> a table of the times of their parts, which predicts the times of other networks."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from stdc_search.device.bench import AnyBench
from stdc_search.device.disturbance import BUSY
from stdc_search.device.runtimes import Nodes, Runner
from stdc_search.storage import append_line, cut_torn_line

TOGETHER = 6
"""Networks that are measured side by side."""
WARMUP, REPEATS = 15, 30
TRUST = 0.2
"""By which share of a part's time a correction may move it as easily as a network's time may be off by `NOISE`."""
NOISE = 0.02


class Network(NamedTuple):
    """A network of the space."""

    key: str
    macs: int
    parts: Sequence[tuple[str, str]]
    """Name and words of each part, in the order in which they run; words are all that a part's time depends on."""


class Ready(NamedTuple):
    """A network on a runtime, plain and with a profile."""

    plain: Runner
    profiled: Runner
    images: np.ndarray


class Measured(NamedTuple):
    """A measured network, as a line of `measured.jsonl` keeps it."""

    key: str
    """Machine, runtime, size and network."""
    turn: int
    """0 for its first measurement, 1 for its second."""
    device: str
    reference_ms: float
    """Time of the reference network, which is measured beside all others."""
    ratio: float
    """Its time as a multiple of that: the median over the rounds."""
    parts: Sequence[tuple[str, float]]
    """Words of each part, and its share of the time."""
    other_load: float | None = None
    """Share of the cores' time that other processes took; none outside Linux."""


Job = tuple[Network, int]
"""What is to be measured, and its turn."""
Done = dict[tuple[str, int], Measured]
"""By key and turn."""


def read_measured(path: Path) -> Done:
    """Lines of a file; a torn last one is cut off."""
    cut_torn_line(path)
    done: Done = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            one = Measured(**json.loads(line))
        except (ValueError, TypeError):  # of another format; it is measured again
            continue
        done[one.key, one.turn] = one
    return done


def line_of(measured: Measured) -> str:
    return json.dumps(measured._asdict())


def learn(
    path: Path,
    learnt: Sequence[Network],
    held_out: Sequence[Network],
    measured: Callable[[Sequence[Job]], Iterable[Measured]],
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure the networks that a file does not hold yet, and learn the times of their parts.

    Args:
        path: the file, which gets a line for each measurement.
        learnt: networks to learn from.
        held_out: networks that the errors refer to.
        measured: measures a few networks side by side.
        progress: called with the number of measurements done and of all.

    Returns:
        The table, and a row per held-out network.
    """
    done, jobs = read_measured(path), _jobs(learnt, held_out)
    todo = [(one, turn) for one, turn in jobs if (one.key, turn) not in done]
    for start in range(0, len(todo), TOGETHER):
        group = todo[start : start + TOGETHER]
        for one in measured(group):
            append_line(path, line_of(one))
            done[one.key, one.turn] = one
        progress(len(jobs) - len(todo) + start + len(group), len(jobs))
    return _table(done, learnt, held_out)


def _jobs(learnt: Iterable[Network], held_out: Iterable[Network]) -> list[Job]:
    """Held-out networks are measured twice, which shows how well times repeat."""
    return [(one, 0) for one in (*learnt, *held_out)] + [(one, 1) for one in held_out]


def measure(bench: AnyBench, reference: Ready, group: Sequence[Job], ready: Sequence[Ready]) -> list[Measured]:
    """Measure a group of networks next to the reference, whose time shows whether the machine was disturbed."""
    every = [reference, *ready]
    for one in every:
        bench.add(one.plain, one.images)
    for one in every:
        bench.add(one.profiled, one.images)
    turns = bench.measure(least=0, most=WARMUP, repeats=REPEATS)
    usual, *others = turns.samples[: len(every)]
    found = []
    for (network, turn), times, nodes in zip(group, others, bench.nodes()[len(every) + 1 :]):
        assert nodes is not None
        shares = mean_shares(nodes[-REPEATS:], [name for name, _ in network.parts])
        found.append(
            Measured(
                key=network.key,
                turn=turn,
                device=turns.devices[0],
                reference_ms=median(usual),
                ratio=median(time / reference for time, reference in zip(times, usual)),
                parts=[(words, shares[name]) for name, words in network.parts],
                other_load=turns.load,
            )
        )
    return found


def _table(
    done: Done, learnt: Sequence[Network], held_out: Sequence[Network]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the measurements of these networks say; those of others do not count."""
    wanted = [(one.key, turn) for one, turn in _jobs(learnt, held_out)]
    done = {key: done[key] for key in wanted}
    usual = median(one.reference_ms for one in done.values())  # the average speed of the machine
    times = {key: one.ratio * usual for key, one in done.items()}
    seen = [[(words, share * times[one.key, 0]) for words, share in done[one.key, 0].parts] for one in learnt]
    parts = fit(seen, [times[one.key, 0] for one in learnt])
    rows = [
        {
            "macs": one.macs,
            "measured_ms": times[one.key, 0],
            "again_ms": times[one.key, 1],
            "predicted_ms": sum(parts[words] for _, words in one.parts),
        }
        for one in held_out
    ]
    true = [row["measured_ms"] for row in rows]
    about = {
        "device": next(iter(done.values())).device,
        "parts": parts,
        "networks": len(learnt),
        "held_out": len(held_out),
        "errors": errors_of([row["predicted_ms"] for row in rows], true),
        "repeatability": errors_of([row["again_ms"] for row in rows], true),
        "disturbed": sum((one.other_load or 0) > BUSY for one in done.values()),
    }
    return about, rows


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
    for row, (parts, whole) in enumerate(zip(seen, measured)):
        for words, _ in parts:
            shares[row, column[words]] += first[column[words]] / whole
    off = 1 - shares.sum(1)
    weighed = np.concatenate([shares / NOISE, np.eye(len(first)) / TRUST])
    change, *_ = np.linalg.lstsq(weighed, np.concatenate([off / NOISE, np.zeros(len(first))]), rcond=None)
    return dict(zip(times, (first * (1 + change)).clip(0).tolist()))


def errors_of(found: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """How far times lie from those measured, of at least two networks: `records.Errors`."""
    off = np.abs(np.asarray(found) / np.asarray(measured) - 1)
    return {
        "mape": 100 * float(off.mean()),
        "within_10": 100 * float((off <= 0.1).mean()),
        "largest": 100 * float(off.max()),
        "spearman": _correlation(_ranks(found), _ranks(measured)),
    }


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; 0 where the values of either are all equal."""
    constant = np.ptp(first) == 0 or np.ptp(second) == 0
    return 0.0 if constant else float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks; equal values share the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def shares(nodes: Nodes, parts: Sequence[str]) -> dict[str, float]:
    """Which share of a run's time each part takes.

    What belongs to no part, such as a change of memory format, belongs to the part that ran before it, at the start to
    the first.

    Args:
        nodes: of one run.
        parts: names of modules, the first one running first.
    """
    longest_first = sorted(parts, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    found, part = dict.fromkeys(parts, 0.0), parts[0]
    for name, milliseconds in nodes:
        if match := pattern.search(name.rpartition("/")[0]):
            part = match[0]
        found[part] += milliseconds
    total = sum(found.values())
    return {part: milliseconds / total for part, milliseconds in found.items()}


def mean_shares(runs: Iterable[Nodes], parts: Sequence[str]) -> dict[str, float]:
    """The same over several runs, so no share depends on a single run."""
    each = [shares(nodes, parts) for nodes in runs]
    return {part: sum(one[part] for one in each) / len(each) for part in parts}
