"""An Optuna sampler for objectives some of which are known before a trial, such as the cost of a network.

Only what is unknown is modelled, by a Gaussian process. Proposed is the candidate whose expected improvement of the
dominated hypervolume is the highest, which has a closed form where one objective is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm, qmc

from stdc_search.expectation.linked import Link, Linked, beside_losses
from stdc_search.expectation.process import LEARNT, Floats, GaussianProcess, Kernel, spread
from stdc_search.ranking import hypervolume
from stdc_search.records import Direction
from stdc_search.search.known_cost.improvement import beyond, expected_improvement, undominated
from stdc_search.search.known_cost.pool import LOOKED_AT, Pool, Row, Space

Learnt = dict[tuple[int, int, bool], tuple[Kernel, Link | None]]
"""Settings of processes, by the objective or bound, the number of trials and whether there is a proxy."""
UNTRAINED = "untrained"
"""User attribute of trials whose values are only expected: another trial of their points would not repeat one."""
Known = Callable[[Mapping[str, Any]], "Sequence[float | None] | None"]
"""Parameters -> a value an objective, in the study's order, None where it is unknown; None for what is not wanted."""

FITTED = 1_000
"""Trials that predictions are made from, at most."""
HOPEFUL = 500
"""Trials whose points may come to be on the front, at most: those least far behind it."""
STARTUP = 8
"""Trials before there is a model."""
CLIMBS, BEST = 4, 4
"""How often neighbours are examined, first those of the front, then those of the BEST best points."""
FANTASIES = 16
"""Values that a second unknown objective is thought to have."""
FINALISTS, KNOWN = 24, 2
"""New points whose worth is computed in full, and known objectives up to which that is quick enough."""
OUTCOMES = norm.ppf((np.arange(16) + 0.5) / 16)
"""Outcomes of a trial, in standard deviations."""


