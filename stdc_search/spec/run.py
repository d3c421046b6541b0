"""The run: one file that describes everything from a network to a front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stdc_search.errors import closest
from stdc_search.records import IMAGE_METRICS, IOU, PIXEL_METRICS
from stdc_search.spec import base, editor
from stdc_search.spec.backbone import StdcSpec, TrunkSpec
from stdc_search.spec.base import replace, tried, value_at
from stdc_search.spec.data import DataSpec, ImagenetSpec
from stdc_search.spec.identity import hashed
from stdc_search.spec.measurement import EvaluationSpec, LatencySpec, RuntimeSpec
from stdc_search.spec.network import ClassifierSpec, NetworkSpec, SegmenterSpec
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.recipes import with_recipe
from stdc_search.spec.rules import Spec, as_far_as_known, rule
from stdc_search.spec.search import SearchSpec
from stdc_search.spec.start import StartSpec
from stdc_search.spec.training import MEANS, SegmentationLossSpec, TrainingSpec
from stdc_search.spec.variable import misfits_of_entry
from stdc_search.spec.whole import OnnxFileSpec


class RunSpec(Spec):
    """One run. Every section but `network` is optional; each one enables a step: `network` gives costs, `latency`
    measured times, `data` and `training` a trained and scored network, `search` a front."""

    image_size: tuple[Annotated[int, Field(ge=32, le=65_535)], Annotated[int, Field(ge=32, le=65_535)]] = (512, 1024)
    """[height, width] that the network sees when deployed. Costs and times refer to it; scoring resizes images to it,
    and logits back to the size of the labels."""
    network: NetworkSpec
    """The network to build."""
    data: DataSpec | None = None
    """The images and labels for training and scoring."""
    training: TrainingSpec | None = None
    """How to train."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How to score."""
    latency: LatencySpec | None = None
    """How to measure times."""
    search: SearchSpec | None = None
    """What may vary, the limits and the objectives."""

    @property
    def identity(self) -> str:
        """Hash of network, data, training, evaluation and image size, without paths: equal for equal scores."""
        return hashed(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What the identity is the hash of."""
        content = self.model_dump(
            mode="json",
            include={"image_size", "network", "data", "training", "evaluation"},
            exclude={"data": {"root"}, "training": MEANS},
        )
        if self.training is not None and self.training.start_from is not None:
            content["training"]["start_from"] = self.training.start_from.digest
        if (teacher := self.training and getattr(self.training.loss, "distillation", None)) is not None:
            content["training"]["loss"]["distillation"]["weights"] = teacher.weights.digest
        if isinstance(self.network, OnnxFileSpec):
            content["network"]["path"] = self.network.path.digest
        return content

    @property
    def uses_data(self) -> bool:
        """Whether `data` is used: to train and score a network, to score an ONNX file, or to calibrate int8."""
        return self.data is not None and (
            self.training is not None
            or isinstance(self.network, OnnxFileSpec)
            or any(one.precision == "int8" for one in self.runtimes.values())
        )

    @property
    def runtimes(self) -> dict[str, RuntimeSpec]:
        """What is timed, by its place in the file."""
        if self.latency is None:
            return {}
        return {"latency": self.latency, **{f"latency.also.{i}": one for i, one in enumerate(self.latency.also)}}

    @property
    def required_search(self) -> SearchSpec:
        """The section `search`, for code that needs one.

        Raises:
            SpecError: there is none.
        """
        if self.search is None:
            raise SpecError.of("the section `search` is missing; add one")
        return self.search

    @property
    def summary(self) -> str:
        """One line that says what `run` would do."""
        height, width = self.image_size
        does = [f"{self.network.kind} of {self.network.classes} classes at {height}x{width}", "cost"]
        if self.latency is not None:
            does.append("latency")
        if self.training is not None and self.data is not None:
            epochs, steps = self.training.epochs, self.training.steps
            length = f"{epochs} epoch{'s' * (epochs > 1)}" if epochs else f"{steps} steps"
            does.append(f"training of {length} on {self.data.kind} and its score")
        elif self.data is not None and isinstance(self.network, OnnxFileSpec):
            does.append(f"score on {self.data.kind}")
        elif self.data is not None and self.uses_data:
            does.append(f"no training on {self.data.kind}, whose images calibrate int8")
        elif self.data is not None:
            does.append(f"no training on {self.data.kind}, as there is no `training`")
        if self.search is not None:
            size = f"{self.search.size:,}" if self.search.size != float("inf") else "infinitely many"
            does.append(f"search of {size} combinations with {self.search.trials} candidates")
            if (finals := self.search.finals) is not None and finals.networks:
                starts = f" and {len(self.search.networks)} of `start`" if self.search.networks else ""
                does.append(f"finals of up to {finals.networks} networks{starts}")
        return "; ".join(does)

    @rule
    def _training_has_data(self) -> Iterator[Problem]:
        if self.training is not None and self.data is None:
            yield Problem("training", "has no effect without `data`; add `data`, or remove it")

    @rule
    def _search_has_training(self) -> Iterator[Problem]:
        if self.search is not None and self.training is None:
            yield Problem("search", "trains its candidates; add the sections `data` and `training`")

    @rule
    def _network_fits_the_data(self) -> Iterator[Problem]:
        if self.data is None:
            return
        if not self._learns(self.data):
            has, cannot, remedy = (
                ("masks", "a classifier", "segmenter")
                if self.network.task == "classification"
                else ("a class per image", "a segmenter", "classifier")
            )
            message = f"`data.kind` {self.data.kind!r} has {has}, which {cannot} cannot learn; use {remedy}"
            yield Problem("network.kind", message)
        elif self.network.classes != (classes := self.data.classes):
            names = "" if isinstance(self.data, ImagenetSpec) else f" ({', '.join(self.data.class_names)})"
            message = f"{self.network.classes} classes, but `data` has {classes}{names}; write {classes}"
            yield Problem("network.classes", message)

    @rule
    def _augmentation_fits_the_network(self) -> Iterator[Problem]:
        if self.data is None or self.training is None or not self._learns(self.data):
            return
        wanted = "resized_crop" if self.network.task == "classification" else "scaled_crop"
        if (given := self.training.augmentation.kind) != wanted:
            message = f"{given!r} does not work for a {self.network.kind}; use {wanted}"
            yield Problem("training.augmentation.kind", message)

    @rule
    def _loss_fits_the_network(self) -> Iterator[Problem]:
        if self.data is None or self.training is None or not self._learns(self.data):
            return
        if (given := self.training.loss.kind) != self.network.task:
            message = f"{given!r} does not work for a {self.network.kind}; use {self.network.task}"
            yield Problem("training.loss.kind", message)

    @rule
    def _evaluation_is_of_label_maps(self) -> Iterator[Problem]:
        classifies = self.training is not None and self.network.task == "classification"
        if classifies and self.evaluation != EvaluationSpec():
            yield Problem("evaluation", "applies to label maps, but this network is a classifier; remove it")

    @rule
    def _library_weights_fit_the_backbone(self) -> Iterator[Problem]:
        start = self.training and self.training.start_from
        if not start or start.library is None:
            return
        backbone = getattr(self.network, "backbone", None)
        if not isinstance(backbone, TrunkSpec) or backbone.kind != start.library[0]:
            message = (
                f"{start.path} are weights of a backbone of {start.library[0]}; use such a backbone, or give a file"
            )
            yield Problem("training.start_from", message)

    @rule
    def _file_stays_as_it_is(self) -> Iterator[Problem]:
        if not isinstance(self.network, OnnxFileSpec):
            return
        for section in ("training", "search"):
            if getattr(self, section) is not None:
                yield Problem(
                    section, "`network.kind` onnx_file is only counted, timed and scored; remove this section"
                )
        for place, one in self.runtimes.items():
            if one.runtime in ("eager", "compile", "ncnn"):
                message = f"`runtime: {one.runtime}` does not run ONNX files; use onnxruntime or openvino"
                yield Problem(f"{place}.runtime", message)
            if one.precision == "int8":
                yield Problem(f"{place}.precision", "an ONNX file is not converted; give a file that is int8 already")

    @rule
    def _int8_is_calibrated(self) -> Iterator[Problem]:
        for place, one in self.runtimes.items():
            if one.precision == "int8" and self.data is None and not isinstance(self.network, OnnxFileSpec):
                message = "int8 is calibrated on training images; add the section `data`, or write fp32"
                yield Problem(f"{place}.precision", message)

    @rule
    def _class_weights_fit_the_data(self) -> Iterator[Problem]:
        if self.data is None or self.training is None or not isinstance(self.training.loss, SegmentationLossSpec):
            return
        weights, classes = self.training.loss.class_weights, self.data.classes
        if isinstance(weights, tuple) and len(weights) != classes:
            message = f"{len(weights)} numbers for {classes} classes; give one per class"
            yield Problem("training.loss.class_weights", message)

    @rule
    def _teacher_fits_the_data(self) -> Iterator[Problem]:
        if self.data is None or self.training is None or not isinstance(self.training.loss, SegmentationLossSpec):
            return
        teacher, classes = self.training.loss.distillation, self.data.classes
        if teacher is not None and (others := teacher.network.classes) != classes:
            message = f"the teacher has {others} classes, and `data` has {classes}; use a teacher with the same classes"
            yield Problem("training.loss.distillation.network", message)

    def _learns(self, data: DataSpec) -> bool:
        """Whether the data is what the network learns: images of a class for a classifier, masks for a segmenter."""
        return isinstance(data, ImagenetSpec) == (self.network.task == "classification")

    @rule
    def _scores_are_those_of_the_network(self) -> Iterator[Problem]:
        classifies = self.network.task == "classification"
        its = IMAGE_METRICS if classifies else (*PIXEL_METRICS, f"{IOU}CLASS")
        for place, metric in self.metrics:
            if metric.startswith(IOU) and not classifies:
                yield from as_far_as_known(self._misfits_of_class(place, metric.removeprefix(IOU)))
            elif metric.startswith("score.") and metric not in its:
                yield Problem(place, f"is not measured for a {self.network.kind}; use one of {', '.join(its)}")

    def _misfits_of_class(self, place: str, name: str) -> Iterator[Problem]:
        if self.data is None or isinstance(self.data, ImagenetSpec):
            return
        if name not in (names := self.data.class_names):
            yield Problem(place, f"`data` has no class {name!r}; {closest(name, names)}")

    @rule
    def _times_are_measured(self) -> Iterator[Problem]:
        for place, metric in self.metrics:
            if metric.startswith("latency.") and self.latency is None:
                yield Problem(place, "is not measured; add a section `latency`")
            elif metric == "latency.p95_ms" and self.latency is not None and self.latency.table is not None:
                message = "`latency.table` predicts only medians; use latency.median_ms, or remove the table"
                yield Problem(place, message)

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """Path and name of each metric that the search names."""
        if self.search is None:
            return []
        both = {"objectives": self.search.objectives, "limits": self.search.limits}
        return [(f"search.{section}.{metric}", metric) for section, named in both.items() for metric in named]

    @rule
    def _table_is_for_a_search(self) -> Iterator[Problem]:
        if self.search is None and self.latency is not None and self.latency.table is not None:
            yield Problem("latency.table", "is used only with a search; remove it, and the network is measured")

    @rule
    def _halving_compares_scores(self) -> Iterator[Problem]:
        if self.search is None or self.search.halving is None:
            return
        if not any(name.startswith("score.") for name in self.search.objectives):
            message = "compares candidates by a score, but no objective is a score; add score.miou, or remove `halving`"
            yield Problem("search.halving", message)

    @rule
    def _rungs_are_before_the_end(self) -> Iterator[Problem]:
        if self.search is None or self.search.halving is None or self.training is None:
            return
        last = self.search.halving.rungs[-1]
        if (epochs := self.training.epochs) and last >= epochs:
            message = f"a rung after {last} epochs is not before the last epoch ({epochs}); use a smaller one"
            yield Problem("search.halving.rungs", message)

    @rule
    def _halving_compares_equal_lengths(self) -> Iterator[Problem]:
        if self.search is None or self.search.halving is None or self.training is None:
            return
        length = {"training.epochs", "training.steps"}
        if self.training.steps:
            length.add("training.batch")
        for name in self.search.vary:
            yield from as_far_as_known(_misfits_with_halving(name, self.search.paths(name), length))

    @rule
    def _varied_values_are_legal(self) -> Iterator[Problem]:
        if self.search is not None:
            run = self.model_copy(update={"search": None})
            setters: dict[str, str] = {}
            for name in self.search.vary:
                yield from as_far_as_known(misfits_of_entry(run, self.search, name, setters))

    @rule
    def _start_networks_are_legal(self) -> Iterator[Problem]:
        if self.search is None:
            return
        run = self.model_copy(update={"search": None})
        paths = [path for name in self.search.vary for path in self.search.paths(name) if _exists(run, path)]
        trained: list[tuple[str, dict[str, Any]]] = []
        for i, start in enumerate(self.search.start):
            if isinstance(start, StartSpec):
                problems = as_far_as_known(_misfits_of_start(run, start, paths, trained))
                yield from (Problem(f"search.start.{i}", problem.message) for problem in problems)

    @rule
    def _finals_are_a_longer_training(self) -> Iterator[Problem]:
        if self.search is None or self.search.finals is None or self.training is None:
            return
        changes = self.search.finals.changes
        for name in self.search.vary:
            yield from as_far_as_known(_misfits_with_finals(self.search.paths(name), changes))
        run = self.model_copy(update={"search": None})
        again = None
        try:
            again = tried(run, {f"training.{name}": value for name, value in changes.items()}).training
        except SpecError as error:
            for problem in error.problems:
                field = problem.path.removeprefix("training").lstrip(".")
                yield Problem(f"search.finals.{field}".rstrip("."), problem.message)
        repeats = again and again.same_but_for_seeds(self.training) and {*again.seeds} <= {*self.training.seeds}
        if repeats and self.search.finals.networks and not self.search.finals.warm_start:
            message = "trains networks exactly as the search has done; give more `epochs` or other `seeds`"
            yield Problem("search.finals", message)
        for unit in ("epochs", "steps"):
            search, finals = getattr(self.training, unit), changes.get(unit)
            if search and finals and finals < search:
                message = f"{finals} is less than the {search} of the search; write {search} or more"
                yield Problem(f"search.finals.{unit}", message)

    @property
    def finals_run(self) -> RunSpec:
        """The run that trains the networks of the finals: a search without early stopping and without finals.

        Raises:
            SpecError: the file declares no finals.
        """
        finals = self.required_search.finals
        if finals is None:
            raise SpecError.of("the section `search.finals` is missing; add one")
        changes = {f"training.{name}": value for name, value in finals.changes.items()}
        none = {"networks": 0, "warm_start": finals.warm_start}
        return replace(self, {"search.finals": none, "search.halving": None, **changes})

    def without_search(self) -> RunSpec:
        """The run of the file's own network, which is measured and not predicted."""
        latency = self.latency and self.latency.measured
        return self.model_copy(update={"search": None, "latency": latency})

    def candidate(self, values: Mapping[str, Any]) -> RunSpec:
        """The run of one candidate: the varied values by name (`search.vary`) set in the base.

        Raises:
            SpecError: the values are illegal together.
        """
        search = self.required_search
        changes = {path: value for name, value in values.items() for path in search.paths(name)}
        return replace(self.without_search(), changes)

    def start_candidate(self, start: StartSpec) -> RunSpec:
        """The run of a start network: its varied paths set in the base.

        A classifier takes the backbone of a segmenter, such as those of `stdc1` and `stdc2`.

        Raises:
            SpecError: it lacks a varied path, or its values are illegal in the base.
        """
        search = self.required_search
        paths = (path for name in search.vary for path in search.paths(name))
        return replace(self.without_search(), _values_of_start(self, start, paths))


def load(path: str | Path) -> RunSpec:
    """Read a run from a YAML or JSON file; omitted fields get their defaults.

    Raises:
        SpecError: with every problem that was found, by file, line and dotted path.
    """
    return base.load(path, RunSpec, with_recipe)


def load_several(paths: Iterable[str | Path]) -> list[RunSpec]:
    """Read several runs.

    Raises:
        SpecError: with every problem of every file.
    """
    runs: list[RunSpec] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            runs.append(load(path))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(*problems)
    return runs


def schema() -> dict[str, Any]:
    """JSON Schema of a run's file, with the fields' help, for editors."""
    return editor.schema(RunSpec)


def _misfits_with_halving(name: str, paths: Iterable[str], length: set[str]) -> Iterator[Problem]:
    if length.intersection(paths):
        message = "cannot vary with `halving`, which compares candidates after the same number of epochs; remove one"
        yield Problem(f"search.vary.{name}", message)


def _misfits_with_finals(paths: Iterable[str], changes: Iterable[str]) -> Iterator[Problem]:
    for path in paths:
        section, _, field = path.partition(".")
        if section == "training" and (name := field.split(".")[0]) in changes:
            message = f"the search varies `{path}`, and this would set it for all networks; remove one"
            yield Problem(f"search.finals.{name}", message)


def _exists(run: RunSpec, path: str) -> bool:
    try:
        value_at(run, path)
    except SpecError:
        return False
    return True


def _values_of_start(run: RunSpec, start: StartSpec, paths: Iterable[str]) -> dict[str, Any]:
    """What a start network has at the varied paths that are of the network."""
    network = start.network
    backbone = network.backbone if isinstance(network, SegmenterSpec) else None
    if isinstance(run.network, ClassifierSpec) and isinstance(backbone, StdcSpec):
        network = ClassifierSpec(kind="classifier", backbone=backbone)
    return {path: value_at({"network": network}, path) for path in paths if path.startswith("network")}


def _misfits_of_start(
    run: RunSpec, start: StartSpec, paths: Iterable[str], trained: list[tuple[str, dict[str, Any]]]
) -> Iterator[Problem]:
    """Problems with a start network, given the names and values of earlier ones."""
    try:
        values = _values_of_start(run, start, paths)
        tried(run, values)
    except SpecError as error:
        yield Problem("", f"{start.name} cannot be trained: {error.brief}")
        return
    for name, others in trained:
        if values == others:
            message = f"{start.name} and {name} differ in nothing that varies, so they are the same network"
            yield Problem("", f"{message}; vary what distinguishes them, or remove one")
            return
    trained.append((start.name, values))
