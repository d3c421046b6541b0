"""A spec and its data -> what a run would do, before it does anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stdc_search.commands.begin import check_machine, trainings
from stdc_search.commands.plan import plan
from stdc_search.errors import UserError
from stdc_search.search.executors.processes import workers_of
from stdc_search.spec.executor import ProcessesSpec
from stdc_search.spec.run import RunSpec
from stdc_search.training.batches import length
from stdc_search.trial.estimate import estimate_memory
from stdc_search.trial.training import Datasets


def check_data(spec: RunSpec, source: Path | None, data_root: Path | None = None) -> Iterator[str]:
    """Find and pair the files of `data`, and fit the trainings to them; no image is checked.

    Args:
        spec: the run.
        source: its file, for messages, if it has one.
        data_root: folder that a relative `data.root` starts from.

    Yields:
        Lines on images, steps, memory and hours.

    Raises:
        UserError: files are missing, or the trainings do not fit the data or this machine.
    """
    if spec.data is None:
        raise UserError(f"{source or 'spec'}: the section `data` is missing; add one, or leave out --data")
    datasets = Datasets.open(spec.data, spec.training.cache_gb if spec.training else 0, data_root)
    check_machine(spec, datasets, source)
    images = len(datasets.train)
    yield f"Data: {images:,} training and {len(datasets.val):,} validation images."
    for place, training in trainings(spec).items():
        steps, per_epoch = length(training, images)
        height, width = training.crop
        seeds = f", {len(training.seeds)} seeds" if len(training.seeds) > 1 else ""
        yield (
            f"{place}: {steps:,} steps of {training.batch} images ({per_epoch:,} per epoch), crop {height} x {width}"
            f"{seeds}."
        )
    if spec.training is None:
        return
    trials = spec.search.trials if spec.search else 1
    slots = 1
    if spec.search is not None and isinstance(spec.search.executor, ProcessesSpec):
        slots = workers_of(spec.search.executor)
    yield from plan(spec, [], datasets, trials, slots)
    gigabytes = estimate_memory(spec, spec.training, datasets) / 1e9
    yield f"Memory: about {gigabytes:.1f} GB for each training, and up to {spec.training.cache_gb:g} GB of images."
