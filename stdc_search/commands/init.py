"""A folder of labelled images -> a first spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from stdc_search.commands.draft import BATCH, Plan, Workers, draft, plan, sizes
from stdc_search.data import open_splits
from stdc_search.data.cache import Cached
from stdc_search.data.dataset import SPLITS, DataError, Dataset, Split
from stdc_search.data.decoding import orientation, size_of
from stdc_search.data.guess import guess
from stdc_search.data.guess.divide import divide
from stdc_search.data.guess.without import without
from stdc_search.data.reading import read_all
from stdc_search.data.survey import Labels, faults, label_counts, labels_of, remarks
from stdc_search.errors import UserError, several
from stdc_search.report.survey import summary
from stdc_search.spec import editor
from stdc_search.spec.data import DataSpec
from stdc_search.spec.explain import explain
from stdc_search.spec.own import OwnSpec, ShapesSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.splits import SplitByShare
from stdc_search.storage import write_atomically
from stdc_search.trial.estimate import estimate_seconds
from stdc_search.trial.training import Datasets

LOOKED_AT, CHECKED = 500, 100
"""Images whose size is read, and images of each split that are decoded."""
MOST_SQUEEZED = 1.3
"""Ratio of an image's aspect to that of `image_size` from which a person is told."""
RARE = 2.0
"""Share of the labelled pixels, in percent, below which a class is named rare."""

Told = Callable[[str, int, int], None]
"""Called with what is looked at, the number done, and the total."""
Opened = Mapping[Split, Dataset]
Counts = Mapping[str, NDArray[np.int64]]
"""Pixels of each class in each image, by its name; those to ignore come last."""


def init(folder: Path, out: Path, hours: float, told: Told) -> list[str]:
    """Write a commented spec for a folder of labelled images. Beside it: its schema, and a list of pairs if needed.

    Args:
        folder: the data set.
        out: the new file.
        hours: that search and finals may take on this machine.
        told: shows progress.

    Returns:
        Lines on the data, on what to check, and on the plan.

    Raises:
        UserError: the file exists, or nothing can be learnt from the folder; then nothing is written.
    """
    pairs = out.with_suffix(".csv")
    _check_new(out)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of your images and masks")
    found = guess(folder.absolute(), lambda done, total: told("masks", done, total))
    if found.pairs:
        _check_new(pairs)
    section = {"kind": found.section["kind"], "root": folder.absolute().as_posix(), **found.section}
    with TemporaryDirectory() as place:
        if found.pairs:
            section["pairs"] = (listed := Path(place, pairs.name)).as_posix()
            listed.write_text(found.pairs, "utf-8")
        opened = _opened(section)
        counts = _counted(opened, told)
        _check_images(opened)
        notes = [*found.notes]
        if isinstance(getattr(_spec(section), "split", None), SplitByShare):
            images = {one.name(i): one.files(i)[0] for one in opened.values() for i in range(len(one))}
            section["split"], more = divide(images, {name: one[:-1] > 0 for name, one in counts.items()})
            notes += more
            opened = _opened(section)
        spec = _spec(section)
        if isinstance(spec, OwnSpec) and (lost := _not_learnt(spec, opened["train"], counts)):
            kept = [i for i, name in enumerate(spec.class_names) if name not in lost]
            notes += _left_out(spec, lost, counts)
            section = without(section, spec, lost)
            opened, counts = _opened(section), {name: one[[*kept, -1]] for name, one in counts.items()}
        labels: dict[Split, Labels] = {split: _labels(split, opened[split], counts) for split in SPLITS}
        if problems := faults(_spec(section), labels):
            raise SpecError(*problems)
        batch = min(BATCH, len(opened["train"]))
        workers = _workers()
        stored = _sizes(opened["train"])
        made = _plan(section, opened, hours, batch, workers, stored.most_common(1)[0][0])
        notes += [*_squeezed(stored, made.image_size), *_turned(opened)]
    if found.pairs:
        section["pairs"] = pairs.absolute().as_posix()
    lines = [*summary(labels["train"], labels["val"]), *remarks(_spec(section), labels)]
    notes += _rare(labels["train"])
    text = draft(section, len(labels["train"].class_names), made, notes, _title(out, labels, made), batch, workers)
    _drafted(text)  # what we write is a legal spec
    if found.pairs:
        write_atomically(pairs, found.pairs)
    write_atomically(out.with_name(editor.FILE), editor.text(RunSpec))
    write_atomically(out, text)
    return [*lines, *(f"Check: {note}." for note in notes), _forecast(made, hours)]


def _check_new(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} exists; give another --out, or delete it")


def _workers() -> Workers | None:
    """Several trainings at a time, unless there is a GPU or one core only."""
    cores = torch.get_num_threads()
    return None if cores == 1 or torch.accelerator.is_available() else Workers.of(cores)


def _spec(section: Mapping[str, Any]) -> DataSpec:
    try:
        return TypeAdapter[DataSpec](DataSpec).validate_python(section)
    except ValidationError as error:
        raise SpecError(*explain(error, RunSpec, "data")) from None


def _opened(section: Mapping[str, Any]) -> dict[Split, Dataset]:
    return open_splits(_spec(section))


def _counted(opened: Opened, told: Told) -> Counts:
    samples = [(data, index) for data in opened.values() for index in range(len(data))]
    counts = read_all(samples, lambda one: label_counts(*one), partial(told, "labels"))
    return {data.name(index): one.numpy() for (data, index), one in zip(samples, counts, strict=True)}


def _not_learnt(spec: OwnSpec, train: Dataset, counts: Counts) -> list[str]:
    """Names of the classes without a training pixel, unless fewer than two were left. The background stays."""
    shown = _shown(spec, [counts[train.name(i)] for i in range(len(train))])
    needed = spec.background if isinstance(spec, ShapesSpec) else None
    lost = [name for name in spec.class_names if name not in shown and name != needed]
    return lost if len(spec.class_names) - len(lost) > 1 else []


