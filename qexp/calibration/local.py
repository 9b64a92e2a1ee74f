"""Where intervals are too narrow: how many true values they hold in cells, and how that depends on coordinates.

Intervals that are calibrated on average can be too narrow for some data and too wide for others. Given the data, and so
in every cell of coordinates that are computed from the data (such as posterior medians), those of right posteriors hold
the truth with their probability. In cells of the true values they do not: at the ends of the prior the truth lies at
the ends of its posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binomtest, chi2

from qexp.calibration.coverage import expected

Array = NDArray[np.float64]

FEW = 20
"""Observations in a cell below which nothing is said of it."""

ROUNDING = 1e-9

SIGNIFICANT = 0.05
"""Probability with which any cell at all is called wrong although all are right."""


@dataclass(frozen=True)
class Cells:
    """True values inside their intervals, counted in cells, along one coordinate or two."""

    probability: float
    """Of the intervals."""
    count: NDArray[np.int64]
    inside: NDArray[np.int64]

    @property
    def few(self) -> NDArray[np.bool_]:
        return np.asarray(self.count < FEW)

    @property
    def share(self) -> Array:
        """NaN where there are few observations."""
        return np.where(self.few, np.nan, self.inside / np.maximum(self.count, 1))

    @property
    def wrong(self) -> NDArray[np.int64]:
        """-1 where intervals are too narrow, 1 where they are too wide, beyond chance in that many cells; else 0.

        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian J. of Statistics 6, 65-70.
        """
        found = np.zeros(self.count.shape, dtype=np.int64)
        cells = [tuple(cell) for cell in np.argwhere(~self.few)]
        chances = [binomtest(int(self.inside[one]), int(self.count[one]), self.probability).pvalue for one in cells]
        for left, place in zip(range(len(cells), 0, -1), np.argsort(chances, kind="stable"), strict=True):
            if chances[place] > SIGNIFICANT / left:
                break
            one = cells[place]
            found[one] = 1 if self.inside[one] > self.probability * self.count[one] else -1
        return found


def cells(inside: NDArray[np.bool_], coordinates: Array, number: int, probability: float) -> Cells:
    """Count in cells of equal size.

    inside       (observation,), whether the interval holds the true value
    coordinates  (observation, axis), between 0 and 1: shares of the prior below a value
    number       of cells along each axis
    """
    edges = [np.linspace(0, 1, number + 1)] * coordinates.shape[1]
    count, _ = np.histogramdd(coordinates, edges)
    hits, _ = np.histogramdd(coordinates[inside], edges)
    return Cells(probability, count.astype(np.int64), hits.astype(np.int64))


def cells_along(count: int, axes: int, probability: float) -> int:
    """The number of cells along each axis: as many as show it where the coverage in one of them is lower by 0.1."""
    number = 10
    while number > 2 and _slack(count // number**axes, probability) > 0.1:
        number -= 1
    return number


def _slack(count: int, probability: float) -> float:
    return probability - expected(count, probability)[0] / count if count else 1.0


@dataclass(frozen=True)
class Trend:
    """Whether the share of intervals that hold the truth depends on coordinates."""

    p_value: float
    """Of the likelihood ratio between a quadratic logistic regression and a constant share."""
    shares: Array
    """(observation,), the share of intervals that hold the truth by the regression."""


def trend(inside: NDArray[np.bool_], coordinates: Array) -> Trend:
    """Regress whether intervals hold the truth, (observation,), on coordinates, (observation, axis), between 0 and 1.

    Zhao, Dalmasso, Izbicki and Lee (2021), Diagnostics for conditional density models and Bayesian inference
    algorithms, UAI, arXiv:2102.10473.
    """
    centred = coordinates - 0.5
    axes = range(centred.shape[1])
    products = [centred[:, one] * centred[:, other] for one, other in combinations_with_replacement(axes, 2)]
    terms = np.column_stack([np.ones(len(centred)), centred, *products])
    sign = np.where(inside, 1.0, -1.0)

    def loss(weights: Array) -> tuple[float, Array]:
        along = sign * (terms @ weights)
        return float(np.logaddexp(0, -along).sum()), -terms.T @ (sign * expit(-along))

    start = np.zeros(terms.shape[1])
    start[0] = logit((inside.sum() + ROUNDING) / (len(inside) + 2 * ROUNDING))
    fitted = minimize(loss, start, jac=True, method="BFGS")
    ratio = 2 * (loss(start)[0] - fitted.fun)
    return Trend(float(chi2.sf(max(ratio, 0.0), terms.shape[1] - 1)), expit(terms @ fitted.x))
