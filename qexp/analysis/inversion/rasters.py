"""Rasters of an inverted track for geographic information systems: GeoTIFF with data, model and residual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.inversion.result import TrackResult
from qexp.errors import QexpError
from qexp.observations.observation import Array, Track

MOST_CELLS = 100_000_000
FILLED = 0.05
"""Least share of the cells of a grid that points take, for the points to be those of a grid."""
TOLERANCE = 1e-3
"""Largest deviation of a point from a grid, in cells."""

BANDS = ("displacement", "model", "residual")


def geotiff(track: Track, result: TrackResult, crs: str | None, spacing: float | None) -> bytes | None:
    """A GeoTIFF of a radar track with the bands displacement, model and residual [m], NaN where there is no point.

    spacing  side of the cells of scattered points, which get the mean of their points [m]; None: only of points that
             are those of a grid. Returns None for others, and for GNSS stations.
    """
    if track.kind != "radar":
        return None
    known = np.isfinite(track.x) & np.isfinite(track.y)
    x, y = track.x[known], track.y[known]
    steps = _steps(x, y)
    if steps is None:
        if spacing is None:
            return None
        steps = spacing, spacing
    columns, left = _cells(x, steps[0])
    rows, bottom = _cells(y, steps[1])
    width, height = int(columns.max()) + 1, int(rows.max()) + 1
    if width * height > MOST_CELLS:
        raise QexpError(f"--spacing {steps[0]:g}: {width:,} × {height:,} cells are too many; choose a larger one")
    flat = (height - 1 - rows) * width + columns
    displacement = np.where(track.observed, track.displacement, np.nan)
    values = (displacement, result.model, result.residual)
    bands = [_means(flat, one[known], height, width) for one in values]
    return _encoded(np.stack(bands), (left, bottom + height * steps[1]), steps, crs)


def _steps(x: Array, y: Array) -> tuple[float, float] | None:
    """Width and height of the cells of the grid that points lie on; None for scattered ones."""
    found = []
    for along in (x, y):
        values = np.unique(along)
        if len(values) < 2:
            return None
        gaps = np.diff(values)
        step = float(gaps[gaps > TOLERANCE * gaps.max()].min())
        number = (along - values[0]) / step
        if np.abs(number - np.round(number)).max() > TOLERANCE * max(1.0, number.max()) ** 0.5:
            return None
        found.append(step)
    cells = np.prod([np.ptp(along) / step + 1 for along, step in zip((x, y), found, strict=True)])
    return (found[0], found[1]) if len(x) >= FILLED * cells else None


def _cells(along: Array, step: float) -> tuple[NDArray[np.int64], float]:
    """The number of each point's cell, and the edge of cell 0; the first point is the centre of its cell."""
    first = float(along.min()) - step / 2
    return np.floor((along - first) / step + 1e-6).astype(np.int64), first


def _means(flat: NDArray[np.int64], values: Array, height: int, width: int) -> NDArray[np.float32]:
    whole = np.isfinite(values)
    size = height * width
    counts = np.bincount(flat[whole], minlength=size)
    sums = np.bincount(flat[whole], weights=values[whole], minlength=size)
    with np.errstate(invalid="ignore"):
        return (sums / counts).astype(np.float32).reshape(height, width)


def _encoded(
    bands: NDArray[np.float32], corner: tuple[float, float], steps: tuple[float, float], crs: str | None
) -> bytes:
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype="float32", crs=crs,
            transform=from_origin(*corner, *steps), nodata=np.nan, compress="deflate",
        ) as raster:  # fmt: skip
            raster.write(bands)
            for index, name in enumerate(BANDS, start=1):
                raster.set_band_description(index, name)
                raster.set_band_unit(index, "m")
        return bytes(memory.read())