def _left_out(spec: OwnSpec, lost: Sequence[str], counts: Counts) -> list[str]:
    """What to say of classes without a training pixel."""
    shown = _shown(spec, [*counts.values()])
    absent, of_val = ([name for name in lost if (name in shown) == there] for there in (False, True))
    notes = [f"no image shows {several(absent)}, so `map` leaves that out"] if absent else []
    if of_val:
        notes.append(
            f"no training image shows {several(of_val)}, so these pixels of val are ignored; add such images to train"
        )
    return notes


def _shown(spec: OwnSpec, counts: Sequence[NDArray[np.int64]]) -> set[str]:
    """Names of the classes that have pixels."""
    return {name for name, count in zip(spec.class_names, np.sum(counts, axis=0)[:-1], strict=True) if count}


def _check_images(opened: Opened) -> None:
    """Read some images with their labels.

    Raises:
        DataError: there are too few, one is broken or has more than 8 bits, or a label has another size.
    """
    if (count := len(opened["train"])) < 2:
        raise DataError(
            f"{opened['train'].files(0)[0].parent}: {count} images to train on are too few; label 3 or more"
        )
    some = [(data, index) for data in opened.values() for index in _spread(data, CHECKED)]
    for _ in read_all(some, lambda one: one[0][one[1]]):
        pass


def _spread(data: Dataset, most: int) -> range:
    return range(0, len(data), ceil(len(data) / most))


def _labels(split: Split, data: Dataset, counts: Counts) -> Labels:
    return labels_of(split, data, (torch.from_numpy(counts[data.name(i)]) for i in range(len(data))))


def _sizes(data: Dataset) -> Counter[tuple[int, int]]:
    """How many of the images have each (height, width)."""
    return Counter(size_of(data.files(i)[0]) for i in _spread(data, LOOKED_AT))


def _squeezed(stored: Counter[tuple[int, int]], size: tuple[int, int]) -> list[str]:
    """What to check where images are far from the aspect of `image_size`, as portraits among landscapes are."""
    aspect = size[1] / size[0]
    ratios = {one: one[1] / one[0] / aspect for one in stored}
    far = Counter({one: n for one, n in stored.items() if max(ratios[one], 1 / ratios[one]) > MOST_SQUEEZED})
    if not far:
        return []
    (height, width), _ = far.most_common(1)[0]
    return [
        f"images of another shape, such as {height} x {width}, are squeezed to {size[0]} x {size[1]}: {far.total()} of "
        f"{stored.total()} that were looked at. If you crop them instead, do so in training and on the device"
    ]


def _turned(opened: Opened) -> list[str]:
    """What to check where EXIF turns photos, but the size of a label does not tell whether it is turned, too."""
    some = [data.files(i)[:2] for data in opened.values() for i in _spread(data, LOOKED_AT)]
    turned = [(image, orientation(image)) for image, label in some if orientation(image) != orientation(label)]
    if not (count := sum(way < 5 or len({*size_of(image)}) == 1 for image, way in turned)):
        return []
    return [
        f"{count} of {len(some)} photos that were looked at are turned by their EXIF orientation, and their labels fit "
        "both ways. See in samples.png, which `stdc-search data` draws, whether labels lie on what they name"
    ]


def _plan(
    section: Mapping[str, Any],
    opened: Opened,
    hours: float,
    batch: int,
    workers: Workers | None,
    stored: tuple[int, int],
) -> Plan:
    """Sizes for images of a usual size on this machine, from a few steps of STDC1-Seg at the smallest size."""
    train = opened["train"]
    smallest = sizes(stored)[-1]
    datasets = Datasets(Cached(train, 1e9), Cached(opened["val"], 1e9))
    known: dict[int, float] = {}

    def seconds(size: tuple[int, int], epochs: int) -> float:
        if epochs not in known:
            made = Plan(smallest, epochs, 12, (1, 1), 0)
            run = _drafted(draft(section, len(train.class_names), made, [], [], batch, workers))
            assert run.training is not None
            count, threads = workers or (1, None)
            known[epochs] = estimate_seconds(run, run.training, datasets, threads) / count
        return known[epochs] * prod(size) / prod(smallest)

    return plan(hours, stored, len(train), seconds)


def _drafted(text: str) -> RunSpec:
    with TemporaryDirectory() as place:
        (file := Path(place, "spec.yaml")).write_text(text, "utf-8")
        return load(file)


def _rare(labels: Labels) -> list[str]:
    shares = zip(labels.class_names, labels.shares, strict=True)
    rare = [f"{name} ({share:.2g} %)" for name, share in shares if 0 < share < RARE]
    return [f"rare classes: {several(rare)}; their weights in the loss are higher"] if rare else []


def _title(out: Path, labels: Mapping[Split, Labels], made: Plan) -> Sequence[str]:
    return (
        f"A first search for these {labels['train'].samples + labels['val'].samples} images.",
        "",
        f"  stdc-search data {out}      # reads every image; draws a page of samples",
        f"  stdc-search run {out}",
        "",
        f"About {made.hours:.1f} hours on the machine that wrote this: a search of {made.trials} networks, and finals.",
    )


def _forecast(made: Plan, hours: float) -> str:
    height, width = made.image_size
    line = (
        f"Plan: {made.trials} networks of {made.epochs} epochs at {height} x {width}, then finals: {made.hours:.1f} h."
    )
    if made.hours > hours:
        line += f" {hours:g} h are too few for a useful search here; give more --hours, train on a GPU, "
        line += "or shorten `epochs`, `trials` and the `epochs` of `finals` in the file."
    return line
