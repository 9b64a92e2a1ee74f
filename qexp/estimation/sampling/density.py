"""The posterior density of sources, in the scores of their prior."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.estimation.sampling.prior import SPAN, Prior
from qexp.estimation.sampling.signals import Signals

Array = NDArray[np.float64]

Density = Callable[[Array], Array]
"""The logarithm of a density but for a constant, (draw,), of (draw, coordinate); −inf where it is zero."""

STEP = 1e-4
"""Of a difference of scores; larger than of other coordinates, as values near the ends of a prior change slowly."""


class Posterior:
    """The posterior of the free parameters of one observation, in scores z that are standard normal under the prior.

    Its logarithm is that of the likelihood − |z|² / 2, but for a constant. With offsets and ramps projected out of
    data and signals, the likelihood of χ² is that after integrating over them with a flat prior.

    degrees  points less nuisances, if the size of the noise is unknown: the likelihood is then integrated over a factor
             by which all errors are multiplied, with Jeffreys' prior; None: errors are as declared
    """

    def __init__(self, signals: Signals, prior: Prior, degrees: int | None = None) -> None:
        assert len(signals.data) == 1
        self.signals, self.prior, self.degrees = signals, prior, degrees

    def __call__(self, scores: Array) -> Array:
        found = self.log_likelihood(self.chi2(scores)) - 0.5 * np.square(scores).sum(axis=1)
        return np.where(np.isnan(found) | (np.abs(scores) > SPAN).any(axis=1), -np.inf, found)

    def chi2(self, scores: Array) -> Array:
        """Sums of squares by the declared noise, (draw,); NaN for impossible sources."""
        left = self.signals(self.prior.values(scores)) - self.signals.data
        return np.asarray((left.square().sum(dim=1) + self.signals.rest).numpy())

    def log_likelihood(self, chi2: Array) -> Array:
        return -0.5 * (chi2 if self.degrees is None else self.degrees * np.log(chi2))


class PenalisedSquares:
    """Sums of squared residuals and of squared scores, whose minima are the modes of posteriors.

    weight  what residuals are multiplied with: 1 for declared errors, their size relative to the true ones otherwise
    Implements `levenberg_marquardt.SumsOfSquares`; its problems are the observations of the signals.
    """

    def __init__(self, signals: Signals, prior: Prior, weight: float = 1.0) -> None:
        self.signals, self.prior, self.weight = signals, prior, weight

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, free = coordinates.shape
        steps = STEP * torch.eye(free, dtype=torch.float64)
        ends = torch.stack([coordinates[:, None] + steps, coordinates[:, None] - steps], dim=1)
        every = torch.cat([coordinates, ends.reshape(-1, free)])
        made = self.weight * self.signals(self.prior.values(every.numpy()))
        middle, after, before = made[:count], *made[count:].view(count, 2, free, -1).unbind(1)
        residuals = middle - self.weight * (
            self.signals.data if len(self.signals.data) == 1 else self.signals.data[which]
        )
        sides = torch.isfinite(after[..., :1]).double() + torch.isfinite(before[..., :1]).double()
        after, before = (torch.where(torch.isfinite(end), end, middle[:, None]) for end in (after, before))
        jacobian = (after - before) / (STEP * sides.clamp(min=1))
        cost = 0.5 * (residuals.square().sum(dim=1) + coordinates.square().sum(dim=1))
        gradient = (jacobian @ residuals[..., None])[..., 0] + coordinates
        information = jacobian @ jacobian.mT + torch.eye(free, dtype=torch.float64)
        outside = torch.isnan(cost)
        return (
            cost.masked_fill(outside, math.inf),
            gradient.masked_fill(outside[:, None], 0.0),
            information.masked_fill(outside[:, None, None], 0.0),
        )
