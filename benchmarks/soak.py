"""Is anything lost when runs are killed? `make soak` kills them for hours, and goes on where it was stopped.

    python -m benchmarks.soak [kills 1000 workers 100 nodes 100 servers 20 disks 200] [--out build/soak]

A round runs a small search and stops it at several random moments. It kills the run, a worker process or a node of a
cluster with `kill -9`; or it stops the database server; or it limits the size of files, as a full disk does. Then the
search finishes. Its folder must still hold what was finished before each stop, and must equal that of a run that nobody
stopped. Each round adds a line to `log.csv`. A round that finds something wrong keeps its folder.
"""

from __future__ import annotations

import csv
import json
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd
import psutil
import safetensors.torch
import typer
from PIL import Image

from benchmarks.places import Place, cluster, device, here, server
from stdc_search.commands.calibrate import MEASURED, TABLE
from stdc_search.device.calibration import read_measured
from stdc_search.records import Record
from stdc_search.report.tables import show_table
from stdc_search.run_folder import FINALS, RESULTS
from stdc_search.spec import files
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import RunSpec
from stdc_search.storage import UNFINISHED, append_line

GOALS = {"kills": 1000, "workers": 100, "nodes": 100, "servers": 20, "disks": 200}
PER_ROUND = 10
"""Times that a run is ended before it may come to its end."""
LONGEST = 1200.0
"""Seconds that a start may take."""
DISK = (2_000, 400_000)
"""Bytes that a file may have while the disk is full: less than the weights of a network, or a page."""
GROWING = (RESULTS, f"{FINALS}/{RESULTS}", MEASURED)
"""Files that lines are added to, and none is ever taken from."""
COLUMNS = ("kind", "phase", "seed", "ends", "kept", "wrong", "seconds")
RANDOM = {"search.sampler.kind": "random"}
WORKERS = {**RANDOM, "search.executor": {"kind": "processes", "workers": 2, "threads": 1}}


class End(NamedTuple):
    """What became of a start."""

    ended: int
    """Number of processes that were ended."""
    finished: bool
    """Whether the run came to its end all the same."""
    wrong: list[str]


class Phase(NamedTuple):
    """What a command does when it is ended."""

    changes: Mapping[str, Any] = {}
    """To the spec of a small search."""
    command: str = "run"
    """`run`, `calibrate`, or `report` of a finished run."""
    place: Callable[[], AbstractContextManager[Place]] = here
    alike: bool = True
    """Whether a run that was ended has the same candidates as one that was not. Which ones halving stops depends on the
    order in which they are tried."""


PHASES = {
    "search": Phase(),
    "processes": Phase(WORKERS),
    "halving": Phase(
        {**RANDOM, "training.epochs": 4, "search.halving": {"rungs": [1, 2], "probation": 4}}, alike=False
    ),
    "repeats": Phase({"search.vary": {"network.head.width": {"kind": "choice", "of": [8, 16]}}, "search.trials": 7}),
    "finals": Phase({"search.trials": 3, "search.finals": {"networks": 2, "epochs": 3, "seeds": [0, 1]}}),
    "report": Phase({"search.trials": 4}, "report"),
    "calibrate": Phase({"latency": {"runtime": "onnxruntime"}}, "calibrate"),
    "device": Phase(RANDOM, place=device),
    "cluster": Phase(RANDOM, place=cluster),
    "server": Phase(RANDOM, place=server),
}
PHASES_OF = {"workers": ["processes"], "nodes": ["cluster"], "servers": ["server"]}
"""Other kinds take turns among all phases."""


def main(
    goals: Annotated[list[str] | None, typer.Argument(help=f"default: {GOALS}")] = None,
    out: Annotated[Path, typer.Option(help="log.csv, summary.md and folders in which something is wrong")] = Path(
        "build/soak"
    ),
) -> None:
    """End runs at random moments, and look for what is lost."""
    words = goals or [str(word) for goal in GOALS.items() for word in goal]
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.csv"
    if not log.exists():
        append_line(log, ",".join(COLUMNS))
    for kind, goal in zip(words[::2], map(int, words[1::2]), strict=True):
        while (done := _rounds(log, kind))["ends"].sum() < goal:
            seed, began = len(done), time.monotonic()
            phases = PHASES_OF.get(kind, [*PHASES])
            phase = phases[seed % len(phases)]
            folder = out / f"{kind}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            ends, kept, wrong = round_of(kind, phase, random.Random(f"{kind} {seed}"), folder, out)
            if not wrong:
                shutil.rmtree(folder)
            row = (kind, phase, seed, ends, kept, "; ".join(wrong), round(time.monotonic() - began))
            with log.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(row)
            print(*row, flush=True)
    summary(pd.read_csv(log), out)


def _rounds(log: Path, kind: str) -> pd.DataFrame:
    frame = pd.read_csv(log)
    return frame[frame["kind"] == kind]


