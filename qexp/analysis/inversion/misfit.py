"""Whether what a fit leaves of an observation is the declared noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qexp.inference.fit import Fit
from qexp.inference.least_squares import Problem
from qexp.metrics.calibration import Misfit, blocks_of_tracks, misfit
from qexp.observations.observation import Track

SIGNIFICANT = 1e-3
"""p-value below which residuals are said not to be the declared noise."""
UNCERTAIN = 3.0
"""Reduced χ² up to which residuals may well be noise of the estimated type: the sill of a semivariogram is uncertain by
half of it and more, and its range too."""


def of_residuals(fit: Fit, problem: Problem) -> Misfit:
    """Tests of the whitened residuals at the minimum, (1,) each; blocks extend over the area of each track."""
    residuals, _ = problem.linearised(torch.from_numpy(fit.at)[None], torch.arange(1))
    blocks = blocks_of_tracks(problem.model.positions.numpy(), problem.weighting.slices)
    return misfit(residuals.numpy(), blocks, len(fit.free) + problem.weighting.nuisances)


def remark(found: Misfit, chi2_reduced: float, tracks: Sequence[Track]) -> list[str]:
    """A sentence if the residuals are not the declared noise, and what they are like.

    The tests take the noise as known. Of noise that was estimated the size alone is uncertain by a factor of about two,
    which they would call a misfit: then only residuals that are larger by more than that are.
    """
    if any(track.noise is not None and track.noise.estimated for track in tracks):
        if chi2_reduced < UNCERTAIN:
            return []
        return [
            f"the residuals are larger than the estimated noise (reduced χ² {chi2_reduced:.3g}): no source of this "
            "type explains the observation, or the area from which its noise was estimated is quieter than the rest"
        ]
    p_value = float(found.p_value[0])
    if p_value >= SIGNIFICANT:
        return []
    each = {
        "they are larger everywhere": found.total,
        "they vary over long distances, as those of another source would": found.smooth,
        "they are large in one place, as after an unwrapping error": found.local,
    }
    words = min(each, key=lambda name: float(each[name][0]))
    amount = f"p = {p_value:.1g}" if p_value > 0 else "p < 1e-300"
    return [
        f"the residuals are not the declared noise ({amount}, reduced χ² {chi2_reduced:.3g}): {words}; either no "
        "source of this type explains the observation, or its noise is stronger than declared"
    ]
