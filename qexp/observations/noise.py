"""The noise of tracks: declared, or fitted to the semivariogram of points with noise alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.base.shell_values import finite
from qexp.errors import QexpError, suggestion
from qexp.observations.observation import CorrelatedNoise, Track

MOST_CORRELATED = 6000
"""Points of a track whose full covariance, 8 n² bytes, is factored; the time grows with n³."""

LEAST_POINTS = 50
"""Points of a track from which its noise can be estimated."""

FORM = "write TYPE:SILL,RANGE,NUGGET in m², m, m², such as exponential:2.3e-5,10200,3e-6"


SignalFree = Callable[[Track], NDArray[np.bool_]]
"""Which points of a track the signal does not reach, (point,)."""


def in_rectangle(west: float, east: float, south: float, north: float) -> SignalFree:
    """Points in a rectangle, in the observation's coordinates [m]."""
    return lambda track: (
        (track.x >= west) & (track.x <= east) & (track.y >= south) & (track.y <= north)
    )


def out_of_circle(east: float, north: float, radius: float) -> SignalFree:
    """Points outside of a circle, likewise."""
    return lambda track: np.hypot(track.x - east, track.y - north) > radius


@dataclass(frozen=True, repr=False)
class NoiseEstimate:
    """The noise of a track as its semivariogram gives it.

    fits    type → the noise of that type that fits best; the first fits better than the others
    how     what was taken for noise, in words
    points  number of points that were used
    """

    measured: Semivariogram
    fits: Mapping[str, CorrelatedNoise]
    how: str
    points: int

    def __repr__(self) -> str:
        return f"<noise of {self.points:,} points: {self.best.words}>"

    @property
    def best(self) -> CorrelatedNoise:
        return next(iter(self.fits.values()))

    @property
    def levels_off(self) -> bool:
        """Whether the semivariogram reaches its sill; if not, only lower limits of sill and range
        are known.
        """
        return self.best.range < 0.99 * LARGEST_RANGE * self.measured.longest

    @property
    def resolved(self) -> bool:
        """Whether points are close enough to tell what is correlated from the nugget."""
        return bool(self.best.range > self.measured.distance[0])


def declared(text: str) -> CorrelatedNoise:
    """`exponential:2.3e-5,10200,3e-6` → that noise. Raises QexpError for another form, and for
    impossible numbers.
    """
    kind, _, numbers_text = text.partition(":")
    if kind not in TYPES:
        raise QexpError(
            f"`noise={text}`: no noise '{kind}'; {suggestion(kind, (*TYPES, 'estimate', 'none'))}"
        )
    if numbers_text.count(",") == 1:  # without a nugget
        numbers_text += ",0"
    try:
        sill, reach, nugget = map(finite, numbers_text.split(","))
    except ValueError:
        raise QexpError(f"`noise={text}`: {FORM}") from None
    if sill <= 0 or reach <= 0 or nugget < 0:
        raise QexpError(
            f"`noise={text}`: the covariance is not positive definite; sill and range must be"
            " positive, and the nugget must not be negative"
        )
    return CorrelatedNoise(kind, sill, reach, nugget)


def with_noise(track: Track, noise: CorrelatedNoise, keep_errors: bool) -> Track:
    """The track with a noise, its errors being the square root of the nugget where it has one.

    keep_errors  leave the errors as they are
    The mean of several points has the error of the mean of as many independent errors.
    Raises QexpError if the covariance matrix of the points is not positive definite.
    """
    count = np.ones(len(track.x)) if track.count is None else track.count
    error = track.error if keep_errors or not noise.nugget else np.sqrt(noise.nugget / count)
    noisy = replace(track, error=error, noise=noise)
    points = noisy.where_observed()
    points = points.select(np.linspace(0, points.size - 1, min(points.size, 1000)).astype(np.int64))
    try:
        np.linalg.cholesky(covariance_matrix(points, noise) + np.diag(points.error**2))
    except np.linalg.LinAlgError:
        raise QexpError(
            f"track '{track.name}': the covariance of its noise ({noise.words}) is not positive"
            " definite in floating-point numbers; give it a larger nugget, or a shorter range"
        ) from None
    return noisy


