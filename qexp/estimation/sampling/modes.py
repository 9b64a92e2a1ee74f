"""Modes of posteriors, and Laplace's approximation around them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.estimation.levenberg_marquardt import Minima, minimised
from qexp.estimation.sampling.density import Density, PenalisedSquares
from qexp.estimation.sampling.importance import OF_PRIOR
from qexp.estimation.sampling.mixture import Mixture, mixture

Array = NDArray[np.float64]

FARTHEST = 6.0
"""Largest absolute score of a mode."""

TOLERANCE, MOST_ITERATIONS = 1e-7, 100

SAME = 0.5
"""Modes that are closer than this, in standard deviations of the nearer one, are one."""

UNLIKELY = 20.0
"""Modes whose share of the posterior is smaller than exp of minus this are left out."""


def found(squares: PenalisedSquares, starts: Array, which: Array | None = None) -> Minima:
    """Where the search of a mode ends from each start, (start, coordinate).

    which  (start,)  number of the observation that it belongs to; None: the only one
    """
    low = torch.full((starts.shape[1],), -FARTHEST, dtype=torch.float64)
    begin = torch.from_numpy(np.clip(starts, -FARTHEST, FARTHEST))
    problems = squares if which is None else _Some(squares, torch.from_numpy(which))
    return minimised(problems, begin, low, -low, TOLERANCE, MOST_ITERATIONS)


class _Some:
    """Problems of which several belong to one observation."""

    def __init__(self, squares: PenalisedSquares, observations: torch.Tensor) -> None:
        self.squares, self.observations = squares, observations

    def normal_equations(
        self, coordinates: torch.Tensor, which: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.squares.normal_equations(coordinates, self.observations[which])


def laplace(density: Density, minima: Minima) -> Mixture:
    """Student's t around each distinct mode, in proportion to its share of the posterior by Laplace's method.

    The covariance is the inverse of the Gauss-Newton approximation of the curvature.
    """
    centres = minima.coordinates.numpy()
    curvature = minima.information.numpy()
    values = density(centres)
    kept = _distinct(centres, curvature, values)
    centres, curvature, values = centres[kept], curvature[kept], values[kept]
    log_shares = values - 0.5 * np.linalg.slogdet(curvature)[1]
    some = log_shares > log_shares.max() - UNLIKELY
    return mixture(log_shares[some], centres[some], np.linalg.inv(curvature[some]), OF_PRIOR)


def likely(minima: Minima, most: int) -> Array:
    """The places of the lowest distinct minima, (minimum, coordinate), `most` at most; unlikely ones are left out."""
    centres, heights = minima.coordinates.numpy(), -minima.cost.numpy()
    kept = _distinct(centres, minima.information.numpy(), heights)[:most]
    places: Array = centres[[one for one in kept if heights[one] > heights[kept[0]] - UNLIKELY]]
    return places


def _distinct(centres: Array, curvature: Array, values: Array) -> list[int]:
    """The numbers of the distinct modes, the highest first."""
    kept: list[int] = []
    order: list[int] = np.argsort(-values).tolist()
    for one in order:
        if np.isfinite(values[one]) and not any(
            _distance(centres[one] - centres[k], curvature[k]) < SAME for k in kept
        ):
            kept.append(one)
    return kept


def _distance(apart: Array, curvature: Array) -> float:
    return float(np.sqrt(np.maximum(apart @ curvature @ apart, 0.0)))
