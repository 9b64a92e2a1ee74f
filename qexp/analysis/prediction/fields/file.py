"""NetCDF files of predicted fields over (time, y, x), written some frames at a time."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array
from qexp.datasets.gridded.folders import CoordinateAxis

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("time", "y", "x")

PLACES = ("lat", "lon", "latitude", "longitude")
"""Names that are taken as coordinates of cells, even if no variable refers to them."""

STORED = np.dtype("<f4")

LAYOUT = 2**20
"""Upper limit of the size of names, attributes and axes [bytes]."""

PLACES_OF_A_CELL = 16
"""Size of a longitude and a latitude [bytes]."""

ABOUT_OTHERS = ("bounds", "climatology", "ancillary_variables")
"""Attributes that refer to variables that are not copied."""


@dataclass(frozen=True)
class FieldGrid:
    """Times and coordinates of fields."""

    frames: int
    size: tuple[int, int]
    """Height and width [cells]."""
    y: CoordinateAxis | None
    x: CoordinateAxis | None
    time: NDArray[np.float64] | None
    about_time: Mapping[str, Any]
    """Attributes of the time axis."""
    source: Path | None
    """A NetCDF file with further coordinates of the same cells, or None."""
    same_cells: bool
    """Whether the cells are those of the source file, not resampled."""


class FieldFile:
    """A new file, whose bytes do not depend on how many frames are written at a time.

    outputs  name → attributes
    about    attributes of the file
    Raises OSError if the disk is full; so do `write` and closing the file.
    """

    def __init__(
        self, path: Path, grid: FieldGrid, outputs: Mapping[str, Mapping[str, str]], about: Mapping[str, str]
    ) -> None:
        import h5py

        self._grid = grid
        _require_room(path, grid, len(outputs))
        _lay_out(path, grid, outputs, about)
        with h5py.File(path) as laid_out:
            self._offsets: dict[str, int] = {name: laid_out[name].id.get_offset() for name in outputs}
        # If the disk fills up, HDF5 crashes the process; writing to a plain file raises an error.
        self._file = path.open("r+b")

    def write(self, start: int, fields: Mapping[str, Array]) -> None:
        """Write frames from an index on; output → (frame, y, x), y and x ascending."""
        y, x = (
            slice(None, None, -1 if axis is not None and axis.descends else 1) for axis in (self._grid.y, self._grid.x)
        )
        height, width = self._grid.size
        for name, offset in self._offsets.items():
            self._file.seek(offset + start * height * width * STORED.itemsize)
            self._file.write(np.ascontiguousarray(fields[name][:, y, x], dtype=STORED).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


def _require_room(path: Path, grid: FieldGrid, outputs: int) -> None:
    """Raise OSError if HDF5 would fail: no space for everything except the fields, or a limit on the size of files."""
    beside = LAYOUT + (PLACES_OF_A_CELL * math.prod(grid.size) if grid.source is not None else 0)
    if shutil.disk_usage(path.absolute().parent).free < beside:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with path.open("wb") as file:
        file.truncate(
            beside + outputs * grid.frames * math.prod(grid.size) * STORED.itemsize
        )  # a hole needs no disk space


def _lay_out(path: Path, grid: FieldGrid, outputs: Mapping[str, Mapping[str, str]], about: Mapping[str, str]) -> None:
    """Write everything except the fields, and leave a hole in the file for each of them."""
    import h5netcdf.legacyapi
    import h5py

    # Contiguous, with its place fixed at once: chunks would be stored in the order in which they were written.
    in_place = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    in_place.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    in_place.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5netcdf.legacyapi.Dataset(path, "w") as file:
        for name, size in zip(DIMENSIONS, (grid.frames, *grid.size), strict=True):
            file.createDimension(name, size)
        for key, text in about.items():
            file.setncattr(key, text)
        _write_axes(file, grid)
        references = _write_other_coordinates(file, grid)
        for name, attributes in outputs.items():
            variable = file.create_variable(name, DIMENSIONS, dtype=STORED, dcpl=in_place)
            _describe(variable, {**attributes, **references})


def _write_axes(file: Any, grid: FieldGrid) -> None:
    for name, axis in (("y", grid.y), ("x", grid.x)):
        if axis is not None:
            variable = file.createVariable(name, np.float64, (name,))
            variable[:] = axis.values[::-1] if axis.descends else axis.values
            _describe(variable, {"units": "m", "axis": name.upper(), **(axis.attributes or {})})
    if grid.time is not None:
        variable = file.createVariable("time", np.float64, ("time",))
        variable[:] = grid.time
        _describe(variable, {"axis": "T", **grid.about_time})


def _write_other_coordinates(file: Any, grid: FieldGrid) -> dict[str, str]:
    """Copy further coordinates of the cells. Returns the attributes by which variables refer to them."""
    if grid.source is None:
        return {}
    import xarray

    references: dict[str, str] = {}
    with xarray.open_dataset(grid.source, decode_times=False, cache=False) as data:
        if (mapping := _grid_mapping(data)) is not None:
            _describe(file.createVariable(mapping, np.int32, ()), data.variables[mapping].attrs)
            references["grid_mapping"] = mapping
        places = list(_coordinates_of_cells(data, grid.size)) if grid.same_cells else []
        for name, dimensions, variable in places:
            copy = file.createVariable(name, variable.dtype, dimensions)
            copy[:] = variable.values
            _describe(copy, variable.attrs)
        if places:
            references["coordinates"] = " ".join(name for name, _, _ in places)
    return references


def _grid_mapping(data: xarray.Dataset) -> str | None:
    """The variable that describes the map projection, if there is one."""
    for variable in data.variables.values():
        name = variable.attrs.get("grid_mapping", variable.encoding.get("grid_mapping"))
        if name in data.variables:
            return str(name)
    return None


def _coordinates_of_cells(
    data: xarray.Dataset, size: tuple[int, int]
) -> Iterator[tuple[str, tuple[str, ...], xarray.Variable]]:
    """Name, dimensions in this file, and values of the numeric coordinates along y, x or both."""
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