def summary(log: pd.DataFrame, out: Path) -> None:
    """A row a kind and phase."""
    log["wrong rounds"] = log["wrong"].notna().astype(int)
    several = log.groupby(["kind", "phase"])
    table = several[["ends", "kept", "wrong rounds", "seconds"]].sum().assign(rounds=several.size()).reset_index()
    table = table[["kind", "phase", "rounds", "ends", "kept", "wrong rounds", "seconds"]]
    show_table(
        table.rename(columns={"kept": "finished before the last end"}), out / "summary", title="Runs that were ended"
    )


def round_of(kind: str, phase: str, rng: random.Random, folder: Path, out: Path) -> tuple[int, int, list[str]]:
    """End a run some times, let it come to its end, and look at what is there.

    Returns:
        How often it was ended, how many candidates had finished before, and what is wrong.
    """
    what = PHASES[phase]
    with what.place() as place:
        spec = small({**what.changes, **place.changes})
        uncut = _uncut(phase, spec, out)
        if what.command == "report":
            shutil.copytree(uncut, folder)
        command = _words(what.command, spec, folder)
        ends, kept, wrong = _ended(END[kind], command, folder, place, rng)
        done = subprocess.run(_command(command), capture_output=True, text=True, timeout=LONGEST)
        if done.returncode:
            wrong.append(f"the last start failed: {done.stderr[-300:]}")
        else:
            wrong += [*torn(folder), *differences(folder, uncut, what.alike), *place.check(folder)]
    folder.with_suffix(".yaml").unlink(missing_ok=True)
    return ends, kept, list(dict.fromkeys(wrong))


def _ended(
    end_once: EndOnce, command: Sequence[str], folder: Path, place: Place, rng: random.Random
) -> tuple[int, int, list[str]]:
    """End a command some times, and look whether what was finished is still there each time."""
    kept: dict[str, bytes] = {}
    wrong: list[str] = []
    ends = 0
    for _ in range(PER_ROUND):
        end = end_once(command, folder, place, rng)
        ends += end.ended
        wrong += end.wrong
        for name, before in kept.items():
            if not (folder / name).read_bytes().startswith(before):
                wrong.append(f"{name} lost what was finished")
        kept = {name: _whole(folder / name) for name in GROWING if (folder / name).exists()}
        if end.finished and command[0] != "report":
            break
    return ends, sum(one.count(b"\n") for one in kept.values()), wrong


def small(changes: Mapping[str, Any]) -> RunSpec:
    """A search whose networks train in seconds."""
    values = {
        "image_size": [48, 64],
        "network": {
            "kind": "segmenter",
            "classes": 11,
            "backbone": {
                "kind": "stdc",
                "stem": [{"width": 4}, {"width": 8}],
                "stages": [{"width": 16, "depth": 1}] * 3,
            },
            "decoder": {"width": 8, "fusion_width": 8},
            "head": {"width": 8},
            "auxiliary": {"width": 4},
            "detail": {"width": 4},
        },
        "data": {"kind": "scenes", "size": [48, 64], "train": 8, "val": 2},
        "training": {"epochs": 2, "batch": 4, "crop": [32, 32], "precision": "fp32", "schedule": {"warmup": 1}},
        "search": {
            "vary": {f"network.backbone.stages.{i}.width": {"kind": "choice", "of": [16, 32, 48]} for i in range(3)},
            "objectives": {"score.miou": "maximize", "cost.macs": "minimize"},
            "trials": 6,
        },
    }
    return replace(RunSpec.model_validate(values), changes)


def _uncut(phase: str, spec: RunSpec, out: Path) -> Path:
    """The run that nobody stops, made once."""
    folder = out / "uncut" / phase
    if not folder.exists():
        words = _words("calibrate" if phase == "calibrate" else "run", spec, begun := folder.with_suffix(".begun"))
        shutil.rmtree(begun, ignore_errors=True)
        subprocess.run(_command(words), check=True, stdout=subprocess.DEVNULL)
        begun.rename(folder)
    return folder


def _words(command: str, spec: RunSpec, folder: Path) -> list[str]:
    """A command of a spec, which is written beside its folder, or of the folder."""
    if command == "report":
        return [command, str(folder)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    dump(spec, file := folder.with_suffix(".yaml"))
    return [command, str(file), "--out", str(folder)]


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "stdc_search", *words]


def _start(words: Sequence[str], **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(_command(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how)


def kill(words: Sequence[str], folder: Path, place: Place, rng: random.Random) -> End:
    """Start, and kill what was started at a random moment."""
    process = _start(words)
    _wait(process, folder, rng)
    workers = _workers(process)
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(workers, timeout=10)
    wrong = ["worker processes outlived the run"] if left else []
    return End(int(process.returncode == -signal.SIGKILL), process.returncode == 0, wrong)


def kill_worker(words: Sequence[str], folder: Path, place: Place, rng: random.Random) -> End:
    """Start, kill one of the run's processes, and the run a little later."""
    process = _start(words)
    _wait(process, folder, rng)
    ended = 0
    if workers := _workers(process):
        with suppress(psutil.NoSuchProcess):
            rng.choice(workers).kill()
            ended = 1
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, 6))
    process.kill()
    process.communicate()
    return End(ended, process.returncode == 0, [])


