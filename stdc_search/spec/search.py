"""The search: what varies, the limits and the objectives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_serializer,
)

from stdc_search.records import IOU, METRICS, Direction
from stdc_search.spec.executor import ExecutorSpec, InProcessSpec
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Seed, Spec, rule
from stdc_search.spec.start import LadderSpec, Start, StartSpec
from stdc_search.spec.training import TrainingSpec
from stdc_search.spec.vary import VarySpec

if TYPE_CHECKING:  # which cannot read computed literals
    Objective = Limited = str
else:
    _listed = tuple(name for name, metric in METRICS.items() if metric.objective)

    def _or_iou(name: Any, listed: ValidatorFunctionWrapHandler) -> str:
        """Accept the IoU of any class; `RunSpec` knows which classes there are."""
        return name if isinstance(name, str) and name.startswith(IOU) else listed(name)

    Objective = Limited = Annotated[
        Literal[(*_listed, f"{IOU}CLASS")],
        WrapValidator(_or_iou),
        WithJsonSchema(
            {
                "anyOf": [{"enum": [*_listed]}, {"pattern": f"^{re.escape(IOU)}.", "examples": [f"{IOU}CLASS"]}],
                "type": "string",
            }
        ),
    ]
"""Names of metrics that may be an objective or have a limit."""


class LimitSpec(Spec):
    """A bound: `at_most` for a cost or a time, `at_least` for a score."""

    at_most: PositiveFloat | None = None
    """The largest value that is accepted, in the unit that the name ends with; otherwise a count. It is checked before
    training."""
    at_least: Annotated[float, Field(gt=0, lt=100)] | None = None
    """The smallest score that is accepted, in percent. A network that is expected to score less is not on the front."""

    @rule
    def _one_bound(self) -> Iterator[Problem]:
        if (self.at_most is None) == (self.at_least is None):
            yield Problem("", "give one of `at_most` (of a cost or a time) and `at_least` (of a score)")

    @property
    def bound(self) -> float:
        """The value that is just accepted."""
        bound = self.at_least if self.at_most is None else self.at_most
        assert bound is not None
        return bound

    def excess(self, value: Any) -> Any:
        """How far a number, or each number of an array, lies beyond the limit; negative or 0 where it does not."""
        return value - self.bound if self.at_least is None else self.bound - value


def broken(limits: Mapping[Limited, LimitSpec], figures: Mapping[str, float | None]) -> list[Limited]:
    """Names of the limits that a candidate's known figures exceed."""
    known = {name: figure for name, figure in figures.items() if figure is not None}
    return [name for name, limit in limits.items() if name in known and limit.excess(known[name]) > 0]


OptunaSampler = Literal["tpe", "multivariate_tpe", "nsgaii", "nsgaiii", "gp", "random"]
OwnSampler = Literal["known_cost", "stratified"]
SamplerKind = Literal[OwnSampler, OptunaSampler]


class SamplerSpec(Spec):
    """The sampler that proposes candidates: one of Optuna's, or one of ours, which know the costs of candidates."""

    kind: SamplerKind = "known_cost"
    """`known_cost` models only the unknown objectives, usually accuracy; `stratified` draws at random, evenly over the
    logarithms of the known objectives."""
    seed: Seed = 0
    """Random seed: the same seed proposes the same candidates after the same results."""


