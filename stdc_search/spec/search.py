"""The search: what varies, the limits and the objectives."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import exp, inf, log
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    model_serializer,
)

from stdc_search.records import METRICS, Direction
from stdc_search.spec.base import default_kind, plain
from stdc_search.spec.network import NetworkSpec, SegmenterSpec, StageSpec, StdcSpec, network_of
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule
from stdc_search.spec.training import TrainingSpec

if TYPE_CHECKING:  # which cannot read computed literals
    Objective = Limited = str
else:
    Objective = Literal[tuple(name for name, metric in METRICS.items() if metric.objective)]
    Limited = Literal[tuple(name for name in get_args(Objective) if not name.startswith("score."))]
"""Names of metrics: those that may be an objective, and those of them that are known before training."""

Sets = Annotated[tuple[str, ...], Field(min_length=1)] | None


class _Listed(Spec):
    """What varies over values that can be listed."""

    @property
    @abstractmethod
    def values(self) -> Sequence[Any]:
        """All values, in their order."""

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""

    @property
    def size(self) -> int:
        return len(self.values)

    def coordinates(self, value: Any) -> list[float]:
        """Where a value lies, from 0 to 1; a choice without an order has a dimension per value."""
        index = self.values.index(plain(value))  # records have lists for tuples
        if self.ordered:
            return [index / max(self.size - 1, 1)]
        return [float(i == index) for i in range(self.size)]

    def position(self, share: float, lead: float = 0.5) -> Any:
        """The value at a share of the way from the first to the last.

        Args:
            share: 0 to 1.
            lead: the part of a step after which the next value is taken.
        """
        return self.values[int(share * (self.size - 1) + lead)]

    def draw(self, rng: Random) -> Any:
        """A random value."""
        return rng.choice(self.values)


class IntRange(_Listed):
    """Whole numbers low, low + step, ..., high."""

    kind: Literal["int"]
    low: int
    """The least value."""
    high: int
    """The greatest value."""
    step: PositiveInt = 1
    """Distance from one value to the next."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @rule
    def _range(self) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem("low", f"`low` {self.low} is above `high` {self.high}; swap them")
            return
        rest = (self.high - self.low) % self.step
        if rest:
            yield Problem(
                "high",
                f"`high` {self.high} is not `low` {self.low} plus a multiple of `step` {self.step}; "
                f"the nearest that are: {self.high - rest} or {self.high - rest + self.step}",
            )

    @property
    def ends(self) -> dict[str, int]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {"low": self.low, "high": self.high}

    @property
    def values(self) -> range:
        return range(self.low, self.high + 1, self.step)

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""
        return True

    def contains(self, value: Any) -> bool:
        return value in self.values


class FloatRange(Spec):
    """Real numbers from low to high."""

    kind: Literal["float"]
    low: float
    """The least value."""
    high: float
    """The greatest value."""
    log: bool = False
    """Whether values are spread evenly over the logarithm."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @rule
    def _range(self) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem("low", f"`low` {self.low} is above `high` {self.high}; swap them")
        if self.log and self.low <= 0:
            yield Problem("low", f"`low` {self.low} has no logarithm; with `log` it must be above 0")

    @property
    def ends(self) -> dict[str, float]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {"low": self.low, "high": self.high}

    @property
    def values(self) -> tuple[float]:
        """The only value.

        Raises:
            ValueError: there are infinitely many.
        """
        if self.low != self.high:
            raise ValueError(f"the real numbers from {self.low} to {self.high} cannot be listed")
        return (self.low,)

    @property
    def size(self) -> float:
        return 1 if self.low == self.high else inf

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""
        return True

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def coordinates(self, value: float) -> list[float]:
        """Where a value lies, from 0 to 1."""
        if self.low == self.high:
            return [0.0]
        if not self.log:
            return [(value - self.low) / (self.high - self.low)]
        return [(log(value) - log(self.low)) / (log(self.high) - log(self.low))]

    def position(self, share: float, lead: float = 0.5) -> float:
        """The value at a share, 0 to 1, of the way from `low` to `high`; real numbers have no steps to lead in."""
        if not self.log:
            return self.low + share * (self.high - self.low)
        exact = exp(log(self.low) + share * (log(self.high) - log(self.low)))
        return min(max(exact, self.low), self.high)  # rounding may pass the ends

    def draw(self, rng: Random) -> float:
        """A random value."""
        return self.position(rng.random())


class Choice(_Listed):
    """One of several values; a value may be a whole sub-spec."""

    kind: Literal["choice"]
    of: Annotated[tuple[Any, ...], Field(min_length=1), AfterValidator(plain)]
    """The values."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @rule
    def _each_once(self) -> Iterator[Problem]:
        twice = [value for i, value in enumerate(self.of) if value in self.of[:i]]
        if twice:
            yield Problem("", f"`of` has {twice[0]!r} twice; give each value once")

    @property
    def ends(self) -> dict[str, Any]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {f"of.{i}": value for i, value in enumerate(self.of)}

    @property
    def values(self) -> tuple[Any, ...]:
        return self.of

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike: they are numbers in ascending order."""
        numbers = [value for value in self.of if isinstance(value, int | float) and not isinstance(value, bool)]
        return len(numbers) == len(self.of) and numbers == sorted(numbers)


VarySpec = Annotated[IntRange | FloatRange | Choice, Field(discriminator="kind")]


class LimitSpec(Spec):
    """An upper bound that is checked before training."""

    at_most: PositiveFloat
    """The largest value that is accepted, in the unit that the name ends with; otherwise a count."""

    def excess(self, value: Any) -> Any:
        """How far a number, or each number of an array, lies above the limit; negative or 0 where it does not."""
        return value - self.at_most


def broken(limits: Mapping[Limited, LimitSpec], figures: Mapping[str, float | None]) -> list[Limited]:
    """Names of the limits that a candidate's known figures exceed."""
    known = {name: figure for name, figure in figures.items() if figure is not None}
    return [name for name, limit in limits.items() if name in known and limit.excess(known[name]) > 0]