class KnownCostSampler(BaseSampler):
    """Proposes the trial that is expected to improve the front most: a new point, or a point again, whose unknown
    objective is noisy.

    The front is the one of expected values, so a trial is worth what it is expected to change there: a new point joins
    it, and all points move with what the trial says about them. This is the knowledge gradient for correlated values
    (Frazier, Powell and Dayanik, 2009) of the hypervolume; the new points that it compares are chosen without what they
    say about others. Trials that are running count as if they had given what is expected of them. The proposal depends
    on the seed, the trial's number and the trials before it.

    Args:
        search_space: of all parameters that matter; `log` spreads a float's draws.
        known: gives the known objectives of a candidate.
        known_of_many: the same for a list of candidates, where that is quicker.
        unordered: names of parameters whose values are numbers without an order, such as indices of choices.
        startup: trials before there is a model, which are drawn evenly over the known objectives; at least 2.
        repeats: whether points may be proposed again before all others were.
        proxies: for unknown objectives, by their indices: the name of a user attribute of trials. It holds a number
            that has less noise than the objective and rises with it. It counts if all complete trials have it.
        bounded: names of constraints that are unknown before a trial. They are modelled, too: what a point is worth
            counts by its probability to keep them. A trial that breaks another constraint is left out.
        seed: of draws.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        known: Known,
        *,
        known_of_many: Callable[[Sequence[Mapping[str, Any]]], Sequence[Sequence[float | None] | None]] | None = None,
        unordered: Collection[str] = (),
        startup: int = STARTUP,
        repeats: bool = False,
        proxies: Mapping[int, str] | None = None,
        bounded: Collection[str] = (),
        seed: int = 0,
    ) -> None:
        self.startup = max(startup, 2)
        self.repeats = repeats
        self.repeated = False
        """Whether the last proposal repeats a point because another trial of it is worth most."""
        self.space = Space(search_space, unordered)
        self.known_of_many = known_of_many or (lambda many: [known(one) for one in many])
        self.seed = seed
        self._independent = RandomSampler(seed=seed)
        self.proxies = proxies or {}
        self.bounded = bounded
        self._pool: Pool | None = None
        self._rows: dict[int, Row] = {}
        self._learnt: Learnt = {}

    @property
    def hopeless(self) -> int:
        """How many points were looked at if none of them is wanted, so that there is nothing to propose; else 0."""
        return self._pool.looked_at if self._pool is not None and not len(self._pool.rows) else 0

    def forget(self) -> None:
        """Take the trials of the next study for others than those of the last, with the same pool."""
        self._rows.clear()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.space.distributions)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        self.repeated = False
        rng = np.random.default_rng([self.seed, trial.number])
        history = _History(self.space, study, trial, self._rows, self.proxies, self.bounded)
        if self._pool is None:
            rows = self.space.rows(np.random.default_rng(self.seed))
            self._pool = Pool(self.space, study.directions, rows, self.known_of_many)
        if self.hopeless:
            return {}  # nothing is wanted: Optuna draws, and whoever asked finds out
        if len(history.rows) < self.startup or not self._pool.unknown:
            row = self._spread(self._pool, history, rng)
        else:
            row = self._best(self._pool, history, rng)
        return self.space.parameters(row)

    def _spread(self, pool: Pool, history: _History, rng: np.random.Generator) -> Row:
        """A random one near a cost that is far from those that were tried."""
        fresh = history.fresh_among(pool.rows, rng.permutation(len(pool.rows))[: 10 * LOOKED_AT])
        if not pool.costs.shape[1]:
            return pool.rows[fresh[0]]
        cost = pool.costs[fresh]
        low, high = pool.costs.min(0), pool.costs.max(0)
        cost = (cost - low) / np.where(high > low, high - low, 1)
        target = qmc.Halton(cost.shape[1], scramble=False).random(len(history.seen) + 1)[-1]
        near = np.argsort(((cost - target) ** 2).sum(1))[:8]
        return pool.rows[fresh[rng.choice(near)]]

    def _best(self, pool: Pool, history: _History, rng: np.random.Generator) -> Row:
        """The one from which the front is expected to gain most."""
        model = _Model(pool, history, self._learnt, rng)
        chosen = history.fresh_among(pool.rows, pool.stratified(rng))
        rows, values = pool.rows[chosen], model.improvement(pool.rows[chosen], pool.costs[chosen])
        around = model.networks[model.on_front]
        for _ in range(CLIMBS):
            near, costs = pool.look_up(self.space.neighbours(around, rng))
            new = history.fresh(near)
            rows = np.concatenate([rows, near[new]])
            values = np.concatenate([values, model.improvement(near[new], costs[new])])
            rows, first = np.unique(rows, axis=0, return_index=True)
            values = values[first]
            around = rows[np.argsort(-values, kind="stable")[:BEST]]
        best = np.argsort(-values, kind="stable")[:FINALISTS]
        if pool.costs.shape[1] > KNOWN:
            return rows[best[0]]
        rows, costs = pool.look_up(rows[best])
        worth = model.worth(rows, costs)
        if self.repeats and history.fresh(rows).any() and (again := model.worth_of_repeats()).max() > worth.max():
            self.repeated = True
            return model.networks[np.argmax(again)]
        return rows[np.argmax(worth)]


class _History:
    """What was tried; of trials that are done their rows are remembered."""

    def __init__(
        self,
        space: Space,
        study: Study,
        current: FrozenTrial,
        known: dict[int, Row],
        proxies: Mapping[int, str],
        bounded: Collection[str] = (),
    ) -> None:
        self.seen: set[bytes] = set()
        excess: dict[str, list[float]] = {name: [] for name in bounded}
        rows, values, running = [], [], []
        told: dict[int, list[float | None]] = {i: [] for i in proxies}
        names = set(space.distributions)
        whole: list[bool] = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number == current.number or not names <= set(trial.params):
                continue
            row = known.get(trial.number)
            if row is None:
                row = space.row(trial.params)
                if trial.state.is_finished():
                    known[trial.number] = row
            self.seen.add(row.tobytes())
            if trial.state == TrialState.RUNNING:
                running.append(row)
            elif trial.state == TrialState.COMPLETE and all(
                value <= 0 for name, value in trial.constraints.items() if name not in bounded
            ):
                rows.append(row)
                values.append(trial.values)
                whole.append(not trial.user_attrs.get(UNTRAINED))
                for name, its in excess.items():
                    its.append(trial.constraints.get(name, 0.0))
                for i, name in proxies.items():
                    told[i].append(trial.user_attrs.get(name))
        width = len(names)
        self.rows = np.array(rows, dtype=np.intp).reshape(-1, width)
        self.values = np.array(values, dtype=float)
        self.whole = np.array(whole, dtype=bool)
        self.running = np.array(running, dtype=np.intp).reshape(-1, width)
        self.proxies = {i: np.array(its, dtype=float) for i, its in told.items() if None not in its}
        """Those that all have."""
        self.excess = [np.array(its, dtype=float) for its in excess.values()]
        """Of each bounded constraint, how far trials lie beyond it."""

    def fresh(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which rows were not tried."""
        return np.array([row.tobytes() not in self.seen for row in rows], dtype=bool)

    def fresh_among(self, rows: NDArray[np.intp], some: NDArray[np.intp]) -> NDArray[np.intp]:
        """Indices of rows that were not tried: among some, else among all, else all that were."""
        for among in (some, np.arange(len(rows))):
            if (new := self.fresh(rows[among])).any():
                return among[new]
        return some


