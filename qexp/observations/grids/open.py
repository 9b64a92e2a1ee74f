"""Files of rasters by their format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qexp.errors import NotFoundError, QexpError
from qexp.observations.grids.geotiff import open_geotiff
from qexp.observations.grids.hdf5 import HDF5
from qexp.observations.grids.licsbas_file import ENDINGS, PARAMETERS, beside, is_series, open_binary, open_dataset
from qexp.observations.grids.mintpy_file import open_mintpy
from qexp.observations.grids.netcdf import open_netcdf
from qexp.observations.grids.raster import Layout, Raster
from qexp.observations.grids.resampling import resampled

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
