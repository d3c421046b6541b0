"""A sampler that knows costs: its acquisition against brute force, its model against what it was drawn from."""

from __future__ import annotations

from itertools import product

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import check_grad
from scipy.stats import norm

from stdc_search.expectation import process as gaussian_process
from stdc_search.expectation.process import GaussianProcess
from stdc_search.latency import predicted
from stdc_search.network.cost import count
from stdc_search.ranking import hypervolume
from stdc_search.search.known_cost import sampler as known_cost
from stdc_search.search.known_cost.improvement import expected_improvement
from stdc_search.search.known_cost.sampler import STARTUP, KnownCostSampler
from stdc_search.search.study import Study
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec
from tests.search_specs import tiny_search

SPACE = {
    "depth": IntDistribution(1, 4),
    "width": CategoricalDistribution([8, 16, 32, 64]),
    "kind": CategoricalDistribution(["plain", "wide"]),
}


def cost(parameters) -> float:
    return parameters["depth"] * parameters["width"] * (1.5 if parameters["kind"] == "wide" else 1)


def accuracy(parameters) -> float:
    return np.log(cost(parameters)) - 0.4 * (parameters["depth"] - 2.5) ** 2 + (parameters["kind"] == "wide")


def every():
    """All points of the space."""
    return product(range(1, 5), [8, 16, 32, 64], ["plain", "wide"])


def study_of(sampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def known(parameters):
    return (None, cost(parameters))


def run(study, trials, space=SPACE, noise=0.0):
    rng = np.random.default_rng(0)
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, [accuracy(trial.params) + noise * rng.normal(), cost(trial.params)])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_expected_improvement_is_the_mean_growth_of_the_hypervolume(count):
    rng = np.random.default_rng(count)
    level, others = rng.uniform(0, 1, 6), rng.uniform(0, 1, (6, count))
    level[0], others[0] = 2.0, 0.1  # beyond the reference
    mean, deviation, spots = rng.uniform(0.2, 1, 5), rng.uniform(0.1, 0.5, 5), rng.uniform(0, 1, (5, count))
    found = expected_improvement(mean, deviation, spots, level, others, 1.1, np.full(count, 0.9))
    points, reference = np.column_stack([level, others]), [1.1] + [0.9] * count
    directions = ["minimize"] * (count + 1)
    before = hypervolume(points, reference, directions)
    steps = (np.arange(400) + 0.5) / 400
    for i in range(len(mean)):
        draws = norm.ppf(steps, mean[i], deviation[i])
        after = [hypervolume([*points, [draw, *spots[i]]], reference, directions) for draw in draws]
        assert found[i] == pytest.approx(np.mean(after) - before, abs=2e-3)


def test_the_gradient_by_which_a_process_learns_is_right(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(15, 3))
    points[9:12] = points[3:6]
    values = rng.normal(size=15)
    caught = {}

    def catch(loss, start, **_):
        caught["loss"], caught["start"] = loss, start
        raise StopIteration

    monkeypatch.setattr(gaussian_process, "minimize", catch)
    with pytest.raises(StopIteration):
        gaussian_process.learn(points, values)
    loss = caught["loss"]
    for _ in range(3):
        at = caught["start"] + rng.normal(size=6) * 0.5
        assert check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], at) < 1e-4 * max(1, np.abs(loss(at)[1]).max())


def test_a_process_finds_the_function_and_the_noise():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(120, 2))
    truth = lambda x: 10 + 3 * np.sin(4 * x[:, 0]) + x[:, 1]  # noqa: E731
    process = GaussianProcess(points, truth(points) + 0.3 * rng.normal(size=120))
    others = rng.uniform(size=(300, 2))
    mean, deviation = process.predict(others)
    assert process.noise == pytest.approx(0.3, rel=0.3)
    off = (mean - truth(others)) / deviation
    assert np.sqrt(np.mean((mean - truth(others)) ** 2)) < 0.2
    assert 0.3 < np.sqrt(np.mean(off**2)) < 1.6
    assert np.allclose(process.means(others), mean)


