"""Where the true values of observations lie in their posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.metrics.calibration import density_levels, positions, reference_levels
from qexp.simulation.distributions import Distribution

Array = NDArray[np.float64]

PROBABILITIES = (0.05, 0.16, 0.5, 0.84, 0.95)
"""Of the quantiles that are kept of each posterior."""

LOW, MEDIAN, HIGH = PROBABILITIES.index(0.05), PROBABILITIES.index(0.5), PROBABILITIES.index(0.95)

NODES = 20_001
"""Values between which shares of the prior are interpolated."""


@dataclass(frozen=True)
class Draws:
    """Draws from the posteriors of observations, in the outputs' units.

    values        (observation, draw, output)
    log_density   (observation, draw), None where it is unknown
    of_truth      (observation,), the log density of the true values
    effective     (observation,), the independent draws that they are worth; None: all are independent
    doubted       number of observations whose draws are, by their method, not to be trusted
    """

    values: Array
    log_density: Array | None = None
    of_truth: Array | None = None
    effective: Array | None = None
    doubted: int = 0


@dataclass(frozen=True)
class Placed:
    """Where the true values of observations lie; the first axis of all arrays is the observation."""

    truth: Array
    """(observation, output), in the outputs' units."""
    positions: Array
    """(observation, output), share of draws below."""
    quantiles: Array
    """(observation, output, probability), in the outputs' units."""
    balls: Array
    """(observation,), posterior probability of the ball around a random point that reaches to the truth."""
    density: Array
    """(observation,), posterior probability of where the density is higher; (0,) where densities are unknown."""


class Prior:
    """The distributions of some outputs; values become the share of the prior below them."""

    def __init__(self, distributions: Sequence[Distribution]) -> None:
        self._shares = np.linspace(0, 1, NODES)[1:-1]
        self._values = [one.quantile(self._shares) for one in distributions]

    def shares(self, values: Array) -> Array:
        """Between 0 and 1, of values (..., output)."""
        columns = [np.interp(values[..., place], one, self._shares) for place, one in enumerate(self._values)]
        return np.stack(columns, axis=-1)

    def values(self, place: int, shares: Array) -> Array:
        """The values of one output below which these shares of the prior lie."""
        return np.interp(shares, self._shares, self._values[place])


def placed(truth: Array, draws: Draws, prior: Prior, random: np.random.Generator) -> Placed:
    """Place true values, (observation, output), among draws. Raises QexpError for draws that are not finite."""
    values, count = draws.values, draws.values.shape[2]
    if wrong := int(np.sum(~np.isfinite(values).all(axis=(1, 2)))):
        raise QexpError(f"the posteriors of {wrong:,} of {len(values):,} observations have draws that are not finite")
    of_each = [positions(truth[:, one], values[:, :, one], random, draws.effective) for one in range(count)]
    references = random.random(truth.shape)
    balls = reference_levels(prior.shares(truth), prior.shares(values), references, random, draws.effective)
    density = np.zeros(0)
    if draws.log_density is not None and draws.of_truth is not None:
        density = density_levels(draws.of_truth, draws.log_density, random, draws.effective)
    quantiles = np.moveaxis(np.quantile(values, PROBABILITIES, axis=1), 0, -1)
    return Placed(truth, np.stack(of_each, axis=1), quantiles, balls, density)


def together(parts: Sequence[Placed]) -> Placed:
    """Observations one after the other."""
    return Placed(**{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Placed)})