class _Model:
    """A model of the points and of the front."""

    def __init__(self, pool: Pool, history: _History, learnt: Learnt, rng: np.random.Generator) -> None:
        self.pool = pool
        rows, values = history.rows, history.values * pool.signs
        costs = pool.scaled(history.values[:, pool.given])
        if len(history.running):
            running, their = pool.look_up(history.running)
        else:
            running, their = history.running, np.zeros((0, costs.shape[1]))
        points = pool.features(rows, costs)
        pending = pool.features(running, their)
        broken = np.any([excess > 0 for excess in history.excess], axis=0) & np.ones(len(rows), dtype=bool)
        kept, hopeful = spread(len(rows), FITTED), _least_behind(costs, values[:, pool.unknown], broken, HOPEFUL)
        rows, costs, spots = rows[hopeful], costs[hopeful], np.concatenate([points[hopeful], pending])
        self.processes, means = [], []
        for i in pool.unknown:
            told = None if i not in history.proxies else history.proxies[i] * pool.signs[i]
            settings = _settings(points, values[:, i], told, i, learnt)
            process = _process(points[kept], values[kept, i], None if told is None else told[kept], *settings)
            if len(pending):
                process = process.after(pending)
            self.processes.append(process)
            means.append(process.means(spots))
        places = np.concatenate([rows, running])
        _, once = np.unique(places, axis=0, return_index=True)
        trained = np.concatenate([history.whole[hopeful], np.zeros(len(running), dtype=bool)])
        self.networks, self.trained = places[once], trained[once]
        self.places = spots[once]
        self.bounds = []
        for i, excess in enumerate(history.excess, start=len(pool.signs)):
            settings = _settings(points, excess, None, i, learnt)
            self.bounds.append(_process(points[kept], excess[kept], None, *settings))
        first, *others = (mean[once] for mean in means)  # without noise, so that luck is not taken for merit
        self.spots = np.concatenate(
            [np.concatenate([costs, their])[once], *([np.stack(others, 1)] if others else [])], axis=1
        )
        kept_all = np.all([bound.means(self.places) <= 0 for bound in self.bounds], axis=0)
        self.level = np.where(kept_all, first, np.inf)
        self.draws = rng.standard_normal((FANTASIES if others else 1, len(others)))
        self.worst = float(beyond(first))
        self.reference = np.concatenate([beyond(pool.costs), beyond(np.stack(others, 1)) if others else []])
        self.on_front = undominated(self.spots, self.level)
        self.front_spots, self.front_level = self.spots[self.on_front], self.level[self.on_front]

    def improvement(self, rows: NDArray[np.intp], costs: Floats) -> Floats:
        """By how much the front's hypervolume is expected to grow with a trial of each point."""
        if not len(rows):
            return np.zeros(0)
        points = self.pool.features(rows, costs)
        mean, _, told = self.processes[0].outlook(points)
        others = [process.predict(points) for process in self.processes[1:]]
        total = np.zeros(len(rows))
        for draw in self.draws:
            guessed = [m + s * z for (m, s), z in zip(others, draw, strict=True)]
            spots = np.concatenate([costs, np.stack(guessed, 1)], axis=1) if guessed else costs
            total += expected_improvement(
                mean, told, spots, self.front_level, self.front_spots, self.worst, self.reference
            )
        return total / len(self.draws) * self._keeping(points)

    def _keeping(self, points: Floats) -> Floats:
        """The probability that each point keeps what is bounded."""
        found = np.ones(len(points))
        for bound in self.bounds:
            mean, deviation = bound.predict(points)
            found *= norm.cdf(-mean / deviation)
        return found

    def worth(self, rows: NDArray[np.intp], costs: Floats) -> Floats:
        """The same growth, with what a trial of each point says about the points of the front."""
        points = self.pool.features(rows, costs)
        mean, _, own = self.processes[0].outlook(points)
        others = [process.predict(points) for process in self.processes[1:]]
        spots = np.concatenate([costs, *(guessed[:, None] for guessed, _ in others)], axis=1)
        moves = self.processes[0].moves(self.places[self.near], points)
        growth = np.array([self._growth(moves[:, i], (mean[i], own[i], spots[i])) for i in range(len(rows))])
        return growth * self._keeping(points)

    def worth_of_repeats(self) -> Floats:
        """The same for another trial of each network that was tried; none of one that is running or far behind."""
        growth = np.full(len(self.networks), -np.inf)
        some = np.flatnonzero(self.trained & self.near)
        moves = self.processes[0].moves(self.places[self.near], self.places[some])
        growth[some] = [self._growth(its) for its in moves.T]
        return growth

    def _growth(self, moves: Floats, new: tuple[float, float, Floats] | None = None) -> float:
        """Expected growth of the hypervolume where networks near the front move together, and a new one joins: its
        level, by how much that may move, and its other objectives."""
        levels, spots = self.level[self.near] + OUTCOMES[:, None] * moves, self.spots[self.near]
        if new is not None:
            levels = np.column_stack([levels, new[0] + OUTCOMES * new[1]])
            spots = np.concatenate([spots, new[2][None]])
        return float(self._volumes(levels, spots).mean() - self.volume)

    def _volumes(self, levels: Floats, spots: Floats) -> Floats:
        """Hypervolumes of sets of points with levels [sets, points] and other objectives [points, others]."""
        points = np.concatenate([levels[..., None], np.broadcast_to(spots, (len(levels), *spots.shape))], axis=-1)
        directions: list[Direction] = ["minimize"] * points.shape[-1]
        return hypervolume(points, [self.worst, *self.reference], directions)

    @cached_property
    def volume(self) -> float:
        """Hypervolume of the expected front."""
        return float(self._volumes(self.front_level[None], self.front_spots)[0])

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """Networks that may come to be on the front."""
        hoped = self.level - 3 * self.processes[0].predict(self.places)[1]
        behind = (self.front_spots <= self.spots[:, None]).all(2) & (self.front_level < hoped[:, None])
        return ~behind.any(1)