def lose_part(words: Sequence[str], folder: Path, place: Place, rng: random.Random) -> End:
    """Start, and lose a part of the place now and then, until the run has come to its end by itself."""
    assert place.lose is not None
    process = _start(words)
    ended = 0
    while ended < PER_ROUND and process.poll() is None:
        _wait(process, folder, rng)
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 20))
        if process.poll() is None:
            place.lose(rng)
            ended += 1
    _, said = process.communicate(timeout=LONGEST)
    return End(ended, True, [f"exit code {process.returncode}: {said[-300:]}"] if process.returncode else [])


def fill_disk(words: Sequence[str], folder: Path, place: Place, rng: random.Random) -> End:
    """Start while no file may become larger than something."""
    size = rng.randint(*DISK)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    process = _start(words, preexec_fn=limit)
    _, said = process.communicate(timeout=LONGEST)
    if process.returncode == 0:
        return End(0, True, [])
    clear = process.returncode == 2 and "Traceback" not in said
    return End(1, False, [] if clear else [f"a full disk gave exit code {process.returncode}: {said[-300:]}"])


EndOnce = Callable[[Sequence[str], Path, Place, random.Random], End]
END: dict[str, EndOnce] = {
    "kills": kill,
    "workers": kill_worker,
    "nodes": lose_part,
    "servers": lose_part,
    "disks": fill_disk,
}


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _wait(process: subprocess.Popen[str], folder: Path, rng: random.Random) -> None:
    """Until a random moment: while it starts, or after it has begun to write."""
    began = time.time()
    if rng.random() < 0.8:
        while process.poll() is None and not _written(folder, began) and time.time() < began + LONGEST:
            time.sleep(0.05)
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, 4))


def _written(folder: Path, since: float) -> bool:
    with suppress(FileNotFoundError):
        return any(path.stat().st_mtime > since for path in folder.rglob("*"))
    return False


def _whole(path: Path) -> bytes:
    """The lines of a file that are complete."""
    lines, end, _ = path.read_bytes().rpartition(b"\n")
    return lines + end


def torn(folder: Path) -> Iterator[str]:
    """Files that cannot be read, and those that only a run that was stopped has."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.name.endswith(UNFINISHED) or path.name in ("checkpoint.pt", "running.json", "tries.txt"):
            yield f"{name} was left behind"
        try:
            match path.suffix:
                case ".json":
                    json.loads(path.read_bytes())
                case ".yaml":
                    files.read(path)
                case ".safetensors":
                    safetensors.torch.load_file(path)
                case ".csv":
                    pd.read_csv(path)
                case ".png":
                    with Image.open(path) as picture:
                        picture.load()
                case ".svg":
                    ElementTree.parse(path)
                case ".db":
                    with closing(sqlite3.connect(path)) as copy:
                        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                case ".jsonl":
                    assert path.read_bytes().endswith(b"\n")
                case ".html":
                    assert path.read_text("utf-8").rstrip().endswith("</html>")
        except Exception as error:
            yield f"{name} cannot be read: {error}"


def differences(folder: Path, uncut: Path, alike: bool) -> Iterator[str]:
    """How a run that was ended differs from one that was not."""
    for name in (RESULTS, f"{FINALS}/{RESULTS}"):
        mine, theirs = (_records(place / name) for place in (folder, uncut))
        numbers = Counter(record.number for record in mine)
        identities = Counter(record.identity for record in mine if record.repeats is None)
        if twice := [one for one, count in (numbers + identities).items() if count > 1]:
            yield f"{name} has {twice[0]} twice"
        if len(mine) != len(theirs):
            yield f"{name} has {len(mine)} records, not {len(theirs)}"
        elif alike and sorted(map(_known, mine)) != sorted(map(_known, theirs)):
            yield f"{name} differs from that of the run that was not stopped"
        if failed := [record for record in mine if record.state == "failed"]:
            yield f"{name} has a failed candidate: {failed[0].reason}"
    lines = [(place / MEASURED).read_bytes().count(b"\n") for place in (folder, uncut) if (place / TABLE).exists()]
    if lines and len({*lines, len(read_measured(folder / MEASURED))}) > 1:
        yield f"{MEASURED} has {lines[0]} lines, not {lines[1]}, or something twice"
    mine, theirs = ({path.relative_to(place) for path in place.rglob("*")} for place in (folder, uncut))
    if alike and mine != theirs:
        yield f"the files differ: {', '.join(sorted(map(str, mine ^ theirs))[:5])}"


def _records(path: Path) -> list[Record]:
    """A record a line; `read` would take the last one of a number. Times that a report measured again are left out."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    records = [Record.model_validate_json(line) for line in lines]
    return [record for record in records if record.latency is None or record.latency.beside is None]


def _known(record: Record) -> str:
    """What is the same in each run."""
    kept = {"state", "identity", "values", "score", "training_loss", "rungs"}
    return record.model_dump_json(include=kept)


if __name__ == "__main__":
    typer.run(main)
