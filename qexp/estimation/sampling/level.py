"""An unknown noise level, as one more parameter of a posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.estimation.sampling.density import Posterior
from qexp.estimation.sampling.prior import SPAN, TABLE, Marginal

Array = NDArray[np.float64]

STEP = 1e-4
"""Of a difference of scores."""


@dataclass(frozen=True)
class Level:
    """The noise level of one observation: the standard deviation of all its noise is proportional to it.

    marginal   its prior
    reference  the level by whose noise signals and data are whitened
    points     number of data
    """

    marginal: Marginal
    reference: float
    points: int

    def log_likelihood(self, chi2: Array, score: Array) -> Array:
        """Of the level with this score, for the sum of squares by the reference; but for a constant."""
        relative = self.relative(score)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-0.5 * chi2 / np.square(relative) - self.points * np.log(relative))

    def relative(self, score: Array) -> Array:
        """The level with this score, in units of the reference."""
        return self.marginal.value(score) / self.reference

    def likeliest(self, chi2: float) -> float:
        """The score of the mode of the level, for the sum of squares by the reference."""
        log = self.log_likelihood(np.asarray(chi2), TABLE) - 0.5 * np.square(TABLE)
        return float(TABLE[np.argmax(np.nan_to_num(log, nan=-np.inf))])

    def curvature(self, chi2: float, score: float) -> float:
        """Of minus the logarithm of the posterior at its mode, with the expected squares of the level's slope."""
        ends = np.clip(score + STEP * np.array([-1.0, 1.0]), -SPAN, SPAN)
        low, high = np.log(np.maximum(self.relative(ends), np.finfo(float).tiny))
        relative = float(self.relative(np.asarray(score)))
        return float(1 + 2 * chi2 / relative**2 * ((high - low) / (ends[1] - ends[0])) ** 2)


class PosteriorWithLevel:
    """The posterior of the free parameters of one observation and, as the last score, of its noise level."""

    def __init__(self, sources: Posterior, level: Level) -> None:
        self.sources, self.level = sources, level

    def __call__(self, scores: Array) -> Array:
        found = self.level.log_likelihood(self.sources.chi2(scores[:, :-1]), scores[:, -1])
        found = found - 0.5 * np.square(scores).sum(axis=1)
        return np.where(np.isnan(found) | (np.abs(scores) > SPAN).any(axis=1), -np.inf, found)
