"""The mean of a few numbers, such as a model's errors over seeds, with Student's confidence interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Confidence level: the fraction of such intervals that contain the true mean."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a sample, and its uncertainty."""

    n: int
    mean: float
    standard_deviation: float | None
    """Sample standard deviation, with n − 1; None for a single value."""
    interval: tuple[float, float] | None
    """Confidence interval of the mean, at `LEVEL`; None for a single value."""
    least: float
    greatest: float

    @property
    def excludes_zero(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, sample standard deviation and Student's interval of the mean.

    values  (n,), finite, at least one
    The interval is mean ± t · s / √n, t being the quantile of Student's distribution with n − 1 degrees of freedom: it
    contains the true mean with probability `LEVEL` if the values are normally distributed. For differences between
    pairs it corresponds to the paired t-test. Student (1908), Biometrika 6, 1-25.
    """
    n = len(values)
    # The statistics module sums exactly: equal values have a deviation of exactly 0.
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if n > 1 else None
    interval = None
    if deviation is not None:
        half_width = quantile((1 + LEVEL) / 2, n - 1) * deviation / math.sqrt(n)
        interval = (mean - half_width, mean + half_width)
    return Estimate(n, mean, deviation, interval, min(values), max(values))


def quantile(probability: float, degrees_of_freedom: int) -> float:
    """The quantile of Student's t distribution."""
    from scipy.stats import t  # takes half a second to load; listing commands do not need it

    return float(t.ppf(probability, degrees_of_freedom))
