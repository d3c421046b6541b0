"""What finals say together with their search, against what both were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from stdc_search.expectation import expected, networks
from stdc_search.expectation.longer import longer
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
    found = longer(shorter, points[:6], shorter.means(points[:6]) + 5, points)
    assert found.means == pytest.approx(shorter.means(points) + 5, abs=0.1)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-9
