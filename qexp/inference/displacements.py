"""The displacement that sources cause along given directions, and data that are combinations of it,
as functions of all parameters of the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qexp.errors import QexpError
from qexp.observations.observation import Track, where_known
from qexp.simulation.generators import Source

SIGHT_TOLERANCE = 5.0
"""Largest angle between the line of sight of a track and those along which a source is known
[degrees].
"""
WEIGHT_TOLERANCE = 1e-6
"""Deviation from 1 of the sum of the weights of places, up to which their sum is a mean."""


def deformation_of(
    sources: Sequence[Source],
    tracks: Sequence[Track],
    origin: tuple[float, float],
) -> Deformation:
    """The sum of sources as tracks see it, at all of their points in order.

    origin  east, north of the position (0, 0) of sources [m]
    Raises QexpError for a track along whose direction a source is not known.
    """
    stations = [track.places - np.array(origin) for track in tracks]
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
        return Deformation(sources, places, direction, heights)
    spread = np.zeros((len(places), 2)) if spread is None else spread
    count = where_known(tracks, "count", 1.0)
    number = torch.ones(len(places)) if count is None else torch.from_numpy(count)
    shift, means = places_in_cells(torch.from_numpy(spread), number)
    shift, direction, means = _combined(tracks, shift, direction[means.owner], means)
    heights = None if heights is None else heights[means.owner]
    return Deformation(sources, places[means.owner] + shift, direction, heights, means)


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
    points = torch.from_numpy(track.places - np.array(origin))
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


class Deformation:
    """The sum of sources, seen at points along directions.

    sources    each with its columns; several need names of their own
    stations   (place, 2)           east, north [m]
    direction  (place, 3)           unit vectors east, north, up
    elevation  (place,)             above the level from which depths count [m], or None; see
                                    `physics.geometry`
    means      sums of places, if points are that; else each point is a place
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stations: Tensor,
        direction: Tensor,
        elevation: Tensor | None = None,
        means: Means | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.points = len(stations) if means is None else means.points
        self.stations = stations
        self.direction = direction
        self.elevation = elevation
        self._means = means
        self.names = [name for source in sources for name in source.columns]
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
        points = averages.nonzero()[:, 0]
        kept = ~averages[means.owner]
        some = copy(self)

        def middle(values: Tensor) -> Tensor:
            return torch.cat([means(values.mT).mT[points], values[kept]])

        some.stations = middle(self.stations)
        some.direction = middle(self.direction)
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
        some = copy(self)
        means = self._means
        some.points = len(self.stations)
        some._means = None
        if means is None:
            return some, lambda values: values
        return some, means.__call__

    def turned(self, points: slice, matrix: Tensor) -> Deformation:
        """The deformation with directions of some points multiplied by a matrix, (3, 3)."""
        owner = torch.arange(self.points) if self._means is None else self._means.owner
        some = copy(self)
        there = (owner >= points.start) & (owner < points.stop)
        some.direction = torch.where(there[:, None], self.direction @ matrix.mT, self.direction)
        return some

    def select(self, points: Tensor) -> Deformation:
        """The deformation of some of the points."""
        some = copy(self)
        rows = points
        means = self._means
        some.points = len(points)
        if means is not None:
            number = torch.full((self.points,), -1).index_put_((points,), torch.arange(len(points)))
            rows = torch.isin(means.owner, points).nonzero()[:, 0]
            some._means = Means(number[means.owner[rows]], means.weight[rows], len(points))
        some.stations = self.stations[rows]
        some.direction = self.direction[rows]
        some.elevation = None if self.elevation is None else self.elevation[rows]
        return some

    def __call__(self, parameters: Tensor) -> Tensor:
        """Displacement, (problem, point) [m], of the parameters of all sources in order, (problem,
        parameter), SI units.
        """
        stations = self.stations[None]
        moved = []
        for source, columns in self._each(parameters):
            moved.append(source.displacements(columns, stations, self.elevation))
        total = sum(moved[1:], moved[0])
        seen = (total * self.direction).sum(dim=-1)
        return seen if self._means is None else self._means(seen)

    def corrected(self, values: Tensor) -> Deformation:
        """The deformation by the same sources, but those whose kernels are approximations less what
        they err near such values, (parameter,).
        """
        some = copy(self)
        sources = list[Source]()
        for source, columns in self._each(values):
            if source.corrected is not None:
                source = source.corrected(columns).with_name(source.name)
            sources.append(source)
        some.sources = tuple(sources)
        return some

    def _each(self, values: Tensor) -> Iterator[tuple[Source, Tensor]]:
        """Each source with its columns of values, (..., parameter)."""
        return zip(self.sources, values.split(self._widths, dim=-1), strict=True)

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
        for source, columns in self._each(parameters.detach()):
            values = dict(zip(source.variables, columns.numpy().T, strict=True))
            depth = values.get("depth", np.ones(len(columns)))
            if not source.ranges:  # else it is known on the ground, whatever its form
                depth = values["depth"] = depth + self._lowest
            met = [depth > 0, *(requirement.holds(values) for requirement in source.requirements)]
            possible &= torch.from_numpy(np.logical_and.reduce(met))
        return possible
