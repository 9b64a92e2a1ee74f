"""Least-squares problems of deformation: one model and weighting, the data of one observation or of many."""

from __future__ import annotations

import torch
from torch import Tensor

from qexp.estimation.coordinates import Coordinates
from qexp.estimation.deformation import Deformation
from qexp.estimation.levenberg_marquardt import REDUCTION_TOLERANCE, Minima, blocks, minimised
from qexp.estimation.weighting import Weighting

MOST_NUMBERS = 65536
"""Displacements that are computed together: more would not fit the processor's caches any better."""

STEP = 1e-5
"""Of a difference of coordinates: about the cube root of the rounding error, which is best for central differences."""


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
        for block in self._blocks(which, 2 * len(self.coordinates.free) + 1):
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

        By central differences of coordinates that are of the order of 1, in double precision: their errors are below
        1e-9 of a derivative, and all of them are one batch for the kernel, which takes a tenth of the time of automatic
        differentiation. Where one of the two ends is no possible source, the difference is to the middle. NaN for
        problems outside of the model's domain.
        """
        count = coordinates.shape[1]
        steps = STEP * torch.cat([torch.zeros(1, count), torch.eye(count), -torch.eye(count)]).double()
        around = (coordinates[:, None] + steps).flatten(0, 1)
        values = self.coordinates.values(around)
        inside = self.model.possible(values) & self.coordinates.within(around)
        made = around.new_full((len(around), self.model.points), torch.nan)
        if inside.any():
            with torch.no_grad():
                made[inside] = self.model(values[inside])
        middle, after, before = made.unflatten(0, (len(coordinates), -1)).split([1, count, count], dim=1)
        ends = torch.isfinite(after[..., :1]).double() + torch.isfinite(before[..., :1]).double()
        after, before = (torch.where(torch.isfinite(end), end, middle) for end in (after, before))
        return middle[:, 0], (after - before) / (STEP * ends.clamp(min=1))

    def minimum(self, start: Tensor, tolerance: float = REDUCTION_TOLERANCE) -> Minima:
        """Minimise from each row of `start`, values of all parameters in SI units, (problem, parameter).

        tolerance  see `levenberg_marquardt.minimised`
        """
        coordinates = self.coordinates
        return minimised(self, coordinates.of(start), coordinates.low, coordinates.high, tolerance)

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

    def _blocks(self, which: Tensor, models: int = 1) -> list[slice]:
        """models  number of models of each problem"""
        return list(blocks(which, models * self.model.points, MOST_NUMBERS))
