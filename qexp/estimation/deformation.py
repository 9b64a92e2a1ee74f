"""The displacement that sources cause along given directions, as a function of all their parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qexp.datasets.generators.deformation import Source


class Deformation:
    """The sum of sources, seen at points along directions.

    sources    each with its columns; several need names of their own
    stations   (point, 2)           east, north [m]
    direction  (point, 3)           unit vectors east, north, up
    elevation  (point,)             above the level from which depths count [m], or None; see `forward.topography`
    """

    def __init__(
        self, sources: Sequence[Source], stations: Tensor, direction: Tensor, elevation: Tensor | None = None
    ) -> None:
        self.sources = tuple(sources)
        self.stations, self.direction, self.elevation = stations, direction, elevation
        self.names = [name for source in sources for name in source.columns]
        self._lowest = 0.0 if elevation is None else float(elevation.min())

    @property
    def points(self) -> int:
        return len(self.stations)

    def __call__(self, parameters: Tensor) -> Tensor:
        """Displacement, (problem, point) [m], of parameters in the order of `names`, (problem, parameter), SI units."""
        start, moved = 0, []
        for source in self.sources:
            own = parameters[:, start : start + len(source.columns)]
            start += len(source.columns)
            moved.append(source.displacements(own, self.stations[None], self.elevation))
        return (sum(moved[1:], moved[0]) * self.direction).sum(dim=-1)

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
