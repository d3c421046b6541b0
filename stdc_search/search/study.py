"""A search: proposes the next candidate and learns from its record.

Optuna's study lives in memory and is rebuilt from the records, which are the only truth.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from statistics import fmean
from typing import Any, get_args

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from stdc_search.expectation import skills
from stdc_search.network.cost import count_quickly
from stdc_search.records import Latency, Origin, Record
from stdc_search.search.known_cost.objectives import KnownObjectives
from stdc_search.search.known_cost.sampler import STARTUP, UNTRAINED, KnownCostSampler
from stdc_search.search.ladder import LADDER, ladder
from stdc_search.search.samplers import make_sampler
from stdc_search.search.space import draw, values_in_space
from stdc_search.spec.base import replace
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.spec.search import OwnSampler
from stdc_search.spec.vary import Choice, FloatRange, IntRange, VarySpec

PROPOSALS_OF_THE_SAMPLER = 10
"""Proposals already seen, in a row, after which the sampler is not asked again and one is drawn at random."""
ENUMERABLE = 20_000
"""Spaces up to this size are walked whole before they count as exhausted."""
RANDOM_DRAWS = 2_000
"""Draws without anything new after which a larger space counts as exhausted."""
DRAWN = 1_000
"""Networks among which the smallest is looked for."""
_PLAIN = bool, int, float, str, type(None)
SKILL = "minus_log_training_loss"
"""User attribute of Optuna's trials."""


@dataclass(frozen=True)
class Proposal:
    """A candidate to be tried."""

    number: int
    values: Mapping[str, Any]
    """Varied values by their name in `search.vary`."""
    spec: RunSpec | None
    """Its run; none if the values are illegal together."""
    origin: Origin
    name: str | None = None
    reason: str | None = None
    """Why the values give no legal run."""
    repeats: int | None = None
    """Number of the record whose network is trained again, with other seeds."""
    known: Record | None = None
    """An earlier record of the same network; its latencies are reused."""
    trial: optuna.Trial | None = field(default=None, compare=False)
    """Optuna's trial; none for a reference."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler wrote on Optuna's trial and needs to find there again, such as NSGA-II's generation."""

    @property
    def identity(self) -> str | None:
        """Identity of its run."""
        return self.spec.identity if self.spec else None


