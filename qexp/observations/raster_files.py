"""Files of rasters by their format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.errors import NotFoundError, QexpError, suggestion
from qexp.observations.rasters import Array, Layout, Raster, Swath, Window, resampled
from qexp.rows.arrays import DAMAGED, NETCDF_3
from qexp.rows.geotiff import is_placed, open_raster as open_with_gdal, read_bands

GEOTIFF = (".tif", ".tiff", ".vrt")
NETCDF = (".grd", ".nc", ".nc4")


def open_raster(path: Path, band: int | None = None, variable: str | None = None) -> Raster:
    """Open a raster of any format that is known. Raises NotFoundError, and QexpError if it cannot be read.

    band      of a GeoTIFF with several, from 1
    variable  of a NetCDF or HDF5 file with several over a grid
    """
    ending = path.suffix.lower()
    if ending in GEOTIFF:
        return open_geotiff(path, band)
    if ending in NETCDF:
        return open_netcdf(path, variable)
    if ending in HDF5:
        return open_dataset(path, variable or "") if is_series(path) else open_mintpy(path, variable)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    if ending in ENDINGS and beside(path, PARAMETERS) is not None:
        return open_binary(path)
    raise QexpError(
        f"{path}: rasters end in {', '.join((*GEOTIFF, *NETCDF, *HDF5))}, or are binaries with LiCSBAS's {PARAMETERS} "
        "beside them"
    )


def open_coherence(path: Path) -> Raster:
    """A raster of coherence between 0 and 1, which some programs store as bytes up to 255."""
    raster = open_raster(path)
    if raster.type != "uint8":
        return raster
    return replace(raster, read=lambda window: raster.read(window) / 255)


def open_elevation(path: Path, layout: Layout) -> Raster:
    """A raster of elevations [m] at the pixels of a grid, interpolated between its own if these are others.

    In MintPy's files of geometry it is the dataset `height`, in LiCSBAS's time series `hgt`.
    """
    variable = ("hgt" if is_series(path) else "height") if path.suffix.lower() in HDF5 else None
    raster = open_raster(path, variable=variable)
    return raster if raster.layout.same_as(layout) else resampled(raster, layout)


# GeoTIFF and all else that GDAL knows, through rasterio.


def open_geotiff(path: Path, band: int | None = None) -> Raster:
    """One band of a file.

    band  counted from 1; needed if the file has several

    Raises QexpError if the file cannot be read or places no pixels. Values of the types for whole numbers are
    multiplied by the band's scale, and its offset is added.
    """
    import rasterio

    with open_with_gdal(path) as opened:
        number = _band(opened, path, band)
        if not is_placed(opened):
            raise QexpError(f"{path} does not say where its pixels lie (no geotransform); georeference it first")
        transform = tuple(float(one) for one in opened.transform)[:6]
        crs = opened.crs.to_wkt() if opened.crs else None
        layout = Layout((opened.height, opened.width), transform, crs)  # type: ignore[arg-type]
        unit, named = opened.units[number - 1] or "", opened.count > 1
        gaps, kind = opened.nodatavals[number - 1] is not None, opened.dtypes[number - 1]

    def read(window: Window) -> Array:
        part = rasterio.windows.Window.from_slices(window[:2], window[2:])
        with open_with_gdal(path) as opened:
            values: Array = read_bands(opened, [number], part)[0]
        return values

    return Raster(f"{path}, band {number}" if named else str(path), layout, unit, read, gaps, kind)


def _band(opened: Any, path: Path, band: int | None) -> int:
    if band is None and opened.count > 1:
        names = ", ".join(f"{number} {text or ''}".strip() for number, text in enumerate(opened.descriptions, 1))
        raise QexpError(f"{path} has {opened.count} bands ({names}); name one with `band`")
    number = 1 if band is None else band
    if not 1 <= number <= opened.count:
        raise QexpError(f"{path} has no band {number}; it has {opened.count}, counted from 1")
    return number


# Grids in NetCDF: those of GMT, of its old format too, and all with one coordinate along each axis.

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
            f"{path} has {len(fields)} variables over a grid: {', '.join(fields)}; name one with `variable`"
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


# HDF5 files of rasters, and the displacement between two days of a time series in one.

HDF5 = (".h5", ".he5", ".hdf5")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise QexpError(f"{path} cannot be read as HDF5: {error}") from None


def as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def difference(
    path: Path,
    series: str,
    days: str,
    epochs: Sequence[str],
    layout: Layout,
    unit: str,
    cleaned: Callable[[Any], Array],
    gaps: bool,
) -> Raster:
    """The displacement between two days of a time series. Raises QexpError for other days, and for one twice.

    series, days  names of the datasets (day, row, column) and (day,); days are written as 20200131
    epochs        the first day and the last
    cleaned       makes numbers of stored values, NaN where there are no data
    gaps          whether it knows where there are none
    """
    first, last = _two(epochs)
    with opened(path) as file:
        known = [as_text(one) for one in file[days][()]]
    for day in (first, last):
        if day not in known:
            raise QexpError(
                f"{path} has no epoch {day}; {suggestion(day, known)} There are {len(known)}, from {known[0]} to "
                f"{known[-1]}"
            )
    before, after = known.index(first), known.index(last)
    if before == after:
        raise QexpError(f"`epochs={first},{last}`: the displacement of one day is zero; name two")

    def read(window: Window) -> Array:
        cut = slice(*window[:2]), slice(*window[2:])
        with opened(path) as file:
            from_, to = (cleaned(file[series][(index, *cut)]) for index in (before, after))
        return to - from_

    return Raster(f"{path}, {first} to {last}", layout, unit, read, gaps)


def _two(epochs: Sequence[str]) -> tuple[str, str]:
    if len(epochs) != 2:
        raise QexpError(f"`epochs={','.join(epochs)}`: write the first day and the last, such as 20200131,20200212")
    return epochs[0], epochs[1]


# Files of LiCSBAS: binaries of numbers over the grid of a parameter file of GAMMA, and time series in HDF5.

PARAMETERS, RADAR = "EQA.dem_par", "slc.mli.par"
"""Text files with the grid of the binaries, and with the frequency of the radar."""
ENDINGS = ("", ".filt", ".mskd", ".geo", ".cum", ".inc", ".unw", ".cc")
"""Of the names of binaries."""
VELOCITY, UNITS = "vel", {"cum": "mm", "inc": "mm", "unw": "rad"}
"""What binaries hold: velocities in mm/yr by their first word, others by one of the words behind a point."""
SERIES, DAYS = "cum", "imdates"
"""The time series of a HDF5 file, and the days of it."""
CORNER = ("corner_lat", "corner_lon", "post_lat", "post_lon")
WGS_84 = "EPSG:4326"
PLAUSIBLE = (1e-9, 1e9)
"""Absolute values of nearly all numbers in such files, whatever their unit; in the wrong byte order most are others."""


def is_binary(path: Path) -> bool:
    """Whether a file is as large as a grid of the parameters beside it."""
    if not path.is_file() or path.suffix.lower() not in ENDINGS:
        return False
    parameters = beside(path, PARAMETERS)
    if parameters is None:
        return False
    with suppress(QexpError):
        return path.stat().st_size in (layout_of(parameters).whole.size * size for size in (1, 4))
    return False


def is_series(path: Path) -> bool:
    import h5py

    if path.suffix.lower() not in HDF5 or not path.is_file() or not h5py.is_hdf5(path):
        return False
    with suppress(QexpError), opened(path) as file:
        return {SERIES, DAYS} <= set(file)
    return False


def unit_of(path: Path) -> str:
    """The unit of a binary by its name, or "" for an unknown one."""
    first, *words = path.name.lower().split(".")
    if path.suffix.lower() not in ENDINGS:
        return ""
    return "mm/yr" if first == VELOCITY else next((UNITS[word] for word in words if word in UNITS), "")


def beside(path: Path, name: str) -> Path | None:
    """A file of LiCSBAS that belongs to another: in its folder, or where LiCSBAS puts it from there.

    Results of TS_GEOCml1 belong to interferograms in GEOCml1.
    """
    return next((folder / name for folder in _folders(path) if (folder / name).is_file()), None)


def _folders(path: Path) -> Iterator[Path]:
    for folder in (path.absolute().parent, *path.absolute().parent.parents[:2]):
        yield from (folder, folder / "info", folder / "results")
        if folder.name.startswith("TS_"):
            yield folder.with_name(folder.name.removeprefix("TS_"))


def values_of(path: Path) -> Mapping[str, str]:
    """The entries of a parameter file of GAMMA. Raises NotFoundError, and QexpError for a file that is not text."""
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{path} cannot be read as a parameter file of GAMMA: {error}") from None
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def number_of(path: Path, values: Mapping[str, str], name: str) -> float:
    try:
        return float(values[name].split()[0])
    except (KeyError, IndexError, ValueError):
        raise QexpError(f"{path}: has no number '{name}', as the parameters of a geocoded grid have") from None


def layout_of(path: Path) -> Layout:
    """The grid of a parameter file; its corner is the centre of the first pixel. Raises QexpError."""
    values = values_of(path)
    projection = values.get("DEM_projection", "EQA")
    if projection != "EQA":
        raise QexpError(
            f"{path}: the projection is {projection}; only grids of longitude and latitude (EQA) can be read; "
            "write the binary as GeoTIFF (GAMMA: data2geotiff)"
        )
    height, width = (int(number_of(path, values, name)) for name in ("nlines", "width"))
    return _layout((height, width), *(number_of(path, values, name) for name in CORNER))


def _layout(shape: tuple[int, int], latitude: float, longitude: float, down: float, across: float) -> Layout:
    return Layout(shape, (across, 0.0, longitude - across / 2, 0.0, down, latitude - down / 2), WGS_84)


def open_binary(path: Path, parameters: Path | None = None) -> Raster:
    """A file of 32-bit numbers in either byte order, or of bytes, row by row.

    parameters  the file of the grid; that beside it if left out
    Raises QexpError if there is none, or if the file has another size.
    """
    parameters = parameters or beside(path, PARAMETERS)
    if parameters is None:
        raise QexpError(
            f"{path} is a binary, whose grid is not known: there is no {PARAMETERS} beside it or in 'info'; name it "
            f"with `geometry={PARAMETERS}`, or write the binary as GeoTIFF (LiCSBAS_flt2geotiff.py)"
        )
    layout = layout_of(parameters)
    height, width = layout.shape
    size = path.stat().st_size
    if size not in (height * width, 4 * height * width):
        raise QexpError(
            f"{path} has {size:,} bytes, but the grid of {parameters} has {height:,} × {width:,} pixels of 4 bytes; is "
            "it the file of other parameters, or incomplete?"
        )
    kind = np.dtype(np.uint8) if size == height * width else _ordered(path, height * width)

    def read(window: Window) -> Array:
        rows = window.bottom - window.top
        values = np.fromfile(path, kind, rows * width, offset=window.top * width * kind.itemsize)
        if len(values) != rows * width:
            raise QexpError(f"{path} cannot be read to its end; did it change?")
        return values.reshape(rows, width)[:, window.left : window.right].astype(np.float64)

    return Raster(str(path), layout, unit_of(path), read, type=kind.name)


def _ordered(path: Path, count: int) -> np.dtype[Any]:
    """The type of the numbers: in the byte order in which more of them are of a usual size."""
    some = np.linspace(0, count, 64, endpoint=False).astype(np.int64)
    read = np.concatenate([np.fromfile(path, "<f4", 1024, offset=4 * int(start)) for start in some])
    usual = [_usual(values) for values in (read, read.view(">f4"))]
    return np.dtype("<f4" if usual[0] >= usual[1] else ">f4")


def _usual(values: Any) -> int:
    with np.errstate(invalid="ignore"):
        size = np.abs(values)
        return int(((size > PLAUSIBLE[0]) & (size < PLAUSIBLE[1])).sum())


def datasets_of(path: Path) -> list[str]:
    """The datasets over the grid of a time series."""
    with opened(path) as file:
        return [str(name) for name, one in file.items() if getattr(one, "ndim", 0) == 2]


def open_dataset(path: Path, name: str) -> Raster:
    """A dataset over the grid. Raises QexpError."""
    known = datasets_of(path)
    if name not in known:
        raise QexpError(f"{path} has no dataset '{name}' over a grid; {suggestion(name, known)}")
    with opened(path) as file:
        layout, kind = _layout_of_series(path, file), str(file[name].dtype)

    def read(window: Window) -> Array:
        with opened(path) as file:
            return np.asarray(file[name][window.top : window.bottom, window.left : window.right], np.float64)

    return Raster(f"{path}, dataset '{name}'", layout, "mm/yr" if name in (VELOCITY, "vstd") else "", read, type=kind)


def open_cumulative(path: Path, epochs: Sequence[str]) -> Raster:
    """The displacement between two days, toward the satellite [mm]. Raises QexpError."""
    with opened(path) as file:
        layout = _layout_of_series(path, file)
    return difference(
        path, SERIES, DAYS, epochs, layout, "mm", lambda values: np.asarray(values, np.float64), gaps=False
    )


def _layout_of_series(path: Path, file: Any) -> Layout:
    if not set(file) >= set(CORNER):
        raise QexpError(f"{path} is in radar coordinates; geocode the interferograms that LiCSBAS takes")
    height, width = file[SERIES].shape[1:]
    return _layout((height, width), *(float(file[name][()]) for name in CORNER))


# The HDF5 files of MintPy: datasets in the root over one grid, all else in attributes that are texts.

PLACES = ("longitude", "latitude")
"""Datasets of a file of geometry in radar coordinates [degrees]."""


def attributes_of(path: Path) -> dict[str, str]:
    """All attributes of the file as texts."""
    with opened(path) as file:
        return {name: as_text(value) for name, value in file.attrs.items()}


def open_mintpy(path: Path, dataset: str | None = None) -> Raster:
    """A dataset over the grid; that after which the type of the file is named, if it is left out. Raises QexpError."""
    attributes = attributes_of(path)
    with opened(path) as file:
        fields = [name for name, one in file.items() if getattr(one, "ndim", 0) == 2]
        name = dataset or attributes.get("FILE_TYPE", "")
        if name not in fields:
            if dataset is None and len(fields) == 1:
                name = fields[0]
            elif dataset is None:
                raise QexpError(
                    f"{path} has several datasets over a grid: {', '.join(fields)}; name one with `variable`"
                )
            else:
                raise QexpError(f"{path} has no dataset '{dataset}' over a grid; {suggestion(dataset, fields)}")
        shape, kind = file[name].shape, str(file[name].dtype)

    def read(window: Window) -> Array:
        with opened(path) as file:
            values = file[name][window.top : window.bottom, window.left : window.right]
        return without_data(values, attributes)

    unit = attributes.get("UNIT", "")
    gaps = "NO_DATA_VALUE" in attributes
    return Raster(f"{path}, dataset '{name}'", mintpy_layout_of(path, attributes, shape), unit, read, gaps, kind)


def open_difference(path: Path, epochs: Sequence[str]) -> Raster:
    """The displacement between two days of a time series, written as in the file: 20200131. Raises QexpError."""
    attributes = attributes_of(path)
    with opened(path) as file:
        if "timeseries" not in file or "date" not in file:
            raise QexpError(f"{path} has no datasets 'timeseries' and 'date', as time series of MintPy have")
        shape = file["timeseries"].shape
        if len(shape) != 3:
            raise QexpError(f"{path}: 'timeseries' has {len(shape)} dimensions, not those of time, y and x")
        layout = mintpy_layout_of(path, attributes, shape[1:])
    return difference(
        path, "timeseries", "date", epochs, layout, attributes.get("UNIT", "m"),
        lambda values: without_data(values, attributes), "NO_DATA_VALUE" in attributes,
    )  # fmt: skip


def mintpy_number_of(path: Path, attributes: dict[str, str], name: str, missing: str | None = None) -> float:
    """An attribute as a number.

    missing  what it is where the file does not have it
    Raises QexpError for one that is no number, or not there.
    """
    text = attributes.get(name, missing)
    try:
        return float("" if text is None else text)
    except ValueError:
        said = "is missing" if text is None else f"is '{text[:40]}', which is not a number"
        raise QexpError(f"{path}: its attribute {name} {said}") from None


def without_data(values: Any, attributes: dict[str, str]) -> Array:
    numbers: Array = np.asarray(values, dtype=np.float64)
    with suppress(ValueError):  # "None"
        numbers[numbers == float(attributes.get("NO_DATA_VALUE", "nan"))] = np.nan
    return numbers


def mintpy_layout_of(path: Path, attributes: dict[str, str], shape: tuple[int, int]) -> Layout:
    """Where the pixels lie: X_FIRST and Y_FIRST are the outer corner of the first one. Without them nowhere yet."""
    if "X_FIRST" not in attributes and "Y_FIRST" not in attributes:
        return Swath.unplaced((int(shape[0]), int(shape[1])))
    x, across, y, down = (
        mintpy_number_of(path, attributes, name) for name in ("X_FIRST", "X_STEP", "Y_FIRST", "Y_STEP")
    )
    return Layout((int(shape[0]), int(shape[1])), (across, 0.0, x, 0.0, down, y), _mintpy_crs(attributes))


def placed(field: Raster, geometry: Path) -> Raster:
    """A field in radar coordinates where MintPy's file of geometry says that its pixels lie.

    Raises QexpError if the file has no longitude and latitude of each pixel, or of another number of pixels.
    """
    with opened(geometry) as file:
        known = {*PLACES} <= set(file)
    if not known:
        raise QexpError(
            f"{field.source} is in radar coordinates, and {geometry} has no datasets {' and '.join(PLACES)} that say "
            "where its pixels lie; geocode it first (MintPy: geocode.py), or let lookup_geo2radar.py write them"
        )
    longitude, latitude = (open_mintpy(geometry, name) for name in PLACES)
    field.require_same_grid(longitude)
    return replace(field, layout=Swath.placed(field.layout.shape, longitude.read, latitude.read))


def _mintpy_crs(attributes: dict[str, str]) -> str | None:
    if code := attributes.get("EPSG"):
        return f"EPSG:{int(float(code))}"
    if zone := attributes.get("UTM_ZONE"):
        number, hemisphere = zone[:-1], zone[-1:].upper()
        return f"EPSG:{(327 if hemisphere == 'S' else 326)}{int(number):02d}"
    return "EPSG:4326" if attributes.get("X_UNIT", "degrees").lower().startswith("deg") else None