def estimate_of(
    track: Track, where: NDArray[np.bool_], values: Array, how: str, planes: bool
) -> NoiseEstimate:
    """The noise of a track from its semivariogram.

    where   (point,)  which points hold noise alone
    values  (point,)  what is taken for noise [m]
    how     the same in words
    planes  subtract a plane first
    Raises QexpError for too few points, and for points that have no semivariogram.
    """
    chosen = where & track.observed
    require_enough(track, chosen)
    x = track.x[chosen]
    y = track.y[chosen]
    noise = values[chosen]
    if planes:
        axes = ((positions - positions.mean()) / max(np.ptp(positions), 1) for positions in (x, y))
        design = np.column_stack([np.ones(len(x)), *axes])
        noise = noise - design @ np.linalg.lstsq(design, noise, rcond=None)[0]
    measured = semivariogram(x, y, noise)
    try:
        fits = sorted((fit(measured, type) for type in TYPES), key=lambda pair: pair[1])
    except ValueError as error:
        raise QexpError(f"track '{track.name}': no semivariogram can be fitted: {error}") from None
    return NoiseEstimate(measured, {noise.type: noise for noise, _ in fits}, how, int(chosen.sum()))


def require_enough(track: Track, chosen: NDArray[np.bool_]) -> None:
    """Raises QexpError if points are too few, too close or too alike for a semivariogram."""
    count = int(chosen.sum())
    if count < LEAST_POINTS:
        raise QexpError(
            f"track '{track.name}': {count:,} of its {track.size:,} points are left to estimate the"
            f" noise from, but {LEAST_POINTS} are needed; choose a larger `noise_area`, or declare"
            f" the noise: `noise={TYPES[0]}:…`"
        )
    if not max(np.ptp(track.x[chosen]), np.ptp(track.y[chosen])) > 0:
        raise QexpError(
            f"track '{track.name}': all its points lie at one place, so that the range of its noise"
            " is undefined"
        )
    if not np.ptp(track.displacement[chosen]) > 0:
        raise QexpError(
            f"track '{track.name}': all its points have the same displacement, so that it has no"
            " noise"
        )


# Semivariograms of scattered points, and the covariance functions that fit them.

MOST_POINTS = 5000
"""For more points pairs are drawn at random, as many as this number of points has."""

BINS = 25

ROWS = 128
"""Of a covariance matrix, computed at a time."""

TYPES = ("exponential", "gaussian")
"""Covariance functions of `qexp.physics.random_fields` that noise of tracks may have."""

LEAST_NUGGET = 1e-4
"""Smallest nugget that is fitted, as a share of the largest semivariance: without one the
covariance matrix of dense points cannot be inverted.
"""

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


def semivariogram(x: Array, y: Array, values: Array) -> Semivariogram:
    """The semivariogram of points, in BINS bins of equal width, up to a third of the diagonal of
    their extent: of pairs that are further apart they hold few independent ones.

    x, y, values  (point,)  [m]
    Bins of fewer than 30 pairs are left out. Matheron (1963), Econ. Geol. 58, 1246-1266.
    """
    limit = float(np.hypot(np.ptp(x), np.ptp(y)) / 3)
    if len(x) <= MOST_POINTS:
        from scipy.spatial.distance import pdist

        distance = pdist(np.stack([x, y], axis=1))
        squared = pdist(values[:, None], "sqeuclidean")
    else:
        random = np.random.default_rng(0)
        most = MOST_POINTS * (MOST_POINTS - 1) // 2
        first, second = random.integers(0, len(x), (2, most))
        distance = np.hypot(x[first] - x[second], y[first] - y[second])
        squared = (values[first] - values[second]) ** 2
    used = (distance < limit) & (distance > 0)
    distance = distance[used]
    squared = squared[used]
    index = (distance / limit * BINS).astype(np.int64)
    pairs = np.bincount(index, minlength=BINS)
    enough = pairs >= 30
    means, halves = (
        np.bincount(index, weights=what, minlength=BINS)[enough] / pairs[enough]
        for what in (distance, squared / 2)
    )
    return Semivariogram(means, halves, pairs[enough], limit)


