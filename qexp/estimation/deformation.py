"""The displacement that sources cause along given directions, as a function of all their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from qexp.datasets.generators.deformation import Source
from qexp.observations.observation import Track


def deformation_of(sources: Sequence[Source], tracks: Sequence[Track], origin: tuple[float, float]) -> Deformation:
    """The sum of sources as tracks see it, at all of their points in order.

    origin  east, north of the position (0, 0) of sources [m]
    """
    heights, spread = (_where_known(tracks, name) for name in ("elevation", "spread"))
    return Deformation(
        sources,
        torch.from_numpy(np.concatenate([np.stack([track.x, track.y], axis=1) for track in tracks]) - np.array(origin)),
        torch.from_numpy(np.concatenate([track.direction for track in tracks])),
        heights,
        spread,
    )


def _where_known(tracks: Sequence[Track], name: str) -> Tensor | None:
    """A property that not all tracks have: 0 for those that do not; None if none has it."""
    known = [getattr(track, name) for track in tracks]
    example = next((values for values in known if values is not None), None)
    if example is None:
        return None
    zeros = (np.zeros((len(track.x), *example.shape[1:])) for track in tracks)
    return torch.from_numpy(
        np.concatenate([zero if values is None else values for zero, values in zip(zeros, known, strict=True)])
    )


class Deformation:
    """The sum of sources, seen at points along directions.

    sources    each with its columns; several need names of their own
    stations   (point, 2)           east, north [m]
    direction  (point, 3)           unit vectors east, north, up
    elevation  (point,)             above the level from which depths count [m], or None; see `forward.topography`
    spread     (point, 2)           of points that are means: standard deviation east and north of what they are the
                                    mean of [m], or None
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stations: Tensor,
        direction: Tensor,
        elevation: Tensor | None = None,
        spread: Tensor | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.points = len(stations)
        self.stations, self.direction, self.elevation = stations, direction, elevation
        if spread is not None:  # the mean of four places has that of the whole cell, up to the third derivatives
            corners = spread.new_tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]])
            self.stations = (stations + corners[:, None] * spread).flatten(0, 1)
            self.direction = direction.repeat(len(corners), 1)
            self.elevation = None if elevation is None else elevation.repeat(len(corners))
        self.names = [name for source in sources for name in source.columns]
        self._lowest = 0.0 if elevation is None else float(elevation.min())

    @property
    def positions(self) -> Tensor:
        """East and north of each point, (point, 2) [m]; of means, of their middle."""
        corners = len(self.stations) // self.points
        return self.stations.view(corners, self.points, 2).mean(dim=0)

    def at(self, places: Tensor) -> Deformation:
        """The same at some of the points."""
        some = copy(self)
        corners = len(self.stations) // self.points
        rows = (places + self.points * torch.arange(corners)[:, None]).flatten()
        some.points = len(places)
        some.stations, some.direction = self.stations[rows], self.direction[rows]
        some.elevation = None if self.elevation is None else self.elevation[rows]
        return some

    def __call__(self, parameters: Tensor) -> Tensor:
        """Displacement, (problem, point) [m], of parameters in the order of `names`, (problem, parameter), SI units."""
        start, moved = 0, []
        for source in self.sources:
            own = parameters[:, start : start + len(source.columns)]
            start += len(source.columns)
            moved.append(source.displacements(own, self.stations[None], self.elevation))
        along = (sum(moved[1:], moved[0]) * self.direction).sum(dim=-1)
        return along.reshape(len(along), len(self.stations) // self.points, self.points).mean(dim=1)

    def possible(self, parameters: Tensor) -> Tensor:
        """Whether the sources of each problem lie below the ground and are else as the model requires, (problem,)."""
        start, possible = 0, torch.isfinite(parameters).all(dim=-1)
        for source in self.sources:
            own = parameters[:, start : start + len(source.columns)].detach().numpy()
            start += len(source.columns)
            values = dict(zip(source.variables, own.T, strict=True))
            values["depth"] = values["depth"] + self._lowest
            met = [values["depth"] > 0, *(one.holds(values) for one in source.requirements)]
            possible &= torch.from_numpy(np.logical_and.reduce(met))
        return possible
