"""Least squares in the cells of a matrix: estimates refined through the model that made the observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.axes import MatrixAxis
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.generators import DeformationImages
from qexp.datasets.noises.correlated import WhiteNoise
from qexp.datasets.views import GNSS
from qexp.errors import QexpError, some
from qexp.estimation.coordinates import Coordinates, Parameter
from qexp.estimation.deformation import Deformation
from qexp.estimation.parameters import searches
from qexp.estimation.problem import Problem
from qexp.estimation.weighting import MOST_CORRELATED, Block, Weighting
from qexp.quantities import base_name, quantity

Array = NDArray[np.float64]

QUIET = 1e-4
"""Standard deviation that is taken for the data of views without noise [m]; with any, all of them weigh the same."""
DEEPER, TIMES = 1.25, 12
"""Factor by which, and how often, the depths of a start are increased that would break the surface."""
NOISE = "noise"


class Refinement:
    """Estimates of a network, refined by least squares with weights from the full covariance of the dataset's noise.

    Parameters of sources that are not among the outputs have their true values.

    source   the dataset of the matrix
    held     variable → value of those that are no axes
    outputs  the estimated variables
    Raises QexpError unless all outputs are parameters of sources, and geometry and hidden pixels the same in all cells.
    """

    def __init__(
        self, source: GeneratedDataset, grid: Sequence[MatrixAxis], held: Mapping[str, float], outputs: Sequence[str]
    ) -> None:
        generator = source.generator
        if not isinstance(generator, DeformationImages):
            raise QexpError("--refine: the dataset's generator says nothing of its sources; leave it out")
        self._source, self._outputs, self._generator = source, list(outputs), generator
        self._sources = generator.sources
        self._columns = [name for one in self._sources for name in one.columns]
        self._images = generator.images(source.variables)
        if others := [name for name in outputs if name not in self._columns]:
            raise QexpError(f"--refine: {some(others)} is no parameter of a source; leave --refine out")
        on_axes = [one.variable for one in grid]
        if others := [name for name in on_axes if name not in (*self._columns, NOISE)]:
            raise QexpError(f"--refine: the geometry must be the same in all cells, but {some(others)} is an axis")
        if hidden := [name for name in self._images if source.noise.hides(name)]:
            raise QexpError(f"--refine: the noise of {some(hidden)} hides other pixels in each cell; leave it out")
        self._given = [name for name in on_axes if name not in outputs]
        self._held = {name: value * self._unit(name) for name, value in held.items()}
        geometry = {name: torch.tensor([value], dtype=torch.float64) for name, value in self._held.items()}
        self._layouts = {name: source.layout(name, geometry) for name in self._images}
        self._shown = {name: self._pixels(name) for name in self._images}
        self._seen = torch.cat(list(self._shown.values()))
        parts = [self._stations(name, geometry) for name in self._images]
        stations, direction, elevation = (torch.cat(of)[self._seen] for of in zip(*parts, strict=True))
        heights = elevation if bool((elevation != 0).any()) else None
        self._model = Deformation(self._sources, stations, direction, heights)
        self._parameters = self._bounded(stations.numpy(), grid)
        self._weighting = cache(self._weights)

    def __call__(
        self, samples: Mapping[str, Tensor], values: Mapping[str, Array], estimates: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Refined estimates, output → (cell,).

        samples    the observations of some cells, as the dataset makes them
        values     axis → true values, (cell,)
        estimates  output → the network's estimates, (cell,)
        """
        data = self.data(samples)
        made = {name: np.array(of, dtype=np.float64) for name, of in estimates.items()}
        given = np.stack([values[name] for name in self._given], axis=1) if self._given else np.zeros((len(data), 0))
        for row in np.unique(given, axis=0):
            cells = np.flatnonzero((given == row).all(axis=1))
            known = {name: value * self._unit(name) for name, value in zip(self._given, row.tolist(), strict=True)}
            refined = self._refined(data[cells], {**self._held, **known}, {n: of[cells] for n, of in made.items()})
            for name, of in refined.items():
                made[name][cells] = of
        return made

    def data(self, samples: Mapping[str, Tensor]) -> Tensor:
        """The numbers of samples that are fitted, (sample, number) [m]."""
        return torch.cat([samples[name].flatten(1) for name in self._images], dim=1).cpu().double()[:, self._seen]

    def problem(self, data: Tensor, known: Mapping[str, float] | None = None) -> Problem:
        """The least-squares problems of samples.

        data   (sample, number), see `data`
        known  variable → value in SI units, which the samples share, of those that are not estimated
        """
        known = self._held if known is None else known
        fixed = {name: known[name] for name in self._columns if name not in self._outputs}
        return Problem(self._model, self._weighting(known.get(NOISE, 0.0)), data, Coordinates(self._parameters, fixed))

    def starts(self, problem: Problem, estimates: Mapping[str, Array]) -> Tensor:
        """Where the least squares of samples start, (sample, parameter) in SI units, for estimates of the outputs.

        Sources that would break the surface start deeper.
        """
        start = problem.data.new_empty(len(problem.data), len(self._columns))
        for column, one in enumerate(self._parameters):
            if one.name in problem.coordinates.fixed:
                start[:, column] = problem.coordinates.fixed[one.name]
            else:
                own = torch.from_numpy(estimates[one.name] * self._unit(one.name)).nan_to_num()
                start[:, column] = own.clamp(one.low, one.high)
        return self._possible(start, problem.coordinates.fixed)

    def _refined(
        self, data: Tensor, known: Mapping[str, float], estimates: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float64]]:
        problem = self.problem(data, known)
        minima = problem.minimum(self.starts(problem, estimates))
        found = problem.coordinates.values(minima.coordinates)
        return {
            one.name: (found[:, column] / self._unit(one.name)).numpy()
            for column, one in enumerate(self._parameters)
            if one.name not in problem.coordinates.fixed
        }

    def _possible(self, start: Tensor, fixed: Mapping[str, float]) -> Tensor:
        depths = [index for index, name in enumerate(self._columns) if base_name(name) == "depth" and name not in fixed]
        for _ in range(TIMES):
            wrong = ~self._model.possible(start)
            if not wrong.any():
                break
            start[wrong[:, None] & torch.isin(torch.arange(start.shape[1]), torch.tensor(depths))] *= DEEPER
        return start

    def _bounded(self, stations: Array, grid: Sequence[MatrixAxis]) -> list[Parameter]:
        """The parameters with their bounds, which are wider than usual where an axis is."""
        usual = [one.parameter for one in searches(self._sources, stations, self._source.quantities, {})]
        wider = {}
        for one in usual:
            for axis in (axis for axis in grid if axis.variable == one.name):
                ends = [float(axis.centres[index]) * self._unit(one.name) for index in (0, -1)]
                if ends[0] < one.low or ends[1] > one.high:
                    wider[one.name] = (min(one.low, ends[0] / 2), max(one.high, 2 * ends[1]))
        return [one.parameter for one in searches(self._sources, stations, self._source.quantities, wider)]

    def _pixels(self, image: str) -> Tensor:
        """Whether there are data, for each number of an image."""
        size = (self._source.height, self._source.width)
        view = self._source.view(image)
        channels, height, width = view.shape(size)
        mask = view.mask(size)
        seen = torch.ones(1, height, width) if mask is None else mask
        return seen.expand(channels, -1, -1).flatten() > 0

    def _stations(self, image: str, geometry: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Station, direction and elevation of each number of an image, (number, 2), (number, 3) and (number,)."""
        positions, view = self._layouts[image].positions()[0], self._source.view(image)
        heights = torch.zeros(len(positions)) if view.elevation is None else view.elevation.flatten()
        if view.measures != GNSS:
            direction = self._generator.direction(image, geometry)
            return positions, direction.expand(len(positions), -1), heights.double()
        axes = torch.eye(3, dtype=torch.float64).repeat_interleave(len(positions), dim=0)
        return positions.repeat(3, 1), axes, heights.double().repeat(3)

    def _weights(self, level: float) -> Weighting:
        """Weights for a value of the dataset's `noise` [m]."""
        return Weighting([self._block(name, seen.numpy(), level) for name, seen in self._shown.items()])

    def _block(self, image: str, seen: NDArray[np.bool_], level: float) -> Block:
        count, view = int(seen.sum()), self._source.view(image)
        error, correlated = np.full(count, QUIET), None
        if view.measures == GNSS:
            error = error if view.errors is None else view.errors.T.flatten().double().numpy()[seen]
        else:
            added = [one.noise for one in self._source.noise.on(image) if level or not one.noise.of_unit_variance]
            white = [one for one in added if isinstance(one, WhiteNoise)]
            if added and len(white) == len(added):
                amplitudes = [level if one.of_unit_variance else one.deviation for one in white]
                error = np.full(count, math.hypot(*amplitudes))
            elif added:
                if len(seen) > MOST_CORRELATED:
                    raise QexpError(
                        f"--refine: {image} has {len(seen):,} pixels with correlated noise; their full covariance is "
                        f"used up to {MOST_CORRELATED:,}: take smaller images, or white noise"
                    )
                whole = self._source.noise.covariance(image, self._layouts[image], level).numpy()
                correlated, error = whole[np.ix_(seen, seen)], np.zeros(count)
        return Block(image, error, correlated, np.zeros((count, 0)))

    def _unit(self, name: str) -> float:
        """The SI factor of a variable."""
        return quantity(name, self._source.quantities).si_factor
