"""Files of LiCSBAS: binaries of numbers over the grid of a parameter file of GAMMA, and time series in HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError
from qexp.observations.grids.hdf5 import HDF5, difference, opened
from qexp.observations.grids.raster import Array, Layout, Raster, Window

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
            f"with --geometry {PARAMETERS}, or write the binary as GeoTIFF (LiCSBAS_flt2geotiff.py)"
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
