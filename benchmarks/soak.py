"""Is anything lost when runs are killed? `make soak` kills them for hours, and goes on where it was stopped.

    python -m benchmarks.soak [kills 1000 workers 100 disks 200] [--out build/soak]

A round runs a small search and stops it at several random moments. It kills the whole run or a worker process with
`kill -9`, or it limits the size of files, as a full disk does. Then the search finishes. Its folder must still hold
what was finished before each stop, and must equal that of a run that nobody stopped. Each round adds a line to
`log.csv`. A round that finds something wrong keeps its folder.
"""

from __future__ import annotations

import csv
import json
import os
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
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd
import safetensors.torch
import typer
from PIL import Image

from stdc_search.records import Record
from stdc_search.report.tables import show_table
from stdc_search.run_folder import FINALS, PAGE, RESULTS
from stdc_search.spec import files
from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import RunSpec
from stdc_search.storage import UNFINISHED, append_line

GOALS = {"kills": 1000, "workers": 100, "disks": 200}
PER_ROUND = 10
"""Times that a run is ended before it may come to its end."""
LONGEST = 300.0
"""Seconds that a start may take."""
DISK = (2_000, 400_000)
"""Bytes that a file may have while the disk is full: less than the weights of a network, or a page."""
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
    """What a run does when it is ended."""

    changes: Mapping[str, Any] = {}
    """To the spec of a small search."""
    report_only: bool = False
    """Whether the run is finished, and its report is written again."""


PHASES = {
    "search": Phase(),
    "processes": Phase(WORKERS),
    "halving": Phase({**RANDOM, "training.epochs": 4, "search.halving": {"rungs": [1, 2], "probation": 4}}),
    "repeats": Phase({"search.vary": {"network.head.width": {"kind": "choice", "of": [8, 16]}}, "search.trials": 7}),
    "finals": Phase({"search.trials": 3, "search.finals": {"networks": 2, "epochs": 3, "seeds": [0, 1]}}),
    "report": Phase({"search.trials": 4}, report_only=True),
}


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
            phases = ["processes"] if kind == "workers" else [*PHASES]
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
    spec = small(what.changes)
    uncut = _uncut(phase, spec, out)
    wrong: list[str] = []
    if what.report_only:
        shutil.copytree(uncut, folder)
    else:
        folder.mkdir(parents=True)
    dump(spec, file := folder.with_suffix(".yaml"))
    command = ["report", str(folder)] if what.report_only else ["run", str(file), "--out", str(folder)]
    kept: dict[str, bytes] = {}
    ends = 0
    for _ in range(PER_ROUND):
        end = END[kind](command, folder, rng)
        ends += end.ended
        wrong += end.wrong
        for name, before in kept.items():
            if not (folder / name).read_bytes().startswith(before):
                wrong.append(f"{name} lost what was finished")
        kept = {name: _whole(folder / name) for name in (RESULTS, f"{FINALS}/{RESULTS}") if (folder / name).exists()}
        if end.finished and not what.report_only:
            break
    finished = sum(one.count(b"\n") for one in kept.values())
    done = subprocess.run(_command(command), capture_output=True, text=True, timeout=LONGEST)
    if done.returncode:
        wrong.append(f"the last start failed: {done.stderr[-300:]}")
    else:
        wrong += [*torn(folder), *differences(folder, uncut, alike=phase != "halving")]
    file.unlink()
    return ends, finished, list(dict.fromkeys(wrong))


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
    if not (folder / PAGE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        dump(spec, file := folder.with_suffix(".yaml"))
        subprocess.run(_command(["run", str(file), "--out", str(folder)]), check=True, stdout=subprocess.DEVNULL)
    return folder


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "stdc_search", *words]


def _start(words: Sequence[str], **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(_command(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how)


def kill(words: Sequence[str], folder: Path, rng: random.Random) -> End:
    """Start, and kill what was started at a random moment."""
    process = _start(words)
    _wait(process, folder, rng)
    workers = [*descendants(process.pid)]
    process.kill()
    process.communicate()
    left = [] if _gone(workers) else ["worker processes outlived the run"]
    return End(int(process.returncode == -signal.SIGKILL), process.returncode == 0, left)


def kill_worker(words: Sequence[str], folder: Path, rng: random.Random) -> End:
    """Start, kill one of the run's processes, and the run a little later."""
    process = _start(words)
    _wait(process, folder, rng)
    ended = 0
    if workers := [*descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
            ended = 1
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, 6))
    process.kill()
    process.communicate()
    return End(ended, process.returncode == 0, [])


def fill_disk(words: Sequence[str], folder: Path, rng: random.Random) -> End:
    """Start while no file may become larger than something."""
    size = rng.randint(*DISK)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    process = _start(words, preexec_fn=limit)
    _, said = process.communicate(timeout=LONGEST)
    if process.returncode == 0:
        return End(0, True, [])
    clear = process.returncode == 2 and "Traceback" not in said
    return End(1, False, [] if clear else [f"a full disk gave exit code {process.returncode}: {said[-300:]}"])


END: dict[str, Callable[[Sequence[str], Path, random.Random], End]] = {
    "kills": kill,
    "workers": kill_worker,
    "disks": fill_disk,
}


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


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process has started, and those that they have."""
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in thread.read_text("utf-8").split():
                yield int(child)
                yield from descendants(int(child))


def _gone(processes: Sequence[int], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{one}").exists() for one in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


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
    """How a run that was ended differs from one that was not. Which candidates halving stops depends on the order in
    which they are tried, so there `alike` is false."""
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
    mine, theirs = ({path.relative_to(place) for path in place.rglob("*")} for place in (folder, uncut))
    if alike and mine != theirs:
        yield f"the files differ: {', '.join(sorted(map(str, mine ^ theirs))[:5])}"


def _records(path: Path) -> list[Record]:
    """A record a line; `read` would take the last one of a number."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [Record.model_validate_json(line) for line in lines]


def _known(record: Record) -> str:
    """What is the same in each run."""
    kept = {"state", "identity", "values", "score", "training_loss", "rungs"}
    return record.model_dump_json(include=kept)


if __name__ == "__main__":
    typer.run(main)
