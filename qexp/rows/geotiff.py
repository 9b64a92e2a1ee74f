"""GeoTIFF and other rasters of GDAL: values with gaps as NaN, where north is; writing one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base import files
from qexp.base.arrays import Array
from qexp.errors import extra
from qexp.rows.arrays import open_dataset
from qexp.rows.table import TableError

if TYPE_CHECKING:
    import rasterio
    import xarray
    from rasterio.windows import Window

RASTERS = (".tif", ".tiff")


def open_raster(path: Path) -> rasterio.DatasetReader:
    """Open with rasterio. Raises NotFoundError, and TableError also without real numbers."""
    with extra("geo"):
        import rasterio

    files.require_file(path)
    try:
        # what follows from pixels that are not placed is said where it matters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            # By its content, GDAL would also open a list of other files.
            driver = "GTiff" if path.suffix.lower() in RASTERS else None
            dataset = rasterio.open(path, driver=driver)
    except rasterio.errors.RasterioError as error:
        raise TableError(f"{path} cannot be read as a raster: {error}") from None
    other = sorted({kind for kind in dataset.dtypes if np.dtype(kind).kind not in "biuf"})
    if other:
        raise TableError(
            f"{path} holds {', '.join(other)}, not real numbers; save the displacement as float32"
        )
    return dataset


def beside(path: Path) -> list[Path]:
    """The files that GDAL reads with a GeoTIFF, if they change where its pixels lie or what they
    hold; those with statistics alone do not, nor those of other files. Raises as `open_raster`.
    """
    if path.suffix.lower() not in RASTERS or not path.is_file():
        return []
    names = [f"{path.name}.aux.xml", f"{path.name}.msk"]
    names += [f"{path.stem}{ending}" for ending in (".tfw", ".TFW", ".wld")]
    there = [file for file in map(path.with_name, names) if file.is_file()]
    if not there:
        return []
    import rasterio

    def said(raster: rasterio.DatasetReader) -> str:
        about = (
            raster.transform,
            raster.crs,
            raster.nodatavals,
            raster.scales,
            raster.offsets,
            raster.units,
        )
        return repr((about, raster.descriptions, raster.mask_flag_enums))

    apart = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    with open_raster(path) as raster, apart, open_raster(path) as alone:
        return there if said(raster) != said(alone) else []


def encoded(
    bands: Mapping[str, Array | xarray.DataArray],
    corner: tuple[float, float],
    steps: tuple[float, float],
    crs: str | None,
    unit: str | Mapping[str, str] = "m",
) -> bytes:
    """A GeoTIFF of single precision, NaN where there are no data.

    bands   description → (row, column), the northernmost row first
    corner  west and north edge [unit of the system]
    steps   width and height of a pixel
    unit    of all bands, or of each
    """
    with extra("geo"):
        from rasterio.io import MemoryFile
        from rasterio.transform import from_origin

    height, width = next(iter(bands.values())).shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=len(bands),
            height=height,
            width=width,
            dtype="float32",
            crs=crs,
            transform=from_origin(*corner, *steps),
            nodata=np.nan,
            compress="deflate",
            interleave="band",
        ) as raster:
            for number, band in enumerate(bands.values(), start=1):  # which may lie in a file
                raster.write(np.asarray(band, np.float32), number)
            raster.descriptions = list(bands)
            raster.units = [unit if isinstance(unit, str) else unit[name] for name in bands]
        return bytes(memory.read())


def open_map(path: Path) -> xarray.Dataset:
    """A map in NetCDF, or a raster in degrees: its bands by their descriptions or numbers,
    (latitude, longitude).

    Raises as `open_dataset`, `open_raster` and `read_bands`, and TableError for other projections.
    """
    import xarray

    if path.suffix.lower() not in RASTERS:
        return open_dataset(path)
    with open_raster(path) as raster:
        transform = raster.transform
        if not is_placed(raster) or transform.b or transform.d:
            raise TableError(f"{path} does not say where its pixels lie in longitude and latitude")
        if raster.crs is not None and not raster.crs.is_geographic:
            raise TableError(f"{path} is not in degrees; project it with gdalwarp -t_srs")
        variables = {}
        for band, (name, unit) in enumerate(zip(raster.descriptions, raster.units, strict=True), 1):
            values = read_bands(raster, [band])[0]
            variables[name or str(band)] = ("latitude", "longitude"), values, {"units": unit or ""}
        coordinates = {
            "latitude": transform.f + transform.e * (np.arange(raster.height) + 0.5),
            "longitude": transform.c + transform.a * (np.arange(raster.width) + 0.5),
        }
    return xarray.Dataset(variables, coordinates)


def of_netcdf(path: Path, upwards: bool) -> bytes | None:
    """A map in NetCDF as GeoTIFF, a band for each variable of numbers over its grid; None if the
    grid is not even.

    upwards  whether y is counted upwards, as latitudes are, and not downwards, as lines
    """
    with open_dataset(path) as data:
        numbers = [str(name) for name, each in data.items() if each.dtype.kind in "iuf"]
        maps = [name for name in numbers if data[name].ndim == 2]
        y, x = data[maps[0]].dims
        data = data.assign_coords({y: data[y] if upwards else -data[y]})
        data = data[maps].sortby(y, ascending=False).sortby(x)
        steps = []
        for line in (data[x].values, data[y].values):
            steps.append(abs(line[-1] - line[0]) / max(len(line) - 1, 1))
            even = np.linspace(line[0], line[-1], len(line))
            if np.abs(line - even).max() >= steps[-1] / 4:
                return None
        corner = data[x].values[0] - steps[0] / 2, data[y].values[0] + steps[1] / 2
        bands = {name: data[name] for name in maps}
        units = {name: data[name].attrs.get("units", "") for name in maps}
        return encoded(bands, corner, (steps[0], steps[1]), None, units)


def is_placed(dataset: rasterio.DatasetReader) -> bool:
    """Whether the file says where its pixels lie."""
    return not dataset.transform.is_identity


def read_bands(
    dataset: rasterio.DatasetReader, bands: Sequence[int], window: Window | None = None
) -> Array:
    """Values of bands in the order of the file, (band, row, column); NaN where they have no data.

    Stored numbers are multiplied by the band's scale, and its offset is added.

    bands  counted from 1
    Raises TableError if they cannot be read.
    """
    import rasterio

    try:
        stored = dataset.read(list(bands), window=window, masked=True)
    except rasterio.errors.RasterioError as error:
        number = f"{bands[0]} to {bands[-1]}" if len(bands) > 1 else f"{bands[0]}"
        raise TableError(
            f"{dataset.name}, band {number}, cannot be read; is it whole?"
            f" {error.__cause__ or error}"
        ) from None
    values: Array = stored.astype(np.float64).filled(np.nan)
    for index, band in enumerate(bands):
        scale = dataset.scales[band - 1]
        offset = dataset.offsets[band - 1]
        if (scale, offset) != (1, 0):
            values[index] = values[index] * scale + offset
    return values


def northwards(dataset: rasterio.DatasetReader) -> tuple[slice, slice]:
    """Which rows and columns of the file to take so that they run northwards and eastwards: all, in
    this order or that.

    Raises TableError if neither runs along the other axis of the file's grid.
    """
    transform: Any = dataset.transform
    if transform.b or transform.d:
        raise TableError(
            f"{dataset.name}: its rows do not run along a parallel of its grid; warp it to a"
            " north-up grid"
        )
    upwards = is_placed(dataset) and transform.e > 0
    return slice(None, None, 1 if upwards else -1), slice(None, None, -1 if transform.a < 0 else 1)
