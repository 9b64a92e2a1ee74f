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

BESIDE = np.array([[1, -1], [1, 1], [-1, -1], [-1, 1]])
"""To which side of a dot its name may stand, across and up."""
MIDDLE = np.array([0.08, 0.04])
"""The middle of a name from the dot, as a share of the panel."""


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


def name_stations(axis: Axes, stations: Stations, tips: Array, marks: Sequence[tuple[float, float]] = ()) -> None:
    """Write the names beside the dots, each where most room is between dots, arrows, marks and other names.

    tips   (station, 2)  ends of the arrows; NaN where there is none
    marks  other places to keep free
    The limits of the axis must be set. Nothing is written if the stations are too many.
    """
    if len(stations.places) > MOST_NAMED:
        return
    steps = np.linspace(0, 1, 6)[:, None, None]
    arrows = (stations.places + steps * (np.nan_to_num(tips, nan=0) - stations.places)).reshape(-1, 2)
    arrows = arrows[np.tile(np.isfinite(tips).all(axis=1), len(steps))]
    written = np.zeros((0, 2))
    panel = np.ptp([axis.get_xlim(), axis.get_ylim()], axis=1)
    for place, name in zip(stations.places, stations.names, strict=True):
        others = stations.places[(stations.places != place).any(axis=1)]
        taken = np.concatenate([np.concatenate([arrows, others, np.reshape(marks, (-1, 2))]) / panel, written])
        middles = place / panel + BESIDE * MIDDLE
        apart = np.hypot(*(middles[:, None] - taken).T).min(axis=0, initial=1.0)
        best = int(np.argmax(apart))
        across, up = BESIDE[best]
        written = np.append(written, middles[best : best + 1], axis=0)
        axis.annotate(
            name, place, (4 * across, 3 * up), textcoords="offset points", fontsize=sized(6.5), zorder=1.5,
            ha="left" if across > 0 else "right", va="bottom" if up > 0 else "top",
        )  # fmt: skip
