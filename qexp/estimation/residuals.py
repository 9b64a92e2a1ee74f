"""Errors of estimates by the covariance that the residuals themselves have, whatever noise was declared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.estimation.fit import Fit
from qexp.estimation.problem import Problem
from qexp.estimation.weighting import MOST_CORRELATED
from qexp.observations.observation import CorrelatedNoise, Track
from qexp.observations.semivariogram import covariance_rows, semivariogram
from qexp.observations.semivariogram import fit as fitted

Array = NDArray[np.float64]


def residual_errors(fit: Fit, problem: Problem, tracks: list[Track]) -> Array | None:
    """Standard errors of the free parameters in SI units, (free,), by the covariance of the residuals of each track.

    The estimate is linear in the data to first order, with the weights K = (JᵀC⁻¹J)⁻¹ JᵀC⁻¹ (offsets and ramps
    included), so that K Ĉ Kᵀ is its covariance for noise of any covariance Ĉ: here nugget and exponential that fit the
    semivariogram of the track's residuals (the "sandwich" of White 1980, Econometrica 48, 817-838). Components of GNSS
    stations count as independent, with the variance of their residuals. None for a track of more than MOST_CORRELATED
    points, or without enough points for a semivariogram.
    """
    weighting = problem.weighting
    weighted = weighting(fit.jacobian)
    weights = weighting.adjoint(weighted)  # C⁻¹ times the Jacobian without nuisances, (free, point)
    middle = torch.zeros(len(weights), len(weights), dtype=weights.dtype)
    for track, residual, where in zip(tracks, fit.residual, weighting.slices, strict=True):
        own = weights[:, where]
        if track.kind == "gnss":
            middle += float(np.mean(residual**2)) * own @ own.mT
            continue
        noise = _noise_of(track, residual)
        if noise is None:
            return None
        for rows, between in covariance_rows(track.x, track.y, noise):
            middle += own[:, rows] @ (torch.from_numpy(between) @ own.mT)
        middle += noise.nugget * own @ own.mT
    inverse = torch.from_numpy(fit.covariance)
    variance = (inverse @ middle @ inverse).diagonal().clamp(min=0).numpy()
    slopes = fit.coordinates.slopes(torch.from_numpy(fit.at)).numpy()
    errors: Array = np.sqrt(variance) * slopes
    return errors if np.isfinite(errors).all() else None


def _noise_of(track: Track, residual: Array) -> CorrelatedNoise | None:
    """Nugget and exponential covariance that fit the residuals of a track; None if they are too few or too many."""
    if len(residual) > MOST_CORRELATED:
        return None
    try:
        noise, _ = fitted(semivariogram(track.x, track.y, residual), "exponential")
    except ValueError:
        return None
    return noise
