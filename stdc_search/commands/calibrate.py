"""Search space -> a table of the times of its networks' parts on this machine, learnt from whole networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from stdc_search.errors import UserError
from stdc_search.latency import note_machine
from stdc_search.latency.alone import alone, pinned
from stdc_search.latency.disturbance import cpu_time, load_of_others
from stdc_search.latency.loop import Run, interleave, warm
from stdc_search.latency.machine import physical_cores
from stdc_search.latency.parts import words_of
from stdc_search.latency.predictor import Predictor, errors_of, fit
from stdc_search.latency.profile import check_profiled, mean_shares, profile
from stdc_search.latency.runtimes import onnx_content, prepare
from stdc_search.latency.statistics import compare
from stdc_search.latency.typical import with_regions
from stdc_search.network.builder import build
from stdc_search.network.cost import count, named_parts, pieces
from stdc_search.records import HeldOut, TimeTable, append
from stdc_search.report.words import BUSY
from stdc_search.run_folder import MACHINES
from stdc_search.search.space import draw
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec
from stdc_search.storage import write_atomically

DRAWN = 1000
"""Random networks, in which parts are looked for."""
HELD_OUT = 30
TOGETHER = 6
"""Networks that are measured side by side."""
WARMUP, REPEATS = 15, 30
MEASURED, TABLE = "measured.jsonl", "times.json"

Progress = Callable[[int, int], None]


class Measured(BaseModel):
    """A measured network, as `measured.jsonl` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Machine, runtime, size and network."""
    turn: int
    """0 for its first measurement, 1 for its second."""
    device: str
    reference_ms: float
    """Time of the spec's own network, which is measured beside all others."""
    ratio: float
    """Its time as a multiple of that: the median over the rounds."""
    parts: tuple[tuple[str, float], ...]
    """Words of each part, and its share of the time."""
    other_load: float | None = None
    """Share of the cores' time that other processes took; none outside Linux."""


def calibrate(
    spec: RunSpec, runtime: RuntimeSpec, folder: Path, *, progress: Progress | None = None
) -> tuple[TimeTable, list[HeldOut]]:
    """Measure networks that together have every part of a space, and learn what each part takes.

    Measurements are kept in `measured.jsonl`, so an interrupted calibration resumes; the table is `times.json`.

    Args:
        spec: a run with a search.
        runtime: ONNX Runtime or OpenVINO, not in int8.
        folder: for both files and the description of the machine.
        progress: called with the number of measurements done and of all.

    Returns:
        The table, and the held-out networks that its errors refer to.

    Raises:
        UserError: the runtime does not report times of nodes, or the precision is int8.
    """
    check_profiled(runtime)
    if runtime.precision == "int8":
        raise UserError(
            "int8 times cannot be predicted: the int8 ranges differ between networks; use `stdc-search time`"
        )
    runtime = RuntimeSpec(**runtime.model_dump(include=set(RuntimeSpec.model_fields)))  # without how it is measured
    drawn = draw(spec, DRAWN)
    learnt = cover(drawn)
    held_out = [run for run in draw(spec, DRAWN, seed=1) if run not in learnt][:HELD_OUT]
    if len(held_out) < 2:
        raise UserError(
            f"the space has only {len(drawn)} networks, all of which would be measured; use `stdc-search time`"
        )
    jobs = [(run, 0) for run in (*learnt, *held_out)] + [(run, 1) for run in held_out]
    folder.mkdir(parents=True, exist_ok=True)
    session = _Session(spec, runtime, folder / MEASURED)
    todo = [(run, turn) for run, turn in jobs if session.find(run, turn) is None]
    for start in range(0, len(todo), TOGETHER):
        session.measure(todo[start : start + TOGETHER])
        if progress is not None:
            progress(len(jobs) - len(todo) + min(start + TOGETHER, len(todo)), len(jobs))
    found = [session.times(run, 0) for run in learnt]
    predict = Predictor(fit([parts for _, parts in found], [time for time, _ in found]))
    rows = [
        HeldOut(
            macs=count(run.network, run.image_size).macs,
            measured_ms=session.times(run, 0)[0],
            again_ms=session.times(run, 1)[0],
            predicted_ms=predict(run.network, run.image_size),
        )
        for run in held_out
    ]
    true = [row.measured_ms for row in rows]
    table = TimeTable(
        machine=session.machine,
        runtime=runtime.model_dump(mode="json"),
        device=next(iter(session.done.values())).device,
        parts=dict(predict.parts),
        networks=len(learnt),
        held_out=len(held_out),
        errors=errors_of([row.predicted_ms for row in rows], true),
        repeatability=errors_of([row.again_ms for row in rows], true),
        disturbed=sum((one.other_load or 0) > BUSY for job in jobs if (one := session.find(*job))),
    )
    write_atomically(folder / TABLE, table.model_dump_json(indent=2) + "\n")
    return table, rows


