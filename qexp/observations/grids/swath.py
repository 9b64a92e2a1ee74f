"""Pixels along range and azimuth, as the radar sees them, which lie anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Layout, Window, listed

PIECE = 2048
"""Side of the squares in which places are read, in pixels."""


@dataclass(frozen=True)
class Swath(Layout):
    """A grid of pixels in radar coordinates: longitude and latitude of each are values of rasters.

    place  longitude and latitude of the pixels of a window [degrees], (row, column) each; NaN where they are not known
    """

    place: tuple[Callable[[Window], Array], Callable[[Window], Array]] | None = None

    @classmethod
    def unplaced(cls, shape: tuple[int, int]) -> Swath:
        """Pixels whose places are not known yet."""
        return cls(shape, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None)

    @classmethod
    def placed(
        cls, shape: tuple[int, int], longitude: Callable[[Window], Array], latitude: Callable[[Window], Array]
    ) -> Swath:
        return cls(shape, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "EPSG:4326", (longitude, latitude))

    def positions(self, window: Window) -> tuple[Array, Array]:
        """Longitude and latitude of the pixels of a window, row by row, (pixel,) each; both NaN where both are 0."""
        if self.place is None:
            raise QexpError(f"{self} have no positions; geocode them first")
        x, y = (values(window).ravel() for values in self.place)
        nowhere = (x == 0) & (y == 0)
        return np.where(nowhere, np.nan, x), np.where(nowhere, np.nan, y)

    @cached_property
    def _extent(self) -> tuple[float, float, float, float]:
        found = []
        for piece in self.whole.pieces(PIECE):
            x, y = self.positions(piece)
            known = np.isfinite(x) & np.isfinite(y)
            if known.any():
                found.append((x[known].min(), x[known].max(), y[known].min(), y[known].max()))
        if not found:
            raise QexpError(f"none of {self} has a longitude and latitude")
        west, east, south, north = np.array(found).T
        return float(west.min()), float(east.max()), float(south.min()), float(north.max())

    @property
    def corners(self) -> Array:
        """Those of the rectangle around all pixel centres, (corner, 2)."""
        west, east, south, north = self._extent
        return np.array([[west, north], [east, north], [east, south], [west, south]])

    def within(self, bounds: Sequence[float], source: str) -> Window:
        """The smallest window that holds every pixel centre inside of bounds: west, east, south, north.

        Raises QexpError if they are swapped, or if no pixel lies inside.
        """
        west, east, south, north = self.checked(bounds)
        rows, columns = [], []
        for piece in self.whole.pieces(PIECE):
            x, y = (values.reshape(piece.shape) for values in self.positions(piece))
            row, column = np.nonzero((x >= west) & (x <= east) & (y >= south) & (y <= north))
            if len(row):
                rows += [piece.top + row.min(), piece.top + row.max()]
                columns += [piece.left + column.min(), piece.left + column.max()]
        if not rows:
            raise QexpError(
                f"{source}: no pixel lies within the bounds {listed(bounds)}; they extend over {listed(self.extent)}"
            )
        return Window(int(min(rows)), int(max(rows)) + 1, int(min(columns)), int(max(columns)) + 1)

    def same_as(self, other: Layout) -> bool:
        """Whether the other is of as many pixels in radar coordinates, which belong together."""
        return isinstance(other, Swath) and self.shape == other.shape

    def __str__(self) -> str:
        return f"{self.shape[0]:,} × {self.shape[1]:,} pixels in radar coordinates"
