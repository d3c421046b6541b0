"""What finals say together with their search, and losses together with scores, against what both were drawn from and
against the joint normal distribution of all values."""

from __future__ import annotations

import numpy as np
import pytest

from stdc_search.expectation import expected, networks
from stdc_search.expectation.linked import Link, Linked, beside_losses, longer
from stdc_search.expectation.process import GaussianProcess
from tests.expectation.test_networks import NOISE, SEARCH, one, trainings, truth

GAIN = 12.0


def finals(seed: int, noise: float = NOISE, unlike: float = 0.0) -> tuple[list, list, np.ndarray]:
    """A search, its finals of eight networks with three seeds, and what these truly score."""
    rng, search = np.random.default_rng([seed, 1]), trainings(seed)
    chosen = [search[i] for i in sorted(rng.choice(len(search), 8, replace=False))]
    true = np.array([truth(**record.values) + GAIN + unlike * rng.normal() for record in chosen])
    again = []
    for record, score in zip(chosen, true, strict=True):
        seeds = score + noise * rng.normal(size=3)
        changed = record.score.model_copy(update={"miou": float(seeds.mean()), "seed_miou": tuple(seeds.tolist())})
        again.append(one(record.number, **record.values, miou=0).model_copy(update={"score": changed}))
    return search, again, true


def errors(unlike: float) -> tuple[float, float, float]:
    """Root mean square errors of means over seeds and of expected scores; and the share inside the intervals."""
    raw, model, inside = [], [], []
    for seed in range(4):
        search, again, true = finals(seed, unlike=unlike)
        found = expected(networks(again), SEARCH, networks(search))
        raw.append([record.metric("score.miou") for record in again] - true)
        model.append(found.scores["score.miou"] - true)
        inside.append(np.abs(model[-1]) < found.intervals["score.miou"])
    return float(np.std(raw)), float(np.std(model)), float(np.mean(inside))


@pytest.mark.parametrize("unlike", [0.0, 1.5])
def test_with_the_search_finals_are_known_better_than_by_their_seeds_alone(unlike):
    raw, model, inside = errors(unlike)
    assert model < (0.75 if not unlike else 1.0) * raw
    assert inside > 0.85


def test_finals_without_noise_are_what_they_are():
    search, again, true = finals(0, noise=0.3, unlike=5.0)
    found = expected(networks(again), SEARCH, networks(search))
    assert found.scores["score.miou"] == pytest.approx(true, abs=1.0)


def test_two_networks_of_finals_are_enough_where_there_is_a_search():
    search, again, _ = finals(3)
    assert not expected(networks(again[:2]), SEARCH).scores
    found = expected(networks(again[:2]), SEARCH, networks(search))
    assert len(found.scores["score.miou"]) == 2


def test_a_network_that_the_search_does_not_know_leaves_finals_to_themselves():
    search, again, _ = finals(3)
    others = [record.model_copy(update={"number": record.number + 1000}) for record in again]
    alone = expected(networks(others), SEARCH)
    assert expected(networks(others), SEARCH, networks(search)).scores["score.miou"] == pytest.approx(
        alone.scores["score.miou"]
    )


def test_far_from_all_finals_the_gain_is_that_of_all():
    rng = np.random.default_rng(0)
    points = rng.random((40, 2))
    shorter = GaussianProcess(points, 3 * points[:, 0] + 0.1 * rng.normal(size=40))
    found = longer(shorter, points[:6], shorter.means(points[:6]) + 5)
    assert found.means(points) == pytest.approx(shorter.means(points) + 5, abs=0.1)
    assert np.linalg.eigvalsh(found.covariance(points, points)).min() > -1e-9


def losses(records: list, seed: int, *, noise: float = 0.02, unlike: float = 0.0) -> list:
    """Records with training losses that tell the truth, but for noise and a difference of each network."""
    rng = np.random.default_rng([seed, 2])
    found = []
    for record in records:
        own = np.random.default_rng([seed, 3, record.number]).normal()
        log_loss = 1 - 0.05 * truth(**record.values) + 0.05 * unlike * own + noise * rng.normal()
        found.append(record.model_copy(update={"training_loss": (float(np.exp(log_loss)),)}))
    return found


def error(records: list, seed: int) -> float:
    """Standard deviation of the errors of expected scores."""
    true = np.array([truth(**record.values) for record in records])
    return float(np.std(expected(networks(records), SEARCH).scores["score.miou"] - true))


