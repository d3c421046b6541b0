"""How resuming, reporting and proposing grow with the number of candidates. `make bench-scale` runs it.

The run folders are made up: real networks of a space with their real costs, and scores from a formula with noise.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import log10
from pathlib import Path
from statistics import median

from benchmarks.bench import report, seconds
from stdc_search.commands.report import report as report_of
from stdc_search.commands.run import run
from stdc_search.latency import note_machine
from stdc_search.network.cost import count
from stdc_search.records import Record, Score, read
from stdc_search.run_folder import MACHINES, RESULTS, SPEC, candidate_folder
from stdc_search.search.study import Study
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import load

SIZES = tuple(int(size) for size in sys.argv[1:]) or (1_000, 3_000, 10_000)
FRONT = 2_000
"""Networks of the wide front."""
LATER = 5


def main() -> None:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        for size in SIZES:
            folder = make_run(Path(place, f"of_{size}"), size)
            alone(resume, folder)  # which looks at the data
            for task in (resume, again, ask):
                figures |= {f"{size:,}: {name}": value for name, value in alone(task, folder).items()}
        wide = make_run(Path(place, "wide"), SIZES[-1], front=FRONT)
        figures |= {
            f"{SIZES[-1]:,}, {FRONT:,} on the front: {name}": value for name, value in alone(again, wide).items()
        }
    report("scale", figures)


def make_run(folder: Path, size: int, front: int = 0) -> Path:
    """A finished run of networks whose scores rise with the logarithm of their multiply-adds.

    Args:
        folder: is created.
        size: number of candidates.
        front: number of candidates without noise, which all others lie far below; 0: all have noise.
    """
    spec = replace(
        load("specs/quickstart.yaml"),
        {
            "latency": None,
            "data.train": 8,
            "data.val": 2,
            "search.objectives": {"score.miou": "maximize", "cost.macs": "minimize"},
            "search.start": (),
            "search.trials": size,
        },
    )
    folder.mkdir()
    machine = note_machine(folder / MACHINES)
    rng = random.Random(0)
    options = {name: vary.values for name, vary in spec.required_search.vary.items()}
    found: dict[str, Record] = {}
    while len(found) < size:
        values = {name: rng.choice(each) for name, each in options.items()}
        run = spec.candidate(values)
        if run.identity in found:
            continue
        cost = count(run.network, run.image_size)
        number = len(found)
        miou = 20 * log10(cost.macs) - 120 + (rng.gauss(0, 2) if not front else 0 if number < front else -30)
        found[run.identity] = Record(
            number=number,
            state="complete",
            origin="sampler",
            identity=run.identity,
            values=values,
            image_size=run.image_size,
            cost=cost,
            score=score(miou),
            training_loss=(1 / miou,),
            seconds={"train": 60.0},
            started=f"2026-01-01T00:00:{number % 60:02}+00:00",
            machine=machine.id,
        )
        network = candidate_folder(folder, number)
        network.mkdir(parents=True)
        (network / SPEC).write_text(dump(run), "utf-8")
    (folder / SPEC).write_text(dump(spec), "utf-8")
    (folder / RESULTS).write_text("".join(f"{one.model_dump_json()}\n" for one in found.values()), "utf-8")
    return folder


def score(miou: float) -> Score:
    """A score as a training gives it."""
    iou: dict[str, float | None] = {f"class {i}": miou + i - 3 for i in range(7)}
    return Score(miou=miou, pixel_accuracy=miou, boundary_f=miou, iou=iou, constant_miou=5, images=2, seed_miou=(miou,))


def resume(folder: Path) -> dict[str, float]:
    """Start the finished run again, which has nothing left to train."""
    return {"resume, s": seconds(lambda: run(folder / SPEC))}


def again(folder: Path) -> dict[str, float]:
    """Write the report once more, with its page."""
    return {"report, s": seconds(lambda: report_of(folder))}


def ask(folder: Path) -> dict[str, float]:
    """Propose further candidates."""
    spec, records = load(folder / SPEC), read(folder / RESULTS)
    study = Study(replace(spec, {"search.trials": 2 * len(records)}), records)
    each = [seconds(study.propose) for _ in range(1 + LATER)]
    return {"first proposal, s": each[0], "later proposals, s": median(each[1:])}


def alone(task: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """Run a task in its own process, and measure the peak memory of that process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_memory, task, folder).result()


def _with_memory(task: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    found = task(folder)
    return found | {f"{task.__name__}, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
