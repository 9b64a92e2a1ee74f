"""A scene: what a radar saw on a grid of pixels, read in windows as tracks of points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Raster, Window
from qexp.observations.observation import Track
from qexp.observations.pixels import Pixels
from qexp.observations.reading import masked_where_missing, suspicions

Flags = NDArray[np.bool_]

LARGEST_WHOLE = 4_000_000
"""The largest number of pixels that become points one by one."""
PIECE = 2048
"""Side of the squares in which larger scenes are read, in pixels."""
WRAPPED = 0.95
"""Phase that stays within ±π, and covers more than this share of it, is taken for wrapped phase."""


@dataclass(frozen=True)
class Scene:
    """One field of displacement or phase with its geometry, all over one grid.

    scale      displacement toward the satellite of one unit of the field [m]
    phase      whether the field is phase
    error      standard deviation of displacements [m], the same everywhere or a raster in the unit of the field
    direction  unit vectors from the ground to the satellite at the pixels of a window, (pixel, 3)
    coherence  raster, and the least coherence of pixels that count
    elevation  raster of elevations [m]
    window     the part of the grid that was asked for
    """

    name: str
    field: Raster
    scale: float
    phase: bool
    error: float | Raster
    direction: Callable[[Window], Array]
    coherence: tuple[Raster, float] | None
    elevation: Raster | None
    window: Window

    def __post_init__(self) -> None:
        beside = [self.error, self.elevation, self.coherence[0] if self.coherence else None]
        for other in beside:
            if isinstance(other, Raster):
                self.field.require_same_grid(other)

    def track(self, window: Window) -> Track:
        """The pixels of a window, row by row, as points; x and y in the coordinates of the grid.

        A pixel is masked without data, if its value is 0 in a file that does not name another one for these, or if its
        coherence is too low.
        """
        values = self.field.read(window).ravel()
        observed = self._seen(values)
        if self.coherence is not None:
            raster, least = self.coherence
            observed &= raster.read(window).ravel() >= least
        if isinstance(self.error, Raster):
            error = self.error.read(window).ravel() * abs(self.scale)
        else:
            error = np.full(window.size, self.error)
        elevation = None if self.elevation is None else self.elevation.read(window).ravel()
        displacement = np.where(observed, values * self.scale, np.nan)
        x, y = self.field.layout.positions(window)
        observed &= error > 0
        track = Track(self.name, "radar", x, y, displacement, error, self.direction(window), observed, elevation)
        return masked_where_missing(track)

    def _seen(self, values: Array) -> Flags:
        """Where a field has data."""
        return np.isfinite(values) if self.field.gaps else np.isfinite(values) & (values != 0)

    def whole(self) -> Track:
        """All pixels as points. Raises QexpError if they are too many."""
        if self.window.size > LARGEST_WHOLE:
            height, width = self.window.shape
            raise QexpError(
                f"{self.field.source} has {height:,} × {width:,} pixels, of which at most {LARGEST_WHOLE:,} can become "
                "points; reduce them with --reduce quadtree:0.005, or take a part with --bounds WEST,EAST,SOUTH,NORTH"
            )
        return self.track(self.window)

    def largest(self) -> float | None:
        """The largest absolute value of the field; None if it has none."""
        found = []
        for piece in self.window.pieces(PIECE):
            values = self.field.read(piece)
            seen = self._seen(values)
            if seen.any():
                found.append(float(np.abs(values[seen]).max()))
        return max(found, default=None)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of what was asked for."""
        return self.window.shape

    @property
    def metres(self) -> tuple[float, float]:
        """Lengths of one unit of x and of y [m]."""
        return self.field.layout.metres

    def blocks(self, side: int) -> Iterator[Pixels]:
        """All pixels, in squares whose corners are multiples of `side` from the upper left one."""
        for piece in self.window.pieces(side):
            row, column = np.mgrid[piece.top : piece.bottom, piece.left : piece.right].reshape(2, -1)
            yield Pixels(self.track(piece), row - self.window.top, column - self.window.left)

    def warnings(self, largest: float) -> tuple[str, ...]:
        """What makes a field of this largest absolute value suspicious."""
        if self.phase and WRAPPED < largest / np.pi <= 1:
            return ("all phase lies within ±π and fills this range, as wrapped phase does; unwrap it first",)
        return () if self.phase else suspicions(largest * self.scale, ", or for phase --wavelength or --sensor")
