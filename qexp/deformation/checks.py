"""What a posterior rests on: whether its priors matter, and whether it explains each track."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from torch import Tensor

from qexp.base.arrays import Array
from qexp.deformation.inversion import P_VALUES
from qexp.errors import extra
from qexp.inference.weighting import Weighting
from qexp.metrics.calibration import blocks_of, misfit
from qexp.observations.observation import Track

POWERS = 0.99, 1.01
"""To which prior and likelihood are raised."""

SENSITIVE, APART = 0.05, 2.0
"""Sensitivity from which on a part of the posterior matters (as in the R package priorsense); and
distance of prior and data, in standard deviations of their difference, that is too large.
"""

LEAST_PART = 0.05
"""Of the precision, by prior or by data, that counts where it is less, or cannot be told."""


@dataclass(frozen=True)
class Sensitivity:
    """How much the posterior of a parameter changes where a part of it counts a little more or
    less: the cumulative Jensen-Shannon distance per doubling of the power to which all priors, or
    the likelihood, are raised.

    0.08 is that of a normal posterior that rests on this part alone.
    """

    prior: float
    data: float
    diagnosis: str


def sensitivity(draws: Array, log_prior: Array, log_likelihood: Array) -> Sensitivity:
    """Of one parameter, (draw,) all; logarithms of densities but for constants.

    Prior and data disagree where they pull apart: by normal approximations, each moves the mean
    by the distance between them times √(share of its precision × that of the other); draws are
    normal by their ranks.

    Kallioinen, Paananen, Bürkner and Vehtari (2024), Stat. Comput. 34, 57.
    """
    ranks = draws.argsort().argsort()
    standard = ndtri((ranks + 0.5) / len(draws))
    found, moved, parts = [], [], []
    for log in (log_prior, log_likelihood):
        found.append(_distance(draws, log))
        apart = log - log.mean()
        moved.append(float(np.mean(standard * apart)))
        parts.append(float(np.clip(-np.mean(standard**2 * apart), LEAST_PART, 1.0)))
    prior, data = found
    between = math.sqrt(max(-math.prod(moved), 0.0) / math.prod(parts))
    diagnosis = "–"
    if prior >= SENSITIVE > data:
        diagnosis = "the prior matters more than the data"
    elif prior >= SENSITIVE:
        apart_words = "prior and data disagree"
        diagnosis = apart_words if between > APART else "prior and data both matter"
    return Sensitivity(prior, data, diagnosis)


def _distance(draws: Array, log: Array) -> float:
    if np.ptp(log) == 0:  # to whatever power
        return 0.0
    with extra("posterior"):
        from arviz_stats.base import array_stats

    # Pareto-smoothed
    weights = [np.exp(array_stats.power_scale_lw(log, alpha=power)) for power in POWERS]
    of_chain = [(each / each.sum())[None] for each in weights]
    return float(array_stats.power_scale_sense(draws[None], *of_chain, *POWERS))


LIKE = {
    "total": "larger than the noise and the source explain",
    "smooth": "more alike over long distances than the noise and the source explain, as with"
    " another source",
    "local": "larger in one place than the noise and the source explain, as after an unwrapping"
    " error",
}
"""What residuals are of which a test of `metrics.calibration.misfit` has a small p-value."""

SMALL_P = 0.01
"""p-value below which a sentence says so."""


def predictive_p_values(
    weighting: Weighting, residuals: Tensor, levels: Array, tracks: Sequence[Track]
) -> dict[str, dict[str, float]]:
    """Track → test → the probability, over draws of the posterior, that data of the drawn source
    and noise leave residuals that are as large as those of the observation.

    residuals  (draw, point)  weighted data less model
    levels     (draw,)        factor of the errors
    Where one factor of all errors is drawn, `total` compares a track with the others, and says
    nothing of a single one; `smooth` and `local` do. All are conservative, as the draws follow the
    data: p-values of right models are nearer to 1/2 than uniform ones.

    The mean over draws needs no simulated data, as the tests are exact given the source: Gelman,
    Meng and Stern (1996), Stat. Sinica 6, 733-807, with realised discrepancies.
    """
    found = {}
    whitened = residuals.numpy() / levels[:, None]
    for track, block, where in zip(tracks, weighting.blocks, weighting.slices, strict=True):
        blocks = blocks_of(track.x, track.y)
        tests = misfit(whitened[:, where], blocks, block.nuisances.shape[1])
        found[track.name] = {name: float(getattr(tests, name).mean()) for name in P_VALUES}
    return found


def unexplained(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A sentence for each track with a small p-value."""
    for name, tests in found.items():
        p_value = tests["p_value"]
        if p_value < SMALL_P:
            like = min(LIKE, key=lambda test: tests[test])
            words = f"posterior predictive p = {p_value:.1g}" if p_value > 1e-300 else "p < 1e-300"
            yield f"the residuals of '{name}' are {LIKE[like]} ({words})"
