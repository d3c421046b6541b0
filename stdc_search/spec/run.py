"""The run: one file, from network to front."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from stdc_search.records import IMAGE_METRICS, PIXEL_METRICS
from stdc_search.spec import base
from stdc_search.spec.base import Spec, replace, value_at
from stdc_search.spec.data import DataSpec, ImagenetSpec
from stdc_search.spec.measurement import EvaluationSpec, LatencySpec
from stdc_search.spec.network import ClassifierSpec, NetworkSpec, SegmenterSpec, StdcSpec
from stdc_search.spec.problems import Problem, SpecError, shown
from stdc_search.spec.search import SearchSpec, StartSpec
from stdc_search.spec.training import MEANS, LossSpec, SegmentationLossSpec, TrainingSpec


class RunSpec(Spec):
    """A run. What is absent is not done: a network alone gives its cost, `latency` its times, `data` and
    `training` a trained and scored network, `search` a front."""

    image_size: tuple[Annotated[int, Field(ge=32, le=65_535)], Annotated[int, Field(ge=32, le=65_535)]] = (512, 1024)
    """[height, width] that the network sees when deployed: cost and latency are of it, scoring resizes images to
    it and logits back to the labels' size."""
    network: NetworkSpec
    """What is built."""
    data: DataSpec | None = None
    """What it is trained on and scored by."""
    training: TrainingSpec | None = None
    """How it is trained."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How it is scored."""
    latency: LatencySpec | None = None
    """How it is timed."""
    search: SearchSpec | None = None
    """What may vary, and what is sought."""

    @property
    def identity(self) -> str:
        """Hash of network, data, training, evaluation and image size, without paths: equal for equal scores."""
        content = self.model_dump(
            mode="json",
            include={"image_size", "network", "data", "training", "evaluation"},
            exclude={"data": {"root"}, "training": MEANS},
        )
        if (training := content["training"]) and (weights := training["start_from"]):
            training["start_from"] = _digest(weights)
        if (training := content["training"]) and (teacher := training["loss"].get("distillation")):
            teacher["weights"] = _digest(teacher["weights"])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def summary(self) -> str:
        """What `run` would do, in a line."""
        height, width = self.image_size
        does = [f"{self.network.kind} of {self.network.classes} classes at {height}x{width}", "cost"]
        if self.latency is not None:
            does.append("latency")
        if self.training is not None and self.data is not None:
            length = f"{self.training.epochs} epochs" if self.training.epochs else f"{self.training.steps} steps"
            does.append(f"training of {length} on {self.data.kind} and its score")
        elif self.data is not None:
            does.append(f"no training on {self.data.kind}, as there is no `training`")
        if self.search is not None:
            size = f"{self.search.size:,}" if self.search.size != float("inf") else "infinitely many"
            does.append(f"search of {size} combinations with {self.search.trials} candidates")
        return "; ".join(does)

    @model_validator(mode="after")
    def _sections_fit(self) -> RunSpec:
        # Each check stands on the one before: the search is tried on a legal base only.
        problems = list(self._section_misfits())
        if self.search is not None:
            problems = problems or list(self._vary_misfits(self.search))
            problems = problems or list(self._start_misfits(self.search))
        if problems:
            raise SpecError(*problems)
        return self

    def _section_misfits(self) -> Iterator[Problem]:
        if self.data is None and self.training is not None:
            yield Problem("training", "has no effect without `data`; add `data`, or take it out")
        if self.data is not None:
            yield from self._task_misfits(self.data)
        if self.search is not None:
            if self.training is None:
                yield Problem("search", "trains its candidates; add the sections `data` and `training`")
            yield from self._halving_misfits(self.search)
            for section in ("objectives", "limits"):
                for metric in getattr(self.search, section):
                    its = IMAGE_METRICS if isinstance(self.network, ClassifierSpec) else PIXEL_METRICS
                    if metric.startswith("score.") and metric not in its:
                        message = f"is not measured of a {self.network.kind}; it has {', '.join(its)}"
                        yield Problem(f"search.{section}.{metric}", message)
                    if metric.startswith("latency.") and self.latency is None:
                        yield Problem(f"search.{section}.{metric}", "is not measured; add a section `latency`")
                    elif metric == "latency.p95_ms" and self.latency is not None and self.latency.table is not None:
                        message = "`latency.table` predicts medians alone; use latency.median_ms, or take the table out"
                        yield Problem(f"search.{section}.{metric}", message)
        elif self.latency is not None and self.latency.table is not None:
            yield Problem("latency.table", "is of a search's networks; take it out, and the network is measured")

    def _halving_misfits(self, search: SearchSpec) -> Iterator[Problem]:
        if search.halving is None or self.training is None:
            return
        if not any(name.startswith("score.") for name in search.objectives):
            message = "compares candidates by a score, and no objective is one; add score.miou, or take it out"
            yield Problem("search.halving", message)
        if (epochs := self.training.epochs) and search.halving.rungs[-1] >= epochs:
            message = f"a rung after {search.halving.rungs[-1]} epochs is no stop: a training has {epochs}; use fewer"
            yield Problem("search.halving.rungs", message)
        for name, vary in search.vary.items():
            length = {"training", "training.epochs", "training.steps"}
            if {*(vary.sets or (name,))} & (length | ({"training.batch"} if self.training.steps else set())):
                message = "cannot vary with `halving`, which compares candidates after as many epochs; take one out"
                yield Problem(f"search.vary.{name}", message)

    def _task_misfits(self, data: DataSpec) -> Iterator[Problem]:
        """Data, augmentation and loss are of masks for a segmenter, of whole images for a classifier."""
        classifies = isinstance(self.network, ClassifierSpec)
        if isinstance(data, ImagenetSpec) != classifies:
            has, cannot, remedy = (
                ("masks", "a classifier", "segmenter")
                if classifies
                else ("a class an image", "a segmenter", "classifier")
            )
            yield Problem(
                "network.kind", f"`data.kind` {data.kind!r} has {has}, which {cannot} cannot learn; use {remedy}"
            )
        elif self.network.classes != data.classes:
            names = "" if isinstance(data, ImagenetSpec) else f" ({', '.join(data.class_names)})"
            message = f"{self.network.classes} classes, but `data` has {data.classes}{names}; write {data.classes}"
            yield Problem("network.classes", message)
        elif self.training is not None:
            wanted = ("resized_crop", "classification") if classifies else ("scaled_crop", "segmentation")
            if classifies and self.evaluation != EvaluationSpec():
                yield Problem("evaluation", "is of label maps, and this network is a classifier; take it out")
            for part, kind in zip(("augmentation", "loss"), wanted, strict=True):
                if (given := getattr(self.training, part).kind) != kind:
                    message = f"{given!r} is not for a {self.network.kind}; use {kind}"
                    yield Problem(f"training.{part}.kind", message)
            yield from self._loss_misfits(self.training.loss, data.classes)

    def _loss_misfits(self, loss: LossSpec, classes: int) -> Iterator[Problem]:
        if not isinstance(loss, SegmentationLossSpec):
            return
        if isinstance(loss.class_weights, tuple) and len(loss.class_weights) != classes:
            message = f"{len(loss.class_weights)} numbers for {classes} classes; give one a class"
            yield Problem("training.loss.class_weights", message)
        if loss.distillation is not None and (others := loss.distillation.network.classes) != classes:
            message = f"the teacher has {others} classes, and `data` has {classes}; give one of the same classes"
            yield Problem("training.loss.distillation.network", message)

    def _vary_misfits(self, search: SearchSpec) -> Iterator[Problem]:
        run = self.without_search()
        setters: dict[str, str] = {}
        for name, vary in search.vary.items():
            place = f"search.vary.{name}"
            messages = []
            for path in vary.sets or (name,):
                messages += _path_misfits(run, path, setters)
                setters[path] = name
            yield from (Problem(place, message) for message in messages)
            for key, end in () if messages else vary.ends.items():
                try:
                    replace(run, dict.fromkeys(vary.sets or (name,), end))
                except SpecError as error:
                    yield Problem(f"{place}.{key}", f"{shown(end)} is not legal: {error.brief}")

    def _start_misfits(self, search: SearchSpec) -> Iterator[Problem]:
        names: dict[str, str] = {}
        for i, start in enumerate(search.start):
            if not isinstance(start, StartSpec):
                continue
            try:
                identity = self.start_candidate(start).identity
            except SpecError as error:
                yield Problem(f"search.start.{i}", f"{start.name} cannot be trained: {error.brief}")
                continue
            if identity in names:
                message = f"{start.name} and {names[identity]} differ in nothing that varies, so they are one network"
                yield Problem(f"search.start.{i}", f"{message}; vary what tells them apart, or take one out")
            names[identity] = start.name

    def without_search(self) -> RunSpec:
        """The run of the file's own network, which is measured and not predicted."""
        latency = self.latency and self.latency.model_copy(update={"table": None})
        return self.model_copy(update={"search": None, "latency": latency})

    def candidate(self, values: Mapping[str, Any]) -> RunSpec:
        """The run of one candidate: the varied values by name (`search.vary`) set in the base.

        Raises:
            SpecError: the values are illegal together.
        """
        assert self.search is not None
        vary = self.search.vary
        changes = {path: value for name, value in values.items() for path in vary[name].sets or (name,)}
        return replace(self.without_search(), changes)

    def start_candidate(self, start: StartSpec) -> RunSpec:
        """The run of a start network: its varied paths set in the base.

        A classifier takes the backbone of a segmenter, such as those of `stdc1` and `stdc2`.

        Raises:
            SpecError: it lacks a varied path, or its values are illegal in the base.
        """
        assert self.search is not None
        started = start.network
        backbone = started.backbone if isinstance(started, SegmenterSpec) else None
        if isinstance(self.network, ClassifierSpec) and isinstance(backbone, StdcSpec):
            started = ClassifierSpec(kind="classifier", backbone=backbone)
        network = {"network": started}
        paths = (path for name, vary in self.search.vary.items() for path in vary.sets or (name,))
        changes = {path: value_at(network, path) for path in paths if path.startswith("network")}
        return replace(self.without_search(), changes)


