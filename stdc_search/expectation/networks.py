"""Records -> expected scores of a search's networks, with their uncertainty.

Trainings of one network with several seeds differ. A Gaussian process over all networks of a search learns from their
records how much they differ, and what neighbours say about each other. So the best of many scores, which is partly
luck, is lowered to what the network would have on average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stdc_search.expectation.linked import Linked, beside_losses, longer
from stdc_search.expectation.process import Floats, GaussianProcess, spread
from stdc_search.ranking import front
from stdc_search.records import METRICS, SEEDED, Direction, Record
from stdc_search.spec.search import LimitSpec, SearchSpec

FEWEST = 4
"""Networks of which a process is fitted."""
DRAWS = 2000
"""Joint draws of the scores of all networks, for the probability of being on the front."""
MODELLED = 1_000
"""Networks up to which all are modelled and drawn jointly. Of more, evenly spread ones and those near the front are
modelled, and only the latter are drawn."""
HOPES = 3.0, 2.0, 1.0, 0.0
"""Standard deviations above its expectation with which a network near the front would be on it; the first that does
not leave too many."""
CONSTANT = "no better than predicting the most common class everywhere"
"""Why a network is not on the front: a constant prediction costs nothing, and is as good in every score."""
DEVIATIONS = 1.96
"""Standard deviations to each side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Expected:
    """Expected scores of the networks of a search, in their order."""

    scores: Mapping[str, Floats]
    """By the metric, the expected score of each network: [networks]."""
    intervals: Mapping[str, Floats]
    """By the metric, half of the width of its 95 % interval: [networks]."""
    noise: Mapping[str, float]
    """By the metric, the standard deviation between trainings of one network."""
    explained: Mapping[str, float]
    """By the metric, the share of the variance between networks that training losses explain; none without losses."""
    on_front: NDArray[np.bool_]
    """Whether a network is on the front of expected scores: [networks]."""
    probability: Floats
    """Probability that a network is on the front of true scores: [networks]."""
    drawn: NDArray[np.intp]
    """Indices of the networks that draws are of; all others are far behind the front."""
    draws: NDArray[np.float64]
    """Joint posterior draws of the true objectives, in the order of the search: [draws, drawn, objectives]."""
    eligible: NDArray[np.bool_]
    """Whether a network could be on the front in a draw: [draws, drawn]."""
    barred: Sequence[str]
    """Why a network cannot be on the front by its expected scores; empty if nothing speaks against it."""


