"""Points with the pixels in which they lie: what a reduction to cells goes through, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.observations.observation import ARRAYS, Array, Track

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """Points of a track, and the row and column of the pixel in which each lies: (point,) each."""

    track: Track
    row: Integers
    column: Integers

    def seen(self) -> Pixels:
        """Those that count."""
        observed = self.track.observed
        if observed.all():
            return self
        return Pixels(self.track.kept(observed), self.row[observed], self.column[observed])


class Pixelated(Protocol):
    """What can be reduced."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""

    @property
    def metres(self) -> tuple[float, float]:
        """Metres of one unit of x and of y."""

    def blocks(self, side: int) -> Iterator[Pixels]:
        """All points, in squares of `side` pixels whose corners are multiples of it."""


class Scattered:
    """The points of a track that count, on pixels as wide as the median distance from a point to the nearest other."""

    metres = (1.0, 1.0)

    def __init__(self, track: Track) -> None:
        from scipy.spatial import cKDTree

        self._track = track.seen()
        places = np.stack([self._track.x, self._track.y], axis=1)
        nearest = cKDTree(places).query(places, k=2)[0][:, 1] if len(places) > 1 else np.ones(1)
        apart = nearest[nearest > 0]
        step = float(np.median(apart)) if len(apart) else 1.0
        self._column, self._row = np.round((places - places.min(axis=0)) / step).astype(np.int64).T
        self.shape = int(self._row.max()) + 1, int(self._column.max()) + 1

    def blocks(self, side: int) -> Iterator[Pixels]:
        places = np.stack([self._row // side, self._column // side])
        block = np.unique(places, axis=1, return_inverse=True)[1].ravel()
        order = np.argsort(block, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            yield Pixels(self._track.kept(own), self._row[own], self._column[own])


def joined(parts: list[Track]) -> Track:
    """The points of parts of one track, one part after the other."""
    first = parts[0]
    known = [name for name in ARRAYS if getattr(first, name) is not None]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in known}
    return Track(first.name, first.kind, **arrays, noise=first.noise)


def spacing(x: Array, y: Array) -> float:
    """Distance to the nearest other point, of three quarters of the points [m]."""
    from scipy.spatial import cKDTree

    points = np.unique(np.stack([x, y], axis=1), axis=0)
    if len(points) < 2:
        return 1.0
    return float(np.percentile(cKDTree(points).query(points, k=2)[0][:, 1], 75))