class Study:
    """The state of a search.

    Args:
        spec: a run with a search.
        records: finished candidates, oldest first.
        predict: gives the times of candidates, if there is a table.
    """

    def __init__(
        self,
        spec: RunSpec,
        records: Iterable[Record] = (),
        predict: Callable[[RunSpec], Latency | None] | None = None,
    ) -> None:
        self.spec, self.search = spec, spec.required_search
        self.distributions = {name: distribution(vary) for name, vary in self.search.vary.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna_study = self._empty()
        self._untold: list[Record] = []
        """Records that Optuna does not know yet."""
        self.known_cost = self._known_cost(predict) if self.search.sampler.kind in get_args(OwnSampler) else None
        self.next_number = 0
        self.seen: set[str] = set()
        self.started: set[str] = set()
        self.running: dict[int, Proposal] = {}
        self.records: dict[int, Record] = {}
        self.trained = 0
        for record in records:
            self._begin(record)
            self._end(record)
            if record.origin != "reference":
                self._untold.append(record)

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's study, which learns of earlier records when it is first needed: a finished search never needs it."""
        untold, self._untold = self._untold, []
        for record in untold:
            self._optuna_study.add_trial(self.frozen(record))
        return self._optuna_study

    def propose(self) -> Proposal | None:
        """The next candidate, start networks first; none when all trials are done or tried now, or the space is
        exhausted."""
        if self.trained + len(self.running) >= self.search.trials:
            return None
        proposal = self._propose_start() or self._propose_rung() or self._propose_sampled()
        if proposal is not None:
            self._begin(proposal)
            self.running[proposal.number] = proposal
        return proposal

    @property
    def hopeless(self) -> str:
        """Why the sampler, which knows costs, finds nothing inside the limits; empty if it does, or has not looked."""
        if self.known_cost is None or not self.known_cost.hopeless:
            return ""
        least, limits = self.known.least, self.search.limits
        beyond = {name: value for name, value in least.items() if value < inf and limits[name].excess(value) > 0}
        text = ", ".join(f"{name} is at least {value:,.6g}" for name, value in beyond.items())
        return text and f"none of the {self.known_cost.hopeless:,} combinations looked at is inside `limits`: {text}"

    def relearn(self, expected: Mapping[int, Mapping[str, float]], waiting: Mapping[int, Record]) -> None:
        """Take metrics for granted that are not known yet, of candidates that are tried or were stopped; `waiting` has
        the records of those that are tried, or wait at rungs."""
        self._optuna_study, self._untold = self._empty(), []
        if self.known_cost is not None:
            self.known_cost.forget()
        for number in sorted({*self.records, *self.running}):
            record, proposal = self.records.get(number), self.running.get(number)
            if record is not None and record.origin != "reference":
                self.optuna_study.add_trial(self.frozen(record, expected.get(number)))
            elif proposal is not None and proposal.trial is not None:
                record = waiting.get(number)
                self.optuna_study.add_trial(self._unfinished(proposal, expected.get(number), record))

    def _unfinished(
        self, proposal: Proposal, expected: Mapping[str, float] | None, record: Record | None
    ) -> FrozenTrial:
        return create_trial(
            state=TrialState.RUNNING if expected is None else TrialState.COMPLETE,
            values=self._objectives(expected),
            params={name: self._parameter(name, value) for name, value in proposal.values.items()},
            distributions=self.distributions,
            user_attrs={UNTRAINED: True, **({} if record is None else _skill(record))},
            system_attrs=dict(proposal.notes),
            constraints={} if record is None else self._constraints(record, expected),
        )

    def _empty(self) -> optuna.Study:
        return optuna.create_study(directions=list(self.search.objectives.values()))

    def go_on(self, record: Record) -> Proposal:
        """The proposal of a candidate that was being tried when a run was stopped."""
        spec = self.spec.candidate(record.values)
        for start in self.search.networks:
            if record.origin == "reference" and start.name == record.name:
                spec = self.spec.start_candidate(start)
        if record.repeats is not None:
            spec = self._with_other_seeds(spec, record.repeats, record.number)
        trial = None if record.origin == "reference" else self._ask_for(record.values)
        proposal = Proposal(
            record.number,
            record.values,
            spec,
            record.origin,
            record.name,
            repeats=record.repeats,
            known=self.records.get(record.repeats) if record.repeats is not None else None,
            trial=trial,
            notes=record.sampler_notes,
        )
        self._begin(proposal)
        self.running[proposal.number] = proposal
        return proposal

    def tell(self, proposal: Proposal, record: Record) -> None:
        """Learn from the finished candidate of a proposal."""
        self._end(record)
        if proposal.trial is None or self.search.halving is not None:  # then `relearn` does it
            return
        frozen = self.frozen(record)
        for name, violation in frozen.constraints.items():
            proposal.trial.set_constraint(name, violation)
        for name, attribute in frozen.user_attrs.items():
            proposal.trial.set_user_attr(name, attribute)
        values = frozen.values if frozen.state == TrialState.COMPLETE else None
        self.optuna_study.tell(proposal.trial, values, frozen.state)

    def readable(self, record: Record) -> FrozenTrial:
        """A record as Optuna's trial, for a person: with choices as they are written, not by their indices."""
        frozen = self.frozen(record, ranked=False)
        for name, vary in self.search.vary.items():
            if isinstance(vary, Choice) and name in frozen.params:
                words = [one if isinstance(one, _PLAIN) else _key(one) for one in vary.of]
                frozen.distributions[name] = CategoricalDistribution(words)
                frozen.params[name] = words[frozen.params[name]]
        return frozen

    def frozen(
        self, record: Record, expected: Mapping[str, float] | None = None, *, ranked: bool = True
    ) -> FrozenTrial:
        """A record as Optuna's trial.

        Args:
            record: of a candidate within the space.
            expected: metrics of one that was stopped.
            ranked: whether a rejected candidate gets values that no candidate would want. Samplers that learn from
                complete trials only (NSGA-II, GP) would otherwise propose similar ones again.
        """
        state, values = TrialState.FAIL, None
        if record.state == "complete":
            state = TrialState.COMPLETE
            values = [record.metric(name) for name in self.search.objectives]
        elif record.state == "stopped":
            state = TrialState.PRUNED if expected is None else TrialState.COMPLETE
            values = self._objectives(expected)
        elif record.state == "rejected" and record.cost is not None:
            values = self._values_or_worst(record) if ranked else None
            state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        return create_trial(
            state=state,
            values=values,
            params={name: self._parameter(name, value) for name, value in record.values.items()},
            distributions=dict(self.distributions),
            user_attrs={
                "record": record.number,
                "name": record.name,
                "state": record.state,
                "started": record.started,
                UNTRAINED: record.state != "complete",
                **_skill(record),
            },
            system_attrs=dict(record.sampler_notes),  # Optuna adds the constraints to it
            constraints=self._constraints(record, expected),
        )

    def _objectives(self, metrics: Mapping[str, float] | None) -> list[float] | None:
        return None if metrics is None else [metrics[name] for name in self.search.objectives]

    def _constraints(self, record: Record, expected: Mapping[str, float] | None = None) -> dict[str, float]:
        """How far a record lies beyond each limit, as far as it is known or expected; negative where it does not."""
        constraints = {}
        for name, limit in self.search.limits.items():
            known = (expected or {}).get(name, record.figure(name))
            constraints[name] = 0.0 if known is None else limit.excess(known)
        return constraints

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What Optuna's parameters stand for, by its name in the spec."""
        return {name: self._value(name, parameters[name]) for name in self.search.vary}

    def _begin(self, candidate: Proposal | Record) -> None:
        self.next_number = max(self.next_number, candidate.number + 1)
        self.seen |= {_key(candidate.values), *([candidate.identity] if candidate.identity else [])}
        if candidate.origin in ("start", "reference") and candidate.name:
            self.started.add(candidate.name)

    def _end(self, record: Record) -> None:
        self.running.pop(record.number, None)
        self.records[record.number] = record
        if record.state != "rejected":
            self.trained += 1

    def _values_or_worst(self, record: Record) -> list[float] | None:
        """Objectives of a rejected candidate, where unknown ones are as bad as the worst so far; None if there is no
        worst yet. (The greatest number there is would be infinite for a sampler that standardises.)"""
        trials = self.optuna_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        values = []
        for index, (name, direction) in enumerate(self.search.objectives.items()):
            if (value := record.figure(name)) is not None:
                values.append(value)
            elif direction == "minimize" and not trials:
                return None
            else:
                values.append(0.0 if direction == "maximize" else max(trial.values[index] for trial in trials))
        return values

    def _propose_start(self) -> Proposal | None:
        start = next((start for start in self.search.networks if start.name not in self.started), None)
        if start is None:
            return None
        spec = self.spec.start_candidate(start)
        values = values_in_space(self.spec, spec)
        number = self.next_number
        if values is None:
            return Proposal(number, {}, spec, "reference", start.name)
        trial = self._ask_for(values)
        return Proposal(number, values, spec, "start", start.name, trial=trial, notes=self._notes(trial))

    def _propose_rung(self) -> Proposal | None:
        for i, values in enumerate(self.ladder, start=1):
            if (name := f"{LADDER} {i}") not in self.started and _key(values) not in self.seen:
                trial, spec = self._ask_for(values), self.spec.candidate(values)
                notes = self._notes(trial)
                return Proposal(self.next_number, values, spec, "start", name, trial=trial, notes=notes)
        return None

    @cached_property
    def ladder(self) -> list[dict[str, Any]]:
        """Values of the networks of the search's ladder."""
        return ladder(self.spec, self.search.ladder) if self.search.ladder else []

    @property
    def smallest_first(self) -> bool:
        """Whether no random network has fewer multiply-adds than the first of the ladder, in which image sizes and
        choices without an order do not vary."""
        return self._smallest_first

    @cached_property
    def _smallest_first(self) -> bool:
        if not self.ladder:
            return False
        first, *others = (
            count_quickly(run.network, run.image_size).macs
            for run in (self.spec.candidate(self.ladder[0]), *draw(self.spec, DRAWN))
        )
        return first <= min(others, default=first)

    def _propose_sampled(self) -> Proposal | None:
        number = self.next_number
        for attempt in range(PROPOSALS_OF_THE_SAMPLER):
            seed = _seed(self.search.sampler.seed, number, attempt)
            self.optuna_study.sampler = self._sampler(seed)
            trial = self.optuna_study.ask(self.distributions)
            if self.hopeless:
                self.optuna_study.tell(trial, state=TrialState.FAIL)
                return None
            values = self.values(trial.params)
            if proposal := self._unseen(number, values, trial) or self._repeat(number, values, trial):
                return proposal
            self.optuna_study.tell(trial, state=TrialState.FAIL)
        for values in self._unseen_values(random.Random(_seed(self.search.sampler.seed, number))):
            trial = self._ask_for(values)
            if proposal := self._unseen(number, values, trial):
                return proposal
            self.optuna_study.tell(trial, state=TrialState.FAIL)
        return None

    def _ask_for(self, values: Mapping[str, Any]) -> optuna.Trial:
        self.optuna_study.enqueue_trial({name: self._parameter(name, value) for name, value in values.items()})
        return self.optuna_study.ask(self.distributions)

    def _sampler(self, seed: int) -> BaseSampler:
        kind = self.search.sampler.kind
        if kind == "known_cost" or kind == "stratified":
            assert self.known_cost is not None
            return self.known_cost
        return make_sampler(kind, seed)

    def _known_cost(self, predict: Callable[[RunSpec], Latency | None] | None) -> KnownCostSampler:
        known = self.known = KnownObjectives(self.spec, self.distributions, self._value, predict)
        unordered = {
            name
            for name, vary in self.search.vary.items()
            if not vary.ordered  # Optuna sees their indices
        }
        scored = [i for i, name in enumerate(self.search.objectives) if name.startswith("score.")]
        bounded = [name for name in self.search.limits if name.startswith("score.")]
        sampler = self.search.sampler
        return KnownCostSampler(
            self.distributions,
            lambda one: known([one])[0],
            known_of_many=known,
            unordered=unordered,
            startup=self.search.trials if sampler.kind == "stratified" else STARTUP,
            repeats=sampler.kind == "known_cost",
            proxies=dict.fromkeys(scored, SKILL) if self.search.losses_compare else {},
            bounded=bounded,
            seed=sampler.seed,
        )

    def _unseen(self, number: int, values: dict[str, Any], trial: optuna.Trial) -> Proposal | None:
        """The proposal of these values, or none if they, or the same training, were seen."""
        if _key(values) in self.seen:
            return None
        try:
            spec = self.spec.candidate(values)
        except SpecError as error:
            return Proposal(number, values, None, "sampler", reason=error.brief, trial=trial)
        if spec.identity in self.seen:
            self.seen.add(_key(values))
            return None
        return Proposal(number, values, spec, "sampler", trial=trial, notes=self._notes(trial))

    def _repeat(self, number: int, values: dict[str, Any], trial: optuna.Trial) -> Proposal | None:
        """The proposal to train a network again, if the sampler wants that."""
        if self.known_cost is None or not self.known_cost.repeated:
            return None
        complete = [one for one in self.records.values() if one.state == "complete" and one.repeats is None]
        first = next((one for one in complete if _key(one.values) == _key(values)), None)
        if first is None:
            return None
        spec = self._with_other_seeds(self.spec.candidate(values), first.number, number)
        notes = self._notes(trial)
        return Proposal(number, values, spec, "sampler", repeats=first.number, known=first, trial=trial, notes=notes)

    def _with_other_seeds(self, spec: RunSpec, first: int, number: int) -> RunSpec:
        """A run with seeds that no earlier training of its network had."""
        every = {**self.records, **self.running}
        return with_other_seeds(spec, 1 + sum(one.repeats == first for other, one in every.items() if other < number))

    def _notes(self, trial: optuna.Trial) -> dict[str, Any]:
        return self.optuna_study.get_trials(deepcopy=False)[trial.number].system_attrs.copy()

    def _unseen_values(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Random unseen values; all of them if the space is small enough."""
        names = list(self.search.vary)
        if self.search.size <= ENUMERABLE:
            combinations = list(itertools.product(*(vary.values for vary in self.search.vary.values())))
            rng.shuffle(combinations)
        else:
            combinations = (tuple(vary.draw(rng) for vary in self.search.vary.values()) for _ in range(RANDOM_DRAWS))
        for combination in combinations:
            values = dict(zip(names, combination, strict=True))
            if _key(values) not in self.seen:
                yield values

    def _parameter(self, name: str, value: Any) -> Any:
        """What Optuna sees: the index of a choice, else the value."""
        return self._indices[name][_key(value)] if name in self._indices else value

    @cached_property
    def _indices(self) -> dict[str, dict[str, int]]:
        """The index of each value of a choice, by its key."""
        choices = {name: vary for name, vary in self.search.vary.items() if isinstance(vary, Choice)}
        return {name: {_key(one): i for i, one in enumerate(vary.of)} for name, vary in choices.items()}

    def _value(self, name: str, parameter: Any) -> Any:
        vary = self.search.vary[name]
        return vary.of[parameter] if isinstance(vary, Choice) else parameter


def with_other_seeds(spec: RunSpec, before: int) -> RunSpec:
    """A run with seeds that none of the trainings before had, given their number."""
    assert spec.training is not None
    seeds = spec.training.seeds
    return replace(spec, {"training.seeds": [seed + before * (max(seeds) + 1) for seed in seeds]})


def distribution(vary: VarySpec) -> BaseDistribution:
    """Optuna's distribution of one varied thing; a choice is varied by its index."""
    match vary:
        case IntRange():
            return IntDistribution(vary.low, vary.high, step=vary.step)
        case FloatRange():
            return FloatDistribution(vary.low, vary.high, log=vary.log)
        case Choice():
            return CategoricalDistribution(range(len(vary.of)))


def _skill(record: Record) -> dict[str, float]:
    """What its losses say, if it has some."""
    return {SKILL: fmean(several)} if (several := skills(record)) else {}


def _key(values: Any) -> str:
    """Equal for equal values, whether they come from a spec or from a record."""
    return json.dumps(values, sort_keys=True)


def _seed(*parts: int) -> int:
    """32 bits that depend on all parts, the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4])