def networks(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each network, first the one that the others repeat, in the order of their numbers."""
    found: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.number):
        found.setdefault(record.number if record.repeats is None else record.repeats, []).append(record)
    return [*found.values()]


def pooled(records: Sequence[Record]) -> Record:
    """The first record of a network, with the mean scores of all its trainings."""
    scores = [record.score.model_dump() for record in records if record.score is not None]
    if len(scores) < 2 or records[0].score is None:
        return records[0]
    seeds = "seed_miou" if "seed_miou" in scores[0] else "seed_top1"
    weights = [len(score[seeds]) for score in scores]
    mean = {name: _mean([score[name] for score in scores], weights) for name in scores[0] if name != seeds}
    mean |= {"images": scores[0]["images"], seeds: [value for score in scores for value in score[seeds]]}
    return records[0].model_copy(update={"score": type(records[0].score).model_validate(mean)})


def _mean(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """Weighted mean of numbers, or of each entry of several mappings; None where a value is missing."""
    if isinstance(values[0], Mapping):
        return {name: _mean([value[name] for value in values], weights) for name in values[0]}
    return None if None in values else fmean(values, weights)


def expected(
    several: Sequence[Sequence[Record]], search: SearchSpec, before: Sequence[Sequence[Record]] = ()
) -> Expected:
    """Expected scores of the networks of a search, and their front.

    Args:
        several: complete records of each network, as `networks` gives them, at least one; none is a reference.
        search: its varied parameters and objectives.
        before: the same of the search, for networks of its finals.

    Returns:
        No expected scores if neither an objective nor a limit is a score or if there are fewer than FEWEST networks;
        then the front is the one of mean scores. Networks that break a limit of scores, or are no better than a
        constant prediction, are not on the front; if no network is better than that, they are.
    """
    rows = {records[0].number: i for i, records in enumerate(before)}
    chosen = [rows[records[0].number] for records in several if records[0].number in rows]
    if len(before) < FEWEST or len(chosen) < len(several):
        before, chosen = several, [*range(len(several))]
    limits = {name: limit for name, limit in search.limits.items() if name.startswith("score.")}
    scores_of = [name for name in dict.fromkeys([*search.objectives, *limits]) if name.startswith("score.")]
    scored = scores_of if len(before) >= FEWEST else []
    means = [pooled(records) for records in several]
    known = {
        name: np.array([mean.metric(name) for mean in means])
        for name in [*search.objectives, *limits]
        if name not in scored
    }
    directions: list[Direction] = [*search.objectives.values()]
    constants = {
        name: max(mean.score.constant(name) for mean in means if mean.score is not None)
        for name, direction in search.objectives.items()
        if name.startswith("score.") and direction == "maximize"
    }

    def objectives(found: Mapping[str, Floats], some: Any = slice(None)) -> Floats:
        every = {**found, **{name: values[some] for name, values in known.items()}}
        return np.stack(np.broadcast_arrays(*(every[name] for name in search.objectives)), axis=-1)

    def flaws(found: Mapping[str, Floats], some: Any = slice(None)) -> dict[str, NDArray[np.bool_]]:
        """Which networks something bars from the front: a limit, or a constant prediction, which costs nothing."""
        every = {**{name: values[some] for name, values in known.items()}, **found}
        told = {_below(name, limit, name in scored): limit.excess(every[name]) > 0 for name, limit in limits.items()}
        if constants:
            useless = np.all([every[name] <= value for name, value in constants.items()], axis=0)
            told[CONSTANT] = useless & ~useless.all(axis=-1, keepdims=True)  # if all are, some may do after finals
        return told

    places = features(before, search)
    mine = places[chosen]

    def process_of(name: str, kept: NDArray[np.intp]) -> GaussianProcess | Linked:
        found = _process([before[i] for i in kept], places[kept], name, search)
        return found if before is several else longer(found, *_trained(several, mine, name))

    kept, near = np.arange(len(before)), np.arange(len(several))
    outlooks: dict[str, Outlook] = {}
    if scored and len(before) > MODELLED:
        kept = spread(len(before), MODELLED)
        if before is several:  # near the front by what others say: whom luck has brought there must not be preferred
            outlooks |= {name: _outlook(process_of(name, kept), mine) for name in scored}
            named = np.array([one[0].origin != "sampler" for one in several])
            near = _near(outlooks, objectives, directions, named)
        kept = np.union1d(kept, np.asarray(chosen)[near])

    scores, intervals, noise, explained, drawn = {}, {}, {}, {}, {}
    rng = np.random.default_rng(0)
    for name in scored:
        process = process_of(name, kept)
        shorter = process.base if before is not several and isinstance(process, Linked) else process
        if isinstance(shorter, Linked):
            explained[name] = shorter.explained
        noise[name] = process.noise
        means, deviations = outlooks.get(name, (np.empty(len(several)), np.empty(len(several))))
        means[near], covariance = process.means(mine[near]), process.covariance(mine[near], mine[near])
        deviations[near] = np.sqrt(np.diag(covariance).clip(0))
        scores[name], intervals[name] = means, DEVIATIONS * deviations
        drawn[name] = rng.multivariate_normal(means[near], covariance, DRAWS, check_valid="ignore", method="eigh")
    draws = objectives(drawn, near) if scored else objectives({})[None]
    eligible = ~_any(flaws(drawn, near), draws.shape[:2])
    probability = np.zeros(len(several))
    probability[near] = np.mean([front(points, directions) for points in _where(eligible, draws)], axis=0)
    told = flaws(scores)
    points = _where(~_any(told, (len(several),)), objectives(scores))
    barred = [next((why for why, its in told.items() if its[i]), "") for i in range(len(several))]
    on_front = front(points, directions)
    return Expected(scores, intervals, noise, explained, on_front, probability, near, draws, eligible, barred)


Outlook = tuple[Floats, Floats]
"""Expected scores and their standard deviations: [networks] each."""


def _outlook(process: GaussianProcess | Linked, places: Floats) -> Outlook:
    """The outlook of networks, in bounded memory."""
    parts = [process.predict(places[i : i + MODELLED]) for i in range(0, len(places), MODELLED)]
    means, deviations = zip(*parts, strict=True) if parts else ((), ())
    return np.concatenate([*means, []]), np.concatenate([*deviations, []])


def _near(
    outlooks: Mapping[str, Outlook],
    objectives: Callable[[Mapping[str, Floats]], Floats],
    directions: Sequence[Direction],
    always: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Indices of the networks that may be on the front, and of those that count in any case."""
    scores = {name: means for name, (means, _) in outlooks.items()}
    expected = objectives(scores)
    best = expected[front(expected, directions)]
    near = always
    for hope in HOPES:
        better = {
            name: means + (hope if METRICS[name].direction == "maximize" else -hope) * deviations
            for name, (means, deviations) in outlooks.items()
        }
        near = always | ~_dominated(objectives(better), best, directions)
        if near.sum() <= MODELLED:
            break
    return np.flatnonzero(near)


def _dominated(points: Floats, others: Floats, directions: Sequence[Direction]) -> NDArray[np.bool_]:
    """Which points any of some others dominates."""
    signs = np.array([1 if direction == "minimize" else -1 for direction in directions])
    found = np.zeros(len(points), dtype=bool)
    for other in others * signs:
        found |= (other <= points * signs).all(-1) & (other < points * signs).any(-1)
    return found


def _below(name: str, limit: LimitSpec, modelled: bool) -> str:
    return f"{'expected ' * modelled}{METRICS[name].title.removesuffix(' %')} below {limit.bound:g} %"


def _any(flaws: Mapping[str, NDArray[np.bool_]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where any flaw is, in a shape that all fit."""
    found = np.zeros(shape, dtype=bool)
    for its in flaws.values():
        found |= its
    return found


def _where(eligible: NDArray[np.bool_], points: Floats) -> Floats:
    """Points without those that cannot be on a front, which become NaN."""
    return np.where(eligible[..., None], points, np.nan)


def _process(
    several: Sequence[Sequence[Record]], places: Floats, name: str, search: SearchSpec
) -> GaussianProcess | Linked:
    """What trainings say of scores, with their losses if all have comparable ones."""
    points, scores = _trained(several, places, name)
    losses = [skills(record) for records in several for record in records]
    if not search.losses_compare or None in losses:
        return GaussianProcess(points, scores)
    each = [one if name in SEEDED else (fmean(one),) for one in losses if one is not None]
    return beside_losses(GaussianProcess(points, np.concatenate(each)), points, scores)


def skills(record: Record) -> tuple[float, ...] | None:
    """Logarithms of reciprocal training losses, the higher the better; none if a loss is missing or not positive."""
    losses = record.training_loss
    return None if losses is None or min(losses) <= 0 else tuple(-log(loss) for loss in losses)


def _trained(several: Sequence[Sequence[Record]], places: Floats, name: str) -> tuple[Floats, Floats]:
    """Place and score of each training: [trainings, features] and [trainings]."""
    scores = [[value for record in records for value in _trainings(record, name)] for records in several]
    return np.repeat(places, [len(values) for values in scores], axis=0), np.concatenate(scores)


def _trainings(record: Record, name: str) -> Sequence[float]:
    """The score of each training behind a record; of most metrics only the mean is recorded."""
    return getattr(record.score, SEEDED[name]) if name in SEEDED else (record.metric(name),)


def front_of(records: Sequence[Record], search: SearchSpec) -> set[int]:
    """Numbers of the networks on the front, by expected scores if there are any.

    Args:
        records: complete ones.
        search: its varied parameters and objectives.
    """
    several = [one for one in networks(records) if one[0].origin != "reference"]
    on_front = expected(several, search).on_front if several else []
    return {one[0].number for one, its in zip(several, on_front, strict=True) if its}


def features(several: Sequence[Sequence[Record]], search: SearchSpec) -> Floats:
    """What networks are compared by, each about 0 to 1: what varies, and known objectives: [networks, features]."""
    columns = [
        np.array([vary.coordinates(records[0].values[name]) for records in several], dtype=float)
        for name, vary in search.vary.items()
    ]
    for name in search.objectives:
        if not name.startswith("score."):
            values = np.array([records[0].metric(name) for records in several], dtype=float)
            values = np.log(values) if (values > 0).all() else values
            columns.append(((values - values.min()) / (np.ptp(values) or 1.0))[:, None])
    return np.concatenate(columns, axis=1)