def stdc(*depths: int) -> SegmenterSpec:
    """STDC-Seg with the paper's widths: depths 2, 2, 2 are STDC1, depths 4, 5, 3 STDC2."""
    widths = (256, 512, 1024)
    stages = tuple(StageSpec(width=width, depth=depth) for width, depth in zip(widths, depths, strict=True))
    return SegmenterSpec(kind="segmenter", backbone=StdcSpec(stages=stages))


PRESETS = {"stdc1": stdc(2, 2, 2), "stdc2": stdc(4, 5, 3)}


class StartSpec(Spec):
    """A network that is trained first. In a file, `stdc1`, `stdc2` or the path of a spec stands for it."""

    name: str
    """Its name in tables and pictures."""
    network: NetworkSpec
    """The network; the search reads only its varied paths."""


def _named_or_filed(start: Any, info: ValidationInfo) -> Any:
    """`stdc1`, `stdc2`, or the path of a spec that starts from the folder of the file being read."""
    if not isinstance(start, str):
        return start
    if start in PRESETS:
        return StartSpec(name=start, network=PRESETS[start])
    name, network = network_of(start, info, tuple(PRESETS))
    return StartSpec(name=name, network=network)


class LadderSpec(Spec):
    """Networks of the space that are trained first: from its smallest to its largest, everything scaled together."""

    ladder: Annotated[int, Field(ge=2)]
    """Number of networks, spread evenly over the logarithm of the cost; those above a limit on costs are left out."""


def _rungs_or_network(start: Any) -> str:
    ladder = isinstance(start, LadderSpec) or (isinstance(start, Mapping) and "ladder" in start)
    return "ladder" if ladder else "network"


Start = Annotated[
    Annotated[StartSpec, BeforeValidator(_named_or_filed, json_schema_input_type=StartSpec | str), Tag("network")]
    | Annotated[LadderSpec, Tag("ladder")],
    Discriminator(_rungs_or_network),
]


OptunaSampler = Literal["tpe", "multivariate_tpe", "nsgaii", "nsgaiii", "gp", "random"]
OwnSampler = Literal["known_cost", "stratified"]
SamplerKind = Literal[OwnSampler, OptunaSampler]


class SamplerSpec(Spec):
    """The sampler that proposes candidates: one of Optuna's, or one of ours, which know the costs of candidates."""

    kind: SamplerKind = "known_cost"
    """`known_cost` models only the unknown objectives, usually accuracy; `stratified` draws at random, evenly over the
    logarithms of the known objectives."""
    seed: NonNegativeInt = 0
    """Random seed: the same seed proposes the same candidates after the same results."""


class HalvingSpec(Spec):
    """Early stopping: candidates wait at rungs, and those with the best Pareto ranks continue."""

    rungs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Epochs after which a candidate waits, in increasing order; independent of `score_every`."""
    reduction_factor: Annotated[float, Field(gt=1)] = 2.0
    """Of the candidates at a rung, one in `reduction_factor` continues."""
    probation: Annotated[int, Field(ge=4)] = 8
    """Number of first candidates that are trained to the end, to compare scores at the rungs with final scores."""
    least_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Rank correlation between a rung and the end below which no candidate is stopped at that rung."""

    @rule
    def _upwards(self) -> Iterator[Problem]:
        if list(self.rungs) != sorted(set(self.rungs)):
            yield Problem("rungs", f"{list(self.rungs)} do not increase; write {sorted(set(self.rungs))}")


def _without_defaults(schema: dict[str, Any]) -> None:
    for name, field in schema["properties"].items():
        if name not in FINALS:
            field.pop("default", None)


