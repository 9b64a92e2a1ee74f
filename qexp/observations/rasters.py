"""Rasters: values over a grid of pixels, read in windows, whatever the file's format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array, Pair
from qexp.errors import QexpError, extra

SAME = 1e-3
"""Largest distance between the corners of grids that count as the same, as a share of a pixel."""


class Window(NamedTuple):
    """Part of a grid: rows `top` to `bottom` and columns `left` to `right`, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def pieces(self, side: int) -> Iterator[Window]:
        """The window in squares of `side` pixels, row by row, from its upper left corner."""
        for top in range(self.top, self.bottom, side):
            for left in range(self.left, self.right, side):
                yield Window(top, min(top + side, self.bottom), left, min(left + side, self.right))


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a grid lie.

    shape      rows and columns
    transform  a, b, c, d, e, f: the corner of column i and row j lies at x = a i + b j + c, y = d i
               + e j + f, in the units of the coordinate reference system
    crs        the system as well-known text, or None if the file names none
    """

    shape: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]
    crs: str | None

    @property
    def whole(self) -> Window:
        return Window(0, self.shape[0], 0, self.shape[1])

    def places(
        self, column: NDArray[np.floating] | float, row: NDArray[np.floating] | float
    ) -> tuple[Array, Array]:
        """Positions x, y of columns and rows; the centre of the first pixel is at 0.5, 0.5."""
        a, b, c, d, e, f = self.transform
        x = a * column + b * row + c
        y = d * column + e * row + f
        return np.asarray(x), np.asarray(y)

    def indices(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The column and row of positions: what `places` makes positions of."""
        a, b, c, d, e, f = self.transform
        matrix = np.array([[a, b], [d, e]])
        offsets = np.stack([x - c, y - f])
        column, row = np.linalg.solve(matrix, offsets)
        return column, row

    def positions(self, window: Window) -> tuple[Array, Array]:
        """The centres of the pixels of a window, row by row: x (pixel,), y (pixel,)."""
        rows = np.arange(window.top, window.bottom) + 0.5
        columns = np.arange(window.left, window.right) + 0.5
        if self.transform[1] == 0 == self.transform[3]:  # as nearly all grids are
            x = self.places(columns, 0.0)[0]
            y = self.places(0.0, rows)[1]
            return np.tile(x, len(rows)), np.repeat(y, len(columns))
        return self.places(np.tile(columns, len(rows)), np.repeat(rows, len(columns)))

    @property
    def corners(self) -> Array:
        """The four outer corners, (corner, 2)."""
        height, width = self.shape
        x, y = self.places(np.array([0, width, width, 0.0]), np.array([0, 0, height, height]))
        return np.stack([x, y], axis=-1)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The least and greatest x, then y."""
        x, y = self.corners.T
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    @property
    def pixel(self) -> Pair:
        """Lengths of a pixel's sides, along a row and along a column."""
        a, b, _, d, e, _ = self.transform
        return float(np.hypot(a, d)), float(np.hypot(b, e))

    @property
    def metres(self) -> Pair:
        """The lengths of one unit of x and of y at the middle of the grid [m]; along a sphere, if
        it is of angles.
        """
        if not _is_geographic(self.crs):
            return 1.0, 1.0
        latitude = np.radians(self.corners[:, 1].mean())
        degree = 6_371_008.8 * np.pi / 180  # by the mean radius of the earth
        return float(degree * np.cos(latitude)), float(degree)

    def window(self, bounds: Sequence[float], source: str) -> Window:
        """The smallest window that holds every pixel centre inside of bounds: west, east, south,
        north.

        Raises QexpError if they are swapped, or if no pixel lies inside.
        """
        if len(bounds) != 4:
            raise QexpError(f"`bounds={write_numbers(bounds)}`: write WEST,EAST,SOUTH,NORTH")
        west, east, south, north = bounds
        if not (west < east and south < north):
            raise QexpError(
                f"`bounds={write_numbers(bounds)}`: swapped or empty; write WEST,EAST,SOUTH,NORTH"
            )
        columns, rows = self.indices(
            np.array([west, east, east, west]), np.array([south, south, north, north])
        )
        top, bottom = _inner(rows, self.shape[0])
        left, right = _inner(columns, self.shape[1])
        if top >= bottom or left >= right:
            raise QexpError(
                f"{source}: no pixel lies within the bounds {write_numbers(bounds)}; the grid"
                f" extends over {write_numbers(self.extent)} in its own coordinates"
            )
        return Window(top, bottom, left, right)

    def same_as(self, other: Layout) -> bool:
        """Whether the pixels of another grid are the same."""
        far = SAME * min(self.pixel)
        return self.shape == other.shape and bool(np.abs(self.corners - other.corners).max() <= far)

    def __str__(self) -> str:
        height, width = self.shape
        return (
            f"{height:,} × {width:,} pixels of {self.pixel[0]:g} × {self.pixel[1]:g} over"
            f" {write_numbers(self.extent)}"
        )


