"""Images in NetCDF: variables over (sample, y, x), with what the file says of samples and pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction.images.file import ImageFile, Values, degrees_in_metres, require_numbers
from qexp.errors import QexpError
from qexp.quantities import conversion
from qexp.rows.arrays import DAMAGED

if TYPE_CHECKING:
    import xarray

UNEVEN = 1e-3
"""Largest relative difference between the steps of evenly spaced coordinates; single precision causes about 1e-5."""


class NetcdfImages(ImageFile):
    """Variables of a NetCDF file of version 3 or 4; y and x come last, and ascend, if coordinates say where they lie.

    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.paths, self._path = [path], path
        self._data = _opened(path)
        self.shapes = {str(name): self._variable(str(name)).shape for name in self._data.variables}
        self.kept = self._kept()

    def place(self, name: str) -> str:
        return f"{self._path}: variable '{name}'"

    def unit(self, name: str) -> str:
        return str(self._data.variables[name].attrs.get("units", ""))

    def pixel(self, name: str) -> tuple[float, float] | None:
        if len(self.shapes[name]) < 2:
            return None
        y, x = self._variable(name).dims[-2:]
        units = [self.unit(str(axis)) if axis in self._data.variables else "" for axis in (x, y)]
        width, height = self._step(x), self._step(y)
        if width is None or height is None:
            return None
        if all(unit.startswith("degree") for unit in units):
            middle = self._along(y)
            return degrees_in_metres(width, height, 0.0 if middle is None else float(middle.mean()))
        factors = [conversion(unit, "m") for unit in units]
        if factors[0] is None or factors[1] is None:
            return None
        return width * factors[0], height * factors[1]

    def names(self, name: str) -> Sequence[str] | None:
        along = self._variable(name).dims[0] if self.shapes[name] else None
        coordinate = self._data.variables.get(along)
        if coordinate is None or coordinate.dims != (along,):
            return None
        return [_as_text(value) for value in coordinate.values]

    def read(self, name: str, samples: slice | None) -> Values:
        variable = self._variable(name)
        require_numbers(variable.dtype, self.place(name))
        try:
            values = np.asarray(variable.values if samples is None else variable[samples].values)
        except DAMAGED as error:
            where = "" if samples is None else f" at samples {samples.start} to {samples.stop - 1}"
            raise QexpError(f"{self.place(name)} cannot be read{where}: {error}") from None
        if variable.ndim >= 2:
            for axis in (-2, -1):
                along = self._along(variable.dims[axis])
                if along is not None and len(along) > 1 and along[0] > along[-1]:
                    values = np.flip(values, axis)
        return values

    def _variable(self, name: str) -> xarray.Variable:
        variable = self._data.variables[name]
        return variable.transpose(..., "y", "x") if {"y", "x"} <= set(variable.dims) else variable

    def _step(self, dimension: Any) -> float | None:
        """Distance between neighbouring coordinates, or None if there are none. Raises QexpError unless it is even."""
        along = self._along(dimension)
        if along is None or len(along) < 2:
            return None
        steps = np.diff(along)
        if np.ptp(steps) > UNEVEN * abs(steps.mean()):
            raise QexpError(
                f"{self._path}: '{dimension}' is not evenly spaced: its steps range from {abs(steps).min():g} to "
                f"{abs(steps).max():g}; resample the images to square pixels first"
            )
        return float(abs(steps.mean()))

    def _along(self, dimension: Any) -> NDArray[np.float64] | None:
        """The coordinates along a dimension, or None if there are none."""
        coordinate = self._data.variables.get(dimension)
        if coordinate is None or coordinate.dims != (dimension,) or coordinate.dtype.kind not in "iuf":
            return None
        return np.asarray(coordinate.values, dtype=np.float64)

    def _kept(self) -> Mapping[str, Values]:
        """Variables along the first dimension of the images alone, except its coordinate."""
        images = [self._variable(name) for name, shape in self.shapes.items() if len(shape) >= 3]
        along = {image.dims[0] for image in images}
        if len(along) != 1:
            return {}
        (samples,) = along
        return {
            str(name): variable.values
            for name, variable in self._data.variables.items()
            if variable.dims == (samples,) and name != samples
        }


def _opened(path: Path) -> xarray.Dataset:
    import xarray

    try:
        try:
            return xarray.open_dataset(path, cache=False, decode_timedelta=False)
        except ValueError:  # times in a calendar or unit that xarray cannot decode
            return xarray.open_dataset(path, cache=False, decode_times=False)
    except DAMAGED as error:
        raise QexpError(f"{path} cannot be read as NetCDF: {error}") from None


def _as_text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]")).removesuffix("T00:00:00")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.12g}" if isinstance(value, np.floating) else str(value)
