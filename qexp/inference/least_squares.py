"""Least-squares problems of deformation, and their solution by Levenberg and Marquardt's method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import chain, product
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from qexp.base.options import Counted, uncounted
from qexp.errors import QexpError
from qexp.inference.parameters import Coordinates, Parameter, Search, within_limits
from qexp.inference.weighting import Weighting
from qexp.observations.observation import Track, where_known
from qexp.simulation.generators import Source

MOST_ITERATIONS = 300
STEP_TOLERANCE = 1e-10
"""A problem has converged if no coordinate moves by more than this; coordinates are of the order of
1.
"""
REDUCTION_TOLERANCE = 1e-10
"""A problem has converged if a step reduces the cost by less than this share, and is not expected
to reduce it more.
"""
SIGHT_TOLERANCE = 5.0
"""Largest angle between the line of sight of a track and those along which a source is known
[degrees].
"""
WEIGHT_TOLERANCE = 1e-6
"""Deviation from 1 of the sum of the weights of places, up to which their sum is a mean."""
GRADIENT_TOLERANCE = 1e-9
"""A problem has converged if the cosine between the residuals and each column of the Jacobian is
below this.
"""


class SumsOfSquares(Protocol):
    """Problems of the same parameters, each of which minimises half of its sum of squared
    residuals.
    """

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Half of the sum of squares of the problems `which`, (problem,), at (problem, coordinate);
        inf outside of the domain of the model. The gradient Jᵀr, (problem, coordinate); and JᵀJ,
        (problem, coordinate, coordinate).
        """