@pytest.mark.parametrize(("unlike", "most"), [(0.0, 0.9), (8.0, 1.4)])
def test_losses_that_tell_the_truth_lower_the_errors_and_others_raise_them_little(unlike, most):
    with_losses, without = [], []
    for seed in range(4):
        some = np.random.default_rng(seed).choice(60, 24, replace=False)
        records = [trainings(seed)[i] for i in sorted(some)]
        without.append(error(records, seed))
        with_losses.append(error(losses(records, seed, unlike=unlike), seed))
    assert np.mean(with_losses) < most * np.mean(without)


def test_losses_do_not_count_where_one_is_missing_or_where_they_do_not_compare():
    records = trainings(0)
    plain = expected(networks(records), SEARCH).scores["score.miou"]
    told = losses(records, 0)
    assert not np.allclose(expected(networks(told), SEARCH).scores["score.miou"], plain)
    for some in ([*told[:-1], records[-1]], [*told[:-1], told[-1].model_copy(update={"training_loss": (0.0,)})]):
        assert np.allclose(expected(networks(some), SEARCH).scores["score.miou"], plain)
    width = {**SEARCH.vary["width"].model_dump(), "sets": ["network.head.width", "network.detail.width"]}
    other = SEARCH.model_validate({**SEARCH.model_dump(), "vary": {"depth": SEARCH.vary["depth"], "width": width}})
    assert SEARCH.losses_compare and not other.losses_compare
    assert np.allclose(expected(networks(told), other).scores["score.miou"], plain)


def test_a_linked_process_is_the_joint_normal_distribution_of_all_values_given_those_measured():
    rng = np.random.default_rng(0)
    points, places = rng.random((12, 2)), rng.random((5, 2))
    base = GaussianProcess(points, np.sin(3 * points[:, 0]) + points[:, 1])
    linked = Linked(base, points[2:], rng.normal(size=10) + 3, Link(slope=1.7, unlike=0.4, noise=0.6))
    new = rng.random((3, 2))
    wide = 1e5  # variance of the gain before there is data

    def prior(x, y):
        return base.scale**2 * base.kernel.between(x, y)

    def both(x, y):
        """Covariances of the other values and of these, which measurements of a training have."""
        across = 1.7 * prior(x, y)
        own = 1.7**2 * prior(x, y) + 0.4 * base.between(x, y) + wide
        return np.block([[prior(x, y), across], [across, own]])

    def noises(count_base, count):
        return np.diag([base.noise**2] * count_base + [0.6] * count)

    known = np.r_[np.arange(12), np.arange(12 + 2, 24)]  # of both values at all points
    measured = both(points, points)[np.ix_(known, known)] + noises(12, 10)
    values = np.r_[base.values - base.mean, linked.values]
    values[12:] -= 1.7 * base.mean
    targets = np.concatenate([places, new])
    across = both(targets, points)[:, known]
    means = across @ np.linalg.solve(measured, values)
    left = both(targets, targets) - across @ np.linalg.solve(measured, across.T)
    own = slice(len(targets), None)
    assert linked.means(targets) - 1.7 * base.mean == pytest.approx(means[own], abs=1e-3)
    assert linked.covariance(targets, targets) == pytest.approx(left[own, own], abs=1e-3)
    mean, deviation = linked.predict(targets)
    assert mean == pytest.approx(linked.means(targets))
    assert deviation**2 == pytest.approx(np.diag(left[own, own]), abs=1e-3)

    moved = linked.moves(places, new)
    for i in range(3):
        pair = [5 + i, len(targets) + 5 + i]
        told = left[np.ix_(pair, pair)] + noises(1, 1)
        for j in range(5):
            gap = left[len(targets) + j, pair]
            assert abs(moved[j, i]) == pytest.approx(np.sqrt(gap @ np.linalg.solve(told, gap)), abs=1e-3)
        gap = left[len(targets) + 5 + i, pair]
        assert linked.outlook(new)[2][i] == pytest.approx(np.sqrt(gap @ np.linalg.solve(told, gap)), abs=1e-3)


def test_measurements_that_give_what_is_expected_change_no_mean_but_narrow_it():
    rng = np.random.default_rng(0)
    points, places = rng.random((12, 2)), rng.random((4, 2))
    base = GaussianProcess(points, points[:, 0] + 0.1 * rng.normal(size=12))
    linked = beside_losses(base, points, 3 * points[:, 0] + 0.5 * rng.normal(size=12))
    later = linked.after(places)
    assert later.means(places) == pytest.approx(linked.means(places), abs=0.1)
    assert (later.predict(places)[1] < linked.predict(places)[1]).all()
