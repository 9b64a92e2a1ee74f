"""How many true values lie in intervals and regions that should hold a given share of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

Array = NDArray[np.float64]

PROBABILITIES = (0.5, 0.68, 0.9, 0.95)
"""Probabilities of the intervals and regions that are reported."""

EXPECTED = 0.95
"""Probability of the range in which the share of calibrated intervals lies."""


@dataclass(frozen=True)
class Coverage:
    """The share of true values inside intervals of one probability."""

    probability: float
    count: int
    """Number of true values."""
    inside: int
    """Of them, those in their interval."""
    expected: tuple[float, float]
    """Where the share lies for calibrated intervals, with probability `EXPECTED`."""
    p_value: float
    """Probability of a number as far from the expected one, for calibrated intervals (exact, two-sided)."""

    @property
    def share(self) -> float:
        return self.inside / self.count

    @property
    def too_low(self) -> bool:
        return self.share < self.expected[0]

    @property
    def too_high(self) -> bool:
        return self.share > self.expected[1]


def coverage(inside: NDArray[np.bool_], probability: float) -> Coverage:
    """Count true values inside their intervals, (observation,), beside what the binomial distribution expects."""
    count, hits = len(inside), int(inside.sum())
    low, high = expected(count, probability)
    p_value = float(binomtest(hits, count, probability).pvalue)
    return Coverage(probability, count, hits, (low / count, high / count), p_value)


def coverages(levels: Array) -> list[Coverage]:
    """Of the intervals or regions that hold each of `PROBABILITIES`.

    levels  (observation,), the probability in the smallest interval that holds the true value
    """
    return [coverage(levels <= probability, probability) for probability in PROBABILITIES]


def expected(count: int, probability: float) -> tuple[int, int]:
    """How many of `count` calibrated intervals hold their true value: a range of probability `EXPECTED` or more."""
    outside = (1 - EXPECTED) / 2
    return int(binom.ppf(outside, count, probability)), int(binom.isf(outside, count, probability))
