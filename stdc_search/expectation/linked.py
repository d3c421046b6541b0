"""Values that go with other values of the same points: scores with training losses, and scores after long trainings
with those after short ones.

A value is the other one times a slope, plus a gain that all points share, plus a difference that neighbours share in
part: autoregressive co-kriging (Kennedy and O'Hagan, 2000; recursively: Le Gratiet, 2013).
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
    """How values go with the others."""

    slope: float
    unlike: float
    """Variance of the difference."""
    noise: float
    """Variance between measurements of a point."""


class Linked:
    """A process of values, given a process of the others.

    Args:
        base: of the other values.
        points: where values were measured, [measurements, dimensions].
        values: [measurements].
        link: how they go together.
    """

    def __init__(self, base: GaussianProcess | Linked, points: Floats, values: Floats, link: Link) -> None:
        self.base, self.points, self.values, self.link = base, points, values, link
        covariances = self._before(points, points)
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
        return self.link.slope * self.base.means(points) + self.gain + self._before(points, self.points) @ self.weights

    def covariance(self, some: Floats, others: Floats) -> Floats:
        """Covariances of the noiseless values at further points: [some, others]."""
        first, second = (self._told(self._before(points, self.points), 1) for points in (some, others))
        return _left(self._before(some, others), first, second)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noiseless values at further points."""
        return self.outlook(points)[:2]

    def outlook(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """What `predict` gives, and what `moves` gives of each point itself: [points] each."""
        seen = self._seen(points)
        return seen.means, np.sqrt(seen.own.clip(JITTER * self.spread**2)), self._explained(seen.both, seen.own, seen)

    def after(self, points: Floats) -> Linked:
        """The process if further measurements of both values gave what is expected of them."""
        values, base = np.concatenate([self.values, self.means(points)]), self.base.after(points)
        # The same array, if it was: then its covariances are remembered.
        every = base.points if self.points is self.base.points else np.concatenate([self.points, points])
        return Linked(base, every, values, self.link)

    def moves(self, places: Floats, points: Floats) -> Floats:
        """Standard deviations of the changes that a training at each point makes to the means at places: [places,
        points]. It measures both values."""
        seen, known = self._seen(points), self._told(self._before(places, self.points), 1)
        with_base = _left(self.link.slope * self.base.covariance(places, points), known, seen.told_of_base)
        return self._explained(with_base, _left(self._before(places, points), known, seen.told), seen)

    def _explained(self, with_base: Floats, with_own: Floats, seen: _Seen) -> Floats:
        """Standard deviation of what trainings explain of values, by their covariances with the other value and with
        this one; with the sign of the latter."""
        base, own, both = seen.base + self.base.noise**2, seen.own + self.link.noise, seen.both
        explained = with_base**2 * own - 2 * with_base * with_own * both + with_own**2 * base
        return np.copysign(np.sqrt((explained / (base * own - both**2)).clip(0)), with_own)

    def _seen(self, points: Floats) -> _Seen:
        slope, unlike = self.link.slope, self.link.unlike
        means, deviations = self.base.predict(points)
        with_base = self.base.covariance(points, self.points)
        across = slope**2 * with_base + unlike * self.between(points, self.points)
        own, theirs, variances = self._told(across, 1), self._told(slope * with_base, 0), deviations**2
        return _Seen(
            slope * means + self.gain + across @ self.weights,
            _left_of_each(variances, theirs, theirs),
            _left_of_each(slope * variances, own, theirs),
            _left_of_each(slope**2 * variances + unlike, own, own),
            own,
            theirs,
        )

    def _before(self, some: Floats, others: Floats) -> Floats:
        """Covariances before values were measured."""
        return self.link.slope**2 * self.base.covariance(some, others) + self.link.unlike * self.between(some, others)

    def _told(self, across: Floats, gains: int) -> _Told:
        """What the measured values tell of others, by their covariances, [others, measurements], and by how often these
        have the gain."""
        unsure = (gains - across @ self.ones) / np.sqrt(self.ones.sum())
        return _Told(solve_triangular(self.factor[0], across.T, lower=True), unsure)


class _Told(NamedTuple):
    """What measured values tell of others, in units in which a product of two is a covariance."""

    known: Floats
    """[measurements, others]."""
    unsure: Floats
    """How unsure the gain leaves them: [others]."""


class _Seen(NamedTuple):
    """What is known of points."""

    means: Floats
    base: Floats
    """Variance of the other value, [points]."""
    both: Floats
    """Covariance of both values, [points]."""
    own: Floats
    """Variance of this value, [points]."""
    told: _Told
    told_of_base: _Told


def _left(before: Floats, some: _Told, others: _Told) -> Floats:
    """Covariances of values that are left: [some, others]."""
    return before - some.known.T @ others.known + np.outer(some.unsure, others.unsure)


def _left_of_each(before: Floats, some: _Told, others: _Told) -> Floats:
    """The same of pairs: [pairs]."""
    return before - (some.known * others.known).sum(0) + some.unsure * others.unsure


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
