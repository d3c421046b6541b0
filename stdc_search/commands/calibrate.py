"""Search space -> a table of the times of its networks' parts on a device, learnt from whole networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from stdc_search.device.calibration import Job, Measured, Network, Ready, learn, measure
from stdc_search.device.runtimes import Settings
from stdc_search.errors import UserError
from stdc_search.latency import note_machine, this_machine
from stdc_search.latency.devices import Here, Place
from stdc_search.latency.parts import words_of
from stdc_search.latency.remote import Remote
from stdc_search.latency.runtimes import file_content, prepare
from stdc_search.latency.typical import with_regions
from stdc_search.network.builder import build
from stdc_search.network.cost import count, named_parts, pieces
from stdc_search.records import HeldOut, TimeTable
from stdc_search.run_folder import MACHINES
from stdc_search.search.space import draw
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec
from stdc_search.storage import write_atomically

DRAWN, LOOKED_AT = 1000, 10_000
"""Random networks to choose from, and further ones, in which other parts are looked for."""
HELD_OUT = 30
MEASURED, TABLE = "measured.jsonl", "times.json"

Progress = Callable[[int, int], None]


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
    runtime = RuntimeSpec(**runtime.model_dump(include=set(RuntimeSpec.model_fields)))  # without how it is measured
    learnt, held_out = sample(spec)
    folder.mkdir(parents=True, exist_ok=True)
    with Place.of(runtime).open() as device:
        machine = note_machine(folder / MACHINES, device.machine).id
        session = _Session(spec, runtime, device, f"{machine} {runtime.model_dump_json(exclude={'on', 'python'})}")
        about, rows = learn(
            folder / MEASURED,
            [session.network(run) for run in learnt],
            [session.network(run) for run in held_out],
            session.measured,
            progress or (lambda *_: None),
        )
    table = TimeTable(
        machine=machine,
        described=device.machine or this_machine(),
        runtime=runtime.model_dump(mode="json"),
        **about,
    )
    write_atomically(folder / TABLE, table.model_dump_json(indent=2) + "\n")
    return table, [HeldOut(**row) for row in rows]


def check_profiled(runtime: RuntimeSpec) -> None:
    """Reject a runtime whose times of parts cannot be learnt.

    Raises:
        UserError: it does not report the time of each node, or it is in int8.
    """
    if runtime.runtime not in ("onnxruntime", "openvino"):
        raise UserError(
            f"{runtime.runtime} does not report the time of each node; use `--runtime onnxruntime` or openvino"
        )
    if runtime.precision == "int8":
        raise UserError(
            "int8 times cannot be predicted: the int8 ranges differ between networks; use `stdc-search time`"
        )


def sample(spec: RunSpec) -> tuple[list[RunSpec], list[RunSpec]]:
    """Networks of a space to learn from, and others to test what was learnt.

    Raises:
        UserError: the space has too few networks.
    """
    drawn = draw(spec, DRAWN)
    learnt = cover(drawn)
    known = set[str]().union(*map(_parts, learnt))
    if len(drawn) == DRAWN:
        learnt += cover(draw(spec, LOOKED_AT), known)
        known.update(*map(_parts, learnt))
    others = (run for run in draw(spec, DRAWN, seed=1) if _parts(run) <= known and run not in learnt)
    held_out = [*islice(others, HELD_OUT)]
    if len(held_out) < 2:
        raise UserError(
            f"the space has only {len(drawn)} networks, all of which would be measured; use `stdc-search time`"
        )
    return learnt, held_out


def cover(networks: Sequence[RunSpec], known: Set[str] = frozenset()) -> list[RunSpec]:
    """A small subset of networks that contains every part of any network, except known ones; chosen greedily."""
    left = {i: parts for i, run in enumerate(networks) if (parts := _parts(run) - known)}
    chosen = []
    while left:
        best = max(left, key=lambda i: len(left[i]))
        chosen.append(networks[best])
        found = left.pop(best)
        left = {i: rest for i, parts in left.items() if (rest := parts - found)}
    return chosen


def _parts(run: RunSpec) -> set[str]:
    return {words_of(part) for piece in pieces(run.network, run.image_size) for part in piece.parts}


class _Session:
    """Measures networks next to the spec's own network."""

    def __init__(self, spec: RunSpec, runtime: RuntimeSpec, device: Here | Remote, conditions: str) -> None:
        self.spec, self.runtime, self.device, self.conditions = spec, runtime, device, conditions
        self.runs: dict[str, RunSpec] = {}

    def network(self, run: RunSpec) -> Network:
        network = network_of(run, self.conditions)
        self.runs[network.key] = run
        return network

    def measured(self, group: Sequence[Job]) -> list[Measured]:
        threads = self.runtime.threads or self.device.cores
        runs = [self.spec, *(self.runs[network.key] for network, _ in group)]
        with self.device.bench(threads) as bench, torch.inference_mode():
            reference, *ready = [self._ready(run, threads) for run in runs]
            return measure(bench, reference, group, ready)

    def _ready(self, run: RunSpec, threads: int) -> Ready:
        module, images, content = file_of(run, self.runtime)
        plain = prepare(self.runtime, module, images, threads, content=content, opener=self.device.open_file)
        settings = Settings(self.runtime.runtime, self.runtime.device, self.runtime.precision, threads)
        return Ready(plain, self.device.open_file(settings, content, profile=True), images.numpy())


def network_of(run: RunSpec, conditions: str) -> Network:
    """What a calibration knows of a network, measured under some conditions."""
    parts = named_parts(run.network, run.image_size)
    return Network(
        key=f"{conditions} {run.image_size} {run.network.model_dump_json()}",
        macs=count(run.network, run.image_size).macs,
        parts=[(name, words_of(part)) for name, part in parts.items()],
    )


def file_of(run: RunSpec, runtime: RuntimeSpec) -> tuple[torch.nn.Module, Tensor, bytes]:
    """A network with random weights, images to try it with, and its file."""
    torch.manual_seed(0)
    images = torch.randn((runtime.batch, 3, *run.image_size))
    module = with_regions(build(run.network), images)
    return module, images, file_content(runtime, module, images, None)
