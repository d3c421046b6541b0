"""The files of a run: their names, the lock of the folder, and the records of unfinished candidates.

runs/NAME/
    spec.yaml  machine.json  data.json  results.jsonl  study.db  .lock
    report/             index.html; table.csv, .md, .tex; front.png, .svg; overlay.png
    networks/0042/      a candidate: spec.yaml; error.txt if it failed; until it ends running.json, tries.txt and
                        progress.json
        ...             the training of its first seed: weights.safetensors, curve.csv, checkpoint.pt, ...
            images.csv  the mIoU of each validation image
            sample/7/   image.png, truth.png and prediction.png of the 7th validation image
            sample/worst/9/  the same files of an image with a low mIoU
        seed-1/         the same files of another seed
    finals/             the run of the finals: a folder like this one, whose networks have the same numbers
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import ValidationError

from stdc_search.errors import DamagedError, FolderInUseError, UserError, several
from stdc_search.records import Record, read
from stdc_search.storage import UNFINISHED, cut_torn_line, is_being_written, write_atomically

if TYPE_CHECKING:
    from stdc_search.spec.run import RunSpec

SPEC = "spec.yaml"
"""Files of a run and of a candidate."""

MACHINES, CONTENTS, RESULTS, STUDY, LOCK = "machine.json", "data.json", "results.jsonl", "study.db", ".lock"
"""Files of a run. CONTENTS lists the files and labels of its data at the start of the run."""
NETWORKS, FINALS = "networks", "finals"
"""Folders of a run's candidates and finals."""
TABLE, FRONT, OVERLAY = "report/table", "report/front", "report/overlay.png"
PAGE = "report/index.html"
"""Files of a report. The table and the front are written in several formats, each with its own extension."""

RUNNING, TRIES, ERROR = "running.json", "tries.txt", "error.txt"
"""Files of a candidate: its record so far, how often the process was killed while training it, and a traceback."""
PROGRESS = "progress.json"
"""File of a candidate that another process tries: how far it is."""

WEIGHTS, BEST, CHECKPOINT, CURVE = "weights.safetensors", "best.safetensors", "checkpoint.pt", "curve.csv"
"""Files of the training with one seed."""
SCORES = "images.csv"
"""File of the training with the first seed: the mIoU of each validation image."""
SAMPLE, WORST, TENSORBOARD = "sample", "sample/worst", "tensorboard"
"""Folders of the training of one seed."""
TRACKERS = "trackers.json"
"""Ids that the trackers of `training.log_to` have given to the training of one seed."""
SAMPLE_PARTS = ("image", "truth", "prediction")
"""Each a PNG in a folder of SAMPLE."""


def candidate_folder(run: Path, number: int) -> Path:
    """The folder of a run's candidate."""
    return run / NETWORKS / f"{number:04d}"


def candidate_folders(run: Path) -> dict[int, Path]:
    """The candidates' folders that exist, by number; folders with other names are left out."""
    numbers = sorted(int(path.name) for path in (run / NETWORKS).glob("*") if path.name.isdecimal())
    folders = {number: candidate_folder(run, number) for number in numbers}
    return {number: folder for number, folder in folders.items() if folder.is_dir()}


def sample_folders(candidate: Path) -> list[Path]:
    """A folder for each image whose prediction a candidate keeps; in older runs, SAMPLE itself has one image."""
    sample = candidate / SAMPLE
    folders = sorted((path for path in sample.glob("*/") if path.name.isdecimal()), key=lambda path: int(path.name))
    return folders or [sample] * (sample / f"{SAMPLE_PARTS[0]}.png").is_file()


def worst_folders(candidate: Path) -> list[tuple[Path, str, float]]:
    """Folders of the images with the lowest mIoU, each with the image's name and its mIoU in percent, lowest first."""
    places = {path.name: path for path in (candidate / WORST).glob("*/")}
    if not places or not (candidate / SCORES).is_file():
        return []
    try:
        with (candidate / SCORES).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["image"] in places]
        found = [(places[row["image"]], row["name"], float(row["miou"])) for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error):  # the file is damaged
        return []
    return sorted(found, key=lambda one: one[2])


def seed_folder(candidate: Path, seed: int, first: int) -> Path:
    """The folder of a seed's training: the candidate's own folder for the first seed."""
    return candidate if seed == first else candidate / f"seed-{seed}"


def place_of(training: Path) -> tuple[str, str]:
    """The name of the run that a training's folder belongs to, and its place there, such as `finals/0042/seed-1`."""
    parts = training.absolute().parts
    if NETWORKS not in parts:
        return training.absolute().name, training.absolute().name
    at = len(parts) - 1 - parts[::-1].index(NETWORKS)
    run, *finals = (parts[at - 2], FINALS) if parts[at - 1] == FINALS else (parts[at - 1],)
    return run, "/".join((*finals, *parts[at + 1 :]))


def spec_name(path: Path) -> str:
    """What files made from a spec are called: as the spec, or, if it lies in a run folder, run and network."""
    if path.name != SPEC:
        return path.stem
    names: list[str] = []
    for folder in path.absolute().parents:
        names.append(folder.name)
        if not (folder.name.isdecimal() or folder.name in (NETWORKS, FINALS)):
            break
    return "_".join(name for name in reversed(names) if name != NETWORKS)