@pytest.mark.parametrize(("own", "noise"), [(1.0, 0.0), (0.0, 1.0)])
def test_points_that_are_measured_twice_tell_noise_from_what_they_have_of_their_own(own, noise):
    rng = np.random.default_rng(0)
    once = rng.uniform(size=(40, 2))
    points = np.concatenate([once, once])
    values = 2 * points[:, 0] + np.tile(own * rng.normal(size=40), 2) + noise * rng.normal(size=80)
    process = GaussianProcess(points, values)
    assert process.noise == pytest.approx(noise, abs=0.35)
    assert process.scale * np.sqrt(process.kernel.own) == pytest.approx(own, abs=0.35)
    mean, deviation = process.predict(once)
    assert (deviation < 0.75).all()
    assert np.corrcoef(mean, values[:40] if own else once[:, 0])[0, 1] > 0.9


def test_nothing_is_proposed_twice_until_there_is_nothing_else():
    study = study_of(KnownCostSampler(SPACE, known))
    run(study, 32)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 32
    run(study, 2)
    assert len(study.trials) == 34


def test_proposals_keep_away_from_where_a_bounded_constraint_is_broken():
    """Accuracy and what is bounded rise against each other, so that without the bound all proposals are deep."""

    def deep(bounded) -> int:
        study = study_of(KnownCostSampler(SPACE, known, bounded=bounded))
        found = []
        for _ in range(STARTUP + 8):
            trial = study.ask(SPACE)
            depth = trial.params["depth"]
            trial.set_constraint("bound", depth - 2.5)
            study.tell(trial, [10.0 * depth, cost(trial.params)])
            found.append(depth > 2)
        return sum(found[STARTUP:])

    assert deep(("bound",)) < deep(()) / 2


def test_a_trial_is_worth_the_mean_growth_of_the_front_that_it_moves():
    """Against draws of what would be expected of every network then, by conditioning the process."""
    study = study_of(KnownCostSampler(SPACE, known))
    run(study, 14)
    sampler = study.sampler
    history = known_cost._History(sampler.space, study, study.trials[-1], {}, {})
    model = known_cost._Model(sampler._pool, history, {}, np.random.default_rng(0))
    process, draws = model.processes[0], norm.ppf((np.arange(500) + 0.5) / 500)
    reference = [model.worst, *model.reference]

    def volume(level, spots):
        return hypervolume(np.column_stack([level, spots]), reference, ["minimize", "minimize"])

    def growth(place, spots, level):
        points = np.concatenate([model.places, place[None]])
        across = process.covariance(points, place[None])[:, 0]
        moved = level + np.outer(draws, across[: len(level)] / np.sqrt(across[-1] + process.noise**2))
        return np.mean([volume(one, spots) for one in moved]) - volume(model.level, model.spots)

    for i, found in enumerate(model.worth_of_repeats()):
        exact = growth(model.places[i], model.spots, model.level)
        assert found == pytest.approx(exact, abs=5e-3) if model.near[i] else exact < 5e-3

    new = sampler._pool.rows[history.fresh(sampler._pool.rows)][:6]
    rows, costs = sampler._pool.look_up(new)
    points = sampler._pool.features(rows, costs)
    for place, cost_of, mean, found in zip(points, costs, process.means(points), model.worth(rows, costs), strict=True):
        exact = growth(place, np.concatenate([model.spots, cost_of[None]]), np.append(model.level, mean))
        assert found == pytest.approx(exact, abs=5e-3)


def test_points_are_tried_again_where_luck_hides_which_is_best():
    rng = np.random.default_rng(0)
    sampler = KnownCostSampler(SPACE, known, repeats=True)
    study, repeated = study_of(sampler), []
    for _ in range(30):
        trial = study.ask(SPACE)
        repeated.append(sampler.repeated)
        assert sampler.repeated == (trial.params in [one.params for one in study.trials[:-1]])
        study.tell(trial, [accuracy(trial.params) + 5 * rng.normal(), cost(trial.params)])
    assert any(repeated)
    assert not any(repeated[:STARTUP])


