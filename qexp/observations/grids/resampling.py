"""Rasters at the pixels of another grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window
from qexp.observations.grids.swath import Swath


def resampled(raster: Raster, layout: Layout) -> Raster:
    """A smooth field at the pixel centres of another grid, by linear interpolation between its own.

    NaN beyond its pixel centres, and beside its gaps. Both grids may be of different coordinate reference systems; a
    raster without one is taken to be in that of the grid. Raises QexpError if the grids have no pixel in common.
    """
    if isinstance(raster.layout, Swath):
        raise QexpError(f"{raster.source} is in radar coordinates, but the grid is {layout}; geocode it first")
    x, y = _own(raster, layout, *layout.corners.T)
    west, east, south, north = raster.layout.extent
    if x.max() < west or x.min() > east or y.max() < south or y.min() > north:
        raise QexpError(
            f"{raster.source} does not cover the grid: {raster.layout}, but the grid has {layout}; are they in "
            "different coordinate reference systems?"
        )

    def read(window: Window) -> Array:
        from scipy.ndimage import map_coordinates

        column, row = raster.layout.places(*_own(raster, layout, *layout.positions(window)))
        # Pixel centres lie at whole numbers; what cannot be transformed lies outside.
        column, row = (np.where(np.isfinite(line), line - 0.5, -9.0) for line in (column, row))
        height, width = raster.layout.shape
        top, bottom = _range(row, height)
        left, right = _range(column, width)
        values = np.full(window.size, np.nan)
        if top < bottom and left < right:
            near = raster.read(Window(top, bottom, left, right))
            values = map_coordinates(near, [row - top, column - left], order=1, cval=np.nan)
        return values.reshape(window.shape)

    return replace(raster, layout=layout, read=read)


def _own(raster: Raster, layout: Layout, x: Array, y: Array) -> tuple[Array, Array]:
    """Positions of a grid in the raster's coordinate reference system; longitudes counted as the raster's are."""
    import pyproj

    own = raster.layout.crs or layout.crs
    if raster.layout.crs is not None and layout.crs is not None:
        transformer = pyproj.Transformer.from_crs(layout.crs, raster.layout.crs, always_xy=True)
        x, y = (np.asarray(values) for values in transformer.transform(x, y))
    if own is not None and pyproj.CRS.from_user_input(own).is_geographic:
        west, east, _, _ = raster.layout.extent
        x = x + 360 * np.round(((west + east) / 2 - x) / 360)
    return x, y


def _range(places: Array, count: int) -> tuple[int, int]:
    """The first pixel along an axis that is needed, and the one after the last."""
    return max(0, int(np.floor(places.min()))), min(count, int(np.floor(places.max())) + 2)
