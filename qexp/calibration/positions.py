"""Where true values lie among draws of their posteriors: numbers that are uniform if the posteriors are right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def positions(truth: Array, draws: Array, random: np.random.Generator, effective: Array | None = None) -> Array:
    """The share of draws below each true value, between 0 and 1: uniform if truth and draws have one distribution.

    truth      (observation,)
    draws      (observation, draw)
    effective  (observation,), numbers of independent draws that they are worth; all are independent if left out. Of
               others every second, third, ... draw is used
    Ranks have ties, and are whole numbers: both are filled by a uniform random number, which makes the distribution of
    positions exactly uniform for any number of draws.
    Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration, arXiv:1804.06788.
    """
    used = np.ones(draws.shape, dtype=bool) if effective is None else _thinned(draws.shape, effective)
    below = np.sum((draws < truth[:, None]) & used, axis=1)
    equal = np.sum((draws == truth[:, None]) & used, axis=1)
    return np.asarray((below + random.random(len(truth)) * (equal + 1)) / (used.sum(axis=1) + 1))


def density_levels(truth: Array, draws: Array, random: np.random.Generator, effective: Array | None = None) -> Array:
    """The probability in the smallest region of highest density that holds each true value.

    truth  (observation,), log densities of the true values under their posteriors
    draws  (observation, draw), those of the draws
    The region that holds a share of the probability holds the truth in that share of observations, if the posteriors
    are right: the levels are uniform.
    Hermans et al. (2022), A trust crisis in simulation-based inference?, Transactions on Machine Learning Research.
    """
    return positions(-truth, -draws, random, effective)


def reference_levels(
    truth: Array, draws: Array, references: Array, random: np.random.Generator, effective: Array | None = None
) -> Array:
    """The posterior probability of the ball around a reference point on whose surface the true values lie.

    truth       (observation, variable), in coordinates in which distances have a meaning
    draws       (observation, draw, variable)
    references  (observation, variable), points that do not depend on the true values
    Lemos et al. (2023), Sampling-based accuracy testing of posterior estimators (TARP), ICML, arXiv:2302.03026.
    """
    of_truth = np.linalg.norm(truth - references, axis=-1)
    of_draws = np.linalg.norm(draws - references[:, None], axis=-1)
    return positions(of_truth, of_draws, random, effective)


def central_levels(of_truth: Array) -> Array:
    """The probability in the smallest central interval that holds each true value, from its position."""
    return np.abs(2 * of_truth - 1)


def _thinned(shape: tuple[int, ...], effective: Array) -> NDArray[np.bool_]:
    """Which draws to use so that they are about independent: every k-th of each observation."""
    count = shape[1]
    every = np.ceil(count / np.clip(effective, 1, count)).astype(int)
    return np.asarray(np.arange(count) % every[:, None] == 0)