def default_folder(spec: Path) -> Path:
    """The run folder of a spec if none is given: the run whose own spec it is, else one in `runs` with its name."""
    own = spec.name == SPEC and (spec.parent / MACHINES).is_file() and not is_of_finals(spec.parent)
    return spec.parent if own else Path("runs") / spec_name(spec)


def is_of_finals(run: Path) -> bool:
    """Whether a run folder is that of the finals of another one."""
    return run.resolve().name == FINALS and (run.resolve().parent / SPEC).is_file()


def results(run: Path, spec: RunSpec) -> list[Record]:
    """The records of a run, oldest first.

    Raises:
        DamagedError: the run cannot have written one of them.
    """
    return read(run / RESULTS, partial(_fault, spec))


def _fault(spec: RunSpec, record: Record) -> str | None:
    """What a run cannot have written about a candidate."""
    search = spec.search
    if search is not None and record.origin in ("start", "sampler") and not search.contains(record.values):
        wrong = [name for name in {**search.vary, **record.values} if not search.contains_value(name, record.values)]
        return f"values: {several(wrong)}: not as `search.vary` of {SPEC} has it"
    if record.state != "complete":
        return None
    if record.training_loss is not None and len(record.training_loss) != record.trainings:
        return f"has {len(record.training_loss)} losses of {record.trainings} trainings"
    lacking = ["cost"] if record.cost is None else []
    lacking += [name for name in (search.objectives if search is not None else ()) if record.figure(name) is None]
    return f"is complete, but lacks {several(lacking)}" if lacking else None


def check_run_folder(folder: Path) -> None:
    """Raise if a folder is not that of a run."""
    if (folder / SPEC).is_file() and folder.parent.name != NETWORKS:
        return
    if (folder / SPEC).is_file():
        wrong = f"is one network of a run; give the run's folder, {folder.parents[1]}"
    elif not folder.exists():
        wrong = "does not exist"
    elif not folder.is_dir():
        wrong = "is a file; give the folder of a run"
    else:
        runs = sorted(str(path.parent) for path in folder.glob(f"*/{SPEC}"))
        like = f"run folders in it: {several(runs)}" if runs else "give one such as runs/quickstart"
        wrong = f"has no `{SPEC}`, so it is not a run folder; {like}"
    raise UserError(f"{folder}: {wrong}")


def check_own(run: Path) -> None:
    """Refuse a run folder with links, which would be read from, and written to, elsewhere.

    Raises:
        DamagedError: a file or folder that a run writes is a link.
    """
    names = [NETWORKS, FINALS, RESULTS, SPEC, MACHINES, CONTENTS, STUDY, "report"]
    links = [place for name in names if (place := run / name).is_symlink()]
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(run / NETWORKS):
            inside = os.scandir(entry) if entry.is_dir(follow_symlinks=False) else ()
            links += (Path(one.path) for one in (entry, *inside) if one.is_symlink())
    if found := next(iter(links), None):
        raise DamagedError(
            f"{found}: is a link; a run folder must have its own files: put what it leads to in its place"
        )


@contextmanager
def locked(run: Path) -> Iterator[Path]:
    """Create the folder if needed, keep other processes out, and remove what a killed process left half written.

    Raises:
        FolderInUseError: another process has the lock.
        DamagedError: it contains links.
    """
    run.mkdir(parents=True, exist_ok=True)
    check_own(run)
    try:
        with FileLock(run / LOCK, timeout=0):
            for file in run.rglob(f".*{UNFINISHED}"):
                if not is_being_written(file):
                    file.unlink(missing_ok=True)
            cut_torn_line(run / RESULTS)
            yield run
    except Timeout:
        raise FolderInUseError(
            f"{run}: another process runs in this folder; wait for it, or give another folder with --out"
        ) from None


def killed(candidate: Path) -> int:
    """How often the process of a trial was killed since the trial's last checkpoint."""
    mark = candidate / TRIES
    try:
        since = mark.stat().st_mtime_ns
        if any(file.stat().st_mtime_ns > since for file in candidate.rglob(CHECKPOINT)):
            return 0
        return int(mark.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return 0


def note_running(candidate: Path, record: Record) -> None:
    """Save the record so far of a running candidate; a stopped run resumes from it."""
    write_atomically(candidate / RUNNING, record.model_dump_json())


def running(candidate: Path) -> Record | None:
    """The record of a candidate that has not ended; None if there is none."""
    try:
        return Record.model_validate_json((candidate / RUNNING).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def note_progress(candidate: Path, step: str, done: int, total: int, note: str) -> None:
    """Save how far a candidate is; a reader may find half of it."""
    (candidate / PROGRESS).write_text(json.dumps([step, done, total, note]), "utf-8")


def progress(candidate: Path) -> tuple[str, int, int, str] | None:
    """The running step of a candidate, how much of it is done, of how much, and a note; None if it is not known."""
    try:
        step, done, total, note = json.loads((candidate / PROGRESS).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return step, done, total, note


def remove_temporary(candidate: Path) -> None:
    """Remove what only a candidate that has not ended needs."""
    for name in (CHECKPOINT, RUNNING, TRIES, PROGRESS):
        for file in candidate.rglob(name):
            file.unlink()
