"""Views of a deformation: radar images, on grids or points, and stations of three components."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.formats import BROKEN_NUMPY
from qexp.physics.geometry import RIGHT
from qexp.physics.instruments import INSTRUMENTS, RADAR, Instrument
from qexp.rows.arrays import open_dataset
from qexp.rows.geotiff import northwards, open_raster, read_bands
from qexp.rows.table import TableError

DISPLACEMENT, MASK = "displacement", "mask"
"""Names of a view's data and of its mask, without the suffix of the view."""

SIZED = ("x_res", "y_res")
"""Variables of views on a grid: the sides of a pixel."""


@dataclass(frozen=True)
class View:
    """The parts of a view that are no numbers.

    name        by which noise components name it
    measures    name of the instrument
    look        side of its path to which the satellite looks, if its direction is given by its
                heading
    size        (height, width) of its image; the dataset's if None
    points      (point, 2) east, north [m]: scattered points in place of a grid
    elevation   (height, width) or (point,) [m] above the level from which depths are counted
    visible     (height, width) or (point,), True where there are data; None: everywhere
    errors      (point, 3) standard deviations of the errors east, north, up of GNSS stations [m]
    """

    name: str = ""
    measures: str = RADAR
    look: str = RIGHT
    size: tuple[int, int] | None = None
    points: Tensor | None = None
    elevation: Tensor | None = None
    visible: Tensor | None = None
    errors: Tensor | None = None

    @property
    def instrument(self) -> Instrument:
        return INSTRUMENTS[self.measures]

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(channel, height, width) of its data; scattered points are rows of one pixel.

        size  of the dataset's images
        """
        height, width = self.size or size
        if self.points is not None:
            height = len(self.points)
            width = 1
        return len(self.instrument.components), height, width

    def required(self, suffix: str, mentioned: Sequence[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""
        needed = list[str]()
        if self.instrument.line_of_sight:
            by_heading = "heading" + suffix in mentioned and "azimuth" + suffix not in mentioned
            needed += ["heading" if by_heading else "azimuth", "incidence"]
        if self.points is None:
            needed += SIZED
        return [name + suffix for name in needed]

    def mask(self, size: tuple[int, int]) -> Tensor | None:
        """(1, height, width), 1 where there are data and else 0; None if there are data
        everywhere.
        """
        if self.visible is None:
            return None
        return self.visible.float().reshape(1, *self.shape(size)[1:])


# Files of views: masks and elevations on a grid, scattered points, and elevations of points.


def read_grid(path: Path, size: tuple[int, int], name: str) -> Array:
    """Values on the grid of an image, (height, width); rows from south to north, columns from west
    to east.

    size  of the image, which the file must have
    name  of the variable in a NetCDF file with several
    An array of numpy has its rows in this order, and so has a NetCDF file without coordinates; with
    them, NetCDF and GeoTIFF files are turned to it. The first row of a GeoTIFF without coordinates
    is the northern one. Raises TableError.
    """
    values = _read(path, GRIDS, name)
    if values.shape != size:
        shape = " x ".join(map(str, values.shape))
        raise TableError(
            f"{path} holds {shape} values, but the image has {size[0]} x {size[1]} (height x width)"
        )
    return values


def read_points(path: Path) -> Array:
    """Columns of scattered points, (point, column). Raises TableError."""
    values = _read(path, LISTS, "")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise TableError(f"{path} must hold a row per point, but has the shape {values.shape}")
    if not np.isfinite(values).all():
        raise TableError(
            f"{path}: row {int(np.argmin(np.isfinite(values).all(axis=1))) + 1} has a missing value"
        )
    return values


def _read(path: Path, readers: Mapping[str, Callable[[Path, str], Array]], name: str) -> Array:
    if (reader := readers.get(path.suffix.lower())) is None:
        raise TableError(f"{path} has the ending '{path.suffix}'; known: {', '.join(readers)}")
    try:
        return np.asarray(reader(path, name), dtype=np.float64)
    except TableError:
        raise
    except (*BROKEN_NUMPY, KeyError) as error:
        raise TableError(f"{path} cannot be read: {error}") from None


def _from_numpy(path: Path, name: str) -> Array:
    values: Array = np.load(path, allow_pickle=False)
    return values


def _from_netcdf(path: Path, name: str) -> Array:
    with open_dataset(path) as dataset:
        flat = [variable for variable in dataset.data_vars if dataset[variable].ndim == 2]
        if name not in flat and len(flat) != 1:
            raise TableError(
                f"{path} must have a variable '{name}' with two dimensions, or only one such"
                " variable"
            )
        variable = dataset[name if name in flat else flat[0]]
        sorted_along = [name for name in variable.dims if name in variable.coords]
        return variable.sortby(sorted_along).values


def _from_geotiff(path: Path, name: str) -> Array:
    with open_raster(path) as raster:
        values: Array = read_bands(raster, [1])[0]
        return values[northwards(raster)]


def _from_text(path: Path, name: str) -> Array:
    text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise TableError(f"{path} is empty; it must hold a row per point")
    separator = "," if "," in lines[0] else None
    try:
        list(map(float, lines[0].split(separator)))
    except ValueError:
        lines = lines[1:]  # the names of the columns
    return np.loadtxt(lines, delimiter=separator, ndmin=2)


GRIDS: Mapping[str, Callable[[Path, str], Array]] = {
    ".npy": _from_numpy, ".nc": _from_netcdf, ".tif": _from_geotiff, ".tiff": _from_geotiff
}  # fmt: skip
"""Ending → reader of values on a grid."""

LISTS: Mapping[str, Callable[[Path, str], Array]] = {
    ".csv": _from_text, ".txt": _from_text, ".npy": _from_numpy
}  # fmt: skip
"""Ending → reader of points."""