class HalvingSpec(Spec):
    """Early stopping: candidates wait at rungs, and those with the best Pareto ranks continue."""

    rungs: Annotated[tuple[PositiveInt, ...], Field(min_length=1, json_schema_extra=ONCE)]
    """Epochs after which a candidate waits, in increasing order; independent of `score_every`."""
    reduction_factor: Annotated[float, Field(gt=1)] = 2.0
    """Of the candidates at a rung, one in `reduction_factor` continues."""
    probation: Annotated[int, Field(ge=4)] = 8
    """Number of first candidates that are trained to the end in any case, which shows how well rungs predict."""
    least_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Candidates are stopped at a rung if the 95 % interval of its rank correlation with final scores lies above this.
    What costs explain is removed first."""

    @rule
    def _upwards(self) -> Iterator[Problem]:
        if list(self.rungs) != sorted(set(self.rungs)):
            yield Problem("rungs", f"{list(self.rungs)} do not increase; write {sorted(set(self.rungs))}")


def _without_defaults(schema: dict[str, Any]) -> None:
    del schema["properties"]["recipe"]  # only a file's `training` may have one
    for name, field in schema["properties"].items():
        if name not in OWN:
            field.pop("default", None)


class FinalsSpec(TrainingSpec, json_schema_extra=_without_defaults):
    """The finals: the most promising networks and the start networks are trained again, longer or with other seeds.

    A given field of `training` replaces the search's, a section such as `loss` as a whole; all others stay as they are.
    """

    networks: NonNegativeInt = 6
    """Number of networks in addition to the named start networks; rungs of a ladder count here. 0: no finals."""
    warm_start: bool = False
    """Whether networks start from their weights of the search instead of random ones."""

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set | OWN}

    @property
    def changes(self) -> dict[str, Any]:
        """The given fields of `training`."""
        changes = {name: getattr(self, name) for name in self.model_fields_set - OWN}
        if "epochs" in changes or "steps" in changes:  # only one of them can be given
            changes = {"epochs": None, "steps": None, **changes}
        return changes

    @rule
    def _one_length(self) -> Iterator[Problem]:
        if self.epochs is not None and self.steps is not None:
            yield Problem("", "both of `epochs` and `steps` are given; give one of them")

    @rule
    def _one_start(self) -> Iterator[Problem]:
        if self.warm_start and self.start_from is not None:
            yield Problem("start_from", "has no effect with `warm_start`; remove one of them")


OWN = {"networks", "warm_start"}
"""Fields of the finals that are not fields of `training`."""


URL = r"[a-z]\w*(\+\w+)?://.+"


def _url(text: str) -> str:
    if not re.fullmatch(URL, text):
        raise ValueError(
            f"{text!r} is not the URL of a database; write one like postgresql+psycopg://user@host/database"
        )
    return text


DatabaseUrl = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"pattern": f"^{URL}$"})]


CHANGES_LOSSES = re.compile(
    r"(?!network\.).*|network\.(kind|classes|dropout|auxiliary|detail|decoder\.taps|decoder\.kind)\b.*"
    r"|network\.(backbone|backbone\.stages|decoder)"
)
"""Paths of what a training minimises: all that is not of the network, the heads of a training, and what they are on."""


class SearchSpec(Spec):
    """A search around the file's own network."""

    vary: Annotated[dict[str, VarySpec], Field(min_length=1)]
    """What may vary, by dotted path of this file, or by a name of your own together with `sets`."""
    limits: dict[Limited, LimitSpec] = {}
    """Bounds. A candidate whose cost or time is above one is rejected before it is trained. A network whose expected
    score is below one is not on the front."""
    objectives: Annotated[dict[Objective, Direction], Field(min_length=1)] = {
        "score.miou": "maximize",
        "cost.macs": "minimize",
    }
    """The objectives, each with its direction; with several, the result is their Pareto front. `score.iou.CLASS` is the
    IoU of a class."""
    start: tuple[Start, ...] = ()
    """Networks that are trained first: `stdc1`, `stdc2`, files, and `{ladder: 6}`; a network outside
    the space is a reference that the sampler never sees."""
    sampler: SamplerSpec = SamplerSpec()
    """The sampler, which proposes candidates after the start networks."""
    halving: HalvingSpec | None = None
    """Early stopping; default: none."""
    finals: FinalsSpec | None = None
    """Training of the best networks again at the end, longer or with other seeds; default: none."""
    executor: ExecutorSpec = InProcessSpec()
    """Where to train candidates."""
    storage: DatabaseUrl | None = None
    """Database in which Optuna's tools find a copy of the study, as an SQLAlchemy URL; default: `study.db` in the run
    folder. Results are kept only in the run folder. Leave passwords to the environment (PGPASSWORD), since specs are
    copied."""
    trials: PositiveInt
    """Number of candidates to train, including start networks; rejected candidates do not count."""

    @rule
    def _start_names_differ(self) -> Iterator[Problem]:
        names = ["ladder" if isinstance(start, LadderSpec) else start.name for start in self.start]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield Problem(f"start.{i}", f"a second network is called {name}; names must differ")

    @rule
    def _limits_bound_the_worse_side(self) -> Iterator[Problem]:
        for name, limit in self.limits.items():
            wrong, right = ("at_least", "at_most") if METRICS[name].direction == "minimize" else ("at_most", "at_least")
            if getattr(limit, wrong) is not None:
                yield Problem(f"limits.{name}.{wrong}", f"would demand a bad value; write `{right}`")

    @rule
    def _objectives_seek_the_better_side(self) -> Iterator[Problem]:
        for name, direction in self.objectives.items():
            if direction != (right := METRICS[name].direction):
                yield Problem(f"objectives.{name}", f"{direction} would seek the worst networks; write {right}")

    @rule
    def _trials_for_every_start(self) -> Iterator[Problem]:
        count = len(self.networks) + self.ladder
        if self.trials < count:
            yield Problem(
                "trials", f"{self.trials} is fewer than the {count} networks of `start`; give at least as many"
            )

    @rule
    def _enough_networks_for_the_finals(self) -> Iterator[Problem]:
        others = self.trials - len(self.networks)
        if self.finals is not None and self.finals.networks > others:
            message = f"{self.finals.networks} is more than the {others} networks that the search trains"
            yield Problem("finals.networks", f"{message} besides the start networks; write {others} or less")

    def paths(self, name: str) -> tuple[str, ...]:
        """Dotted paths that an entry of `vary` sets."""
        return self.vary[name].sets or (name,)

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether values, by their names in `vary`, are a combination of the space."""
        return values.keys() == self.vary.keys() and all(self.contains_value(name, values) for name in values)

    def contains_value(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether there is a value of this name, and the space has it."""
        return name in values and name in self.vary and self.vary[name].contains(values[name])

    @property
    def losses_compare(self) -> bool:
        """Whether training losses of candidates compare: nothing varies that changes what a training minimises."""
        return not any(CHANGES_LOSSES.fullmatch(path) for name in self.vary for path in self.paths(name))

    @property
    def networks(self) -> tuple[StartSpec, ...]:
        """Start networks that are given one by one."""
        return tuple(start for start in self.start if isinstance(start, StartSpec))

    @property
    def ladder(self) -> int:
        """Rungs of the ladder; 0 without one."""
        return sum(start.ladder for start in self.start if isinstance(start, LadderSpec))

    @property
    def size(self) -> float:
        """Number of combinations, illegal ones and those beyond the limits included."""
        size: float = 1
        for vary in self.vary.values():
            size *= vary.size
        return size
