"""A linear model with normal noise, whose posteriors are known: what right and wrong posteriors are
tested with.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

Array = NDArray[np.float64]

DESIGN = np.array([[2.0, 2.0], [0.4, -0.4], [0.1, 0.0]])
"""Observation = DESIGN · parameters + noise of standard deviation 1; the parameters are standard
normal.
"""

COVARIANCE = np.linalg.inv(np.eye(2) + DESIGN.T @ DESIGN)
"""Of the posterior of every observation."""


@dataclass(frozen=True)
class Observed:
    """Parameters, (observation, 2), and draws from what claims to be their posteriors,
    (observation, draw, 2).
    """

    truth: Array
    means: Array
    draws: Array
    factor: Array
    """Square root of the claimed covariance."""

    @property
    def estimates(self) -> Array:
        """Posterior medians as shares of the prior."""
        return norm.cdf(self.means)

    def log_density(self, values: Array) -> Array:
        """The claimed log density, of values (observation, ..., 2) whose middle axes are draws."""
        means = self.means.reshape(len(values), *[1] * (values.ndim - 2), 2)
        return multivariate_normal.logpdf(values - means, cov=self.factor @ self.factor.T)


def observed(
    count: int,
    draws: int,
    seed: int,
    width: float = 1.0,
    shift: float = 0.0,
    correlated: bool = True,
) -> Observed:
    """Simulate observations.

    width       factor of the standard deviations
    shift       of the means, in standard deviations of each parameter
    correlated  otherwise the claimed posteriors have the right marginal distributions alone
    """
    random = np.random.default_rng(seed)
    truth = random.normal(size=(count, 2))
    data = truth @ DESIGN.T + random.normal(size=(count, 3))
    deviations = np.sqrt(np.diag(COVARIANCE))
    means = data @ DESIGN @ COVARIANCE + shift * deviations
    factor = width * (np.linalg.cholesky(COVARIANCE) if correlated else np.diag(deviations))
    return Observed(
        truth, means, means[:, None] + random.normal(size=(count, draws, 2)) @ factor.T, factor
    )
