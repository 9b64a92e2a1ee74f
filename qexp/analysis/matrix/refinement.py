"""Least squares in the cells of a matrix: estimates refined through the model that made the observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.averages import Averages, blocks_of
from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.weights import Seen, Weights
from qexp.errors import QexpError, some
from qexp.inference.least_squares import Deformation, DeformationOfMeans, Problem, means
from qexp.inference.parameters import Coordinates, Search, searches
from qexp.quantities import NOISE, base_name, quantity
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.generators import DeformationImages
from qexp.simulation.views import GNSS, SIZED

Array = NDArray[np.float64]

DEEPER, TIMES = 1.25, 12
"""Factor by which, and how often, the depths of a start are increased that would break the surface."""
TOGETHER = 16
"""Cells that are solved together at most; each core takes some at a time."""
KEPT_SCENES = 256
"""Geometries whose stations and directions are kept: more than the cells of one axis."""


@dataclass(frozen=True)
class Scene:
    """What cells of the same geometry share.

    stations    (number, 2)  east, north of each number that is fitted [m]
    direction   (number, 3)  along which it is measured
    elevation   (number,)    [m], or None
    searches    of the parameters of the sources, with bounds that depend on the extent of the stations
    """

    stations: Tensor
    direction: Tensor
    elevation: Tensor | None
    searches: Sequence[Search]


class Refinement:
    """Estimates of a network, refined by least squares with weights from the full covariance of the dataset's noise.

    Cells of the same geometry, noise and hidden pixels are solved together. Of images with too many pixels for a full
    covariance, means of blocks are fitted that show all of their pixels, with the covariance of these means.
    Parameters of sources that are not among the outputs have their true values.

    source   the dataset of the matrix
    held     variable → value of those that are no axes
    outputs  the estimated variables
    Raises QexpError unless all outputs are parameters of sources.
    """

    def __init__(
        self, source: GeneratedDataset, grid: Sequence[MatrixAxis], held: Mapping[str, float], outputs: Sequence[str]
    ) -> None:
        generator = source.generator
        if not isinstance(generator, DeformationImages):
            raise QexpError("--refine, --bound: the dataset's generator does not describe its sources; leave them out")
        self._source, self._outputs, self._generator, self._grid = source, list(outputs), generator, list(grid)
        self._columns = [name for one in generator.sources for name in one.columns]
        if others := [name for name in outputs if name not in self._columns]:
            raise QexpError(f"--refine, --bound: {some(others)} is no parameter of a source; leave them out")
        given = [one.variable for one in grid if one.variable not in outputs]
        self._given = sorted(given, key=lambda name: name != NOISE and base_name(name) not in SIZED)
        self._held = {name: value * self.unit(name) for name, value in held.items()}
        self._geometry = [name for name in source.variables if name not in (*self._columns, NOISE)]
        self._images = generator.images(source.variables)
        self._shown = {name: self._pixels(name) for name in self._images}
        self._numbers = torch.cat(list(self._shown.values()))
        blocks = {name: blocks_of(name, source) for name in self._images}
        self.blocks = {name: of for name, of in blocks.items() if of is not None}
        """Image → blocks of pixels whose means are fitted, of those that have too many pixels with correlated noise."""
        self._averages = Averages(self._shown, self.blocks) if self.blocks else None
        weighted = {
            name: np.ones(math.prod(self.blocks[name].shape), np.bool_) if name in self.blocks else shown.numpy()
            for name, shown in self._shown.items()
        }
        self._weights = Weights(source, weighted, self.blocks)
        self._workers = torch.get_num_threads()
        self._scenes = lru_cache(KEPT_SCENES)(self._scene)

    def __call__(
        self,
        samples: Mapping[str, Tensor],
        values: Mapping[str, Array],
        estimates: Mapping[str, Array],
        refined: Callable[[int], None] = lambda count: None,
    ) -> dict[str, Array]:
        """Refined estimates, output → (cell,); NaN where fewer pixels are seen than there are unknowns.

        samples    the observations of some cells, as the dataset makes them
        values     axis → true values, (cell,)
        estimates  output → the network's estimates, (cell,)
        refined    called with a number of cells after they are refined
        """
        data = self.data(samples)
        made = {name: np.full(len(data), np.nan) for name in estimates}

        def part(cells: NDArray[np.intp], known: Mapping[str, float], seen: Seen) -> int:
            problem = self.problem(data[cells], known, seen)
            minima = problem.minimum(self.starts(problem, {name: of[cells] for name, of in estimates.items()}))
            found = problem.coordinates.values(minima.coordinates)
            for column, name in enumerate(self._columns):
                if name in made:
                    made[name][cells] = (found[:, column] / self.unit(name)).numpy()
            return len(cells)

        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(self._workers, "refining", torch.set_num_threads, (1,))
        try:
            waiting = []
            for alike, known, seen in self.alike(samples, values):
                if self.enough(seen):
                    parts = np.split(alike, range(TOGETHER, len(alike), TOGETHER))
                    waiting += [pool.submit(part, cells, known, seen) for cells in parts]
                else:
                    refined(len(alike))
            for one in as_completed(waiting):
                refined(one.result())
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the workers' setting also applies to later threads
        return made

    def alike(
        self, samples: Mapping[str, Tensor], values: Mapping[str, Array]
    ) -> Iterator[tuple[NDArray[np.intp], dict[str, float], Seen]]:
        """Cells that share all but the estimated parameters: their numbers, what they share, and what is seen of them.

        samples, values  as for a call
        Yields (cell,), variable → value in SI units, and (number,) of the numbers of `data`.
        """
        seen = self.seen(samples)
        given = np.stack([values[name] for name in self._given], axis=1) if self._given else np.zeros((len(seen), 0))
        groups: dict[tuple[tuple[float, ...], bytes], list[int]] = {}
        for cell, (row, mask) in enumerate(zip(given.tolist(), np.packbits(seen, axis=1), strict=True)):
            groups.setdefault((tuple(row), mask.tobytes()), []).append(cell)
        for (row, _), cells in sorted(groups.items()):
            known = {name: value * self.unit(name) for name, value in zip(self._given, row, strict=True)}
            yield np.array(cells), {**self._held, **known}, seen[cells[0]]

    def data(self, samples: Mapping[str, Tensor]) -> Tensor:
        """The numbers of samples that are fitted, (sample, number) [m]."""
        return torch.cat([samples[name].flatten(1) for name in self._images], dim=1).cpu().double()[:, self._numbers]

    def seen(self, samples: Mapping[str, Tensor]) -> Seen:
        """Which of the numbers that are fitted each sample shows, (sample, number)."""
        parts = []
        for name in self._images:
            image, mask = samples[name], samples.get(mask_of(name))
            everywhere = torch.ones(image.shape, dtype=torch.bool)
            parts.append((everywhere if mask is None else (mask.cpu() > 0).expand(image.shape)).flatten(1))
        seen: Seen = torch.cat(parts, dim=1)[:, self._numbers].numpy()
        return seen

    def enough(self, seen: Seen) -> bool:
        """Whether so much is seen that there are not fewer numbers to fit than unknowns, by what `alike` says is."""
        fitted = seen if self._averages is None else self._averages.complete(seen)[1]
        return int(fitted.sum()) >= len(self._outputs)

    def problem(self, data: Tensor, known: Mapping[str, float] | None = None, seen: Seen | None = None) -> Problem:
        """The least-squares problems of samples.

        data   (sample, number), see `data`
        known  variable → value in SI units, which the samples share, of those that are not estimated
        seen   (number,), False for pixels that are hidden in all of these samples; None if there are none
        """
        known = self._held if known is None else known
        fixed = {name: known[name] for name in self._columns if name not in self._outputs}
        scene = self._scenes(tuple(known[name] for name in self._geometry))
        seen = np.ones(data.shape[1], dtype=np.bool_) if seen is None else seen
        used, complete = (seen, seen) if self._averages is None else self._averages.complete(seen)
        where = torch.from_numpy(used)
        heights = None if scene.elevation is None else scene.elevation[where]
        of_points = self._generator.sources, scene.stations[where], scene.direction[where], heights
        data, model = data[:, where], Deformation(*of_points)
        if self._averages is not None:
            group = self._averages.groups(used)
            data, model = means(data, group), DeformationOfMeans(*of_points, group)
        return Problem(
            model, self._weights(known, complete), data, Coordinates([one.parameter for one in scene.searches], fixed)
        )

    def noise_over_weights(self, known: Mapping[str, float]) -> float:
        """The standard deviation of the noise over that of the weights of `problem`; 0 where there is no noise."""
        return self._weights.scale(known)

    @property
    def quiet(self) -> list[str]:
        """Images that have no noise."""
        return self._weights.quiet

    def searches(self) -> Sequence[Search]:
        """Those of the parameters of the sources, in the geometry of the values that are held."""
        return self._scenes(tuple(self._held[name] for name in self._geometry)).searches

    def starts(self, problem: Problem, estimates: Mapping[str, Array]) -> Tensor:
        """Where the least squares of samples start, (sample, parameter) in SI units, for estimates of the outputs.

        Sources that would break the surface start deeper.
        """
        start = problem.data.new_empty(len(problem.data), len(self._columns))
        for column, one in enumerate(problem.coordinates.parameters):
            if one.name in problem.coordinates.fixed:
                start[:, column] = problem.coordinates.fixed[one.name]
            else:
                own = torch.from_numpy(estimates[one.name] * self.unit(one.name)).nan_to_num()
                start[:, column] = own.clamp(one.low, one.high)
        return self._possible(start, problem)

    def _possible(self, start: Tensor, problem: Problem) -> Tensor:
        fixed = problem.coordinates.fixed
        depths = [index for index, name in enumerate(self._columns) if base_name(name) == "depth" and name not in fixed]
        for _ in range(TIMES):
            wrong = ~problem.model.possible(start)
            if not wrong.any():
                break
            start[wrong[:, None] & torch.isin(torch.arange(start.shape[1]), torch.tensor(depths))] *= DEEPER
        return start

    def _scene(self, values: tuple[float, ...]) -> Scene:
        """The scene of the values of the geometry's variables, in SI units."""
        geometry = {
            name: torch.tensor([value], dtype=torch.float64) for name, value in zip(self._geometry, values, strict=True)
        }
        parts = [self._stations(name, geometry) for name in self._images]
        stations, direction, elevation = (torch.cat(of)[self._numbers] for of in zip(*parts, strict=True))
        heights = elevation if bool((elevation != 0).any()) else None
        return Scene(stations, direction, heights, self._bounded(stations.numpy()))

    def _bounded(self, stations: Array) -> list[Search]:
        """Those of the parameters, with bounds that are wider than usual where an axis is."""
        sources, quantities = self._generator.sources, self._source.quantities
        usual = [one.parameter for one in searches(sources, stations, quantities, {})]
        wider = {}
        for one in usual:
            for axis in (axis for axis in self._grid if axis.variable == one.name):
                ends = [float(axis.centres[index]) * self.unit(one.name) for index in (0, -1)]
                if ends[0] < one.low or ends[1] > one.high:
                    wider[one.name] = (min(one.low, ends[0] / 2), max(one.high, 2 * ends[1]))
        return searches(sources, stations, quantities, wider)

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
        positions, view = self._source.layout(image, geometry).positions()[0], self._source.view(image)
        heights = torch.zeros(len(positions)) if view.elevation is None else view.elevation.flatten()
        if view.measures != GNSS:
            direction = self._generator.direction(image, geometry)
            return positions, direction.expand(len(positions), -1), heights.double()
        axes = torch.eye(3, dtype=torch.float64).repeat_interleave(len(positions), dim=0)
        return positions.repeat(3, 1), axes, heights.double().repeat(3)

    def unit(self, name: str) -> float:
        """The SI factor of a variable."""
        return quantity(name, self._source.quantities).si_factor
