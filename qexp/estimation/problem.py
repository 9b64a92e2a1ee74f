"""Least-squares problems of deformation: one model and weighting, the data of one observation or of many."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from qexp.estimation.coordinates import Coordinates
from qexp.estimation.deformation import Deformation
from qexp.estimation.levenberg_marquardt import MOST_ITERATIONS, REDUCTION_TOLERANCE, Minima, blocks, minimised
from qexp.estimation.tilts import within_limits
from qexp.estimation.weighting import Weighting

MOST_NUMBERS = 65536
"""Displacements that are computed together: more would not fit the processor's caches any better."""

STEP = 1e-5
"""Of a difference of coordinates: about the cube root of the rounding error, which is best for central differences."""

MOST_SEARCHED = 400
"""Points of a block in a search; what it finds is then followed with all points."""


class Problem:
    """The data of problems that share model, points and weights; nuisances are solved with the parameters.

    data       (problem, point) [m]; or (1, point), which all starts share
    one_sided  derivatives are differences to one side, which take half of the time and are good enough for a search
    Implements `levenberg_marquardt.SumsOfSquares`.
    """

    def __init__(
        self,
        model: Deformation,
        weighting: Weighting,
        data: Tensor,
        coordinates: Coordinates,
        *,
        one_sided: bool = False,
    ) -> None:
        self.model, self.weighting, self.coordinates, self.one_sided = model, weighting, coordinates, one_sided
        self.data = data.double()
        self.weighted = weighting(self.data)
        self._searches: dict[int, Problem] = {}

    @property
    def degrees(self) -> int:
        """Degrees of freedom of χ²."""
        return self.model.points - self.weighting.nuisances - len(self.coordinates.free)

    @property
    def chi2_without_source(self) -> float:
        """χ² of the nuisances alone, of a problem with data of its own."""
        return float(self.weighted.square().sum())

    def quick(self) -> Problem:
        """The same with one-sided differences."""
        quick = copy(self)
        quick.one_sided = True
        return quick

    def to_search(self, seed: int) -> Problem:
        """The same for a quick search: with at most MOST_SEARCHED points of each block, drawn at random."""
        if seed not in self._searches:
            self._searches[seed] = self._with_fewer_points(seed)
        return self._searches[seed]

    def softened(self) -> Problem:
        """The same with as much independent noise in addition as the data vary.

        Local minima are fewer and wider there: where the source is much stronger than the noise, places that hardly
        overlap with it are minima, because the details of the data weigh the most. Of a problem with data of its own.
        """
        deviations = [float(self.data[0, where].std(correction=0)) for where in self.weighting.slices]
        weighting = self.weighting.with_errors(deviations)
        return Problem(self.model, weighting, self.data, self.coordinates, one_sided=self.one_sided)

    def _with_fewer_points(self, seed: int) -> Problem:
        random = np.random.default_rng(seed)
        chosen = [
            np.sort(random.choice(np.arange(where.start, where.stop), MOST_SEARCHED, replace=False))
            if where.stop - where.start > MOST_SEARCHED
            else np.arange(where.start, where.stop)
            for where in self.weighting.slices
        ]
        weighting = self.weighting.of(
            [points - where.start for points, where in zip(chosen, self.weighting.slices, strict=True)]
        )
        points = torch.from_numpy(np.concatenate(chosen))
        return Problem(self.model.at(points), weighting, self.data[:, points], self.coordinates, one_sided=True)

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
        weighted = self.weighting(torch.cat([model[:, None], slopes], dim=1))
        return weighted[:, 0] - self._weighted(which), weighted[:, 1:]

    def derivatives(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """The model, (problem, point) [m], and its derivatives by the coordinates, (problem, coordinate, point).

        By central differences of coordinates that are of the order of 1, in double precision: their errors are below
        1e-9 of a derivative, and all of them are one batch for the kernel, which takes a tenth of the time of automatic
        differentiation. Where one of the two ends is no possible source, the difference is to the middle. NaN for
        problems outside of the model's domain.
        """
        steps = STEP * torch.eye(coordinates.shape[1], dtype=torch.float64)
        middle = self._displacements(coordinates)
        after = self._displacements(coordinates[:, None] + steps)
        before = torch.full_like(after, torch.nan)
        needed = torch.isnan(after[..., 0]) if self.one_sided else torch.full(after.shape[:2], True)
        before[needed] = self._displacements((coordinates[:, None] - steps)[needed])
        ends = torch.isfinite(after[..., :1]).double() + torch.isfinite(before[..., :1]).double()
        after, before = (torch.where(torch.isfinite(end), end, middle[:, None]) for end in (after, before))
        return middle, (after - before) / (STEP * ends.clamp(min=1))

    def minimum(
        self, start: Tensor, tolerance: float = REDUCTION_TOLERANCE, most_iterations: int = MOST_ITERATIONS
    ) -> Minima:
        """Minimise from each row of `start`, values of all parameters in SI units, (problem, parameter).

        tolerance, most_iterations  see `levenberg_marquardt.minimised`
        """
        low, high = self.coordinates.low, self.coordinates.high
        minima = minimised(self, self.coordinates.of(start), low, high, tolerance, most_iterations)
        at, signs = within_limits(minima.coordinates, self.coordinates.tilts)
        return replace(minima, coordinates=at, information=minima.information * signs[:, :, None] * signs[:, None, :])

    def _displacements(self, coordinates: Tensor) -> Tensor:
        """The model, (..., point) [m], of (..., coordinate); NaN outside of its domain."""
        rows = coordinates.flatten(0, -2)
        values = self.coordinates.values(rows)
        inside = self.model.possible(values) & self.coordinates.within(rows)
        made = rows.new_full((len(rows), self.model.points), torch.nan)
        if inside.any():
            with torch.no_grad():
                made[inside] = self.model(values[inside])
        return made.view(*coordinates.shape[:-1], self.model.points)

    def _weighted(self, which: Tensor) -> Tensor:
        return self.weighted if len(self.weighted) == 1 else self.weighted[which]

    def _blocks(self, which: Tensor) -> list[slice]:
        models = (1 if self.one_sided else 2) * len(self.coordinates.free) + 1
        return list(blocks(which, models * self.model.points, MOST_NUMBERS))
