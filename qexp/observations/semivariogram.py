"""Semivariograms of scattered points, and the covariance functions that fit them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.observations.observation import Array, CorrelatedNoise

MOST_POINTS = 5000
"""For more points pairs are drawn at random, as many as this number of points has."""

BINS = 25
LEAST_PAIRS = 30
"""Bins with fewer are left out."""

ROWS = 128
"""Of a covariance matrix, computed at a time."""

TYPES = ("exponential", "gaussian")
"""Covariance functions of `qexp.forward.covariance` that noise of tracks may have."""

LEAST_NUGGET = 1e-4
"""Smallest nugget that is fitted, as a share of the largest semivariance: without one the covariance matrix of dense
points cannot be inverted."""

LARGEST_RANGE = 2.0
"""Largest range that is fitted, as a multiple of the largest distance."""


@dataclass(frozen=True)
class Semivariogram:
    """Half the mean squared difference of two points, by their distance.

    distance  (bin,)  mean over the pairs [m]
    value     (bin,)  [m²]
    pairs     (bin,)  number of pairs
    longest           upper edge of the last bin [m]
    """

    distance: Array
    value: Array
    pairs: NDArray[np.int64]
    longest: float


def semivariogram(x: Array, y: Array, values: Array, longest: float | None = None, seed: int = 0) -> Semivariogram:
    """The semivariogram of points, in BINS bins of equal width.

    x, y     (point,)  [m]
    values   (point,)  [m]
    longest  largest distance of a pair [m]; a third of the diagonal of the extent if left out: of larger distances the
             points hold few independent pairs
    seed     of the pairs that are drawn where there are more than MOST_POINTS points
    Matheron (1963), Econ. Geol. 58, 1246-1266.
    """
    limit = float(np.hypot(np.ptp(x), np.ptp(y)) / 3) if longest is None else longest
    distance, squared = _pairs(x, y, values, seed)
    near = (distance < limit) & (distance > 0)
    distance, squared = distance[near], squared[near]
    index = (distance / limit * BINS).astype(np.int64)
    pairs = np.bincount(index, minlength=BINS)
    kept = pairs >= LEAST_PAIRS
    means, halves = (
        np.bincount(index, weights=what, minlength=BINS)[kept] / pairs[kept] for what in (distance, squared / 2)
    )
    return Semivariogram(means, halves, pairs[kept], limit)


def _pairs(x: Array, y: Array, values: Array, seed: int) -> tuple[Array, Array]:
    """Distance and squared difference of each pair."""
    if len(x) <= MOST_POINTS:
        from scipy.spatial.distance import pdist

        return pdist(np.stack([x, y], axis=1)), pdist(values[:, None], "sqeuclidean")
    random, most = np.random.default_rng(seed), MOST_POINTS * (MOST_POINTS - 1) // 2
    one, other = random.integers(0, len(x), (2, most))
    return np.hypot(x[one] - x[other], y[one] - y[other]), (values[one] - values[other]) ** 2


def model(distance: Array, noise: CorrelatedNoise) -> Array:
    """The semivariogram of a noise, nugget + sill − covariance, (distance,) [m²]."""
    return noise.nugget + noise.sill - covariance(distance, noise)


def covariance(distance: Array, noise: CorrelatedNoise) -> Array:
    """The correlated part of a noise: its covariance at distances [m], of any shape [m²].

    Raises QexpError for a type that is none of TYPES.
    """
    import torch  # loaded where it is needed: reading files does without

    from qexp.forward import covariance as functions

    if noise.type not in TYPES:
        raise QexpError(f"no covariance function '{noise.type}'; choose from {', '.join(TYPES)}")
    made = getattr(functions, noise.type)(torch.from_numpy(np.asarray(distance, np.float64)), noise.sill, noise.range)
    return np.asarray(made.numpy())


def covariance_rows(x: Array, y: Array, noise: CorrelatedNoise) -> Iterator[tuple[slice, Array]]:
    """Rows of `covariance_matrix`, as many as a processor's cache holds: which, and (row, point) [m²]."""
    import torch

    from qexp.forward.geometry import distances

    places = torch.from_numpy(np.stack([x, y], axis=1))
    for start in range(0, len(places), ROWS):
        rows = slice(start, min(start + ROWS, len(places)))
        yield rows, covariance(distances(places[rows], places).numpy(), noise)


def covariance_matrix(x: Array, y: Array, noise: CorrelatedNoise) -> Array:
    """The correlated part of a noise between points at x, y [m]: (point, point) [m²]."""
    between = np.empty((len(x), len(x)))
    for rows, values in covariance_rows(x, y, noise):
        between[rows] = values
    return between


def fit(measured: Semivariogram, type: str) -> tuple[CorrelatedNoise, float]:
    """The noise of a type whose semivariogram fits best, and its misfit.

    Bins have the weight pairs / distance²: those of far points vary together from sample to sample and say little,
    those of near points fix the nugget and the type (Pebesma 2004, Comput. Geosci. 30, 683-691). The misfit is the
    weighted root mean square of the residuals [m²]. Sill, range and nugget are kept positive; see
    LEAST_NUGGET and LARGEST_RANGE. Raises ValueError if there are too few bins, or no noise.
    """
    from scipy.optimize import curve_fit

    if len(measured.distance) < 5:
        raise ValueError(f"a semivariogram of {len(measured.distance)} bins; at least 5 are needed")
    top, far = float(measured.value.max()), measured.longest
    if not top > 0:
        raise ValueError("a semivariogram that is 0 at all distances, which is that of no noise")
    near = float(measured.distance[0])

    def scaled(distance: Array, sill: float, reach: float, nugget: float) -> Array:
        return model(distance * far, CorrelatedNoise(type, sill, reach * far, nugget))

    weights = np.sqrt(measured.pairs) / measured.distance
    weights /= np.sqrt(np.mean(weights**2))
    lowest, highest = (1e-6, 0.1 * near / far, LEAST_NUGGET), (20.0, LARGEST_RANGE, 1.5)
    best: tuple[float, Array] | None = None
    for start in (0.1, 0.3, 1.0):  # from one start alone the fit may end at a bound
        found, _ = curve_fit(
            scaled, measured.distance / far, measured.value / top, p0=(0.8, start, 0.1), sigma=1 / weights,
            bounds=(lowest, highest), max_nfev=2000,
        )  # fmt: skip
        residual = weights * (scaled(measured.distance / far, *found) - measured.value / top)
        misfit = float(np.sqrt(np.mean(residual**2)))
        if best is None or misfit < best[0] * (1 - 1e-9):
            best = misfit, found
    assert best is not None
    misfit, (sill, reach, nugget) = best
    return CorrelatedNoise(type, float(sill * top), float(reach * far), float(nugget * top)), misfit * top
