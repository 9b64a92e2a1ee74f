"""Priors of parameters, by which every parameter has a score with a standard normal distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

Array = NDArray[np.float64]

SPAN = 8.0
"""Largest absolute score: less than 10⁻¹⁵ of the probability lies beyond it, on either side."""

TABLE = np.linspace(-SPAN, SPAN, 8001)
"""Scores at which quantiles are tabulated to find the score of a value."""


@dataclass(frozen=True)
class Marginal:
    """The prior of a free parameter; all in SI units.

    quantile  probability → value
    low, high  the smallest and the largest value; those of the distribution may lie beyond and are then cut off
    words     what it is, for readers
    share     value → probability; None: found in a table of the quantiles
    period    of an angle whose prior goes all around
    """

    name: str
    quantile: Callable[[Array], Array]
    low: float
    high: float
    words: str
    period: float | None = None
    share: Callable[[Array], Array] | None = None

    def value(self, score: Array) -> Array:
        first, last = self._ends
        found = self.quantile(first + ndtr(np.clip(score, -SPAN, SPAN)) * (last - first))
        return np.asarray(np.clip(found, self.low, self.high))

    def score(self, value: Array) -> Array:
        """Of a value; of one beyond the ends, the score of the nearer end."""
        if self.period is not None:
            value = self.low + (value - self.low) % self.period
        if self.share is not None:
            return np.asarray(np.clip(ndtri(np.clip(self.share(np.asarray(value)), 0.0, 1.0)), -SPAN, SPAN))
        return np.asarray(np.interp(value, self.value(TABLE), TABLE))

    def around(self, value: float) -> Marginal:
        """Of an angle: the same with both ends opposite to a value; of anything else, the same."""
        if self.period is None:
            return self
        return uniform(self.name, value - self.period / 2, value + self.period / 2, self.period)

    @property
    def _ends(self) -> tuple[float, float]:
        """Probabilities of the distribution below the smallest and the largest value."""
        ends = self.quantile(np.array([0.0, 1.0]))
        if self.low <= ends[0] and self.high >= ends[1]:
            return 0.0, 1.0
        first, last = np.interp([self.low, self.high], self.quantile(ndtr(TABLE)), ndtr(TABLE), left=0.0, right=1.0)
        return float(first), float(last)


def uniform(name: str, low: float, high: float, period: float | None = None) -> Marginal:
    """Every value between two bounds is equally likely."""
    size = high - low
    return Marginal(
        name, lambda share: low + share * size, low, high, "uniform", period, lambda value: (value - low) / size
    )


class Prior:
    """The prior of all free parameters, which are independent.

    names      of all parameters of the model, in the order of its columns
    marginals  of those that are free
    fixed      name → value of the others, in SI units
    """

    def __init__(self, names: Sequence[str], marginals: Sequence[Marginal], fixed: Mapping[str, float]) -> None:
        self.names, self.marginals, self.fixed = tuple(names), tuple(marginals), dict(fixed)
        self._columns = [self.names.index(one.name) for one in marginals]
        self._template = np.array([fixed.get(name, math.nan) for name in names])

    @property
    def free(self) -> list[str]:
        return [one.name for one in self.marginals]

    def values(self, scores: Array) -> Tensor:
        """Values of all parameters, (draw, parameter) in SI units, of (draw, free parameter)."""
        values = np.tile(self._template, (len(scores), 1))
        for column, marginal, score in zip(self._columns, self.marginals, scores.T, strict=True):
            values[:, column] = marginal.value(score)
        return torch.from_numpy(values)

    def free_values(self, scores: Array) -> Array:
        """Values of the free parameters, (draw, free parameter)."""
        return np.asarray(self.values(scores).numpy()[:, self._columns])

    def scores(self, values: Array) -> Array:
        """Scores, (draw, free parameter), of the values of all parameters, (draw, parameter)."""
        pairs = zip(self._columns, self.marginals, strict=True)
        return np.stack([marginal.score(values[:, column]) for column, marginal in pairs], axis=1)

    def around(self, values: Array) -> Prior:
        """The same, with the ends of angles opposite to these values, (parameter,), so that no mode is cut in two."""
        turned = [one.around(float(values[column])) for column, one in zip(self._columns, self.marginals, strict=True)]
        return Prior(self.names, turned, self.fixed)
