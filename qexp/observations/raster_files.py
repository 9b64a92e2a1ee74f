"""Files of rasters by their format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base import files, formats
from qexp.base.arrays import Array, Pair
from qexp.base.text import number_in
from qexp.errors import QexpError, extra, suggestion
from qexp.observations.rasters import Layout, Raster, Window, centred, resampled
from qexp.observations.reading import elevations, without_codes
from qexp.rows.arrays import DAMAGED, open_dataset
from qexp.rows.geotiff import is_placed, open_raster as open_with_gdal, read_bands

GEOTIFF = (".tif", ".tiff", ".vrt")
NETCDF = (".grd", ".nc", ".nc4")
CONVERSION = (
    "write binaries of LiCSBAS or GAMMA as GeoTIFF first (LiCSBAS_flt2geotiff.py, data2geotiff)"
)


def open_raster(path: Path, band: int | None = None, variable: str | None = None) -> Raster:
    """Open a raster of any format that is known. Raises NotFoundError, and QexpError if it cannot
    be read.

    band      of a GeoTIFF with several, from 1
    variable  of a NetCDF or HDF5 file with several over a grid
    """
    ending = path.suffix.lower()
    if ending in GEOTIFF:
        return open_geotiff(path, band)
    if ending in NETCDF:
        return open_netcdf(path, variable)
    if ending in HDF5:
        if is_series(path):
            return open_licsbas(path, variable or "")
        return open_mintpy(path, variable)
    files.require_file(path)
    raise QexpError(f"{path}: rasters end in {', '.join((*GEOTIFF, *NETCDF, *HDF5))}; {CONVERSION}")


def open_coherence(path: Path) -> Raster:
    """A raster of coherence between 0 and 1, of which bytes hold percent or 255ths; or of a mask, 0
    and 1.
    """
    raster = open_raster(path)
    if raster.type != "uint8":
        return raster
    pieces = map(raster.read, raster.layout.whole.pieces(2048))
    largest = max((float(np.nanmax(piece, initial=0.0)) for piece in pieces), default=0.0)
    scale = next((scale for scale in (1, 100) if largest <= scale), 255)
    return replace(raster, read=lambda window: raster.read(window) / scale)


ELEVATION_UNITS = {
    **dict.fromkeys(("", "1", "m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "us survey foot"), 0.3048),
    **dict.fromkeys(("km", "kilometre", "kilometer"), 1e3),
}
"""As files name them, in lower case → in m."""


def open_elevation(path: Path, layout: Layout) -> Raster:
    """A raster of elevations [m] at the pixels of a grid, interpolated between its own if these are
    others.

    In MintPy's files of geometry it is the dataset `height`, in LiCSBAS's time series `hgt`.
    """
    variable = ("hgt" if is_series(path) else "height") if path.suffix.lower() in HDF5 else None
    stored = open_raster(path, variable=variable)
    if (metres := ELEVATION_UNITS.get(stored.unit.strip().lower())) is None:
        raise QexpError(f"{stored.source} is in '{stored.unit}'; write elevations in m, km or ft")

    raster = replace(stored, read=lambda window: elevations(stored.read(window), metres))
    return raster if raster.layout.same_as(layout) else resampled(raster, layout)


# GeoTIFF and all else that GDAL knows, through rasterio.


def open_geotiff(path: Path, band: int | None = None) -> Raster:
    """One band of a file.

    band  counted from 1; needed if the file has several

    Raises QexpError if the file cannot be read or places no pixels. Values of the types for whole
    numbers are multiplied by the band's scale, and its offset is added.
    """
    import rasterio

    with open_with_gdal(path) as dataset:
        if band is None and dataset.count > 1:
            pairs = enumerate(dataset.descriptions, 1)
            names = ", ".join(f"{number} {text or ''}".strip() for number, text in pairs)
            raise QexpError(f"{path} has {dataset.count} bands ({names}); name one with `band`")
        number = 1 if band is None else band
        if not 1 <= number <= dataset.count:
            raise QexpError(f"{path} has no band {number}; it has {dataset.count}, counted from 1")
        if not is_placed(dataset):
            raise QexpError(
                f"{path} does not say where its pixels lie (no geotransform); georeference it first"
            )
        transform = tuple(float(number) for number in dataset.transform)[:6]
        crs = dataset.crs.to_wkt() if dataset.crs else None
        layout = Layout((dataset.height, dataset.width), transform, crs)  # type: ignore[arg-type]
        unit = dataset.units[number - 1] or ""
        source = f"{path}, band {number}" if dataset.count > 1 else str(path)
        gaps = dataset.nodatavals[number - 1] is not None
        kind = dataset.dtypes[number - 1]

    def read(window: Window) -> Array:
        part = rasterio.windows.Window.from_slices(window[:2], window[2:])
        with open_with_gdal(path) as dataset:
            return np.asarray(read_bands(dataset, [number], part)[0])

    return Raster(source, layout, unit, read, gaps, kind)


# Grids in NetCDF: those of GMT, and all with one coordinate along each axis.

if TYPE_CHECKING:
    import xarray

GAPS = ("_FillValue", "missing_value")
"""Attributes of a variable or of a whole file with the values that mean no data."""
EVEN = 1e-3
"""Largest deviation of an axis from even steps, in steps, over the root of their number."""
EAST = ("x", "lon", "longitude", "easting", "east")
NORTH = ("y", "lat", "latitude", "northing", "north")
"""Names of axes along which x and y grow."""


def open_netcdf(path: Path, variable: str | None = None) -> Raster:
    """One variable of a file of the classic format or of NetCDF 4.

    variable  needed if several of the file lie over a grid

    Raises QexpError if the file cannot be read, or if its axes are not evenly spaced.
    """
    with open_dataset(path) as table:
        name = _field_name(path, table, variable)
        field = table[name]
        rows, columns = _axes(field)
        y, step_y, height = _axis(path, table, rows)
        x, step_x, width = _axis(path, table, columns)
        layout = centred((height, width), (y, x), (step_y, step_x), _crs(table, field))
        unit = str(field.attrs.get("units", ""))
        low, high = _valid_range(field)
        of_all = list[float]()
        for attribute in GAPS:
            of_all += _numbers(table.attrs.get(attribute, ()))
        gaps = bool({*GAPS} & field.encoding.keys() or of_all)
        kind = str(field.encoding.get("dtype", field.dtype))

    def read(window: Window) -> Array:
        with open_dataset(path) as table:
            cut = table[name].isel({rows: slice(*window[:2]), columns: slice(*window[2:])})
            single = [dimension for dimension in cut.dims if dimension not in (rows, columns)]
            cut = cut.squeeze(single).transpose(rows, columns)
            try:
                values = np.asarray(cut.values, dtype=np.float64)
            except DAMAGED as error:
                raise QexpError(f"{path} cannot be read: {error}") from None
        values = without_codes(values, of_all)
        return np.where((values >= low) & (values <= high), values, np.nan)

    return Raster(f"{path}, variable '{name}'", layout, unit, read, gaps, kind)


def _numbers(attribute: Any) -> list[float]:
    """The numbers of an attribute of a file, some of which are written as texts."""
    numbers = (number_in(as_text(value)) for value in np.ravel(attribute))
    return [number for number in numbers if number is not None]


def _valid_range(field: xarray.DataArray) -> Pair:
    """Between which values data lie, by CF conventions; packed files give them as stored."""
    scale, offset = (
        float(field.encoding.get(name, value))
        for name, value in (("scale_factor", 1), ("add_offset", 0))
    )
    ends = _numbers(field.attrs.get("valid_range", ()))
    if len(ends) != 2:
        usual = {"valid_min": -np.inf, "valid_max": np.inf}
        ends = [next(iter(_numbers(field.attrs.get(name, ()))), end) for name, end in usual.items()]
    low, high = sorted(scale * end + offset for end in ends)
    return low, high


def _field_name(path: Path, table: xarray.Dataset, variable: str | None) -> str:
    fields: list[str] = []
    deeper: list[xarray.DataArray] = []
    for name, field in table.data_vars.items():
        axes = sum(size > 1 for size in field.shape)
        fields += [str(name)] * (axes == 2)
        deeper += [field] * (axes > 2)
    if variable is None and len(fields) == 1:
        return fields[0]
    if not fields and deeper:
        sizes = [(name, size) for name, size in deeper[0].sizes.items() if size > 1][:-2]
        words = ", and ".join(f"{size} values along '{name}'" for name, size in sizes)
        taken = ", ".join(f"{name}=-1" for name, _ in sizes)
        raise QexpError(
            f"{path}: '{deeper[0].name}' has {words}, but a track is one map; take one, or a"
            f" difference: xarray.open_dataset('{path.name}').isel({taken}).to_netcdf('one.nc')"
        )
    groups = _groups(path) if not table.variables else []
    if groups:
        raise QexpError(
            f"{path} has its variables in groups: {', '.join(groups)}; write that of the"
            f" displacement to a file of its own: xarray.open_dataset('{path.name}',"
            f" group='{groups[-1]}').to_netcdf('one.nc')"
        )
    if not fields:
        raise QexpError(
            f"{path}: no variable lies over a grid of two dimensions; it has"
            f" {', '.join(map(str, table))}; write a grid of GMT before version 4 in its format of"
            " today (gmt grdconvert)"
        )
    if variable is None:
        raise QexpError(
            f"{path} has {len(fields)} variables over a grid: {', '.join(fields)}; name one:"
            f" `variable={fields[0]}`; for a track of each, give the file once for each"
        )
    if variable not in fields:
        raise QexpError(
            f"{path} has no variable '{variable}' over a grid; {suggestion(variable, fields)}"
        )
    return variable


def _groups(path: Path) -> list[str]:
    """The groups of a file that hold variables."""
    names = list[str]()
    with suppress(QexpError), open_hdf5(path) as file:
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    groups = dict.fromkeys(name.rpartition("/")[0] for name in names)
    return [group for group in groups if group]


def _axes(field: xarray.DataArray) -> tuple[str, str]:
    """Dimensions along north and east: the last one is east, unless the file says the reverse."""
    sizes = zip(field.dims, field.shape, strict=True)
    first, last = (str(name) for name, size in sizes if size > 1)

    def is_east(name: str) -> bool:
        axis = str(field[name].attrs.get("axis", "")) if name in field.coords else ""
        return axis.upper() == "X" or name.lower() in EAST

    return (last, first) if is_east(first) and not is_east(last) else (first, last)


def _axis(path: Path, table: xarray.Dataset, name: str) -> tuple[float, float, int]:
    """The first of evenly spaced centres of pixels, the step from one to the next, and their
    number.
    """
    if name not in table.coords:
        names = [str(other) for other in table.variables]
        placed = [f"'{other}'" for other in names if other.lower() in {*EAST, *NORTH}]
        maybe = (
            f"; if they are in {', '.join(placed)}, resample to a grid along x and y, or write a"
            " table of points"
        )
        raise QexpError(
            f"{path}: the dimension '{name}' has no coordinate, so that the positions of pixels are"
            " unknown" + (maybe if len(placed) > 1 else "")
        )
    values = np.asarray(table[name].values, dtype=np.float64)
    if name.lower() in ("lon", "long", "longitude"):  # those on both sides of 180°
        values = np.unwrap(values, period=360.0)
    if len(values) < 2 or not np.isfinite(values).all():
        raise QexpError(
            f"{path}: the coordinate '{name}' must have at least two values, none missing"
        )
    first = float(values[0])
    step = float(values[-1] - values[0]) / (len(values) - 1)
    even = first + step * np.arange(len(values))
    if not step or np.abs(values - even).max() > EVEN * abs(step) * max(1.0, len(values) ** 0.5):
        raise QexpError(
            f"{path}: the coordinate '{name}' is not evenly spaced; resample the grid, or write its"
            " points as text"
        )
    return first, step, len(values)


def _crs(table: xarray.Dataset, field: xarray.DataArray) -> str | None:
    """By the conventions CF: the variable that `grid_mapping` names, or longitude and latitude by
    their units.
    """
    name = field.encoding.get("grid_mapping", field.attrs.get("grid_mapping"))
    names = [name] if name in table.variables else ["crs", "spatial_ref"]
    variables = [name for name in names if name in table.variables]
    coordinates = [table[axis] for axis in field.dims if axis in table.coords]
    units = [str(axis.attrs.get("units", "")).lower() for axis in coordinates]
    axes = {str(axis).lower() for axis in field.dims}
    known = ("degrees_east", "degrees_north", "degree_east", "degree_north")
    degrees = sum(unit.startswith(known) for unit in units)
    geographic = degrees == 2 or {"lon", "lat"} <= axes
    if not variables and not geographic:
        return None
    with extra("geo"):
        import pyproj

    for variable in variables:
        try:
            return str(pyproj.CRS.from_cf(dict(table[variable].attrs)).to_wkt())
        except (pyproj.exceptions.CRSError, KeyError):
            continue
    return str(pyproj.CRS.from_epsg(4326).to_wkt()) if geographic else None


# HDF5 files of rasters, and the displacement between two days of a time series in one.

HDF5 = (".h5", ".he5", ".hdf5")


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    import h5py

    files.require_file(path)
    try:
        with h5py.File(path, "r") as file:
            formats.require_own_numbers(file)
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise QexpError(f"{path} cannot be read as HDF5: {error}") from None


def as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def fields_of(path: Path, axes: int = 2) -> list[str]:
    """The datasets of a file that lie over its grid."""
    with open_hdf5(path) as file:
        return [str(name) for name, dataset in file.items() if getattr(dataset, "ndim", 0) == axes]


def open_field(
    path: Path,
    name: str,
    layout: Callable[[Any], Layout],
    unit: str,
    nodata: str | None = None,
    day: Sequence[int] = (),
) -> Raster:
    """A dataset over the grid of a file. Raises QexpError.

    unit    of those that name none
    layout  the grid, by the open file
    nodata  the numbers that mean no data, as the file writes them; None if it does not say
    day     of a dataset (day, row, column)
    """
    fields = fields_of(path, 2 + len(day))
    if name not in fields:
        raise QexpError(f"{path} has no dataset '{name}' over a grid; {suggestion(name, fields)}")
    with open_hdf5(path) as file:
        grid = layout(file)
        kind = str(file[name].dtype)
        unit = as_text(file[name].attrs.get("UNIT", unit))  # its own goes before that of the file

    def read(window: Window) -> Array:
        cut = *day, slice(*window[:2]), slice(*window[2:])
        with open_hdf5(path) as file:
            values = np.asarray(file[name][cut], dtype=np.float64)
        return without_codes(values, _numbers(nodata))  # of "None" no number

    return Raster(
        f"{path}, dataset '{name}'",
        grid,
        unit,
        read,
        nodata is not None,
        kind,
    )


def displacement_between(
    path: Path,
    series: str,
    days: str,
    epochs: Sequence[str],
    layout: Callable[[Any], Layout],
    unit: str,
    nodata: str | None = None,
) -> Raster:
    """The displacement between two days of a time series. Raises QexpError for other days, and for
    one twice.

    series, days  names of the datasets (day, row, column) and (day,); days are written as 20200131
    epochs        the first day and the last
    others        as in `open_field`
    """
    if len(epochs) != 2:
        raise QexpError(
            f"`epochs={','.join(epochs)}`: write the first day and the last, such as"
            " 20200131,20200212"
        )
    first, last = epochs
    with open_hdf5(path) as file:
        dates = [as_text(date) for date in file[days][()]]
    for day in epochs:
        if day not in dates:
            raise QexpError(
                f"{path} has no epoch {day}; {suggestion(day, dates)} There are {len(dates)}, from"
                f" {dates[0]} to {dates[-1]}"
            )
    if first == last:
        raise QexpError(f"`epochs={first},{last}`: the displacement of one day is zero; name two")
    start, end = (
        open_field(path, series, layout, unit, nodata, [dates.index(day)]) for day in epochs
    )
    return replace(
        end,
        source=f"{path}, {first} to {last}",
        read=lambda window: end.read(window) - start.read(window),
        type="",
    )


# Time series of LiCSBAS, `cum.h5` and `cum_filt.h5`.

SERIES, DAYS, VELOCITY, ERROR = "cum", "imdates", "vel", "vstd"
"""Datasets: the series [mm] and its days, the velocity and its standard deviation [mm/yr]."""
CORNER = ("corner_lat", "corner_lon", "post_lat", "post_lon")
"""Datasets with the centre of the first pixel and the lengths of a pixel [degrees]."""


def is_series(path: Path) -> bool:
    if path.suffix.lower() in HDF5:
        with suppress(QexpError), open_hdf5(path) as file:
            return {SERIES, DAYS} <= set(file)
    return False


def open_licsbas(path: Path, name: str) -> Raster:
    """A dataset over the grid. Raises QexpError."""
    unit = "mm/yr" if name in (VELOCITY, ERROR) else ""
    return open_field(path, name, partial(_licsbas_layout, path), unit)


def open_licsbas_difference(path: Path, epochs: Sequence[str]) -> Raster:
    """The displacement between two days, toward the satellite [mm]. Raises QexpError."""
    return displacement_between(path, SERIES, DAYS, epochs, partial(_licsbas_layout, path), "mm")


def _licsbas_layout(path: Path, file: Any) -> Layout:
    if not set(file) >= set(CORNER):
        raise QexpError(
            f"{path} is in radar coordinates; geocode the interferograms that LiCSBAS takes"
        )
    latitude, longitude, step_y, step_x = (float(file[name][()]) for name in CORNER)
    return centred(file[SERIES].shape[1:], (latitude, longitude), (step_y, step_x), "EPSG:4326")


# The HDF5 files of MintPy: datasets in the root over one grid, all else in attributes that are
# texts.

SIDE = "ANTENNA_SIDE"
"""Attribute: above 0 for a radar that looks to the left."""


def attributes_of(path: Path) -> dict[str, str]:
    with open_hdf5(path) as file:
        return {name: as_text(value) for name, value in file.attrs.items()}


def open_mintpy(path: Path, dataset: str | None = None) -> Raster:
    """A dataset over the grid; that after which the type of the file is named, if it is left out.
    Raises QexpError.
    """
    attributes = attributes_of(path)
    name = dataset or attributes.get("FILE_TYPE", "")
    fields = fields_of(path) if dataset is None else [name]
    if name not in fields:
        if len(fields) != 1:
            raise QexpError(
                f"{path} has several datasets over a grid: {', '.join(fields)}; name one with"
                " `variable`"
            )
        (name,) = fields
    return open_field(
        path,
        name,
        partial(_mintpy_layout, path, attributes, name),
        attributes.get("UNIT", ""),
        attributes.get("NO_DATA_VALUE"),
    )


def open_mintpy_difference(path: Path, epochs: Sequence[str]) -> Raster:
    """The displacement between two days of a time series, written as in the file: 20200131. Raises
    QexpError.
    """
    attributes = attributes_of(path)
    with open_hdf5(path) as file:
        if "timeseries" not in file or "date" not in file:
            raise QexpError(
                f"{path} has no datasets 'timeseries' and 'date', as time series of MintPy have"
            )
        shape = file["timeseries"].shape
    if len(shape) != 3:
        raise QexpError(
            f"{path}: 'timeseries' has {len(shape)} dimensions, not those of time, y and x"
        )
    layout = partial(_mintpy_layout, path, attributes, "timeseries")
    unit = attributes.get("UNIT", "m")
    nodata = attributes.get("NO_DATA_VALUE")
    return displacement_between(path, "timeseries", "date", epochs, layout, unit, nodata)


def attribute(path: Path, attributes: dict[str, str], name: str) -> float:
    """An attribute as a number. Raises QexpError for one that is no number, or not there."""
    text = attributes.get(name)
    try:
        return float("" if text is None else text)
    except ValueError:
        problem = "is missing" if text is None else f"is '{text[:40]}', which is not a number"
        raise QexpError(f"{path}: its attribute {name} {problem}") from None


def _mintpy_layout(path: Path, attributes: dict[str, str], dataset: str, file: Any) -> Layout:
    """Where the pixels lie: X_FIRST and Y_FIRST are the outer corner of the first one."""
    if "X_FIRST" not in attributes and "Y_FIRST" not in attributes:
        raise QexpError(f"{path} is in radar coordinates; geocode it first (MintPy: geocode.py)")
    names = ("X_FIRST", "X_STEP", "Y_FIRST", "Y_STEP")
    x, step_x, y, step_y = (attribute(path, attributes, name) for name in names)
    height, width = file[dataset].shape[-2:]
    return Layout((height, width), (step_x, 0.0, x, 0.0, step_y, y), _mintpy_crs(attributes))


def _mintpy_crs(attributes: dict[str, str]) -> str | None:
    if code := attributes.get("EPSG"):
        return f"EPSG:{int(float(code))}"
    if zone := attributes.get("UTM_ZONE"):
        number = zone[:-1]
        hemisphere = zone[-1:].upper()
        return f"EPSG:{(327 if hemisphere == 'S' else 326)}{int(number):02d}"
    return "EPSG:4326" if attributes.get("X_UNIT", "degrees").lower().startswith("deg") else None