def load(path: str | Path) -> RunSpec:
    """Read a run from a YAML or JSON file; what is absent gets its default.

    Raises:
        SpecError: with every problem that was found, by file, line and dotted path.
    """
    return base.load(path, RunSpec)


def schema() -> dict[str, Any]:
    """JSON schema of a run's file, with the fields' help, for editors."""
    return base.schema(RunSpec)


def _digest(file: str) -> str:
    """Hash of a file's content; its path where it is missing, for a spec can be looked at without its files."""
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return file


def _path_misfits(run: RunSpec, path: str, setters: Mapping[str, str]) -> Iterator[str]:
    """Why a path cannot vary, given which entry of `vary` sets each path before it."""
    if path.split(".")[0] not in ("network", "training", "image_size"):
        yield f"`{path}` cannot vary; paths start with `network`, `training` or `image_size`"
        return
    if path.startswith("training.") and path.removeprefix("training.") in {*MEANS, "seeds", "start_from"}:
        yield f"`{path}` cannot vary: it is one for all candidates; set it once, in `training`"
        return
    if path.endswith(".kind"):
        whole = path.removesuffix(".kind")
        yield f"`{path}` decides which fields there are and cannot vary alone; vary `{whole}` as a choice of wholes"
        return
    for other, name in setters.items():
        if f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}."):
            yield f"`{path}` is set by {name!r} already; set it once"
    try:
        value_at(run, path)
    except SpecError as error:
        yield from (problem.message for problem in error.problems)
