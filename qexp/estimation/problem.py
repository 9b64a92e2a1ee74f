"""Least-squares problems of deformation: one model and weighting, the data of one observation or of many."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from qexp.estimation.coordinates import Coordinates
from qexp.estimation.deformation import Deformation
from qexp.estimation.levenberg_marquardt import MOST_ITERATIONS, Minima, blocks, minimised
from qexp.estimation.weighting import Weighting

MOST_NUMBERS = 65536
"""Residuals of problems that are computed together: more would not fit the processor's caches any better."""


class Problem:
    """The data of problems that share model, points and weights; nuisances are solved with the parameters.

    data  (problem, point) [m]; or (1, point), which all starts share
    Implements `levenberg_marquardt.SumsOfSquares`.
    """

    def __init__(self, model: Deformation, weighting: Weighting, data: Tensor, coordinates: Coordinates) -> None:
        self.model, self.weighting, self.coordinates = model, weighting, coordinates
        self.data = data.double()
        self.weighted = weighting(self.data)

    @property
    def degrees(self) -> int:
        """Degrees of freedom of χ²."""
        return self.model.points - self.weighting.nuisances - len(self.coordinates.free)

    def costs(self, coordinates: Tensor, which: Tensor) -> Tensor:
        found = [self._residuals(coordinates[block], which[block]) for block in self._blocks(which)]
        return 0.5 * torch.cat([residuals.square().sum(dim=-1) for residuals in found])

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = []
        for block in self._blocks(which):
            residuals, jacobian = self.linearised(coordinates[block], which[block])
            gradient = (jacobian @ residuals[..., None])[..., 0]
            made.append((0.5 * residuals.square().sum(dim=-1), gradient, jacobian @ jacobian.mT))
        costs, gradients, information = (torch.cat(parts) for parts in zip(*made, strict=True))
        outside = torch.isnan(costs)
        costs = costs.masked_fill(outside, torch.inf)
        return costs, gradients.masked_fill(outside[:, None], 0.0), information.masked_fill(outside[:, None, None], 0.0)

    def linearised(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted residuals model − data, (problem, point), and their Jacobian, (problem, coordinate, point)."""
        model, slopes = self.derivatives(coordinates)
        return self.weighting(model) - self._weighted(which), self.weighting(slopes)

    def derivatives(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """The model, (problem, point) [m], and its derivatives by the coordinates, (problem, coordinate, point).

        By forward differentiation, a coordinate at a time for all problems: each problem is a row of a batch, and
        depends on its own coordinates alone. NaN for problems outside of the model's domain.
        """
        possible = self.model.possible(self.coordinates.values(coordinates))
        inside, columns = coordinates[possible], []
        model = coordinates.new_full((len(coordinates), self.model.points), torch.nan)
        slopes = coordinates.new_full((*coordinates.shape, self.model.points), torch.nan)
        if not len(inside):
            return model, slopes
        with torch.no_grad(), forward_ad.dual_level():
            for index in range(coordinates.shape[1]):
                along = torch.zeros_like(inside)
                along[:, index] = 1.0
                made = self.model(self.coordinates.values(forward_ad.make_dual(inside, along)))
                value, slope = forward_ad.unpack_dual(made)
                columns.append(torch.zeros_like(value) if slope is None else slope)
        model[possible], slopes[possible] = value, torch.stack(columns, dim=1)
        return model, slopes

    def minimum(self, start: Tensor, most_iterations: int = MOST_ITERATIONS) -> Minima:
        """Minimise from each row of `start`, values of all parameters in SI units, (problem, parameter)."""
        coordinates = self.coordinates
        return minimised(self, coordinates.of(start), coordinates.low, coordinates.high, most_iterations)

    def _residuals(self, coordinates: Tensor, which: Tensor) -> Tensor:
        values = self.coordinates.values(coordinates)
        possible = self.model.possible(values)
        residuals = coordinates.new_full((len(coordinates), self.model.points), torch.inf)
        if possible.any():
            with torch.no_grad():
                residuals[possible] = self.weighting(self.model(values[possible])) - self._weighted(which[possible])
        return residuals

    def _weighted(self, which: Tensor) -> Tensor:
        return self.weighted if len(self.weighted) == 1 else self.weighted[which]

    def _blocks(self, which: Tensor) -> list[slice]:
        return list(blocks(which, self.model.points, MOST_NUMBERS))
