"""A Gaussian process whose noise and length scales are learnt, for a few hundred points.

Values of neighbours are alike. A point also has a share of its own, which neighbours do not have and which repeated
measurements of the point have in common. Noise differs from one measurement to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
JITTER = 1e-8
LEARNT = 200
"""Points that a kernel is learnt from, at most."""
NOISE, OWN = (np.log(0.3), 1.0), (np.log(0.03), 1.0)
"""Mean and deviation of the logarithms of two variances before there is data, as shares of all variance: of the noise,
and of what a point has of its own. Where no point is measured twice, nothing else tells them apart. Trainings of
experiments/search_benchmark suggest them: there noise is 0.4 of all variance, and little beside it is not smooth."""
SCALES = 1.0
"""Deviation of the logarithms of signal and length scales; length scales grow with the root of the dimensions."""


class Kernel(NamedTuple):
    """Matérn 5/2 with a length scale a dimension, over values of mean 0 and variance 1."""

    lengths: Floats
    signal: float
    own: float
    noise: float
    """Variances: of what neighbours share, of what a point has of its own, and between measurements of a point."""

    def between(self, x: Floats, y: Floats) -> Floats:
        """Covariances of the noiseless values at [points, dimensions] each."""
        return self.covariances(*self.alike(x, y))

    def covariances(self, near: Floats, same: NDArray[np.bool_]) -> Floats:
        """What `between` gives, from what `alike` gives."""
        return self.signal * near + self.own * same

    def alike(self, x: Floats, y: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """How alike points are to their neighbours, and which are the same."""
        distances = cdist(x / self.lengths, y / self.lengths).astype(np.float64, copy=False)
        return _matern(distances), distances == 0


Result = TypeVar("Result")


def _remembered(method: Callable[..., Result]) -> Callable[..., Result]:
    """Remember the last result of a method: a model asks several times in a row about the same arrays."""

    last = f"last of {method.__name__}"

    @wraps(method)
    def remembering(self: Any, *arrays: Floats) -> Result:
        before, result = self.__dict__.get(last, ((), None))
        if len(before) != len(arrays) or any(one is not other for one, other in zip(before, arrays, strict=True)):
            self.__dict__[last] = arrays, (result := method(self, *arrays))
        return result

    return remembering


class GaussianProcess:
    """Values at points, and predictions at others.

    Args:
        points: [points, dimensions], each dimension about 0 to 1.
        values: [points].
        kernel: default: learnt from at most LEARNT of these.
    """

    def __init__(self, points: Floats, values: Floats, kernel: Kernel | None = None) -> None:
        self.points, self.values = points, values
        self.mean, self.scale = values.mean(), values.std() or 1.0
        scaled = (values - self.mean) / self.scale
        some = spread(len(points), LEARNT)
        self.kernel = kernel or learn(points[some], scaled[some])
        covariances = self.kernel.between(points, points)
        covariances[np.diag_indices_from(covariances)] += self.kernel.noise + JITTER
        self.factor = cho_factor(covariances, lower=True)
        self.weights = cho_solve(self.factor, scaled)

    def means(self, points: Floats) -> Floats:
        """The first of what `predict` gives, which is quick."""
        return self.mean + self.scale * (self._between(points, self.points) @ self.weights)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noiseless values at further points."""
        across, solved = self._between(points, self.points), self._solved(points)
        variance = (self.kernel.signal + self.kernel.own - (solved**2).sum(0)).clip(1e-12)
        return self.mean + self.scale * (across @ self.weights), self.scale * np.sqrt(variance)

    def covariance(self, some: Floats, others: Floats) -> Floats:
        """Covariances of the noiseless values at further points: [some, others]."""
        first, second = (self._own if points is self.points else self._solved(points) for points in (some, others))
        return self.scale**2 * (self._between(some, others) - first.T @ second)

    @_remembered
    def _solved(self, points: Floats) -> Floats:
        return solve_triangular(self.factor[0], self._between(points, self.points).T, lower=True)

    def _between(self, x: Floats, y: Floats) -> Floats:
        return self.kernel.covariances(*self._alike(x, y))

    @_remembered
    def _alike(self, x: Floats, y: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        return self.kernel.alike(x, y)

    @cached_property
    def _own(self) -> Floats:
        """The same of its own points, which linked processes ask for again and again."""
        return self._solved(self.points)

    def after(self, points: Floats) -> GaussianProcess:
        """The process if further measurements gave what is expected of them."""
        values = np.concatenate([self.values, self.means(points)])
        return GaussianProcess(np.concatenate([self.points, points]), values, self.kernel)

    def moves(self, places: Floats, points: Floats) -> Floats:
        """Standard deviations of the changes that a measurement at each point makes to the means at places: [places,
        points]."""
        return self.covariance(places, points) / np.hypot(self.predict(points)[1], self.noise)

    def outlook(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """What `predict` gives, and what `moves` gives of each point itself: [points] each."""
        means, deviations = self.predict(points)
        return means, deviations, deviations**2 / np.hypot(deviations, self.noise)

    def between(self, x: Floats, y: Floats) -> Floats:
        """Correlations of values of which neighbours share half: [x, y]."""
        near, same = self._alike(x, y)
        return 0.5 * near + 0.5 * same

    @property
    def spread(self) -> float:
        """Standard deviation of what neighbours share."""
        return float(self.scale * np.sqrt(self.kernel.signal))

    @property
    def noise(self) -> float:
        """Standard deviation of a value measured again."""
        return float(self.scale * np.sqrt(self.kernel.noise))


def spread(count: int, most: int) -> NDArray[np.intp]:
    """Indices of at most `most` of `count` points, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.intp)


def learn(points: Floats, values: Floats, steps: int = 60) -> Kernel:
    """The most likely kernel of values of mean 0 and variance 1, given what kernels are like (Rasmussen, 2006, 5.4)."""
    count, dimensions = points.shape
    squares = (points[:, None, :] - points[None, :, :]) ** 2
    same = ~squares.any(-1)
    usual = np.r_[np.full(dimensions, 0.5 * np.log(dimensions)), 0.0, OWN[0], NOISE[0]]
    spread = np.r_[np.full(dimensions + 1, SCALES), OWN[1], NOISE[1]]

    def loss(logs: Floats) -> tuple[float, Floats]:
        lengths, (signal, own, noise) = np.exp(logs[:-3]), np.exp(logs[-3:])
        distances = np.sqrt(squares @ lengths**-2)
        clean = signal * _matern(distances)
        factor = cho_factor(clean + own * same + (noise + JITTER) * np.eye(count), lower=True)
        weights = cho_solve(factor, values)
        gap = np.outer(weights, weights) - cho_solve(factor, np.eye(count))
        slope = 5 / 3 * signal * (1 + np.sqrt(5) * distances) * np.exp(-np.sqrt(5) * distances)
        gradient = np.r_[
            np.einsum("ij,ijd->d", gap * slope, squares) / lengths**2,
            (gap * clean).sum(),
            own * (gap * same).sum(),
            noise * np.trace(gap),
        ]
        likelihood = -0.5 * values @ weights - np.log(np.diag(factor[0])).sum()
        off = (logs - usual) / spread
        return 0.5 * off @ off - likelihood, off / spread - 0.5 * gradient

    found = minimize(
        loss, usual, jac=True, method="L-BFGS-B", bounds=[(-6, 6)] * len(usual), options={"maxiter": steps}
    )
    logs = found.x
    return Kernel(np.exp(logs[:-3]), *np.exp(logs[-3:]).tolist())


def _matern(distances: Floats) -> Floats:
    scaled = np.sqrt(5) * distances
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