class FinalsSpec(TrainingSpec, json_schema_extra=_without_defaults):
    """The finals: the most promising networks and the start networks are trained again, longer or with more seeds.

    A field of `training` that is given here replaces the search's; all others stay as they are.
    """

    networks: NonNegativeInt = 6
    """Number of networks beside the start networks; 0 cancels the finals."""
    warm_start: bool = False
    """Whether each network starts from the weights that the search has trained, and not from random ones."""

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set | FINALS}

    @property
    def changes(self) -> dict[str, Any]:
        """The given fields of `training`."""
        changes = {name: getattr(self, name) for name in self.model_fields_set - FINALS}
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


FINALS = {"networks", "warm_start"}
"""Fields of the finals that are not fields of `training`."""


class InProcessSpec(Spec):
    """Candidates are trained one after another in the process that searches."""

    kind: Literal["in_process"] = "in_process"


class ProcessesSpec(Spec):
    """Candidates are trained side by side in processes of this machine; while one is timed, the others pause."""

    kind: Literal["processes"]
    workers: PositiveInt | None = None
    """Number of processes; default: as many as the machine has CPU threads for."""
    threads: PositiveInt = 1
    """CPU threads of each training; two trainings of one thread are faster than one after the other with two."""
    timeout: PositiveFloat | None = None
    """Seconds after which a candidate is stopped and recorded as failed."""


class RaySpec(Spec):
    """Candidates are trained on the machines of a Ray cluster, which share the run's folder and the data."""

    kind: Literal["ray"]
    address: str = "auto"
    """Address of the cluster: `auto` for the cluster of this machine, `local` to start one on this machine only."""
    cpus_per_trial: PositiveFloat = 1.0
    """CPU threads of each training."""
    gpus_per_trial: NonNegativeFloat = 0.0
    """GPUs of each training; 0.5 lets two share one."""
    timeout: PositiveFloat | None = None
    """Seconds after which a candidate is stopped and recorded as failed."""
    retries: NonNegativeInt = 3
    """How often a candidate is restarted from its last checkpoint when its machine is lost."""


ExecutorSpec = Annotated[
    Annotated[InProcessSpec, Tag("in_process")]
    | Annotated[ProcessesSpec, Tag("processes")]
    | Annotated[RaySpec, Tag("ray")],
    Discriminator(default_kind("in_process")),
]
"""`kind` is `in_process` where it is not written."""


def _url(text: str) -> str:
    if not re.fullmatch(r"[a-z]\w*(\+\w+)?://.+", text):
        raise ValueError(
            f"{text!r} is not the URL of a database; write one like postgresql+psycopg://user@host/database"
        )
    return text


DatabaseUrl = Annotated[str, AfterValidator(_url)]


class SearchSpec(Spec):
    """A search around the file's own network."""

    vary: Annotated[dict[str, VarySpec], Field(min_length=1)]
    """What may vary, by dotted path of this file, or by a name of your own together with `sets`."""
    limits: dict[Limited, LimitSpec] = {}
    """Upper bounds. A candidate above one is rejected before it is trained."""
    objectives: Annotated[dict[Objective, Direction], Field(min_length=1)] = {
        "score.miou": "maximize",
        "cost.macs": "minimize",
    }
    """The objectives, each with its direction; with several, the result is their Pareto front."""
    start: tuple[Start, ...] = ()
    """Networks that are trained first: `stdc1`, `stdc2`, files, and `{ladder: 6}`; a network outside
    the space is a reference that the sampler never sees."""
    sampler: SamplerSpec = SamplerSpec()
    """The sampler, which proposes candidates after the start networks."""
    halving: HalvingSpec | None = None
    """Early stopping; default: none."""
    finals: FinalsSpec | None = None
    """A longer training of the best networks at the end; default: none."""
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
        names = [start.name if isinstance(start, StartSpec) else "ladder" for start in self.start]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield Problem(f"start.{i}", f"a second network is called {name}; names must differ")

    @rule
    def _trials_for_every_start(self) -> Iterator[Problem]:
        count = len(self.networks) + self.ladder
        if self.trials < count:
            yield Problem(
                "trials", f"{self.trials} is fewer than the {count} networks of `start`; give at least as many"
            )

    @rule
    def _enough_networks_for_the_finals(self) -> Iterator[Problem]:
        given = self.finals is not None and "networks" in self.finals.model_fields_set
        if self.finals is not None and given and self.finals.networks > self.trials:
            message = f"{self.finals.networks} is more than the {self.trials} networks that the search trains"
            yield Problem("finals.networks", f"{message} (`trials`); write {self.trials} or less")

    def paths(self, name: str) -> tuple[str, ...]:
        """Dotted paths that an entry of `vary` sets."""
        return self.vary[name].sets or (name,)

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
