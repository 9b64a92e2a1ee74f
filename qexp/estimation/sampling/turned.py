"""Modes of single observations, whose angles are turned and whose noise level may be unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.estimation.levenberg_marquardt import Minima
from qexp.estimation.sampling.density import Density, PenalisedSquares, Posterior
from qexp.estimation.sampling.level import Level, PosteriorWithLevel
from qexp.estimation.sampling.mixture import Mixture
from qexp.estimation.sampling.modes import found, laplace
from qexp.estimation.sampling.prior import Prior
from qexp.estimation.sampling.signals import Signals

Array = NDArray[np.float64]

SEARCHES = 4
"""Searches of modes one after the other, each with the angles and the noise level of the best mode before."""


@dataclass(frozen=True)
class Found:
    """A posterior and a proposal for it.

    prior    whose scores their coordinates are; angles are turned so that its ends lie opposite to the best mode
    level    the noise level if it is unknown, whose score is then the last coordinate
    density  of these scores
    """

    prior: Prior
    level: Level | None
    density: Density
    proposal: Mixture


def density_of(signals: Signals, prior: Prior, level: Level | None) -> Density:
    """The posterior of the one observation of these signals."""
    sources = Posterior(signals, prior)
    return sources if level is None else PosteriorWithLevel(sources, level)


def searched(signals: Signals, prior: Prior, starts: Array, level: Level | None) -> Found:
    """The posterior of the one observation of these signals, and its modes.

    starts  (start, free parameter), scores, the best first
    level   of the noise if it is unknown
    """
    values, best = prior.values(starts), 0
    for _ in range(SEARCHES):
        prior = prior.around(values[best].numpy())
        posterior, scores = Posterior(signals, prior), prior.scores(values.numpy())
        weight = 1.0
        if level is not None:
            chi2 = float(posterior.chi2(scores[best : best + 1])[0])
            weight = 1 / float(level.relative(np.asarray(level.likeliest(chi2))))
        minima = found(PenalisedSquares(signals, prior, weight), scores)
        values, best = prior.values(minima.coordinates.numpy()), int(minima.cost.argmin())
    density = density_of(signals, prior, level)
    modes = minima if level is None else _with_level(minima, posterior, level)
    return Found(prior, level, density, laplace(density, modes))


def _with_level(minima: Minima, posterior: Posterior, level: Level) -> Minima:
    """Modes with the likeliest level of each as the last coordinate."""
    each = np.nan_to_num(posterior.chi2(minima.coordinates.numpy()), nan=np.inf)
    scores = [level.likeliest(chi2) for chi2 in each]
    coordinates = torch.cat([minima.coordinates, torch.tensor(scores, dtype=torch.float64)[:, None]], dim=1)
    count, free = minima.coordinates.shape
    information = torch.zeros(count, free + 1, free + 1, dtype=torch.float64)
    information[:, :free, :free] = minima.information
    for mode, (chi2, score) in enumerate(zip(each, scores, strict=True)):
        information[mode, free, free] = level.curvature(chi2, score)
    return replace(minima, coordinates=coordinates, information=information)