def _least_behind(costs: Floats, values: Floats, broken: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Indices of at most `most` points, those least far behind the front in the first of their values; those that break
    a bound come after all others."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    spots, level = np.concatenate([costs, values[:, 1:]], axis=1), values[:, 0]
    front = undominated(spots, np.where(broken, level.max() + 1, level))
    rivals = (spots[front] <= spots[:, None]).all(2)
    behind = np.where(rivals, level[:, None] - level[front], -np.inf).max(1)
    ties = np.random.default_rng(0).permutation(count)  # of a wide front, not the oldest
    return np.sort(np.lexsort((ties, behind, broken))[:most])


def _settings(
    points: Floats, values: Floats, proxy: Floats | None, objective: int, learnt: Learnt
) -> tuple[Kernel, Link | None]:
    """Learnt from the trials there were at the last of some milestones, so that they are the same after a stop."""
    count = STARTUP
    while (more := count + 1 if count < LEARNT / 2 else int(1.1 * count)) <= len(points):
        count = more
    key = objective, count, proxy is not None
    if key not in learnt:
        kept = spread(count, LEARNT)
        process = _process(points[kept], values[kept], None if proxy is None else proxy[kept])
        base = process.base if isinstance(process, Linked) else process
        assert isinstance(base, GaussianProcess)
        learnt[key] = base.kernel, process.link if isinstance(process, Linked) else None
    return learnt[key]


def _process(
    points: Floats, values: Floats, proxy: Floats | None, kernel: Kernel | None = None, link: Link | None = None
) -> GaussianProcess | Linked:
    """What is known of an objective, with its proxy if there is one."""
    base = GaussianProcess(points, values if proxy is None else proxy, kernel)
    if proxy is None:
        return base
    return beside_losses(base, points, values) if link is None else Linked(base, points, values, link)
