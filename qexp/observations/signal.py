"""The best-fitting point source of all tracks, so that what is left of a track is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.observations.observation import Array, CorrelatedNoise, Track
from qexp.observations.semivariogram import covariance_matrix

MOST_POINTS = 1000
"""Points of a track that take part in the search, drawn at random."""

POSITIONS, DEPTHS = 9, 6
"""Values of each coordinate among which the search starts."""

SHALLOWEST, DEEPEST = 0.02, 0.5
"""Depths that are searched, as shares of the diagonal of the extent."""

STARTS = 3

NEGLIGIBLE = 0.1
"""Points whose displacement by the source is less than this share of the largest are left in the noise."""


LEAST_GAIN = 40.0
"""Least reduction of χ² by which a source is told from noise; in noise alone the search gains 10, rarely 40."""


@dataclass(frozen=True)
class PointSource:
    """A Mogi source; lengths in m, the volume change in m³.

    gain  the reduction of χ² by it
    """

    east: float
    north: float
    depth: float
    volume_change: float
    gain: float

    @property
    def significant(self) -> bool:
        return self.gain >= LEAST_GAIN

    def displacement(self, track: Track) -> Array:
        """Along the directions of a track, (point,) [m]."""
        unit = _unit_displacement(np.array([[self.east, self.north, self.depth]]), track)
        return np.asarray(self.volume_change * unit[0], np.float64)


def best_point_source(
    tracks: Sequence[Track], noises: Sequence[CorrelatedNoise] | None = None, seed: int = 0
) -> PointSource:
    """The Mogi source that fits the observed points of all tracks best, each track with an offset of its own.

    Its position and depth are searched on a grid, and the best ones refined by least squares; volume change and offsets
    follow linearly (Golub and Pereyra 1973, SIAM J. Numer. Anal. 10, 413-432).

    noises  of the tracks, by whose covariance the points are weighted; by their errors if left out
    seed    of the choice of points where a track has more than MOST_POINTS
    """
    from scipy.optimize import least_squares

    random = np.random.default_rng(seed)
    thin = [track.seen().thinned(MOST_POINTS, random) for track in tracks]
    white = [_Whitening(track, None if noises is None else noises[index]) for index, track in enumerate(thin)]
    data = np.concatenate([of(track.displacement[None])[0] for of, track in zip(white, thin, strict=True)])
    x, y = (np.concatenate([getattr(track, name) for track in thin]) for name in "xy")
    diagonal = float(np.hypot(np.ptp(x), np.ptp(y)))
    low = np.array([x.min(), y.min(), np.log(SHALLOWEST * diagonal)])
    high = np.array([x.max(), y.max(), np.log(DEEPEST * diagonal)]) + 1e-6 * diagonal * np.array([1, 1, 0])

    def shapes(places: Array) -> Array:
        """Whitened displacement by 1 m³, (place, point)."""
        sources = np.column_stack([places[:, :2], np.exp(places[:, 2])])
        moved = (of(_unit_displacement(sources, track)) for of, track in zip(white, thin, strict=True))
        return np.concatenate(list(moved), axis=1)

    def residuals(place: Array) -> Array:
        shape = shapes(place[None])[0]
        return np.asarray(data - shape * (shape @ data) / (shape @ shape))

    axes = [np.linspace(low[axis], high[axis], count) for axis, count in enumerate((POSITIONS, POSITIONS, DEPTHS))]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    of_places = shapes(places)
    gains = (of_places @ data) ** 2 / (of_places**2).sum(axis=1)
    found = [
        least_squares(residuals, place, bounds=(low, high), x_scale=high - low, ftol=1e-5, xtol=1e-5, max_nfev=50)
        for place in places[np.argsort(gains)[-STARTS:]]
    ]
    best = min(found, key=lambda one: float(one.cost))
    shape = shapes(best.x[None])[0]
    return PointSource(
        float(best.x[0]), float(best.x[1]), float(np.exp(best.x[2])), float(shape @ data / (shape @ shape)),
        float(data @ data - 2 * best.cost),
    )  # fmt: skip


class _Whitening:
    """Makes the noise of a track's points independent with unit variance, and takes their mean away."""

    def __init__(self, track: Track, noise: CorrelatedNoise | None) -> None:
        self._factor: Array | None = None
        self._error = track.error
        if noise is not None:
            between = covariance_matrix(track.x, track.y, noise)
            self._factor = np.asarray(np.linalg.cholesky(between + noise.nugget * np.eye(len(between))))
        constant = self._scaled(np.ones((1, len(track.x))))[0]
        self._constant = constant / np.linalg.norm(constant)

    def __call__(self, values: Array) -> Array:
        """values  (row, point)"""
        scaled = self._scaled(values)
        return np.asarray(scaled - np.outer(scaled @ self._constant, self._constant))

    def _scaled(self, values: Array) -> Array:
        from scipy.linalg import solve_triangular

        if self._factor is None:
            return np.asarray(values / self._error)
        return np.asarray(solve_triangular(self._factor, values.T, lower=True, check_finite=False).T)


def beyond(source: PointSource, track: Track) -> NDArray[np.bool_]:
    """The points of a track that the source hardly moves, (point,); see NEGLIGIBLE."""
    size = np.abs(source.displacement(track))
    return np.asarray(size < NEGLIGIBLE * size[track.observed].max())


def _unit_displacement(places: Array, track: Track) -> Array:
    """Displacement along the directions of a track by sources of 1 m³, (place, point) [m].

    places  (place, 3)  east, north, depth [m]
    """
    import torch  # loaded where it is needed: reading files does without

    from qexp.forward.point import mogi

    sources = torch.from_numpy(np.column_stack([places, np.ones(len(places))]))
    stations = torch.from_numpy(np.column_stack([track.x, track.y]))
    moved = mogi(sources, stations)
    return np.asarray(torch.einsum("snc,nc->sn", moved, torch.from_numpy(track.direction)).numpy())