def of_possible(
    cost: Tensor, gradient: Tensor, information: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations, with infinite costs and no slopes where the cost is NaN: outside of the
    domain of the model.
    """
    outside = torch.isnan(cost)
    cost = cost.masked_fill(outside, torch.inf)
    gradient = gradient.masked_fill(outside[:, None], 0.0)
    return cost, gradient, information.masked_fill(outside[:, None, None], 0.0)


class Minima(NamedTuple):
    """Where the iterations of each problem ended.

    coordinates  (problem, coordinate)
    cost         (problem,)  half of the sum of squared residuals; inf if the start was outside of
                             the model's domain
    information  (problem, coordinate, coordinate)  JᵀJ
    iterations   (problem,)  steps tried
    converged    (problem,)  whether a test of convergence was met, and not the largest number of
                             iterations
    """

    coordinates: Tensor
    cost: Tensor
    information: Tensor
    iterations: Tensor
    converged: Tensor

    def select(self, problems: Sequence[int]) -> Minima:
        """Those of some of the problems."""
        return Minima(*(part[list(problems)] for part in self))

    def and_those(self, other: Minima) -> Minima:
        """These, and then those of other problems with the same coordinates."""
        return Minima(*(torch.cat(both) for both in zip(self, other, strict=True)))


class Descents:
    """Problems that are minimised side by side, each from when it begins, or begins again, to its
    end.

    Levenberg (1944), Marquardt (1963), with the damping of Nielsen (1999). Coordinates at a bound
    that the gradient pushes outwards are held; steps that cross a bound end at it.

    shape            problems, coordinates
    tolerance        share of the cost by which a step must reduce it; see REDUCTION_TOLERANCE
    most_iterations  of each problem
    active           (problem,)  numbers of those that have begun and not ended
    """

    def __init__(
        self, problems: SumsOfSquares, shape: torch.Size, tolerance: float, most_iterations: int
    ) -> None:
        self.problems, self.tolerance, self.most_iterations = problems, tolerance, most_iterations
        self._at, self._low, self._high, self._gradient, self._scale = torch.zeros(
            5, *shape, dtype=torch.float64
        )
        self._cost, self._damping, self._growth = torch.zeros(3, shape[0], dtype=torch.float64)
        self._information = torch.zeros(*shape, shape[1], dtype=torch.float64)
        self._iterations = torch.zeros(shape[0], dtype=torch.long)
        self._converged, self.active = self._iterations > 0, self._iterations[:0]

    @property
    def minima(self) -> Minima:
        """Where the problems are."""
        return Minima(self._at, self._cost, self._information, self._iterations, self._converged)

    def begin(self, which: Tensor, start: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Begin with problems; starts beyond their bounds are moved to them.

        returns  those that begin outside of the model's domain, which have ended there
        """
        self._low[which], self._high[which], self._at[which] = low, high, start.clamp(low, high)
        (
            self._damping[which],
            self._growth[which],
            self._iterations[which],
            self._converged[which],
        ) = (1e-3, 2.0, 0, False)
        self.evaluate(which)
        self._scale[which] = self._information[which].diagonal(dim1=-2, dim2=-1)
        possible = torch.isfinite(self._cost[which])
        self.active = torch.cat([self.active, which[possible]])
        return which[~possible]

    def evaluate(self, which: Tensor) -> None:
        """Evaluate problems where they are."""
        equations = self.problems.normal_equations(self._at[which], which)
        self._cost[which], self._gradient[which], self._information[which] = equations

    def step(self) -> Tensor:
        """Try a step of each active problem; returns the numbers of those that then have ended."""
        before, held = self.active, self._held(self.active)
        slopes = self._gradient[before].masked_fill(held, 0.0).abs()
        columns = self._information[before].diagonal(dim1=-2, dim2=-1).sqrt()
        residuals = (2 * self._cost[before]).sqrt()
        # zero but for rounding
        flat = (slopes <= GRADIENT_TOLERANCE * columns * residuals[:, None]).all(dim=-1)
        self._converged[before[flat]] = True
        tried, ended = before[~flat], flat
        if len(tried):
            self._iterations[tried] += 1
            settled = self._moved(tried, held[~flat])
            self._converged[tried[settled]] = True
            stuck = (self._damping[tried] > 1e16) | (
                self._iterations[tried] >= self.most_iterations
            )
            ended = flat.masked_scatter(~flat, settled | stuck)
        self.active = before[~ended]
        return before[ended]

    def _held(self, which: Tensor) -> Tensor:
        """The coordinates at a bound that the gradient pushes outwards, (problem, coordinate)."""
        at, gradient = self._at[which], self._gradient[which]
        held: Tensor = ((at <= self._low[which]) & (gradient > 0)) | (
            (at >= self._high[which]) & (gradient < 0)
        )
        return held

    def _moved(self, which: Tensor, held: Tensor) -> Tensor:
        """Try a step of the problems `which` along what is not held; returns which of them have
        converged.
        """
        at, before, gradient, information = (
            part[which] for part in (self._at, self._cost, self._gradient, self._information)
        )
        damped = _damped_step(gradient, information, self._scale[which], self._damping[which], held)
        trial = (at + damped).clamp(self._low[which], self._high[which])
        step = trial - at
        expected = -(gradient * step).sum(-1) - 0.5 * torch.einsum(
            "bi,bij,bj->b", step, information, step
        )
        # Most steps succeed and need the derivatives, too, which cost little once the residuals are
        # weighted.
        after, new_gradient, new_information = self.problems.normal_equations(trial, which)
        reduced = before - after
        ratio = torch.nan_to_num(
            reduced / expected.clamp(min=torch.finfo(step.dtype).tiny), nan=-1.0, neginf=-1.0
        )
        better = reduced > 0
        self._damping[which] *= torch.where(
            better, (1 - (2 * ratio.clamp(0, 1) - 1) ** 3).clamp(min=1 / 10), self._growth[which]
        )
        self._growth[which] = torch.where(better, 2.0, 2 * self._growth[which])
        moved = which[better]
        if len(moved):
            self._at[moved] = trial[better]
            self._cost[moved], self._gradient[moved] = after[better], new_gradient[better]
            self._information[moved] = new_information[better]
            diagonal = self._information[moved].diagonal(dim1=-2, dim2=-1)
            self._scale[moved] = torch.maximum(self._scale[moved], diagonal)
        small = self.tolerance * before
        settled = (reduced.abs() <= small) & (expected.abs() <= small)
        return settled | (step.abs().amax(dim=-1) <= STEP_TOLERANCE)


def minimise(
    problems: SumsOfSquares,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    tolerance: float,
    most_iterations: int,
    on_step: Counted = uncounted,
) -> Minima:
    """Minimise every problem from its start, (problem, coordinate), between bounds, likewise or
    (coordinate,).

    tolerance, most_iterations  see `Descents`
    on_step                     takes the number of iterations, and of all at most
    """
    descents = Descents(problems, start.shape, tolerance, most_iterations)
    descents.begin(
        torch.arange(len(start)), start, low.expand(start.shape), high.expand(start.shape)
    )
    for iteration in range(most_iterations):
        on_step(iteration, most_iterations)
        if not len(descents.active):
            break
        descents.step()
    return descents.minima


def _damped_step(
    gradient: Tensor, information: Tensor, scale: Tensor, damping: Tensor, fixed: Tensor
) -> Tensor:
    """−(JᵀJ + λ D)⁻¹ Jᵀr over the coordinates that are not held."""
    free = ~fixed
    both = free[:, :, None] & free[:, None, :]
    # Scaled to a unit diagonal, so that units of coordinates do not matter for rounding.
    unit = scale.clamp(min=torch.finfo(scale.dtype).tiny).sqrt()
    matrix = torch.where(both, information / (unit[:, :, None] * unit[:, None, :]), 0.0)
    diagonal = torch.where(free, damping[:, None], 1.0)
    right = torch.where(free, -gradient / unit, 0.0)
    solved, _ = torch.linalg.solve_ex(matrix + torch.diag_embed(diagonal), right)
    return torch.nan_to_num(solved / unit, nan=0.0, posinf=0.0, neginf=0.0)


# The displacement that sources cause along given directions, as a function of all their parameters.


def deformation_of(
    sources: Sequence[Source],
    tracks: Sequence[Track],
    origin: tuple[float, float],
    columns: Columns | None = None,
) -> Deformation:
    """The sum of sources as tracks see it, at all of their points in order.

    origin   east, north of the position (0, 0) of sources [m]
    columns  see `Deformation`
    Raises QexpError for a track along whose direction a source is not known.
    """
    stations = [np.stack([track.x, track.y], axis=1) - np.array(origin) for track in tracks]
    for track, source in product(tracks, sources):
        if (angle := angle_beside(source, track, origin)) > SIGHT_TOLERANCE:
            raise QexpError(
                f"track '{track.name}' is not seen from where the images of the source are: its"
                f" direction deviates by {angle:.0f}° from theirs; simulate displacements east,"
                " north and up, which tell all directions"
            )
    direction = torch.from_numpy(np.concatenate([track.direction for track in tracks]))
    elevation, spread = (where_known(tracks, name, 0.0) for name in ("elevation", "spread"))
    places = torch.from_numpy(np.concatenate(stations))
    heights = None if elevation is None else torch.from_numpy(elevation)
    if spread is None and all(track.instrument.combination is None for track in tracks):
        return Deformation(sources, places, direction, heights, columns=columns)
    spread = np.zeros((len(places), 2)) if spread is None else spread
    count = where_known(tracks, "count", 1.0)
    number = torch.ones(len(places)) if count is None else torch.from_numpy(count)
    shift, means = places_in_cells(torch.from_numpy(spread), number)
    shift, direction, means = _combined(tracks, shift, direction[means.owner], means)
    heights = None if heights is None else heights[means.owner]
    return Deformation(sources, places[means.owner] + shift, direction, heights, means, columns)


def _combined(
    tracks: Sequence[Track], shift: Tensor, direction: Tensor, means: Means
) -> tuple[Tensor, Tensor, Means]:
    """Shifts from points to their places, directions there, and means, with the places of tracks
    whose instruments combine displacements of several in place of single ones.
    """
    first = 0
    for track in tracks:
        points = torch.arange(first, first + len(track.x))
        first += len(track.x)
        if track.instrument.combination is None:
            continue
        combination = track.instrument.combination(track.direction)
        parts = (torch.from_numpy(np.array(part)) for part in combination)
        shifts, directions, weights = (part.flatten(0, 1) for part in parts)
        others = ~torch.isin(means.owner, points)
        shift = torch.cat([shift[others], shifts])
        direction = torch.cat([direction[others], directions])
        owner = torch.cat([means.owner[others], points.repeat(len(weights) // len(points))])
        means = Means(owner, torch.cat([means.weight[others], weights]), means.points)
    return shift, direction, means


def angle_beside(source: Source, track: Track, origin: tuple[float, float]) -> float:
    """The median angle between the line of sight of a track and those along which a source is known
    [degrees].
    """
    points = torch.from_numpy(np.stack([track.x, track.y], axis=1) - np.array(origin))
    sines = _sines_beside(source, points, torch.from_numpy(track.direction))
    sines = sines[source.elsewhere(points)]
    return float(sines.median().clamp(max=1).asin().rad2deg()) if len(sines) else 0.0


def _sines_beside(source: Source, points: Tensor, direction: Tensor) -> Tensor:
    """Sines of the angles between directions and those along which a source is known there,
    (point,).
    """
    if source.looks is None:
        return torch.zeros(len(points), dtype=torch.float64)
    unseen = direction - direction @ torch.linalg.pinv(source.looks) @ source.looks
    return torch.where(source.elsewhere(points), unseen.norm(dim=1), 0.0)


class Means(NamedTuple):
    """Weighted sums over places, means of cells or differences: of each place the number of its
    sum, counted from 0, and its weight in it, (place,).
    """

    owner: Tensor
    weight: Tensor
    points: int

    @classmethod
    def of_groups(cls, group: Tensor) -> Means:
        """Of the places of each number, (place,), with equal weights."""
        counts = torch.bincount(group)
        return cls(group, 1 / counts.double()[group], len(counts))

    def __call__(self, values: Tensor) -> Tensor:
        """(..., sum) of (..., place)"""
        weighted = values * self.weight
        sums = weighted.new_zeros(*values.shape[:-1], self.points)
        return sums.index_add_(-1, self.owner, weighted)

    def are_averages(self) -> Tensor:
        """Whether the weights of each sum add up to 1, (sum,), as those of no difference do."""
        return (self(torch.ones_like(self.weight)) - 1).abs() < WEIGHT_TOLERANCE

    def middles(self) -> Means:
        """The means of places, whatever the sign of their weights: where each sum is measured."""
        size = self._replace(weight=torch.ones_like(self.weight))(self.weight.abs())
        weight = self.weight.abs() / size[self.owner]
        weight = torch.where(self.are_averages()[self.owner], self.weight, weight)
        return self._replace(weight=weight)


def places_in_cells(spread: Tensor, count: Tensor) -> tuple[Tensor, Means]:
    """Places in cells, from their middles, (place, 2) [m], whose weighted means have the means over
    all of the cells.

    spread  (cell, 2)  standard deviation east and north of the pixels of a cell [m]
    count   (cell,)    their number

    Gauss's rule along each axis for as many equally distant pixels as the cell has: three nodes,
    exact up to the fifth derivatives; a cell of four pixels has these, and a single point itself.
    """
    pixels = count.double().clamp(min=4)
    kurtosis = 0.6 * (3 * pixels - 7) / (pixels - 1)  # along an axis, of the root of all pixels
    outer = torch.where((spread == 0).all(dim=1), 0.0, 0.5 / kurtosis)
    weights = torch.stack([outer, 1 - 2 * outer, outer])
    nodes = torch.stack([-kurtosis.sqrt(), torch.zeros_like(outer), kurtosis.sqrt()])
    nodes = torch.stack(torch.broadcast_tensors(nodes[:, None], nodes), dim=-1).flatten(0, 1)
    weight = (weights[:, None] * weights).flatten(0, 1)
    used = weight > 1e-9
    owner = torch.arange(len(count)).expand(9, -1)[used]
    return (nodes * spread)[used], Means(owner, weight[used], len(count))


class Columns(NamedTuple):
    """Parameters of sources that differ from part to part of the points, such as between dates.

    names  of all parameters
    part   (point,)  number of the part to which each point belongs
    own    numbers of the parameters in each part, in the order of the columns of the sources
    """

    names: Sequence[str]
    part: Tensor
    own: Sequence[Sequence[int]]


class Deformation:
    """The sum of sources, seen at points along directions.

    sources    each with its columns; several need names of their own
    stations   (place, 2)           east, north [m]
    direction  (place, 3)           unit vectors east, north, up
    elevation  (place,)             above the level from which depths count [m], or None; see
                                    `physics.geometry`
    means      sums of places, if points are that; else each point is a place
    columns    of parameters that differ between points; None: they are the columns of the sources.
               Sources that are approximations know none
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stations: Tensor,
        direction: Tensor,
        elevation: Tensor | None = None,
        means: Means | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.points = len(stations) if means is None else means.points
        self.stations, self.direction, self.elevation = stations, direction, elevation
        self._means, self._columns = means, columns
        own = [name for source in sources for name in source.columns]
        self.names = own if columns is None else columns.names
        self._widths = [len(source.columns) for source in sources]
        self._lowest = 0.0 if elevation is None else float(elevation.min())

    @property
    def positions(self) -> Tensor:
        """East and north of each point, (point, 2) [m]; of sums, the middle of their places."""
        return self.stations if self._means is None else self._means.middles()(self.stations.mT).mT

    @property
    def shifts(self) -> Tensor:
        """The data of all points if the ground moves by 1 m east, north and up, (point, 3)."""
        return self.direction if self._means is None else self._means(self.direction.mT).mT

    def in_middles(self) -> Deformation:
        """The deformation in the middle of each mean's places, which is quicker, and enough to tell
        minima apart; differences keep their places.
        """
        means = self._means
        if means is None:
            return self
        averages = means.are_averages()
        points, kept, some = averages.nonzero()[:, 0], ~averages[means.owner], copy(self)

        def middle(values: Tensor) -> Tensor:
            return torch.cat([means(values.mT).mT[points], values[kept]])

        some.stations, some.direction = middle(self.stations), middle(self.direction)
        if self.elevation is not None:
            some.elevation = middle(self.elevation[:, None])[:, 0]
        owner = torch.cat([points, means.owner[kept]])
        weight = torch.cat([means.weight.new_ones(len(points)), means.weight[kept]])
        some._means = Means(owner, weight, means.points) if kept.any() else None
        return some

    def places(self) -> tuple[Deformation, Callable[[Tensor], Tensor]]:
        """The deformation with each place as a point; and the sums of places, (..., place) → (...,
        point).
        """
        some, means = copy(self), self._means
        some.points, some._means = len(self.stations), None
        if means is None:
            return some, lambda values: values
        if self._columns is not None:
            some._columns = self._columns._replace(part=self._columns.part[means.owner])
        return some, means.__call__

    def turned(self, points: slice, matrix: Tensor) -> Deformation:
        """The deformation with directions of some points multiplied by a matrix, (3, 3)."""
        owner = torch.arange(self.points) if self._means is None else self._means.owner
        some, there = copy(self), (owner >= points.start) & (owner < points.stop)
        some.direction = torch.where(there[:, None], self.direction @ matrix.mT, self.direction)
        return some

    def select(self, points: Tensor) -> Deformation:
        """The deformation of some of the points."""
        some, rows, means = copy(self), points, self._means
        some.points = len(points)
        if means is not None:
            number = torch.full((self.points,), -1).index_put_((points,), torch.arange(len(points)))
            rows = torch.isin(means.owner, points).nonzero()[:, 0]
            some._means = Means(number[means.owner[rows]], means.weight[rows], len(points))
        some.stations, some.direction = self.stations[rows], self.direction[rows]
        some.elevation = None if self.elevation is None else self.elevation[rows]
        if self._columns is not None:
            some._columns = self._columns._replace(part=self._columns.part[points])
        return some

    def __call__(self, parameters: Tensor) -> Tensor:
        """Displacement, (problem, point) [m], of parameters in the order of `names`, (problem,
        parameter), SI units.
        """
        if self._columns is None:
            moved = self._moved(parameters, 0, slice(None))
        else:
            moved = parameters.new_empty(len(parameters), len(self.stations), 3)
            owner = slice(None) if self._means is None else self._means.owner
            for part in range(len(self._columns.own)):
                places = (self._columns.part[owner] == part).nonzero()[:, 0]
                moved[:, places] = self._moved(parameters, part, places)
        seen = (moved * self.direction).sum(dim=-1)
        return seen if self._means is None else self._means(seen)

    def _moved(self, parameters: Tensor, part: int, places: Tensor | slice) -> Tensor:
        """Displacement of some places of a part, (problem, place, 3) [m]."""
        stations = self.stations[places][None]
        elevation = None if self.elevation is None else self.elevation[places]
        each = self._each(parameters, part)
        moved = [source.displacements(columns, stations, elevation) for source, columns in each]
        total: Tensor = sum(moved[1:], moved[0])
        return total

    def corrected(self, values: Tensor) -> Deformation:
        """The deformation by the same sources, but those whose kernels are approximations less what
        they err near such values, (parameter,).
        """
        some, sources = copy(self), list[Source]()
        for source, columns in self._each(values):
            if source.corrected is not None:
                source = source.corrected(columns).with_name(source.name)
            sources.append(source)
        some.sources = tuple(sources)
        return some

    def _each(self, values: Tensor, part: int = 0) -> Iterator[tuple[Source, Tensor]]:
        """Each source with its columns of values, (..., parameter), in a part of the points."""
        own = slice(None) if self._columns is None else self._columns.own[part]
        return zip(self.sources, values[..., own].split(self._widths, dim=-1), strict=True)

    def errors(self, values: Tensor) -> Tensor:
        """What sources that were corrected near such values, (parameter,), may still err: (sample,
        point) [m], whose sum of squares is their variance. No samples if none is an approximation.
        """
        samples = [self.stations.new_zeros(0, len(self.stations))]
        for source, columns in self._each(values):
            if source.errors is not None:
                samples.append((source.errors(self.stations[None]) * self.direction).sum(dim=-1))
            if source.looks is not None:
                samples.append(self._unseen(source, columns))
        seen = torch.cat(samples)
        return seen if self._means is None else self._means(seen)

    def _unseen(self, source: Source, columns: Tensor) -> Tensor:
        """What a source may move points across the directions along which it is known, as far as
        they are seen from beside these, (3, place) [m]: as much as along them, and outwards from a
        point below the middle.
        """
        moved = source.displacements(columns[None], self.stations[None], self.elevation)[0]
        moved = moved.norm(dim=1)
        weights = moved.square() + torch.finfo(moved.dtype).tiny
        away = self.stations - weights @ self.stations / weights.sum()
        depth = (weights @ away.square().sum(dim=1) / weights.sum()).sqrt().clamp(min=1.0)
        outwards = torch.column_stack([away, depth.expand(len(away))])
        sines = _sines_beside(source, self.stations, self.direction)
        unseen: Tensor = moved * sines / outwards.norm(dim=1) * outwards.mT
        return unseen

    def possible(self, parameters: Tensor) -> Tensor:
        """Whether the sources of each problem lie below the ground and are else as the model
        requires, (problem,).
        """
        possible = torch.isfinite(parameters).all(dim=-1)
        parts = range(1 if self._columns is None else len(self._columns.own))
        every = chain.from_iterable(self._each(parameters.detach(), part) for part in parts)
        for source, columns in every:
            values = dict(zip(source.variables, columns.numpy().T, strict=True))
            depth = values.get("depth", np.ones(len(columns)))
            if not source.ranges:  # else it is known on the ground, whatever its form
                depth = values["depth"] = depth + self._lowest
            met = [depth > 0, *(requirement.holds(values) for requirement in source.requirements)]
            possible &= torch.from_numpy(np.logical_and.reduce(met))
        return possible


# Least-squares problems of deformation: one model and weighting, the data of one observation or of
# many.

MOST_NUMBERS = 65536
"""Displacements that are computed together: more would not fit the processor's caches any
better.
"""

STEP = 1e-5
"""Of a difference of coordinates: about the cube root of the rounding error, which is best for
central differences.
"""

MOST_SEARCHED = 400
"""Points of a block in a search; what it finds is then followed with all points."""


class Problem:
    """The data of problems that share model, points and weights; nuisances are solved with the
    parameters.

    data       (problem, point) [m]; or (1, point), which all starts share
    one_sided  derivatives are differences to one side, which take half of the time and are good
               enough for a search
    Implements `SumsOfSquares`.
    """

    def __init__(
        self,
        model: Deformation,
        weighting: Weighting,
        data: Tensor,
        coordinates: Coordinates,
        one_sided: bool = False,
    ) -> None:
        self.model, self.weighting, self.coordinates, self.one_sided = (
            model,
            weighting,
            coordinates,
            one_sided,
        )
        self.data = data.double()
        self.whiten: Callable[[Tensor], Tensor] = weighting
        self.weighted = weighting(self.data)
        self._searches: dict[int, Problem] = {}
        self.degrees = model.points - weighting.nuisances - len(coordinates.free)
        """Degrees of freedom of χ²."""

    @property
    def chi2_without_source(self) -> float:
        """χ² of the nuisances alone, of a problem with data of its own."""
        return float(self.weighted.square().sum())

    def quick(self) -> Problem:
        """The same with one-sided differences."""
        quick = copy(self)
        quick.one_sided = True
        return quick

    def with_parameter(self, parameter: Parameter) -> Problem:
        """The same, but for the coordinate of one parameter."""
        coordinates = self.coordinates
        others = [
            parameter if other.name == parameter.name else other for other in coordinates.parameters
        ]
        changed = copy(self)
        changed.coordinates, changed._searches = Coordinates(others, coordinates.fixed), {}
        return changed

    def to_search(self, seed: int) -> Problem:
        """The same for a quick search: with at most MOST_SEARCHED points of each block, drawn at
        random; means as if they were measured in their middles.
        """
        if seed in self._searches:
            return self._searches[seed]
        random, slices = np.random.default_rng(seed), self.weighting.slices
        chosen = [
            (
                np.sort(
                    random.choice(np.arange(where.start, where.stop), MOST_SEARCHED, replace=False)
                )
                if where.stop - where.start > MOST_SEARCHED
                else np.arange(where.start, where.stop)
            )
            for where in slices
        ]
        weighting = self.weighting.select(
            [some - where.start for some, where in zip(chosen, slices, strict=True)]
        )
        points = torch.from_numpy(np.concatenate(chosen))
        model = self.model.in_middles().select(points)
        search = Problem(model, weighting, self.data[:, points], self.coordinates, one_sided=True)
        self._searches[seed] = search
        return search

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = []
        models = (1 if self.one_sided else 2) * len(self.coordinates.free) + 1
        together = max(MOST_NUMBERS // (models * self.model.points), 1)
        for rows, problems in zip(coordinates.split(together), which.split(together), strict=True):
            residuals, jacobian = self.linearised(rows, problems)
            gradient = (jacobian @ residuals[..., None])[..., 0]
            parts.append((0.5 * residuals.square().sum(dim=-1), gradient, jacobian @ jacobian.mT))
        return of_possible(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def strengthened(self, coordinates: Tensor, amplitudes: list[int]) -> tuple[Tensor, Tensor]:
        """Sources whose amplitudes are multiplied by the best common factor, (source, coordinate),
        and half of their sums of squares, (source,); infinite outside of the model's domain. Of a
        problem with data of its own.

        amplitudes  numbers of their coordinates; none of them: sources stay as they are
        """
        parts = []
        for rows in coordinates.split(max(MOST_NUMBERS // self.model.points, 1)):
            signals = self.whiten(
                self._displacements(rows, torch.zeros(len(rows), dtype=torch.long))
            )
            factor = torch.ones(len(rows), 1, dtype=rows.dtype)
            if amplitudes:
                factor = (signals @ self.weighted.mT) / signals.square().sum(dim=1, keepdim=True)
                rows = rows.index_copy(1, torch.tensor(amplitudes), rows[:, amplitudes] * factor)
            parts.append((rows, 0.5 * (factor * signals - self.weighted).square().sum(dim=1)))
        moved, costs = (torch.cat(part) for part in zip(*parts, strict=True))
        return moved, costs.nan_to_num(nan=torch.inf)

    def linearised(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted residuals model − data, (problem, point), and their Jacobian, (problem,
        coordinate, point).
        """
        model, slopes = self.derivatives(coordinates, which)
        weighted = self.whiten(torch.cat([model[:, None], slopes], dim=1))
        data = self.weighted if len(self.weighted) == 1 else self.weighted[which]
        return weighted[:, 0] - data, weighted[:, 1:]

    def derivatives(
        self, coordinates: Tensor, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The model, (problem, point) [m], and its derivatives by the coordinates, (problem,
        coordinate, point).

        By central differences of coordinates that are of the order of 1, in double precision: their
        errors are below 1e-9 of a derivative, and all of them are one batch for the kernel, which
        takes a tenth of the time of automatic differentiation. Where one of the two ends is no
        possible source, the difference is to the middle. NaN for problems outside of the model's
        domain.
        """
        steps = STEP * torch.eye(coordinates.shape[1], dtype=torch.float64)
        which = torch.zeros(len(coordinates), dtype=torch.long) if which is None else which
        owner = which[:, None].expand(-1, 1 + len(steps))
        ends = torch.cat([coordinates[:, None], coordinates[:, None] + steps], dim=1)
        moved = self._displacements(ends, owner)
        middle, after = moved[:, 0], moved[:, 1:]
        before = torch.full_like(after, torch.nan)
        needed = torch.isnan(after[..., 0]) if self.one_sided else torch.full(after.shape[:2], True)
        if needed.any():
            before[needed] = self._displacements(
                (coordinates[:, None] - steps)[needed], owner[:, 1:][needed]
            )
        there = torch.isfinite(after[..., :1]).double() + torch.isfinite(before[..., :1]).double()
        after, before = (
            torch.where(torch.isfinite(end), end, middle[:, None]) for end in (after, before)
        )
        return middle, (after - before) / (STEP * there.clamp(min=1))

    def minimum(
        self,
        start: Tensor,
        tolerance: float = REDUCTION_TOLERANCE,
        most_iterations: int = MOST_ITERATIONS,
        on_step: Counted = uncounted,
    ) -> Minima:
        """Minimise from each row of `start`, values of all parameters in SI units, (problem,
        parameter).

        tolerance, most_iterations, on_step  see `minimise`
        """
        low, high = self.coordinates.low, self.coordinates.high
        minima = minimise(
            self,
            self.coordinates.from_values(start),
            low,
            high,
            tolerance,
            most_iterations,
            on_step,
        )
        at, signs = within_limits(minima.coordinates, self.coordinates.tilts)
        return minima._replace(
            coordinates=at, information=minima.information * signs[:, :, None] * signs[:, None, :]
        )

    def values(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Values of all parameters, (source, parameter), of (source, coordinate), and whether they
        are within bounds.

        which  the problem of each source
        """
        return self.coordinates.values(coordinates), self.coordinates.respect_bounds(coordinates)

    def _displacements(self, coordinates: Tensor, which: Tensor) -> Tensor:
        """The model, (..., point) [m], of (..., coordinate); NaN outside of its domain."""
        rows = coordinates.flatten(0, -2)
        values, within = self.values(rows, which.flatten())
        inside = self.model.possible(values) & within
        moved = rows.new_full((len(rows), self.model.points), torch.nan)
        if inside.any():
            with torch.no_grad():
                moved[inside] = self.model(values[inside])
        return moved.view(*coordinates.shape[:-1], self.model.points)


# Fisher information of deformation: how well data determine the parameters of a source, whatever
# the estimator.


def covariances(information: Tensor) -> Tensor:
    """The inverse of each matrix of information, (..., coordinate, coordinate).

    Infinite where a coordinate is not determined.
    """
    unit = information.diagonal(dim1=-2, dim2=-1).sqrt()
    of_units = unit[..., :, None] * unit[..., None, :]
    inverse, failed = torch.linalg.inv_ex(information / of_units)
    positive = (inverse.diagonal(dim1=-2, dim2=-1) > 0).all(dim=-1)
    covariance: Tensor = (inverse / of_units).masked_fill(
        ((failed != 0) | ~positive)[..., None, None], torch.inf
    )
    return covariance


def bounds(problem: Problem, values: Tensor) -> tuple[Tensor, Tensor]:
    """The Cramér–Rao bound at true values: the least standard deviation of unbiased estimates.

    Of Gaussian noise with covariance C and a model with Jacobian J by the free parameters, it is
    the root of the diagonal of (JᵀC⁻¹J)⁻¹; nuisances count as unknowns (Kay 1993, Fundamentals of
    Statistical Signal Processing I, eq. 3.31).

    values   (problem, parameter)  true values of all parameters in SI units
    returns  (problem, free parameter) in SI units, infinite where the data do not determine it; and
             the signal-to-noise ratio, (problem,): the root of χ² of the displacement that
             nuisances do not explain
    """
    coordinates = problem.coordinates.from_values(values)
    model, slopes = problem.derivatives(coordinates)
    weighted = problem.weighting(torch.cat([model[:, None], slopes], dim=1))
    signal, jacobian = weighted[:, 0], weighted[:, 1:]
    return problem.coordinates.deviations(
        coordinates, covariances(jacobian @ jacobian.mT)
    ), signal.norm(dim=-1)


# Starts of a search for the global minimum, spread evenly over all parameters.

STARTS = 32
"""Of a search, unless another number is asked for."""
MOST_DRAWN = 1 << 16
"""Points drawn at most for starts that a model can have."""


def starts(problem: Problem, searches: Sequence[Search], count: int, seed: int) -> Tensor:
    """Values of all parameters in SI units, (start, parameter).

    Parameters that are neither fixed nor amplitudes are drawn by a scrambled Sobol sequence,
    between the limits of their search; those that are no possible source are left out. Amplitudes
    are then the best ones by linear least squares. Raises QexpError if the limits leave no possible
    source, or a parameter has none.
    """
    coordinates = problem.coordinates
    free = [searches[index] for index in coordinates.free]
    for search in free:
        if not search.can_be_drawn:
            name = search.parameter.name
            raise QexpError(
                f"{name} is neither an amplitude, nor an angle, nor a length, so that nothing tells"
                f" where its estimate may lie: give it `bounds={ {name: ('LOW', 'HIGH')} }`, or a"
                " value by `fixed`; or limits or a unit of length in"
                f" QUANTITIES['{name.rpartition('.')[2]}']"
            )
    low, high = (
        torch.tensor(
            [search.parameter.coordinate(getattr(search, end)) for search in free],
            dtype=torch.float64,
        )
        for end in ("low", "high")
    )
    sequence = SobolEngine(len(free), scramble=True, seed=seed)
    possible, power = low.new_empty(0, len(free)), 0
    while len(possible) < count:
        power = power + 1 if power else max(count - 1, 1).bit_length()
        if 1 << power > MOST_DRAWN:
            raise QexpError(
                "the bounds leave no possible source for a start; widen them, for example to larger"
                " depths"
            )
        sequence.reset()  # a Sobol sequence is even over its first 2^power points
        candidates = low + sequence.draw(1 << power, dtype=torch.float64) * (high - low)
        possible = candidates[problem.model.possible(coordinates.values(candidates))]
    return coordinates.values(_with_best_amplitudes(problem, possible[:count]))


def _with_best_amplitudes(problem: Problem, at: Tensor) -> Tensor:
    """The coordinates with amplitudes by linear least squares, (start, coordinate), within their
    bounds.
    """
    if not (linear := problem.coordinates.linear):
        return at
    at = at.clone()
    low, high = problem.coordinates.low[linear], problem.coordinates.high[linear]
    some = torch.ones(len(linear), dtype=at.dtype).clamp(low, high)
    # Any other than zero, where some models would have no derivatives by their other parameters.
    at[:, linear] = torch.where(some == 0, low, some)
    for start in range(0, len(at)):
        row = slice(start, start + 1)
        residuals, jacobian = problem.linearised(at[row], torch.zeros(1, dtype=torch.long))
        solved = torch.linalg.lstsq(jacobian[0, linear].mT, -residuals[0][:, None], driver="gelsd")
        at[start, linear] += solved.solution[:, 0]
    return at.clamp(problem.coordinates.low, problem.coordinates.high)