def model(distance: Array, noise: CorrelatedNoise) -> Array:
    """The semivariogram of a noise, nugget + sill − covariance, (distance,) [m²]."""
    return noise.nugget + noise.sill - covariance(distance, noise)


def covariance(distance: Array, noise: CorrelatedNoise) -> Array:
    """The correlated part of a noise: its covariance at distances [m], of any shape [m²].

    Raises QexpError for a type that is none of TYPES.
    """
    import torch  # loaded where it is needed: reading files does without

    from qexp.physics import random_fields

    if noise.type not in TYPES:
        raise QexpError(f"no covariance function '{noise.type}'; choose from {', '.join(TYPES)}")
    function = getattr(random_fields, noise.type)
    values: Array = function(torch.as_tensor(distance), noise.sill, noise.range).numpy()
    return values


def covariance_rows(track: Track, noise: CorrelatedNoise) -> Iterator[tuple[slice, Array]]:
    """Rows of the correlated part of a noise between the points of a track, (point, point), as many
    as a processor's cache holds: which, and (row, point) [m²].
    """
    import torch

    from qexp.physics.geometry import distances

    points = torch.from_numpy(track.places)
    for start in range(0, len(points), ROWS):
        rows = slice(start, min(start + ROWS, len(points)))
        yield rows, covariance(distances(points[rows], points).numpy(), noise)


def covariance_matrix(track: Track, noise: CorrelatedNoise) -> Array:
    """The correlated part of a noise between the points of a track: (point, point) [m²].

    That of points that are means is the mean over all pairs of their pixels, see
    `covariance_of_means`.
    """
    if track.count is not None and track.spread is not None:
        return covariance_of_means(track.x, track.y, track.count, track.spread, noise)
    matrix = np.empty((len(track.x), len(track.x)))
    for rows, values in covariance_rows(track, noise):
        matrix[rows] = values
    return matrix


# The noise of means of cells: what is correlated is averaged less than what is independent.

NODES = 8
"""Of Gauss and Legendre's quadrature between the kinks of a density, for cells close together."""
NEAR = 1.0
"""Distance of two cells' middles, in sums of their widths, up to which that is needed."""
MOST_ROWS_OF_CELL = 16
"""Rows and columns of pixels by which a cell is taken to be filled; more make no difference."""
NARROW = 1e-3
"""Width of cells, in ranges of the noise, below which they are points."""


