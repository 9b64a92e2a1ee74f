"""Whether numbers between 0 and 1 are uniform: their distribution function in a simultaneous band, and a p-value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm, poisson

Array = NDArray[np.float64]

MOST_POINTS = 100
"""Equally distant points at which distribution functions are compared."""

CONFIDENCE = 0.95
"""Of all samples of uniform numbers, the share that stays inside the band everywhere."""

NOTICED = 0.9
"""Probability with which a fault would have been noticed, in statements of what a test can see."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class Uniformity:
    """The empirical distribution function of numbers that should be uniform, and its simultaneous band."""

    count: int
    points: Array
    share: Array
    """Of the numbers, at most each point."""
    lower: Array
    upper: Array
    p_value: float
    """Probability that uniform numbers leave a band of the same form as far at some point."""

    @property
    def inside(self) -> bool:
        return bool(((self.lower <= self.share) & (self.share <= self.upper)).all())


def uniformity(values: Array) -> Uniformity:
    """Compare numbers between 0 and 1 with the uniform distribution.

    The band has the same pointwise probability at all points, chosen so that uniform numbers stay inside everywhere
    with probability `CONFIDENCE`.
    Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison, Statistics and Computing 32, 32.
    """
    count = len(values)
    points = points_for(count)
    below = np.searchsorted(np.sort(values), points, side="right")
    tails = np.minimum(binom.cdf(below, count, points), binom.sf(below - 1, count, points))
    least = float(2 * tails.min() * (1 + ROUNDING))
    lower, upper = band(count)
    p_value = 1.0 if least >= 1 else 1 - inside(*_counts(count, least), points, count)
    return Uniformity(count, points, below / count, lower / count, upper / count, float(np.clip(p_value, 0, 1)))


def points_for(count: int) -> Array:
    """Where the distribution functions of `count` numbers are compared."""
    number = min(max(count, 2), MOST_POINTS)
    return np.arange(1, number) / number


@lru_cache(maxsize=32)
def band(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest numbers of `count` uniform ones below each of `points_for(count)`, simultaneously."""
    points = points_for(count)
    low, high = (1 - CONFIDENCE) / (2 * len(points) + 2), 1 - CONFIDENCE
    # Bisection, as the probability is a step function of the pointwise one.
    while high - low > 1e-3 * low:
        middle = (low * high) ** 0.5
        if inside(*_counts(count, middle), points, count) >= CONFIDENCE:
            low = middle
        else:
            high = middle
    return _counts(count, low)


def _counts(count: int, outside: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers below each point such that fewer, and more, have probability of at most `outside` / 2."""
    points, half = points_for(count), outside / 2
    lower = binom.ppf(half, count, points)
    lower += binom.cdf(lower, count, points) <= half
    return lower.astype(np.int64), binom.isf(half, count, points).astype(np.int64)


def inside(lower: NDArray[np.int64], upper: NDArray[np.int64], shares: Array, count: int) -> float:
    """The probability that of `count` independent numbers between `lower` and `upper` lie below each of some points.

    shares  the probability that a number lies below each point
    The numbers are a Poisson process under the condition that it has `count` events, which makes one step from point to
    point a convolution: Moscovich and Nadler (2017), Fast calculation of boundary crossing probabilities for Poisson
    processes, Statistics and Probability Letters 123, 177-182.
    """
    first, weights = 0, np.ones(1)
    steps = np.diff(np.concatenate([[0.0], shares, [1.0]]))
    for low, high, step in zip([*lower, count], [*upper, count], steps, strict=True):
        jumps = poisson.pmf(np.arange(high - first + 1), count * step)
        weights = np.convolve(weights, jumps)[low - first : high - first + 1]
        first = low
    return float(weights[0] / poisson.pmf(count, count))


@dataclass(frozen=True)
class Power:
    """Which faults of posteriors a number of observations shows, with probability `NOTICED`."""

    narrow: float
    """Ratio of the widths of intervals that are too narrow to the right ones, at which that is noticed."""
    shift: float
    """Shift of the medians that is noticed, in standard deviations of the posteriors."""


@lru_cache(maxsize=32)
def power(count: int) -> Power:
    """What positions of `count` true values can show, for normal posteriors. Zero and infinity where nothing would."""
    points, bounds = points_for(count), band(count)
    at = norm.ppf(points)

    def lacking(shares: Callable[[float], Array]) -> Callable[[float], float]:
        return lambda size: NOTICED - (1 - inside(*bounds, shares(size), count))

    narrow, shifted = lacking(lambda ratio: norm.cdf(ratio * at)), lacking(lambda shift: norm.cdf(at + shift))
    least, most = 1e-3, 10.0
    return Power(
        float(brentq(narrow, least, 1.0, xtol=1e-4)) if narrow(least) < 0 else 0.0,
        float(brentq(shifted, 0.0, most, xtol=1e-4)) if shifted(most) < 0 else float("inf"),
    )