def told(sampler, trials=24, *, missing=False):
    """A study of noisy accuracies, whose trials also have what they would be without noise."""
    rng, study = np.random.default_rng(0), study_of(sampler)
    for i in range(trials):
        trial = study.ask(SPACE)
        if not missing or i:
            trial.set_user_attr("told", accuracy(trial.params) / 3 + 7)
        study.tell(trial, [accuracy(trial.params) + 2 * rng.normal(), cost(trial.params)])
    return study


def test_with_a_proxy_that_tells_the_truth_the_best_is_found_sooner():
    def found(**how):
        """Best accuracy after 18 trials, the mean over ten seeds."""
        studies = [told(KnownCostSampler(SPACE, known, seed=seed, **how), 18) for seed in range(10)]
        return np.mean([max(accuracy(trial.params) for trial in study.trials) for study in studies])

    assert found(proxies={0: "told"}) > found() + 0.1


def test_a_proxy_that_one_trial_lacks_does_not_count():
    def tried(**how):
        return [trial.params for trial in told(KnownCostSampler(SPACE, known, **how), missing=True).trials]

    assert tried(proxies={0: "told"}) == tried()
    assert [one.params for one in told(KnownCostSampler(SPACE, known, proxies={0: "told"})).trials] != tried()


def test_what_is_not_wanted_is_never_proposed():
    study = study_of(KnownCostSampler(SPACE, lambda one: None if cost(one) > 60 else known(one)))
    legal = sum(cost(dict(zip(SPACE, one, strict=True))) <= 60 for one in every())
    run(study, legal)
    assert all(trial.values[1] <= 60 for trial in study.trials)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == legal


def test_the_first_ones_are_spread_over_the_costs():
    study = study_of(KnownCostSampler(SPACE, known))
    run(study, STARTUP)
    costs = np.log([trial.values[1] for trial in study.trials])
    low, high = np.log(8), np.log(4 * 64 * 1.5)
    assert np.histogram(costs, bins=4, range=(low, high))[0].min() >= 1


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been():
    whole = study_of(KnownCostSampler(SPACE, known, seed=3))
    run(whole, 20)
    again = study_of(KnownCostSampler(SPACE, known, seed=3))
    again.add_trials(whole.trials[:13])
    for trial in whole.trials[13:]:
        asked = again.ask(SPACE)
        assert asked.params == trial.params
        again.tell(asked, trial.values)


def test_what_is_running_is_not_proposed_and_its_place_is_taken():
    study = study_of(KnownCostSampler(SPACE, known))
    run(study, 12)
    asked = [study.ask(SPACE) for _ in range(5)]
    assert len({tuple(one.params.items()) for one in asked}) == 5
    assert len({cost(one.params) for one in asked}) > 2


def test_mixed_and_infinite_spaces_with_several_objectives():
    space = {**SPACE, "rate": FloatDistribution(1e-4, 1e-1, log=True), "share": FloatDistribution(0, 1, step=0.25)}
    sampler = KnownCostSampler(space, lambda one: (None, None, cost(one)))
    study = optuna.create_study(directions=["maximize", "maximize", "minimize"], sampler=sampler)
    for _ in range(STARTUP + 4):
        trial = study.ask(space)
        rate = trial.params["rate"]
        assert 1e-4 <= rate <= 1e-1
        study.tell(trial, [accuracy(trial.params) - abs(np.log10(rate) + 2), -rate, cost(trial.params)])
    assert len(study.trials) == STARTUP + 4


