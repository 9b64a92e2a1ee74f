"""GNSS stations on maps: their components as vectors, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import sized

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

MOST_NAMED = 30
"""Stations of a map that are named; the names of more would hide the arrows."""


@dataclass(frozen=True)
class Stations:
    """Displacements of stations.

    places   (station, 2)  position along x and y
    vectors  (station, 3)  along x, y and up; NaN where a component is not observed
    names    (station,)    empty where a station has none
    """

    places: Array
    vectors: Array
    names: Sequence[str]


def stations_of(x: Array, y: Array, direction: Array, values: Array, names: NDArray[np.str_] | None) -> Stations:
    """The components of stations, which are at one place, put together.

    x, y, values  (point,)
    direction     (point, 3)  of the components
    names         (point,)    or None
    """
    places, first, own = np.unique(np.stack([x, y], axis=1), axis=0, return_index=True, return_inverse=True)
    vectors, counts = np.zeros((2, len(places), 3))
    np.add.at(vectors, own.ravel(), direction * values[:, None])
    np.add.at(counts, own.ravel(), direction**2)
    # Both horizontal components must be there, since neither lies along an axis of the map.
    counts[:, :2] = counts[:, :2].sum(axis=1, keepdims=True) / 2
    vectors[counts < 0.99] = np.nan
    return Stations(places, vectors, [""] * len(places) if names is None else [str(names[index]) for index in first])


def name_stations(axis: Axes, stations: Stations) -> None:
    """Write the names beside the dots, below arrows and marks, unless they are too many."""
    from matplotlib.patheffects import withStroke

    if len(stations.places) > MOST_NAMED:
        return
    halo = [withStroke(linewidth=sized(2), foreground="white")]
    for (x, y), name in zip(stations.places, stations.names, strict=True):
        axis.annotate(
            name, (x, y), (4, -2), textcoords="offset points", va="top", fontsize=sized(6.5), zorder=1.5,
            path_effects=halo,
        )  # fmt: skip
