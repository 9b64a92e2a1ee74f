"""NetCDF files of estimated fields, over (time, y, x), written some frames at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.gridded.folders import Axis
from qexp.datasets.prepared import Array

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("time", "y", "x")

PLACES = ("lat", "lon", "latitude", "longitude")
"""Coordinates of cells, also where no variable says that they are any."""

ABOUT_OTHERS = ("bounds", "climatology", "ancillary_variables")
"""Attributes that name variables which are not copied."""


@dataclass(frozen=True)
class FieldGrid:
    """Where fields lie."""

    frames: int
    size: tuple[int, int]
    """Height and width, in cells."""
    y: Axis | None
    x: Axis | None
    time: NDArray[np.float64] | None
    about_time: Mapping[str, Any]
    """Attributes of the time."""
    source: Path | None
    """A NetCDF file with other coordinates of the same cells; None if there is none."""
    same_cells: bool
    """Whether the cells are those of the source, and not resampled."""


class FieldFile:
    """A new file. The bytes do not depend on how many frames are written at a time.

    outputs  name → attributes
    about    attributes of the file
    """

    def __init__(
        self, path: Path, grid: FieldGrid, outputs: Mapping[str, Mapping[str, str]], about: Mapping[str, str]
    ) -> None:
        import h5netcdf.legacyapi

        self._grid, self._outputs = grid, list(outputs)
        self._file = h5netcdf.legacyapi.Dataset(path, "w")
        try:
            for name, size in zip(DIMENSIONS, (grid.frames, *grid.size), strict=True):
                self._file.createDimension(name, size)
            for key, text in about.items():
                self._file.setncattr(key, text)
            self._write_axes()
            references = self._write_other_coordinates()
            for name, attributes in outputs.items():
                # All in one piece: pieces would lie in the file in the order in which they were written.
                variable = self._file.createVariable(name, np.float32, DIMENSIONS)
                _describe(variable, {**attributes, **references})
        except BaseException:
            self._file.close()
            raise

    def _write_axes(self) -> None:
        for name, axis in (("y", self._grid.y), ("x", self._grid.x)):
            if axis is not None:
                variable = self._file.createVariable(name, np.float64, (name,))
                variable[:] = axis.values[::-1] if axis.descends else axis.values
                _describe(variable, {"units": "m", "axis": name.upper(), **(axis.attributes or {})})
        if self._grid.time is not None:
            variable = self._file.createVariable("time", np.float64, ("time",))
            variable[:] = self._grid.time
            _describe(variable, {"axis": "T", **self._grid.about_time})

    def _write_other_coordinates(self) -> dict[str, str]:
        """Copy what else says where cells lie. Returns the attributes by which variables refer to it."""
        if self._grid.source is None:
            return {}
        import xarray

        references: dict[str, str] = {}
        with xarray.open_dataset(self._grid.source, decode_times=False, cache=False) as data:
            if (mapping := _grid_mapping(data)) is not None:
                _describe(self._file.createVariable(mapping, np.int32, ()), data.variables[mapping].attrs)
                references["grid_mapping"] = mapping
            places = list(_coordinates_of_cells(data, self._grid.size)) if self._grid.same_cells else []
            for name, dimensions, variable in places:
                copy = self._file.createVariable(name, variable.dtype, dimensions)
                copy[:] = variable.values
                _describe(copy, variable.attrs)
            if places:
                references["coordinates"] = " ".join(name for name, _, _ in places)
        return references

    def write(self, start: int, fields: Mapping[str, Array]) -> None:
        """Some frames from a number on; output → (frame, y, x), y and x ascending."""
        y, x = (
            slice(None, None, -1 if axis is not None and axis.descends else 1) for axis in (self._grid.y, self._grid.x)
        )
        for name in self._outputs:
            values = fields[name]
            self._file.variables[name][start : start + len(values)] = values[:, y, x]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


def _grid_mapping(data: xarray.Dataset) -> str | None:
    """The variable that says how the map is projected, if there is one."""
    for variable in data.variables.values():
        name = variable.attrs.get("grid_mapping", variable.encoding.get("grid_mapping"))
        if name in data.variables:
            return str(name)
    return None


def _coordinates_of_cells(
    data: xarray.Dataset, size: tuple[int, int]
) -> Iterator[tuple[str, tuple[str, ...], xarray.Variable]]:
    """Name, dimensions here and values of numbers along y, x or both that tell where cells lie."""
    field = next(variable for variable in data.variables.values() if variable.ndim >= 3)
    along = dict(zip(field.dims[-2:], ("y", "x"), strict=True))
    sides = dict(zip(("y", "x"), size, strict=True))
    for name, variable in data.variables.items():
        if name in DIMENSIONS or not (name in data.coords or name in PLACES) or variable.dtype.kind not in "iuf":
            continue
        dimensions = tuple(along[one] for one in variable.dims if one in along)
        if dimensions and variable.shape == tuple(sides[one] for one in dimensions):
            yield str(name), dimensions, variable


def _describe(variable: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        if key not in ABOUT_OTHERS:
            variable.setncattr(key, value)