def cover(networks: Sequence[RunSpec]) -> list[RunSpec]:
    """A small subset of networks that contains every part of any network; chosen greedily."""
    parts = [
        {words_of(part) for piece in pieces(run.network, run.image_size) for part in piece.parts} for run in networks
    ]
    missing = set[str]().union(*parts)
    chosen = []
    while missing:
        best = max(range(len(networks)), key=lambda i: len(parts[i] & missing))
        chosen.append(networks[best])
        missing -= parts[best]
    return chosen


class _Session:
    """Measures networks next to the spec's own network, whose time shows whether the machine was disturbed."""

    def __init__(self, spec: RunSpec, runtime: RuntimeSpec, path: Path) -> None:
        self.spec, self.runtime, self.path = spec, runtime, path
        self.machine = note_machine(path.parent / MACHINES).id
        self.threads = runtime.threads or physical_cores()
        self.done: dict[tuple[str, int], Measured] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                one = Measured.model_validate_json(line)
            except ValidationError:  # a torn line
                continue
            self.done[one.key, one.turn] = one

    def find(self, run: RunSpec, turn: int) -> Measured | None:
        return self.done.get((self._key(run), turn))

    def times(self, run: RunSpec, turn: int) -> tuple[float, list[tuple[str, float]]]:
        """Milliseconds of a network and of its parts, corrected to the average speed of the machine."""
        one = self.done[self._key(run), turn]
        usual = median(each.reference_ms for each in self.done.values())
        time = one.ratio * usual
        return time, [(words, share * time) for words, share in one.parts]

    def measure(self, jobs: Sequence[tuple[RunSpec, int]]) -> None:
        with alone(), pinned(self.threads), torch.inference_mode():
            before = cpu_time()
            plain: list[Run] = []
            profiles, device = [], ""
            for run in (self.spec, *(run for run, _ in jobs)):
                torch.manual_seed(0)
                images = torch.randn((self.runtime.batch, 3, *run.image_size))
                module = with_regions(build(run.network), images)
                content = onnx_content(self.runtime, module, images, None)
                prepared = prepare(self.runtime, module, images, self.threads, content=content)
                device = prepared.device
                plain.append(partial(prepared.run, prepared.load(images)))
                profiles.append(profile(self.runtime, content, images, self.threads))
            runs = [*plain, *(one.run for one in profiles)]
            warm(runs, most=WARMUP)
            samples = interleave(runs, repeats=REPEATS)
            load = load_of_others(before, cpu_time())
        reference, *others = samples[: len(plain)]
        for (run, turn), times, profiled in zip(jobs, others, profiles[1:], strict=True):
            parts = {name: words_of(part) for name, part in named_parts(run.network, run.image_size).items()}
            shares = mean_shares(profiled.finish()[-REPEATS:], list(parts))
            one = Measured(
                key=self._key(run),
                turn=turn,
                device=device,
                reference_ms=median(reference),
                ratio=compare(times, reference).median,
                parts=tuple((words, shares[name]) for name, words in parts.items()),
                other_load=load,
            )
            append(self.path, one)
            self.done[one.key, one.turn] = one
        profiles[0].finish()

    def _key(self, run: RunSpec) -> str:
        return f"{self.machine} {self.runtime.model_dump_json()} {run.image_size} {run.network.model_dump_json()}"