def _inner(edges: Array, count: int) -> tuple[int, int]:
    """The first of some pixels along an axis whose centres lie between edges, and the one after."""
    first = int(np.ceil(edges.min() - 0.5))
    last = int(np.floor(edges.max() - 0.5))
    return max(0, first), min(count, last + 1)


def centred(shape: tuple[int, int], first: Pair, step: Pair, crs: str | None) -> Layout:
    """The grid whose first pixel has its centre at `first`, and its sides along the axes; y before
    x in both.
    """
    (y, x), (step_y, step_x) = first, step
    return Layout(shape, (step_x, 0.0, x - step_x / 2, 0.0, step_y, y - step_y / 2), crs)


def write_numbers(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" if abs(number) < 1e5 else f"{number:.0f}" for number in numbers)


@dataclass(frozen=True)
class Raster:
    """One field over a grid.

    source  the file, and what of it is read, as errors name it
    unit    of the values, as the file tells, or ""
    read    values of a window, (row, column); NaN where the file has none
    gaps    whether the file names the value of pixels without data: zeros are values then
    type    of the stored numbers, such as "float32"
    """

    source: str
    layout: Layout
    unit: str
    read: Callable[[Window], Array]
    gaps: bool = False
    type: str = ""

    def require_same_grid(self, other: Raster) -> None:
        """Raise QexpError if another raster has other pixels."""
        if not self.layout.same_as(other.layout):
            raise QexpError(
                f"{other.source} has another grid than {self.source}: {other.layout}, not"
                f" {self.layout}; resample one to the other's grid"
            )


def resampled(raster: Raster, layout: Layout) -> Raster:
    """A smooth field at the pixel centres of another grid, by linear interpolation between its own.

    NaN beyond its pixel centres, and beside its gaps. Both grids may be of different coordinate
    reference systems; a raster without one is taken to be in that of the grid. Raises QexpError if
    the grids have no pixel in common.
    """
    x, y = _in_its_system(raster, layout, *layout.corners.T)
    west, east, south, north = raster.layout.extent
    if x.max() < west or x.min() > east or y.max() < south or y.min() > north:
        raise QexpError(
            f"{raster.source} does not cover the grid: {raster.layout}, but the grid has {layout};"
            " are they in different coordinate reference systems?"
        )

    def read(window: Window) -> Array:
        from scipy.ndimage import map_coordinates

        places = _in_its_system(raster, layout, *layout.positions(window))
        column, row = raster.layout.indices(*places)
        # Pixel centres lie at whole numbers; what cannot be transformed lies outside.
        column, row = (np.where(np.isfinite(line), line - 0.5, -9.0) for line in (column, row))
        height, width = raster.layout.shape
        top, bottom = _range(row, height)
        left, right = _range(column, width)
        values = np.full(window.size, np.nan)
        if top < bottom and left < right:
            part = raster.read(Window(top, bottom, left, right))
            values = map_coordinates(part, [row - top, column - left], order=1, cval=np.nan)
        return values.reshape(window.shape)

    return replace(raster, layout=layout, read=read)


def _in_its_system(raster: Raster, layout: Layout, x: Array, y: Array) -> tuple[Array, Array]:
    """Positions of a grid in the raster's coordinate reference system; longitudes counted as the
    raster's are.
    """
    crs = raster.layout.crs or layout.crs
    if raster.layout.crs is not None and layout.crs is not None:
        with extra("geo"):
            import pyproj

        transformer = pyproj.Transformer.from_crs(layout.crs, raster.layout.crs, always_xy=True)
        x, y = transformer.transform(x, y)
    if _is_geographic(crs):
        west, east, _, _ = raster.layout.extent
        x = x + 360 * np.round(((west + east) / 2 - x) / 360)
    return x, y


def _range(indices: Array, count: int) -> tuple[int, int]:
    """The first pixel along an axis that is needed, and the one after the last."""
    return max(0, int(np.floor(indices.min()))), min(count, int(np.floor(indices.max())) + 2)


def _is_geographic(crs: str | None) -> bool:
    if crs is None:
        return False
    with extra("geo"):
        import pyproj

    return bool(pyproj.CRS.from_user_input(crs).is_geographic)
