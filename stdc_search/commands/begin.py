"""Checks before a run does anything: of the machine, of the files that a spec names, of its data, and of the run folder
that an earlier start left."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path

from stdc_search.commands.screen import Screen
from stdc_search.data.contents import Contents, differences, look
from stdc_search.data.dataset import SPLITS, Split
from stdc_search.data.survey import Labels, faults
from stdc_search.errors import UserError, several
from stdc_search.expectation.process import spread
from stdc_search.network.cost import count
from stdc_search.network.models.library import trained_weights
from stdc_search.records import BOUNDARY, IOU, Record, read
from stdc_search.run_folder import CHECKPOINT, CONTENTS, FINALS, MACHINES, RESULTS, SPEC, candidate_folders, running
from stdc_search.spec.backbone import TrunkSpec
from stdc_search.spec.base import dump, located, replace
from stdc_search.spec.compare import differences as differences_of_specs
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.training import MEANS, TrainingSpec
from stdc_search.spec.whole import OnnxFileSpec
from stdc_search.storage import write_atomically
from stdc_search.training.batches import length
from stdc_search.training.loop import check
from stdc_search.training.parallel import state
from stdc_search.training.precision import EMULATED, bf16_is_native
from stdc_search.trial.training import Datasets

LOOKED_AT = 20
"""Candidates of a folder whose networks are made again, to see whether its spec was edited."""
FREE = ("search.trials", "search.executor", "search.storage", "data.root", *(f"training.{name}" for name in MEANS))
"""What may differ from the spec that began a run folder."""
SEARCH_FREE = (*FREE, "search.finals")
"""FREE and the finals, which are checked in their own folder."""
SEEDS = "training.seeds"
FINALS_FREE = (*FREE, SEEDS)
"""FREE and seeds that follow those of before, with which finals go on."""


def check_machine(spec: RunSpec, datasets: Datasets | None, source: Path | None = None) -> None:
    """Find what keeps a valid spec from being run here and now.

    Raises:
        UserError: says what, with lines of the spec's file if it has one.
    """
    if problems := list(_misfits(spec, datasets)):
        raise located(problems, source)
    for training in trainings(spec).values() if datasets is not None else ():
        check(training)
    if "bf16" in _precisions(spec) and not bf16_is_native():
        warnings.warn(
            f"`precision: bf16`: this device has no instructions for bf16; a training step took {EMULATED} times as "
            "long as in fp32 on such a CPU. Use `training.precision: auto`, and fp32 in `latency`",
            stacklevel=2,
        )


def trainings(spec: RunSpec) -> dict[str, TrainingSpec]:
    """The trainings that a run does, by their place in the file."""
    finals = None
    if spec.search is not None and spec.search.finals is not None and spec.search.finals.networks:
        finals = spec.finals_run.training
    both = {"training": spec.training, "search.finals": finals}
    return {place: training for place, training in both.items() if training is not None}


def _precisions(spec: RunSpec) -> Iterator[str]:
    yield from (training.precision for training in trainings(spec).values())
    if spec.latency is not None:
        yield from (one.precision for one in (spec.latency, *spec.latency.also))


def _misfits(spec: RunSpec, datasets: Datasets | None) -> Iterator[Problem]:
    if spec.search is not None and spec.search.executor.kind != "in_process" and state().num_processes > 1:
        message = (
            "starts its own processes, but another program (torchrun?) started several; start one, or use in_process"
        )
        yield Problem("search.executor.kind", message)
    if isinstance(spec.network, OnnxFileSpec):
        try:
            count(spec.network, spec.image_size)
        except UserError as error:
            yield Problem("network.path", str(error))
    missing: set[Path] = set()
    for place, training in trainings(spec).items():
        teacher = getattr(training.loss, "distillation", None)
        files = {"start_from": training.start_from, "loss.distillation.weights": teacher and teacher.weights}
        for name, file in files.items():
            if file is None or file.path in missing:
                continue
            if file.library is not None and name == "start_from":
                yield from _misfits_of_library(spec, f"{place}.{name}", *file.library)
            elif not file.path.is_file():
                missing.add(file.path)
                yield Problem(f"{place}.{name}", f"{file.path} does not exist; give a weights file")
    if datasets is not None and spec.training is not None:
        yield from _misfits_of_lengths(spec, spec.training, len(datasets.train))


def _misfits_of_library(spec: RunSpec, place: str, library: str, weights: str) -> Iterator[Problem]:
    """Problems of weights of a library; those that are not on this machine are downloaded now."""
    backbone = getattr(spec.network, "backbone", None)
    if isinstance(backbone, TrunkSpec) and backbone.kind == library:
        try:
            trained_weights(backbone.kind, backbone.model, weights)
        except ValueError as error:
            yield Problem(place, str(error))


def _misfits_of_lengths(spec: RunSpec, training: TrainingSpec, images: int) -> Iterator[Problem]:
    """Problems that need the data: a batch larger than the data set, a long warm-up, late rungs, short finals."""
    steps: dict[str, int] = {}
    told: set[str] = set()
    for place, one in trainings(spec).items():
        try:
            steps[place], _ = length(one, images)
        except SpecError as error:
            problems = [problem for problem in error.problems if problem.path not in told]  # finals inherit fields
            told |= {problem.path for problem in problems}
            yield from (Problem(it.path.replace("training", place, 1), it.message) for it in problems)
    if "training" not in steps:
        return
    halving = spec.search and spec.search.halving
    if halving and halving.rungs[-1] >= (epochs := ceil(steps["training"] / (images // training.batch))):
        message = (
            f"a rung after {halving.rungs[-1]} epochs is not before the last epoch "
            f"(`training.steps` makes {epochs}); use a smaller one"
        )
        yield Problem("search.halving.rungs", message)
    finals = trainings(spec).get("search.finals")
    if finals is not None and "search.finals" in steps and not (finals.epochs and training.epochs):
        seen, before = steps["search.finals"] * finals.batch, steps["training"] * training.batch
        if seen < before:
            message = f"the finals train on {seen} images in all, fewer than the search's {before}; train longer"
            yield Problem("search.finals", message)


def look_at_data(
    spec: RunSpec, datasets: Datasets, folder: Path, data_root: Path | None, screen: Screen, source: Path | None
) -> Contents:
    """Survey the data. A resumed run reads the labels again only if they changed.

    Args:
        spec: a run with data.
        datasets: its data, opened.
        folder: the run's, which need not exist.
        data_root: where a relative `data.root` starts.
        screen: shows how far it is.
        source: the spec's file, for messages.

    Raises:
        SpecError: nothing useful can be learnt from the labels, or scored on them.
    """
    assert spec.data is not None
    with ExitStack() as rows:
        told = {
            (what, split): rows.enter_context(screen.counter(f"{what} of {split}"))
            for what in ("files", "labels")
            for split in SPLITS
        }
        contents = look(
            spec.data,
            {"train": datasets.train.data, "val": datasets.val.data},
            data_root,
            Contents.read(folder / CONTENTS),
            lambda what, split, done, total: told[what, split](done, total),
        )
    if problems := [*faults(spec.data, contents.labels), *_unscored(spec, contents.labels["val"])]:
        raise located(problems, source)
    return contents


def _unscored(spec: RunSpec, val: Labels) -> Iterator[Problem]:
    """Metrics of classes, or of boundaries, that the validation labels lack."""
    for place, metric in spec.metrics:
        if metric == BOUNDARY and val.samples and sum(val.bare) == val.samples:
            yield Problem(place, "each label of val shows one class only, so no boundary can be scored; remove it")
        if metric.startswith(IOU) and (name := metric.removeprefix(IOU)) not in val.present:
            message = (
                f"val has no pixel of {name!r}, so its IoU is unknown; use {several(val.present)}, or another split"
            )
            yield Problem(place, message)


def begin_folder(
    folder: Path, spec: RunSpec, contents: Contents | None, free: tuple[str, ...] = SEARCH_FREE
) -> RunSpec:
    """Write `spec.yaml` and `data.json`, or check that existing ones agree, except for the fields in `free`.

    Returns:
        The spec, whose training keeps the precision that the folder began with if it leaves the choice open.

    Raises:
        SpecError: the run, or its finals, began with another spec or other data, or the folder has a spec that is not
            of a run. Nothing is written then.
    """
    spec = agreed(folder, spec, contents, free)
    if spec.search is not None and spec.search.finals is not None and spec.search.finals.networks:
        agreed(folder / FINALS, spec.finals_run, contents, FINALS_FREE)
    path, data_path = folder / SPEC, folder / CONTENTS
    if path.exists() and not (folder / MACHINES).exists() and dump(load(path)) != dump(spec):
        raise SpecError.of(f"{path}: exists and is not of a run; give a new folder with --out, or move the file")
    if contents and contents != Contents.read(data_path):
        write_atomically(data_path, contents.model_dump_json())
    if not path.exists() or dump(load(path)) != dump(spec):  # a person's own file keeps its comments
        write_atomically(path, dump(spec))
    return spec


def agreed(folder: Path, spec: RunSpec, contents: Contents | None, free: tuple[str, ...] = SEARCH_FREE) -> RunSpec:
    """The spec with which a folder goes on.

    Raises:
        SpecError: the folder began with another one, or with other data.
    """
    path, before = folder / SPEC, Contents.read(folder / CONTENTS)
    if not (path.exists() and _is_begun(folder)):
        return spec
    begun = load(path)
    spec = _in_the_precision_of(begun, spec)
    different = differences_of_specs(begun.model_dump(mode="json"), spec.model_dump(mode="json"))
    if SEEDS in free and begun.training is not None and spec.training is not None:
        first = begun.training.seeds
        if spec.training.seeds[: len(first)] != first:
            free = tuple(name for name in free if name != SEEDS)
            different.append(("", f"further seeds are welcome behind these: [{', '.join(map(str, first))}, ...]"))
    different = [line for name, line in different if not name.startswith(free)]
    what = "another spec"
    if not different and contents and before:
        different = differences(before.files, contents.files, _used(folder))
        what = "other data"
    if different:
        raise SpecError.of(
            f"{folder}: was started with {what}, so its results would not be comparable:\n  "
            + "\n  ".join(different)
            + "\nGive a new folder with --out, or change these back. "
            f"With --from {folder}, a new folder takes over the trainings that fit."
        )
    return spec


def check_own_spec(folder: Path, spec: RunSpec) -> None:
    """Hold a run folder's own spec, which a person may have edited, against the folder's records.

    Raises:
        SpecError: the spec no longer describes them.
    """
    found = [one for one in read(folder / RESULTS) if one.identity is not None and one.origin != "reference"]
    looked_at = {*spread(len(found), LOOKED_AT).tolist()}
    for i, record in enumerate(found):
        if not _contains(spec, record) or (i in looked_at and not _describes(spec, record)):
            raise SpecError.of(
                f"{folder / SPEC}: was edited, and candidate {record.number:04d} does not belong to it any more; "
                f"change it back, or move it elsewhere and run it with --from {folder} and a new folder as --out"
            )


def _contains(spec: RunSpec, record: Record) -> bool:
    """Whether a candidate's values belong to the spec or to its search."""
    return spec.search.contains(record.values) if spec.search is not None else not record.values


def _describes(spec: RunSpec, record: Record) -> bool:
    """Whether a candidate is the spec's own network, or what its search makes of the candidate's values."""
    if spec.search is None:
        return record.identity == spec.identity
    return record.repeats is not None or spec.candidate(record.values).identity == record.identity


def _in_the_precision_of(begun: RunSpec, spec: RunSpec) -> RunSpec:
    if spec.training is None or begun.training is None or spec.training.precision != "auto":
        return spec
    return replace(spec, {"training.precision": begun.training.precision})


def _is_begun(folder: Path) -> bool:
    """Whether there is anything that another spec would not be comparable with."""
    return bool(read(folder / RESULTS)) or any(any(one.iterdir()) for one in candidate_folders(folder).values())


def _used(folder: Path) -> tuple[Split, ...]:
    """Splits that results depend on already. A broken image may be mended before the first score or checkpoint."""
    candidates = candidate_folders(folder).values()
    tried = [record for candidate in candidates if (record := running(candidate))]
    if any(record.score or record.rungs for record in (*read(folder / RESULTS), *tried)):
        return SPLITS
    return ("train",) if any(any(one.rglob(CHECKPOINT)) for one in candidates) else ()
