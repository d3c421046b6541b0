"""A Gaussian process of values that depend on other values of the same points: scores on training losses, and scores
after long trainings on those after short ones.

A value is the other one times a slope, plus a gain that all points share, plus a difference that is alike for
neighbours: autoregressive co-kriging (Kennedy and O'Hagan, 2000; recursively: Le Gratiet, 2013).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from stdc_search.expectation.process import JITTER, LEARNT, Floats, GaussianProcess, spread

Prior = tuple[float, float]
"""Mean and standard deviation of a number before there is data."""


class Link(NamedTuple):
    """How values depend on the other ones."""

    slope: float
    unlike: float
    """Variance of the difference between points."""
    noise: float
    """Variance between measurements of a point."""


class Linked:
    """The posterior of values, given the process of the other ones.

    Args:
        base: process of the other values.
        points: where values were measured, [measurements, dimensions].
        values: [measurements].
        link: how values depend on the other ones.
    """

    def __init__(self, base: GaussianProcess | Linked, points: Floats, values: Floats, link: Link) -> None:
        self.base, self.points, self.values, self.link = base, points, values, link
        covariances = self._prior(points, points)
        covariances[np.diag_indices_from(covariances)] += link.noise + JITTER * base.spread**2
        self.factor = cho_factor(covariances, lower=True)
        left = values - link.slope * base.means(points)
        self.ones = cho_solve(self.factor, np.ones(len(points)))
        self.gain = self.ones @ left / self.ones.sum()
        self.weights = cho_solve(self.factor, left - self.gain)

    @property
    def spread(self) -> float:
        """Standard deviation of the noiseless values between points."""
        return float(np.hypot(self.link.slope * self.base.spread, np.sqrt(self.link.unlike)))

    @property
    def explained(self) -> float:
        """Share of the variance between points that the other values explain."""
        return (self.link.slope * self.base.spread / self.spread) ** 2

    @property
    def noise(self) -> float:
        """Standard deviation of a value measured again."""
        return float(np.sqrt(self.link.noise))

    def between(self, x: Floats, y: Floats) -> Floats:
        """Correlations of differences: [x, y]."""
        return self.base.between(x, y)

    def means(self, points: Floats) -> Floats:
        """Means of the noiseless values at further points."""
        return self.link.slope * self.base.means(points) + self.gain + self._prior(points, self.points) @ self.weights

    def covariance(self, some: Floats, others: Floats) -> Floats:
        """Covariances of the noiseless values at further points: [some, others]."""
        first, second = (self._evidence(self._prior(points, self.points), 1) for points in (some, others))
        return _posterior(self._prior(some, others), first, second)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noiseless values at further points."""
        return self.outlook(points)[:2]

    def outlook(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """What `predict` gives, and what `moves` gives of each point itself: [points] each."""
        here = self._at(points)
        return here.means, np.sqrt(here.own.clip(JITTER * self.spread**2)), self._explained(here.both, here.own, here)

    def after(self, points: Floats) -> Linked:
        """The process if further measurements of both values gave what is expected of them."""
        values, base = np.concatenate([self.values, self.means(points)]), self.base.after(points)
        # The same array, if it was: then its covariances are remembered.
        every = base.points if self.points is self.base.points else np.concatenate([self.points, points])
        return Linked(base, every, values, self.link)

    def moves(self, places: Floats, points: Floats) -> Floats:
        """Standard deviations of the changes that a training at each point makes to the means at places: [places,
        points]. It measures both values."""
        slope, unlike = self.link.slope, self.link.unlike
        here, known = self._at(points), self._evidence(self._prior(places, self.points), 1)
        of_base = self.base.covariance(places, points)
        of_own = slope**2 * of_base + unlike * self.between(places, points)
        with_base = _posterior(slope * of_base, known, here.evidence_of_base)
        return self._explained(with_base, _posterior(of_own, known, here.evidence), here)

    def _explained(self, with_base: Floats, with_own: Floats, here: _Posterior) -> Floats:
        """Standard deviation of the share of values that trainings explain, with the sign of `with_own`. The arguments
        are the values' covariances with what a training measures: the other value and this one."""
        base, own, both = here.base + self.base.noise**2, here.own + self.link.noise, here.both
        explained = with_base**2 * own - 2 * with_base * with_own * both + with_own**2 * base
        return np.copysign(np.sqrt((explained / (base * own - both**2)).clip(0)), with_own)

    def _at(self, points: Floats) -> _Posterior:
        slope, unlike = self.link.slope, self.link.unlike
        means, deviations = self.base.predict(points)
        with_base = self.base.covariance(points, self.points)
        across = slope**2 * with_base + unlike * self.between(points, self.points)
        own, theirs, variances = self._evidence(across, 1), self._evidence(slope * with_base, 0), deviations**2
        return _Posterior(
            slope * means + self.gain + across @ self.weights,
            _posterior_of_each(variances, theirs, theirs),
            _posterior_of_each(slope * variances, own, theirs),
            _posterior_of_each(slope**2 * variances + unlike, own, own),
            own,
            theirs,
        )

    def _prior(self, some: Floats, others: Floats) -> Floats:
        """Prior covariances, with the other values known as far as `base` knows them."""
        return self.link.slope**2 * self.base.covariance(some, others) + self.link.unlike * self.between(some, others)

    def _evidence(self, across: Floats, gains: int) -> _Evidence:
        """What measurements say about quantities with these prior covariances: [quantities, measurements]. `gains` is
        the number of times that each quantity contains the gain."""
        unsure = (gains - across @ self.ones) / np.sqrt(self.ones.sum())
        return _Evidence(solve_triangular(self.factor[0], across.T, lower=True), unsure)


class _Evidence(NamedTuple):
    """What measurements say about quantities. Products of two give the change of a covariance."""

    known: Floats
    """[measurements, quantities]."""
    unsure: Floats
    """Uncertainty that the unknown gain adds: [quantities]."""


class _Posterior(NamedTuple):
    """Posterior means and variances at points."""

    means: Floats
    base: Floats
    """Variance of the other value, [points]."""
    both: Floats
    """Covariance of both values, [points]."""
    own: Floats
    """Variance of this value, [points]."""
    evidence: _Evidence
    evidence_of_base: _Evidence


def _posterior(prior: Floats, some: _Evidence, others: _Evidence) -> Floats:
    """Posterior covariances: [some, others]."""
    return prior - some.known.T @ others.known + np.outer(some.unsure, others.unsure)


def _posterior_of_each(prior: Floats, some: _Evidence, others: _Evidence) -> Floats:
    """The same of pairs: [pairs]."""
    return prior - (some.known * others.known).sum(0) + some.unsure * others.unsure


def longer(base: GaussianProcess | Linked, points: Floats, values: Floats) -> Linked:
    """Scores after long trainings, where `base` has those after short ones: [trainings, dimensions], [trainings]."""
    return _learnt(base, points, values, (1.0, 0.0), (np.log(0.1 * base.spread**2), 1.5), (np.log(base.noise**2), 1.0))


def beside_losses(base: GaussianProcess, points: Floats, values: Floats) -> Linked:
    """Scores, where `base` has what losses of the same trainings say: [trainings, dimensions], [trainings]. The higher
    that is, the higher should be the scores.

    The priors follow experiments/proxies: losses explain most of what differs between networks.
    """
    ratio, variance = values.std() / base.spread, values.var() or 1.0
    return _learnt(
        base, points, values, (0.6 * ratio, 0.3 * ratio), (np.log(0.1 * variance), 1.5), (np.log(0.3 * variance), 1.0)
    )


def _learnt(
    base: GaussianProcess | Linked, points: Floats, values: Floats, slope: Prior, unlike: Prior, noise: Prior
) -> Linked:
    """The most likely link, by priors of its slope and of the logarithms of its variances."""
    kept = spread(len(points), LEARNT)
    some, targets = points[kept], values[kept]
    known, between, means = base.covariance(some, some), base.between(some, some), base.means(some)
    free = np.array([one for one in (slope, unlike, noise) if one[1]])

    def link(numbers: Floats) -> Link:
        return Link(*([slope[0]] if not slope[1] else []), *numbers[:-2], *np.exp(numbers[-2:]))

    def loss(scaled: Floats) -> float:
        one = link(free[:, 0] + scaled * free[:, 1])
        covariances = one.slope**2 * known + one.unlike * between + (one.noise + JITTER) * np.eye(len(some))
        factor = cho_factor(covariances, lower=True)
        left, ones = targets - one.slope * means, cho_solve(factor, np.ones(len(some)))
        left = left - ones @ left / ones.sum()
        fit = left @ cho_solve(factor, left) + 2 * np.log(np.diag(factor[0])).sum() + np.log(ones.sum())
        return fit + scaled @ scaled

    found = minimize(loss, np.zeros(len(free)), method="L-BFGS-B", bounds=[(-3, 3)] * len(free))
    return Linked(base, points, values, link(free[:, 0] + found.x * free[:, 1]))
