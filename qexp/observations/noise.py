"""The noise of tracks: as declared, or fitted to the semivariogram of points that hold noise alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.observations.observation import Array, CorrelatedNoise, Track
from qexp.observations.semivariogram import LARGEST_RANGE, TYPES, Semivariogram, covariance_matrix, fit, semivariogram

LEAST_POINTS = 50
"""Points of a track from which its noise can be estimated."""

MOST_CHECKED = 1000
"""Points whose covariance matrix is factored to see whether it can be."""

FORM = "write TYPE:SILL,RANGE,NUGGET in m², m, m², such as exponential:2.3e-5,10200,3e-6"


@dataclass(frozen=True)
class Area:
    """A rectangle that the signal does not reach, in the observation's coordinates [m]."""

    east: tuple[float, float]
    north: tuple[float, float]

    def holds(self, track: Track) -> NDArray[np.bool_]:
        inside = (track.x >= self.east[0]) & (track.x <= self.east[1])
        return np.asarray(inside & (track.y >= self.north[0]) & (track.y <= self.north[1]))


@dataclass(frozen=True)
class Outside:
    """All but a circle, in the observation's coordinates [m]."""

    east: float
    north: float
    radius: float

    def holds(self, track: Track) -> NDArray[np.bool_]:
        return np.asarray(np.hypot(track.x - self.east, track.y - self.north) > self.radius)


SignalFree = Area | Outside


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise of a track as its semivariogram gives it.

    fits     type → the noise of that type that fits best; the first fits better than the others
    misfits  type → weighted root mean square of the residuals [m²]
    how      what was taken for noise, in words
    points   number of points that were used
    """

    measured: Semivariogram
    fits: Mapping[str, CorrelatedNoise]
    misfits: Mapping[str, float]
    how: str
    points: int

    @property
    def best(self) -> CorrelatedNoise:
        return next(iter(self.fits.values()))

    @property
    def levels_off(self) -> bool:
        """Whether the semivariogram reaches its sill; if not, only lower limits of sill and range are known."""
        return self.best.range < 0.99 * LARGEST_RANGE * self.measured.longest

    @property
    def resolved(self) -> bool:
        """Whether points are close enough to tell what is correlated from the nugget."""
        return bool(self.best.range > self.measured.distance[0])


def declared(text: str) -> CorrelatedNoise:
    """`exponential:2.3e-5,10200,3e-6` → that noise. Raises QexpError for another form, and for impossible numbers."""
    kind, colon, listed = text.partition(":")
    if kind not in TYPES:
        raise QexpError(f"--noise {text}: no noise '{kind}'; {suggestion(kind, (*TYPES, 'estimate', 'none'))}")
    try:
        numbers = [float(one) for one in listed.split(",")] if colon else []
    except ValueError:
        raise QexpError(f"--noise {text}: {FORM}") from None
    if len(numbers) not in (2, 3) or not np.isfinite(numbers).all():
        raise QexpError(f"--noise {text}: {FORM}")
    sill, reach, nugget = (*numbers, 0.0)[:3]
    if sill <= 0 or reach <= 0 or nugget < 0:
        raise QexpError(
            f"--noise {text}: the covariance is not positive definite; sill and range must be positive, and the nugget "
            "must not be negative"
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
    made = replace(track, error=error, noise=noise)
    seen = made.seen()
    seen = seen.kept(np.linspace(0, seen.size - 1, min(seen.size, MOST_CHECKED)).astype(np.int64))
    try:
        np.linalg.cholesky(covariance_matrix(seen.x, seen.y, noise) + np.diag(seen.error**2))
    except np.linalg.LinAlgError:
        raise QexpError(
            f"track '{track.name}': the covariance of its noise ({noise.words}) is not positive definite in "
            "floating-point numbers; give it a larger nugget, or a shorter range"
        ) from None
    return made


def estimate_of(track: Track, where: NDArray[np.bool_], values: Array, how: str, planes: bool) -> NoiseEstimate:
    """The noise of a track from its semivariogram.

    where   (point,)  which points hold noise alone
    values  (point,)  what is taken for noise [m]
    how     the same in words
    planes  subtract a plane first
    Raises QexpError for too few points, and for points that have no semivariogram.
    """
    kept = where & track.observed
    require_enough(track, kept)
    x, y, left = track.x[kept], track.y[kept], values[kept]
    measured = semivariogram(x, y, _less_plane(x, y, left) if planes else left)
    try:
        fitted = {type: fit(measured, type) for type in TYPES}
    except ValueError as error:
        raise QexpError(f"track '{track.name}': no semivariogram can be fitted: {error}") from None
    order = sorted(TYPES, key=lambda type: fitted[type][1])
    return NoiseEstimate(
        measured,
        {type: fitted[type][0] for type in order},
        {type: fitted[type][1] for type in order},
        how,
        int(kept.sum()),
    )


def require_enough(track: Track, kept: NDArray[np.bool_]) -> None:
    """Raises QexpError if points are too few, too close or too alike for a semivariogram."""
    count = int(kept.sum())
    if count < LEAST_POINTS:
        raise QexpError(
            f"track '{track.name}': {count:,} of its {track.size:,} points are left to estimate the noise from, but "
            f"{LEAST_POINTS} are needed; choose a larger --noise-area, or declare the noise: --noise {TYPES[0]}:…"
        )
    if not max(np.ptp(track.x[kept]), np.ptp(track.y[kept])) > 0:
        raise QexpError(
            f"track '{track.name}': all its points lie at one place, so that the range of its noise is undefined"
        )
    if not np.ptp(track.displacement[kept]) > 0:
        raise QexpError(f"track '{track.name}': all its points have the same displacement, so that it has no noise")


def _less_plane(x: Array, y: Array, values: Array) -> Array:
    design = np.column_stack([np.ones(len(x)), (x - x.mean()) / max(np.ptp(x), 1), (y - y.mean()) / max(np.ptp(y), 1)])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    return np.asarray(values - design @ coefficients)
