"""Grids in NetCDF: those of GMT, of its old format too, and all with one coordinate along each axis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window
from qexp.rows.netcdf import DAMAGED, NETCDF_3

if TYPE_CHECKING:
    import xarray

EVEN = 1e-3
"""Largest deviation of the steps of an axis from their mean, as a share of it, times the number of steps."""
EAST = ("x", "lon", "longitude", "easting", "east")
"""Names of axes along which x grows."""
LONGITUDES = ("lon", "long", "longitude")
OLD = ("x_range", "y_range", "dimension", "z")
"""Variables of the format in which GMT wrote until version 4, and GMTSAR with it."""


def open_netcdf(path: Path, variable: str | None = None) -> Raster:
    """One variable of a file of the classic format or of NetCDF 4.

    variable  needed if several of the file lie over a grid

    Raises QexpError if the file cannot be read, or if its axes are not evenly spaced.
    """
    table = _opened(path)
    with table:
        if {*OLD} <= {str(name) for name in table.variables}:
            return _old(path, table)
        name = _named(path, table, variable)
        field = table[name]
        rows, columns = _axes(field)
        x, y = _coordinate(path, table, columns), _coordinate(path, table, rows)
        layout = Layout(
            (len(y), len(x)), (x.step, 0.0, x.first - x.step / 2, 0.0, y.step, y.first - y.step / 2), _crs(table, field)
        )
        unit = str(field.attrs.get("units", ""))
        gaps = bool({"_FillValue", "missing_value"} & field.encoding.keys())

    def read(window: Window) -> Array:
        with _opened(path) as table:
            cut = table[name].isel({rows: slice(*window[:2]), columns: slice(*window[2:])})
            single = [one for one in cut.dims if one not in (rows, columns)]
            try:
                return np.asarray(cut.squeeze(single).transpose(rows, columns).values, dtype=np.float64)
            except DAMAGED as error:
                raise QexpError(f"{path} cannot be read: {error}") from None

    return Raster(f"{path}, variable '{name}'", layout, unit, read, gaps)


def _opened(path: Path) -> xarray.Dataset:
    import xarray

    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    with path.open("rb") as file:
        engine = "scipy" if file.read(len(NETCDF_3)) == NETCDF_3 else "h5netcdf"
    try:
        return xarray.open_dataset(path, engine=engine, decode_times=False, cache=False)
    except DAMAGED as error:
        raise QexpError(f"{path} cannot be read as NetCDF: {error}") from None


def _named(path: Path, table: xarray.Dataset, variable: str | None) -> str:
    fields = [str(name) for name, one in table.data_vars.items() if sum(size > 1 for size in one.shape) == 2]
    if variable is None and len(fields) == 1:
        return fields[0]
    if not fields:
        raise QexpError(f"{path}: no variable lies over a grid of two dimensions; it has {', '.join(map(str, table))}")
    if variable is None:
        raise QexpError(
            f"{path} has {len(fields)} variables over a grid: {', '.join(fields)}; name one with --variable"
        )
    if variable not in fields:
        raise QexpError(f"{path} has no variable '{variable}' over a grid; {suggestion(variable, fields)}")
    return variable


def _axes(field: xarray.DataArray) -> tuple[str, str]:
    """Dimensions along north and east: the last one is east, unless the file says the reverse."""
    first, last = (str(name) for name, size in zip(field.dims, field.shape, strict=True) if size > 1)

    def is_east(name: str) -> bool:
        axis = str(field[name].attrs.get("axis", "")) if name in field.coords else ""
        return axis.upper() == "X" or name.lower() in EAST

    return (last, first) if is_east(first) and not is_east(last) else (first, last)


class _Axis:
    """Evenly spaced centres of pixels."""

    def __init__(self, values: Array, name: str) -> None:
        if len(values) < 2 or not np.isfinite(values).all():
            raise QexpError(f"the coordinate '{name}' must have at least two values, none missing")
        self.first, self.count = float(values[0]), len(values)
        self.step = float(values[-1] - values[0]) / (len(values) - 1)
        even = self.first + self.step * np.arange(len(values))
        if not self.step or np.abs(values - even).max() > EVEN * abs(self.step) * max(1.0, len(values) ** 0.5):
            raise QexpError(
                f"the coordinate '{name}' is not evenly spaced; resample the grid, or write its points as text"
            )

    def __len__(self) -> int:
        return self.count


def _coordinate(path: Path, table: xarray.Dataset, name: str) -> _Axis:
    if name not in table.coords:
        raise QexpError(
            f"{path}: the dimension '{name}' has no coordinate, so that the positions of pixels are unknown"
        )
    values = np.asarray(table[name].values, dtype=np.float64)
    if name.lower() in LONGITUDES:  # those on both sides of 180°
        values = np.unwrap(values, period=360.0)
    try:
        return _Axis(values, name)
    except QexpError as error:
        raise QexpError(f"{path}: {error}") from None


def _crs(table: xarray.Dataset, field: xarray.DataArray) -> str | None:
    """By the conventions CF: the variable that `grid_mapping` names, or longitude and latitude by their units."""
    import pyproj

    name = field.encoding.get("grid_mapping", field.attrs.get("grid_mapping"))
    places = [name] if name in table.variables else [one for one in ("crs", "spatial_ref") if one in table.variables]
    for place in places:
        attributes = dict(table[place].attrs)
        try:
            return str(pyproj.CRS.from_cf(attributes).to_wkt())
        except (pyproj.exceptions.CRSError, KeyError):
            continue
    units = [str(table[axis].attrs.get("units", "")).lower() for axis in field.dims if axis in table.coords]
    names = {str(axis).lower() for axis in field.dims}
    degrees = sum(unit.startswith(("degrees_east", "degrees_north", "degree_east", "degree_north")) for unit in units)
    return str(pyproj.CRS.from_epsg(4326).to_wkt()) if degrees == 2 or {"lon", "lat"} <= names else None


def _old(path: Path, table: xarray.Dataset) -> Raster:
    """A grid as GMT wrote it until version 4: a line of values from the upper left corner, and ranges of x and y."""
    values: dict[str, Any] = {name: np.asarray(table[name].values, dtype=np.float64) for name in OLD[:3]}
    (x0, x1), (y0, y1), (width, height) = values["x_range"], values["y_range"], values["dimension"].astype(int)
    nodes = int(table["z"].attrs.get("node_offset", [0])) == 0  # values at the ends of the ranges
    if width < 2 or height < 2 or table["z"].size != width * height:
        raise QexpError(f"{path}: its 'dimension' says {width} × {height} pixels, but 'z' has {table['z'].size} values")
    across, down = (x1 - x0) / (width - nodes), (y0 - y1) / (height - nodes)
    corner = (x0 - across / 2, y1 - down / 2) if nodes else (x0, y1)
    layout = Layout((height, width), (across, 0.0, corner[0], 0.0, down, corner[1]), None)

    def read(window: Window) -> Array:
        with _opened(path) as table:
            lines = table["z"][window.top * width : window.bottom * width].values.reshape(-1, width)
        return np.asarray(lines[:, window.left : window.right], dtype=np.float64)

    return Raster(f"{path}, variable 'z'", layout, str(table["z"].attrs.get("units", "")), read)
