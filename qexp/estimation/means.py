"""Displacements of pixels as the means of blocks of them, which are fewer numbers to weight."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from qexp.datasets.generators.deformation import Source
from qexp.estimation.deformation import Deformation


class DeformationOfMeans(Deformation):
    """The sum of sources, seen as means over groups of points along directions; exactly, point by point.

    group  (point,)  number of the mean that a point belongs to, counted from 0; other arguments as of a `Deformation`
    """

    def __init__(
        self, sources: Sequence[Source], stations: Tensor, direction: Tensor, elevation: Tensor | None, group: Tensor
    ) -> None:
        super().__init__(sources, stations, direction, elevation)
        self._each = Deformation(sources, stations, direction, elevation)
        self._group = group
        self.points = int(group.max()) + 1

    @property
    def positions(self) -> Tensor:
        return means(self.stations.mT, self._group).mT

    def at(self, places: Tensor) -> DeformationOfMeans:
        """The same with some of the means."""
        some = copy(self)
        number = torch.full((self.points,), -1).index_put_((places,), torch.arange(len(places)))
        kept = torch.isin(self._group, places).nonzero()[:, 0]
        some._each, some._group, some.points = self._each.at(kept), number[self._group[kept]], len(places)
        return some

    def __call__(self, parameters: Tensor) -> Tensor:
        """Mean displacements, (problem, mean) [m], as for a `Deformation`."""
        return means(self._each(parameters), self._group)


def means(values: Tensor, group: Tensor) -> Tensor:
    """Means over the groups of the last axis, (..., mean) of (..., point)."""
    counts = torch.bincount(group)
    return values.new_zeros(*values.shape[:-1], len(counts)).index_add_(-1, group, values) / counts
