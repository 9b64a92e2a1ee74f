"""Coordinates in which amplitudes are nearly independent of the other parameters of sources, and nearly normal.

Displacements are linear in amplitudes, such as a pressure. Given the shape of the sources, amplitudes therefore have a
normal distribution, whose mean and width follow from linear least squares. How far they are from that mean, in units of
that width, is their coordinate; all other parameters keep their scores. Ridges between an amplitude and a size, along
which the posterior is long, bent and thin, become straight and wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.estimation.sampling.density import Posterior
from qexp.estimation.sampling.mixture import Mixture

Array = NDArray[np.float64]

STEP = 1e-4
"""Of a difference of scores, by which values are differentiated."""


class Coordinates:
    """Scores of shapes and standardised amplitudes ↔ scores of all free parameters.

    posterior   of which these are the coordinates
    amplitudes  names of the free parameters to which displacements are linear if all others are given
    weight      see `density.PenalisedSquares`
    """

    def __init__(self, posterior: Posterior, amplitudes: Sequence[str], weight: float) -> None:
        self.posterior, self.weight = posterior, weight
        prior = posterior.prior
        self._linear = [prior.free.index(name) for name in amplitudes]
        self._columns = [prior.names.index(name) for name in amplitudes]
        self._marginals = [prior.marginals[index] for index in self._linear]
        middle = [one.value(np.array([-1.0, 0.0, 1.0])) for one in self._marginals]
        self._mean = torch.tensor([float(one[1]) for one in middle], dtype=torch.float64)
        self._size = torch.tensor([float(one[2] - one[0]) / 2 for one in middle], dtype=torch.float64)

    def __call__(self, coordinates: Array) -> Array:
        """The logarithm of the density of coordinates, (draw,), of (draw, coordinate)."""
        if not self._linear:
            return self.posterior(coordinates)
        scores, stretch = self._with_stretch(coordinates)
        return np.where(np.isfinite(stretch), self.posterior(scores) + stretch, -np.inf)

    def scores(self, coordinates: Array) -> Array:
        """The scores of coordinates, (draw, coordinate) both."""
        return self._with_stretch(coordinates)[0] if self._linear else coordinates

    def of(self, proposal: Mixture) -> Mixture:
        """A proposal in these coordinates, with the shapes of one in scores."""
        if not self._linear:
            return proposal
        centres, roots = proposal.centres.copy(), proposal.roots.copy()
        mean, triangle = self._conditional(proposal.centres)
        values = self.posterior.prior.values(proposal.centres)[:, self._columns] / self._size
        own = (triangle.mT @ (values - mean)[..., None])[..., 0].numpy()
        centres[:, self._linear] = np.where(np.isfinite(own), own, 0.0)
        scales = roots @ roots.swapaxes(1, 2)
        scales[:, self._linear, :] = scales[:, :, self._linear] = 0.0
        scales[:, self._linear, self._linear] = 1.0
        return Mixture(proposal.shares, centres, np.asarray(np.linalg.cholesky(scales)), proposal.of_prior)

    def _with_stretch(self, coordinates: Array) -> tuple[Array, Array]:
        """Scores, and the logarithm of the volume that a unit of these coordinates has in them, (draw,)."""
        scores = coordinates.copy()
        mean, triangle = self._conditional(coordinates)
        own = torch.from_numpy(coordinates[:, self._linear])[..., None]
        moved = torch.linalg.solve_triangular(triangle.mT, own, upper=True)[..., 0]
        values = ((mean + moved) * self._size).numpy()
        stretch = -triangle.diagonal(dim1=-2, dim2=-1).log().sum(dim=1).numpy()
        for place, (index, one) in enumerate(zip(self._linear, self._marginals, strict=True)):
            inside = (values[:, place] > one.low) & (values[:, place] < one.high)
            score = one.score(np.where(inside, values[:, place], float(self._mean[place])))
            slope = (one.value(score + STEP) - one.value(score - STEP)) / (2 * STEP * float(self._size[place]))
            with np.errstate(divide="ignore"):
                stretch = np.where(inside, stretch - np.log(slope), np.nan)
            scores[:, index] = score
        return scores, stretch

    def _conditional(self, coordinates: Array) -> tuple[Tensor, Tensor]:
        """Mean of the amplitudes given the shapes, (draw, amplitude), in units of their prior's width; and the Cholesky
        factor of the inverse of their covariance, (draw, amplitude, amplitude).
        """
        prior, signals = self.posterior.prior, self.posterior.signals
        values = prior.values(coordinates)
        values[:, self._columns] = 0.0
        without = signals(values)
        changes = []
        for column, size in zip(self._columns, self._size.tolist(), strict=True):
            with_one = values.clone()
            with_one[:, column] = size
            changes.append(signals(with_one) - without)
        slopes = self.weight * torch.stack(changes, dim=1).nan_to_num()
        left = self.weight * (signals.data - without).nan_to_num()
        precision = slopes @ slopes.mT + torch.eye(len(self._columns), dtype=torch.float64)
        pull = (slopes @ left[..., None])[..., 0] + self._mean / self._size
        triangle = torch.linalg.cholesky(precision)
        mean: Tensor = torch.cholesky_solve(pull[..., None], triangle)[..., 0]
        return mean, triangle
