"""How sure estimates are: standard errors, intervals and correlations of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.estimation.fit import Fit

Array = NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class Uncertainty:
    """Errors of the free parameters, (free,) each, in SI units.

    standard_error  by the declared noise
    scaled_error    the same times √χ²_reduced where that is above 1: for noise that was declared too small
    low, high       limits of the 95 % interval, by the scaled errors
    correlation     (free, free)
    """

    standard_error: Array
    scaled_error: Array
    low: Array
    high: Array
    correlation: Array


def uncertainty(fit: Fit) -> Uncertainty:
    """The errors of a fit to first order: of the inverse of JᵀC⁻¹J, nuisances included.

    Intervals are symmetric in the coordinates of the fit: in the logarithm for depths and sizes, which keeps them
    positive and is closer to the shape of the likelihood, else in the parameter itself. Their width is that of a normal
    distribution; of Student's t with the degrees of freedom where errors are scaled, because then the residuals give
    the size of the noise.
    """
    from scipy import special  # quick, unlike scipy.stats

    spread = np.sqrt(np.diagonal(fit.covariance))
    slopes = fit.coordinates.slopes(torch.from_numpy(fit.at)).numpy()
    scale = max(1.0, math.sqrt(fit.chi2_reduced))
    tail = 0.5 + LEVEL / 2
    quantile = special.ndtri(tail) if scale == 1.0 else special.stdtrit(fit.degrees, tail)
    reach = quantile * scale * spread
    values = fit.values[list(fit.free)]
    with np.errstate(over="ignore"):  # of a size that is not determined at all
        ends = [
            np.where(fit.coordinates.logarithmic.numpy(), values * np.exp(sign * reach), values + sign * reach * slopes)
            for sign in (-1.0, 1.0)
        ]
    with np.errstate(invalid="ignore"):
        correlation = fit.covariance / np.outer(spread, spread)
    return Uncertainty(spread * slopes, scale * spread * slopes, ends[0], ends[1], correlation)