def test_the_front_is_found_with_fewer_trials_than_at_random(monkeypatch):
    monkeypatch.setattr(known_cost, "STARTUP", 4)
    space = {
        **{f"depth{i}": IntDistribution(1, 3) for i in range(3)},
        **{f"width{i}": CategoricalDistribution([32, 64, 96, 128]) for i in range(3)},
    }

    def macs(one) -> float:
        return sum(one[f"depth{i}"] * one[f"width{i}"] ** 2 / 4**i for i in range(3))

    def miou(one) -> float:
        return sum((i + 1) * np.log(one[f"width{i}"]) + 2 * np.sqrt(one[f"depth{i}"]) for i in range(3))

    def reached(sampler) -> float:
        study = study_of(sampler)
        rng = np.random.default_rng(1)
        for _ in range(20):
            trial = study.ask(space)
            study.tell(trial, [miou(trial.params) + 0.1 * rng.normal(), macs(trial.params)])
        points = [[miou(trial.params), np.log(macs(trial.params))] for trial in study.trials]
        return hypervolume(points, [20, 11], ["maximize", "minimize"])

    ours = [reached(KnownCostSampler(space, lambda one: (None, macs(one)), seed=seed)) for seed in range(3)]
    random = [reached(optuna.samplers.RandomSampler(seed=seed)) for seed in range(6)]
    assert min(ours) > max(random)


def test_of_a_search_costs_and_predicted_times_are_known_and_limits_hold():
    def macs(run: RunSpec) -> int:
        return count(run.network, run.image_size).macs

    objectives = {"score.miou": "maximize", "cost.macs": "minimize", "latency.median_ms": "minimize"}
    content = tiny_search(sampler={"kind": "known_cost"}).model_dump(mode="json") | {"latency": {}}
    content["search"] |= {"objectives": objectives, "trials": 100}
    every = RunSpec.model_validate(content)
    half = np.median([macs(every.candidate(values)) for values in all_values()])
    content["search"]["limits"] = {"cost.macs": {"at_most": half}}
    spec = RunSpec.model_validate(content)
    study = Study(spec, predict=lambda run: predicted(RuntimeSpec(), run.image_size, "cpu", macs(run) / 1000))
    proposals = [study.propose() for _ in range(6)]
    assert all(one is not None and one.spec is not None and macs(one.spec) <= half for one in proposals)
    known = study.known_cost.space.parameters(study.known_cost.space.rows(np.random.default_rng(0))[0])
    accuracy, cost, time = study.known_cost.known_of_many([known])[0]
    assert accuracy is None
    assert time == cost / 1000


def all_values():
    for depth, width in product((1, 2, 3), (16, 32, 48)):
        yield {"network.backbone.stages.0.depth": depth, "width": width}


@pytest.mark.parametrize("seed", range(5))
def test_of_many_trials_those_least_far_behind_the_front_are_looked_at(seed):
    rng = np.random.default_rng(seed)
    costs, values = rng.integers(5, size=(60, 2)).astype(float), rng.normal(size=(60, 1))
    behind = [max(values[i, 0] - values[j, 0] for j in range(60) if (costs[j] <= costs[i]).all()) for i in range(60)]
    none = np.zeros(60, dtype=bool)
    chosen = known_cost._least_behind(costs, values, none, 20)
    assert sorted(chosen) == [*chosen] and len({*chosen}) == 20
    assert max(behind[i] for i in chosen) <= min(behind[i] for i in {*range(60)} - {*chosen})
    assert known_cost._least_behind(costs, values, none, 60).tolist() == [*range(60)]
    broken = values[:, 0] < np.median(values)  # the best ones
    assert not broken[known_cost._least_behind(costs, values, broken, 20)].any()


def test_of_a_wide_front_new_trials_are_looked_at_too():
    costs, values = np.arange(100.0)[:, None], -np.arange(100.0)[:, None]
    chosen = known_cost._least_behind(costs, values, np.zeros(100, dtype=bool), 20)
    assert (chosen > 80).any() and (chosen < 20).any() and np.diff(chosen).max() < 40


def test_with_more_trials_than_are_looked_at_proposals_are_new_and_good(monkeypatch):
    monkeypatch.setattr(known_cost, "HOPEFUL", 6)
    monkeypatch.setattr(known_cost, "FITTED", 12)
    study = study_of(KnownCostSampler(SPACE, known))
    run(study, 24)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 24
    assert (
        max(trial.values[0] for trial in study.trials)
        >= sorted(accuracy(dict(zip(SPACE, one, strict=True))) for one in every())[-2]
    )
