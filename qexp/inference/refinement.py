"""Least squares of simulated observations: weights by the noise, refined estimates, and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.options import is_number
from qexp.base.quantities import NOISE, base_name
from qexp.errors import QexpError, some
from qexp.inference import least_squares
from qexp.inference.displacements import Deformation, Means
from qexp.inference.fit import would_show_source
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Coordinates, Search, searches
from qexp.inference.simulated_images import Averages, Mask, Pixels, Weights, alike, blocks_of
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import DeformationImages, Values
from qexp.simulation.views import SIZED

Constants = Mapping[str, float]
"""Variable → its value, the same in all samples."""
Grid = Sequence["MatrixAxis"]
Numbers = NDArray[np.intp]
Samples = Mapping[str, Tensor]
"""Variable → its values in some samples, (sample, ...)."""

BLOCK = 512
"""Number of cells that are simulated at a time."""

MOST_CELLS = 50_000_000
"""Largest number of cells of a matrix; more are assumed to be a mistake."""


@dataclass(frozen=True)
class MatrixAxis:
    """Cells of equal width from `low` to `high`; the true values are their centres."""

    variable: str
    low: float
    high: float
    cells: int

    @property
    def centres(self) -> Array:
        return self.low + (np.arange(self.cells) + 0.5) * (self.high - self.low) / self.cells


def axes_of(axes: Mapping[str, Any], argument: str) -> list[MatrixAxis]:
    """The axes that a user gave: variable → low, high, cells. Raises QexpError for what is none."""
    grid = []
    for variable, ends in axes.items():
        try:
            low, high, cells = map(float, ends)
            if cells % 1 or not all(map(is_number, ends)):
                raise ValueError
        except (TypeError, ValueError):
            wanted = "low, high and a whole number of cells, such as (0, 4, 128)"
            raise QexpError(f"`{argument}[{variable}]`: give {wanted}, not {ends!r}") from None
        grid.append(
            check_axis(MatrixAxis(variable, low, high, int(cells)), f"`{argument}[{variable}]`")
        )
    return grid


def check_axis(axis: MatrixAxis, source: str) -> MatrixAxis:
    if not (np.isfinite(axis.low) and np.isfinite(axis.high)) or not axis.low < axis.high:
        raise QexpError(
            f"{source}: the axis must rise, but goes from {axis.low:g} to {axis.high:g}"
        )
    if axis.cells < 1:
        raise QexpError(f"{source}: an axis needs at least one cell")
    if axis.cells > MOST_CELLS:
        raise QexpError(f"{source}: {axis.cells:,} cells are too many; the limit is {MOST_CELLS:,}")
    return axis


def cells_of(grid: Grid) -> int:
    return math.prod(axis.cells for axis in grid)


def values_at(grid: Grid, cells: Numbers) -> dict[str, Array]:
    """The true values of the axes in some cells, (cell,) each; the last axis is the fastest."""
    indices = np.unravel_index(cells, tuple(axis.cells for axis in grid))
    return {axis.variable: axis.centres[index] for axis, index in zip(grid, indices, strict=True)}


def possible_cells(
    source: GeneratedDataset, grid: Grid, size: int = BLOCK
) -> Iterator[tuple[Numbers, dict[str, Array], int]]:
    """Of each block with cells that are possible their numbers and true values, (cell,) each; and
    how many cells since the last of these blocks are not.
    """
    impossible = 0
    count = cells_of(grid)
    for start in range(0, count, size):
        block = np.arange(start, min(start + size, count))
        values = values_at(grid, block)
        possible = source.possible(values, len(block))
        impossible += int((~possible).sum())
        if possible.any():
            values = {name: column[possible] for name, column in values.items()}
            yield block[possible], values, impossible
            impossible = 0


# Least squares in the cells of a matrix: estimates refined through the model that made the
# observations.

DEEPER_FACTOR, MOST_DEEPER = 1.25, 12
"""Factor for depths of a start that would break the surface, and how often it is applied."""
CELLS_TOGETHER = 16
"""Cells that are solved together at most; each core takes some at a time."""
KEPT_SCENES = 256
"""Geometries whose stations and directions are kept: more than the cells of one axis."""


@dataclass(frozen=True)
class Scene:
    """What cells of the same geometry share.

    stations    (number, 2)  east, north of each number that is fitted [m]
    direction   (number, 3)  along which it is measured
    elevation   (number,)    [m], or None
    searches    of the parameters of the sources, with bounds that depend on the extent of the
                stations
    """

    stations: Tensor
    direction: Tensor
    elevation: Tensor | None
    searches: Sequence[Search]


class Refinement:
    """Estimates of a network, refined by least squares with weights from the full covariance of the
    dataset's noise.

    Cells of the same geometry, noise and hidden pixels are solved together. Of images with too many
    pixels for a full covariance, means of blocks are fitted that show all of their pixels, with the
    covariance of these means. Parameters of sources that are not among the outputs have their true
    values.

    source     the dataset of the matrix
    constants  variable → value of those that are no axes
    outputs    the estimated variables
    averaging  whether means of blocks are fitted where images have too many pixels; otherwise these
               are refused
    Raises QexpError unless all outputs are parameters of sources.
    """

    def __init__(
        self,
        source: GeneratedDataset,
        grid: Grid,
        constants: Constants,
        outputs: Sequence[str],
        averaging: bool = True,
    ) -> None:
        generator = source.generator
        if not isinstance(generator, DeformationImages):
            raise QexpError(
                "`refine`, `bound`: they need sources whose formula is known, which images by an"
                " emulator or by a generator of your own do not have; leave them out"
            )
        self.source, self._generator = source, generator
        self.outputs = list(outputs)
        self.grid = list(grid)
        self._columns = [name for kernel in generator.sources for name in kernel.columns]
        if others := [name for name in outputs if name not in self._columns]:
            raise QexpError(
                f"`refine`, `bound`: {some(others)} is no parameter of a source; leave them out"
            )
        given = [axis.variable for axis in grid if axis.variable not in outputs]
        self._given = sorted(given, key=lambda name: name != NOISE and base_name(name) not in SIZED)
        self.constants = constants
        self._in_si = {name: value * source.si_factor(name) for name, value in constants.items()}
        self._geometry = [name for name in source.variables if name not in (*self._columns, NOISE)]
        self.pixels = Pixels(source, source.images)
        blocks = {name: blocks_of(name, source) for name in source.images} if averaging else {}
        self.blocks = {name: of_image for name, of_image in blocks.items() if of_image is not None}
        """Image with too many pixels with correlated noise → blocks of which means are fitted."""
        self._averages = Averages(self.pixels.available, self.blocks) if self.blocks else None
        weighted = {name: mask.numpy() for name, mask in self.pixels.available.items()}
        for name, of_image in self.blocks.items():
            weighted[name] = np.ones(math.prod(of_image.shape), np.bool_)
        self.weights = Weights(source, weighted, self.blocks)
        self._workers = torch.get_num_threads()
        self._scenes = lru_cache(KEPT_SCENES)(self._scene)

    def __call__(
        self,
        samples: Samples,
        values: Values,
        estimates: Values,
        on_refined: Callable[[int], None] = lambda count: None,
    ) -> dict[str, Array]:
        """Refined estimates, output → (cell,); NaN where fewer pixels are seen than there are
        unknowns.

        samples     the observations of some cells, as the dataset makes them
        values      axis → true values, (cell,)
        estimates   output → the network's estimates, (cell,)
        on_refined  called with a number of cells after they are refined
        """
        data = self.pixels.numbers_of(samples)
        refined = {name: np.full(len(data), np.nan) for name in estimates}

        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(self._workers, "refining", torch.set_num_threads, (1,))
        try:
            jobs = {}
            for cells, shared, mask in self.alike(samples, values):
                if not self.enough(mask):
                    on_refined(len(cells))
                    continue
                for part in np.split(cells, range(CELLS_TOGETHER, len(cells), CELLS_TOGETHER)):
                    jobs[pool.submit(self._refined, data, part, shared, mask, estimates)] = part
            for job in as_completed(jobs):
                for name, column in job.result().items():
                    refined[name][jobs[job]] = column
                on_refined(len(jobs[job]))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the workers' setting also applies to later threads
        return refined

    def _refined(
        self, data: Tensor, cells: Numbers, shared: Constants, mask: Mask, estimates: Values
    ) -> dict[str, Array]:
        """Refined estimates of some cells, output → (cell,), by what `alike` says."""
        problem = self.problem(data[cells], shared, mask)
        some = {name: column[cells] for name, column in estimates.items()}
        minima = problem.minimum(self.starts(problem, some))
        parameters = problem.coordinates.values(minima.coordinates).numpy()
        refined = {}
        for name, column in zip(self._columns, parameters.T, strict=True):
            if name in estimates:
                refined[name] = column / self.source.si_factor(name)
        return refined

    def alike(
        self, samples: Samples, values: Values
    ) -> Iterator[tuple[Numbers, dict[str, float], Mask]]:
        """Cells that share all but the estimated parameters: their numbers, what they share, and
        what is seen of them.

        samples, values  as for a call
        Yields (cell,), variable → value in SI units, and (number,) of the numbers of `pixels`.
        """
        given = {name: values[name] for name in self._given}
        for cells, shared, mask in alike(self.pixels.masks(samples), given):
            in_si = {name: value * self.source.si_factor(name) for name, value in shared.items()}
            yield cells, {**self._in_si, **in_si}, mask

    def enough(self, mask: Mask) -> bool:
        """Whether at least as many numbers as unknowns are seen, by what `alike` says."""
        return self.fitted(mask) >= len(self.outputs)

    def fitted(self, mask: Mask) -> int:
        """How many numbers are fitted."""
        return int((mask if self._averages is None else self._averages.complete(mask)[1]).sum())

    def problem(
        self, data: Tensor, shared: Constants | None = None, mask: Mask | None = None
    ) -> Problem:
        """The least-squares problems of samples.

        data    (sample, number) [m], see `Pixels.numbers_of`
        shared  variable → value in SI units, which the samples share, of those that are not
                estimated
        mask    (number,), False for pixels that are hidden in all of these samples; None if there
                are none
        """
        shared = self._in_si if shared is None else shared
        fixed = {name: shared[name] for name in self._columns if name not in self.outputs}
        scene = self._scenes(tuple(shared[name] for name in self._geometry))
        mask = np.ones(data.shape[1], dtype=np.bool_) if mask is None else mask
        used, complete = (mask, mask) if self._averages is None else self._averages.complete(mask)
        where = torch.from_numpy(used)
        heights = None if scene.elevation is None else scene.elevation[where]
        of_points = self._generator.sources, scene.stations[where], scene.direction[where], heights
        data = data[:, where]
        model = Deformation(*of_points)
        if self._averages is not None:
            means = Means.of_groups(self._averages.groups(used))
            data = means(data)
            model = Deformation(*of_points, means)
        parameters = [search.parameter for search in scene.searches]
        return Problem(model, self.weights(shared, complete), data, Coordinates(parameters, fixed))

    def searches(self) -> Sequence[Search]:
        """The searches of the sources' parameters, in the geometry of the values that are held."""
        return self._scenes(tuple(self._in_si[name] for name in self._geometry)).searches

    def starts(self, problem: Problem, estimates: Values) -> Tensor:
        """Where the least squares of samples start, (sample, parameter) in SI units, for estimates
        of the outputs.

        Sources that would break the surface start deeper.
        """
        start = problem.data.new_empty(len(problem.data), len(self._columns))
        for column, parameter in enumerate(problem.coordinates.parameters):
            if parameter.name in problem.coordinates.fixed:
                start[:, column] = problem.coordinates.fixed[parameter.name]
            else:
                in_si = estimates[parameter.name] * self.source.si_factor(parameter.name)
                estimated = torch.from_numpy(in_si).nan_to_num()
                start[:, column] = estimated.clamp(parameter.low, parameter.high)
        free = [name not in problem.coordinates.fixed for name in self._columns]
        depths = [base_name(name) == "depth" for name in self._columns]
        deepened = torch.tensor(free) & torch.tensor(depths)
        for _ in range(MOST_DEEPER):
            wrong = ~problem.model.possible(start)
            if not wrong.any():
                break
            start[wrong[:, None] & deepened] *= DEEPER_FACTOR
        return start

    def _scene(self, values: tuple[float, ...]) -> Scene:
        """The scene of the values of the geometry's variables, in SI units."""
        rows = torch.tensor(values, dtype=torch.float64)[:, None]
        geometry = dict(zip(self._geometry, rows, strict=True))
        images = [self._stations(name, geometry) for name in self.source.images]
        parts = [torch.cat(part)[self.pixels.numbers] for part in zip(*images, strict=True)]
        stations, direction, elevation = parts
        heights = elevation if bool((elevation != 0).any()) else None
        of_parameters = self._generator.sources, stations.numpy(), self.source.quantities
        usual = {search.parameter.name: search.parameter for search in searches(*of_parameters, {})}
        wider = {}  # bounds where an axis reaches beyond the usual ones
        for axis in self.grid:
            if axis.variable not in usual:
                continue
            parameter = usual[axis.variable]
            factor = self.source.si_factor(axis.variable)
            least = float(axis.centres[0]) * factor
            most = float(axis.centres[-1]) * factor
            if least < parameter.low or most > parameter.high:
                low = min(parameter.low, least / 2)
                high = max(parameter.high, 2 * most)
                wider[axis.variable] = low, high
        return Scene(stations, direction, heights, searches(*of_parameters, wider))

    def _stations(self, image: str, geometry: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """An image's stations (number, 2), directions (number, 3) and elevations (number,)."""
        positions = self.source.layout(image, geometry).positions()[0]
        view = self.source.view(image)
        heights = (
            torch.zeros(len(positions)) if view.elevation is None else view.elevation.flatten()
        )
        if view.instrument.line_of_sight:
            direction = self._generator.direction(image, geometry)
            return positions, direction.expand(len(positions), -1), heights.double()
        axes = torch.eye(3, dtype=torch.float64).repeat_interleave(len(positions), dim=0)
        return positions.repeat(3, 1), axes, heights.double().repeat(3)


# The Cramér–Rao bound in the cells of a matrix: the least error of unbiased estimates there.


@dataclass(frozen=True)
class Bounds:
    """NaN in cells, or of samples, that are not possible, or that show too few pixels.

    deviations  output → the bound, (cell,), in the output's unit; infinite where the data do not
                determine it
    signal      signal-to-noise ratio, (cell,), see `least_squares.bounds`
    seen        (cell,): 1 where the data show the source, 0 where they do not and the bound means
                little, because no estimate is unbiased there
    """

    deviations: Values
    signal: Array
    seen: Array


def bounds_of_cells(likelihood: Refinement, random: torch.Generator) -> Bounds:
    """The bounds for the pixels that the first realisation of each cell shows.

    likelihood  of the observations in the cells of a matrix
    random      as it makes the first realisations of the matrix
    Raises QexpError where there is no noise.
    """
    grid = likelihood.grid
    constants = likelihood.constants
    outputs = likelihood.outputs
    if quiet := likelihood.weights.quiet:
        alone = "has no noise, which alone makes a bound; leave `bound` out"
        raise QexpError(f"`bound`: {some(quiet)} {alone}")
    cells = cells_of(grid)
    deviations = {name: np.full(cells, np.nan) for name in outputs}
    signal = np.full(cells, np.nan)
    seen = np.full(cells, np.nan)
    source = likelihood.source.with_only_fixed(constants)
    for numbers, values, _ in possible_cells(source, grid):
        truth = {}
        for name in outputs:
            constant = np.full(len(numbers), constants.get(name, np.nan))
            truth[name] = values.get(name, constant)
        bounds = bounds_of_samples(likelihood, source.observe(values, random), values, truth)
        for name, deviation in bounds.deviations.items():
            deviations[name][numbers] = deviation
        signal[numbers], seen[numbers] = bounds.signal, bounds.seen
    if np.isnan(signal).all():
        raise QexpError(
            "`bound`: no cell has noise, which alone makes a bound; give it a level, such as"
            " `fixed={'noise': 0.01}`"
        )
    return Bounds(deviations, signal, seen)


def bounds_of_samples(
    likelihood: Refinement,
    samples: Samples,
    given: Values,
    truth: Values,
) -> Bounds:
    """The bounds at the true values of samples, for the pixels that these show; NaN beyond the
    bounds of a search.

    given  variable → value for each sample in its unit, of those that vary and are no unknowns
    truth  unknown → its true values, (sample,), in its unit
    """
    data = likelihood.pixels.numbers_of(samples)
    deviations = {name: np.full(len(data), np.nan) for name in truth}
    signal = np.full(len(data), np.nan)
    seen = np.full(len(data), np.nan)
    for group, shared, mask in likelihood.alike(samples, given):
        scale = likelihood.weights.scale(shared)
        if not likelihood.enough(mask) or not scale:
            continue
        for part in np.split(group, range(CELLS_TOGETHER, len(group), CELLS_TOGETHER)):
            problem = likelihood.problem(data[part], shared, mask)
            true = {name: values[part] for name, values in truth.items()}
            starts = likelihood.starts(problem, true)
            least, ratio = least_squares.bounds(problem, starts)
            least = scale * least
            ratio = ratio / scale
            reached = np.ones(len(part), np.bool_)  # whether a search would begin at the truth
            names = [parameter.name for parameter in problem.coordinates.parameters]
            for name, start in zip(names, starts.numpy().T, strict=True):
                if name in true:
                    in_si = likelihood.source.si_factor(name) * true[name]
                    reached &= np.isclose(start, in_si, rtol=1e-6)
            for name, column in zip(problem.coordinates.names, least.unbind(dim=1), strict=True):
                bound = column.numpy() / likelihood.source.si_factor(name)
                deviations[name][part] = np.where(reached, bound, np.nan)
            signal[part] = np.where(reached, ratio.numpy(), np.nan)
            seen[part] = np.where(reached, would_show_source(problem, ratio).numpy(), np.nan)
    return Bounds(deviations, signal, seen)