def covariance_of_means(
    x: Array, y: Array, count: Array, spread: Array, noise: CorrelatedNoise
) -> Array:
    """The covariance of means over cells: the mean of the covariance over all pairs of their points
    [m²].

    x, y     (cell,)       mean positions [m]
    count    (cell,)       number of points
    spread   (cell, 2)     standard deviation of their positions east and north [m]
    returns  (cell, cell)

    A cell counts as a rectangle that its points fill evenly. Between the middles alone differences
    of neighbours would seem too noisy, by a half and more, however small the cells are: an
    exponential covariance has a cusp at zero. Sudhaus and Jónsson (2009), Geophys. J. Int. 176,
    389-404, take the mean over all pairs of pixels.
    """
    if noise.type == "gaussian":
        east, north = (
            _gaussian_means(positions, spread[:, axis], noise.range)
            for axis, positions in enumerate((x, y))
        )
        smooth = noise.sill * east * north
        # Few points in a cell that is much wider than the range do not fill it: each is as noisy as
        # ever.
        smooth[np.diag_indices_from(smooth)] = np.maximum(
            smooth.diagonal(), _within(count, spread, noise)
        )
        return smooth
    matrix = np.empty((len(x), len(x)))
    places = np.stack([x, y], axis=1)
    close_pairs: list[NDArray[np.int64]] = []
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        # the matrix is symmetric: its upper triangle
        apart = np.abs(places[rows, None] - places[start:])
        both = np.square(spread[rows, None]) + np.square(spread[start:])
        close = (apart < NEAR * WIDTH * (spread[rows, None] + spread[start:])).all(axis=2)
        close_pairs.append(np.argwhere(np.triu(close, 1)) + start)
        east, north = np.moveaxis(np.sqrt(both, out=both), 2, 0)
        corners = [
            np.hypot(apart[..., 0] + i * east, apart[..., 1] + j * north)
            for i in (-1, 1)
            for j in (-1, 1)
        ]
        matrix[rows, start:] = sum(covariance(corner, noise) for corner in corners) / 4
        matrix[start:, rows] = matrix[rows, start:].T
    first, second = np.concatenate(close_pairs).T
    for pairs in np.array_split(np.arange(len(first)), max(1, len(first) // ROWS)):
        one = first[pairs]
        other = second[pairs]
        (east, of_east), (north, of_north) = (
            _differences(
                places[one, axis] - places[other, axis], spread[one, axis], spread[other, axis]
            )
            for axis in (0, 1)
        )
        values = covariance(np.hypot(east[:, :, None], north[:, None]), noise)
        matrix[one, other] = matrix[other, one] = np.einsum(
            "pij,pi,pj->p", values, of_east, of_north
        )
    matrix[np.diag_indices_from(matrix)] = _within(count, spread, noise)
    return matrix


WIDTH = 12**0.5
"""Of an interval, in standard deviations of a uniform distribution over it."""


def _within(count: Array, spread: Array, noise: CorrelatedNoise) -> Array:
    """The mean covariance of the pairs of points of each cell, a grid of them, (cell,) [m²]."""
    east, north = np.maximum(spread, 1e-9 * noise.range).T
    columns = np.clip(np.round(np.sqrt(count * east / north)), 1, count)
    rows = np.maximum(np.round(count / columns), 1)
    shape = np.minimum(np.stack([columns, rows], axis=1), MOST_ROWS_OF_CELL).astype(np.int64)
    shape[spread == 0] = 1
    grid = shape.prod(axis=1)
    several = np.maximum(count, 2)
    # Where the grid has not as many points as the cell, pairs of different ones keep their mean
    # squared distance.
    stretch = np.sqrt(np.where(grid > 1, (1 - 1 / grid) / (1 - 1 / several), 1))
    mean = np.empty(len(count))
    for sides in np.unique(shape, axis=0):
        alike = (shape == sides).all(axis=1)
        steps = (stretch[:, None] * spread)[alike] * np.sqrt(
            12 / np.maximum(np.square(sides) - 1, 1)
        )
        lags = [np.arange(size) for size in sides]
        shares = [
            np.where(lag == 0, 1, 2) * (size - lag) / size**2
            for lag, size in zip(lags, sides, strict=True)
        ]
        distance = np.hypot((lags[0] * steps[:, :1])[:, :, None], (lags[1] * steps[:, 1:])[:, None])
        mean[alike] = np.einsum("cij,i,j->c", covariance(distance, noise), *shares)
    of_different = (mean - noise.sill / grid) / np.maximum(1 - 1 / grid, 0.5)
    return np.where(grid > 1, noise.sill / count + of_different * (1 - 1 / count), mean)


def _differences(apart: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Differences of two coordinates that are uniform around their means, and their weights, (pair,
    node) each.

    apart          (pair,)  difference of the means [m]
    first, second  (pair,)  standard deviations [m]
    The density of the difference is a trapezoid; each of its three parts has nodes of its own.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    widths = WIDTH * np.stack([first, second])
    narrow = widths.min(axis=0) / 2
    wide = widths.max(axis=0) / 2
    kinks = np.stack([-wide - narrow, narrow - wide, wide - narrow, wide + narrow], axis=1)
    halves = np.diff(kinks)[:, :, None] / 2
    middles = (kinks[:, 1:] + kinks[:, :-1])[:, :, None] / 2
    places = middles + halves * nodes
    excess = np.abs(places) - (wide - narrow)[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        density = np.clip(1 - excess / (2 * narrow)[:, None, None], 0, 1)
    share = (np.where(halves > 0, density, 0) * halves * weights).reshape(len(apart), 3 * NODES)
    total = share.sum(axis=1, keepdims=True)
    # Two points: all of the weight is at one difference.
    share = np.where(total > 0, share / np.where(total > 0, total, 1), 1 / share.shape[1])
    return apart[:, None] + places.reshape(share.shape), share


def _gaussian_means(positions: Array, spread: Array, reach: float) -> Array:
    """The mean of exp(−(difference / range)²) over pairs of coordinates, uniform around their
    means, (cell, cell).
    """
    from scipy.special import erf

    def integrated_twice(scaled: Array) -> Array:
        values: Array = np.sqrt(np.pi) * scaled * erf(scaled) + np.exp(-np.square(scaled))
        return 0.5 * values

    half = np.maximum(WIDTH * spread / reach, NARROW) / 2
    apart = (positions[:, None] - positions) / reach
    plus = half[:, None] + half
    minus = half[:, None] - half
    inner = integrated_twice(apart + minus) + integrated_twice(apart - minus)
    outer = integrated_twice(apart + plus) + integrated_twice(apart - plus)
    return (outer - inner) / (4 * half[:, None] * half)


def fit(measured: Semivariogram, type: str) -> tuple[CorrelatedNoise, float]:
    """The noise of a type whose semivariogram fits best, and its misfit.

    Bins have the weight pairs / distance²: those of far points vary together from sample to sample
    and say little, those of near points fix the nugget and the type (Pebesma 2004, Comput. Geosci.
    30, 683-691). The misfit is the weighted root mean square of the residuals [m²]. Sill, range and
    nugget are kept positive; see LEAST_NUGGET and LARGEST_RANGE. Raises ValueError if there are too
    few bins, or no noise.
    """
    from scipy.optimize import curve_fit

    if len(measured.distance) < 5:
        raise ValueError(
            f"of {BINS} ranges of distance up to a third of their extent only"
            f" {len(measured.distance)} have 30 pairs of points, but 5 are needed; choose a larger"
            f" `noise_area`, or declare the noise: `noise={TYPES[0]}:…`"
        )
    top = float(measured.value.max())
    far = measured.longest
    if not top > 0:
        raise ValueError("a semivariogram that is 0 at all distances, which is that of no noise")

    def scaled(distance: Array, sill: float, reach: float, nugget: float) -> Array:
        return model(distance * far, CorrelatedNoise(type, sill, reach * far, nugget))

    weights = np.sqrt(measured.pairs) / measured.distance
    weights /= np.sqrt(np.mean(weights**2))
    lowest = (1e-6, 0.1 * float(measured.distance[0]) / far, LEAST_NUGGET)
    highest = (20.0, LARGEST_RANGE, 1.5)
    best: tuple[float, Array] | None = None
    for start in (0.1, 0.3, 1.0):  # from one start alone the fit may end at a bound
        parameters, _ = curve_fit(
            scaled,
            measured.distance / far,
            measured.value / top,
            p0=(0.8, start, 0.1),
            sigma=1 / weights,
            bounds=(lowest, highest),
            max_nfev=2000,
        )
        residual = weights * (scaled(measured.distance / far, *parameters) - measured.value / top)
        misfit = float(np.sqrt(np.mean(residual**2)))
        if best is None or misfit < best[0] * (1 - 1e-9):
            best = misfit, parameters
    assert best is not None
    misfit, (sill, reach, nugget) = best
    return (
        CorrelatedNoise(type, float(sill * top), float(reach * far), float(nugget * top)),
        misfit * top,
    )
