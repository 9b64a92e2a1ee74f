"""The HDF5 files of MintPy: datasets in the root over one grid, all else in attributes that are texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window

HDF5 = (".h5", ".he5", ".hdf5")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise QexpError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise QexpError(f"{path} cannot be read as HDF5: {error}") from None


def attributes_of(path: Path) -> dict[str, str]:
    """All attributes of the file as texts."""
    with opened(path) as file:
        return {name: _text(value) for name, value in file.attrs.items()}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


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
                    f"{path} has several datasets over a grid: {', '.join(fields)}; name one with --variable"
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
    return Raster(f"{path}, dataset '{name}'", layout_of(path, attributes, shape), unit, read, gaps, kind)


def open_difference(path: Path, first: str, last: str) -> Raster:
    """The displacement between two days of a time series, written as in the file: 20200131. Raises QexpError."""
    attributes = attributes_of(path)
    with opened(path) as file:
        if "timeseries" not in file or "date" not in file:
            raise QexpError(f"{path} holds no time series, so that --epochs does not apply")
        days = [_text(one) for one in file["date"][()]]
        for day in (first, last):
            if day not in days:
                raise QexpError(
                    f"{path} has no epoch {day}; {suggestion(day, days)} There are {len(days)}, from {days[0]} to "
                    f"{days[-1]}"
                )
        before, after = days.index(first), days.index(last)
        shape = file["timeseries"].shape[1:]
    if before == after:
        raise QexpError(f"--epochs {first},{last}: the displacement of one day is zero; name two")

    def read(window: Window) -> Array:
        cut = slice(*window[:2]), slice(*window[2:])
        with opened(path) as file:
            from_, to = (without_data(file["timeseries"][(index, *cut)], attributes) for index in (before, after))
        return to - from_

    source = f"{path}, {first} to {last}"
    unit = attributes.get("UNIT", "m")
    return Raster(source, layout_of(path, attributes, shape), unit, read, "NO_DATA_VALUE" in attributes)


def without_data(values: Any, attributes: dict[str, str]) -> Array:
    numbers: Array = np.asarray(values, dtype=np.float64)
    with suppress(ValueError):  # "None"
        numbers[numbers == float(attributes.get("NO_DATA_VALUE", "nan"))] = np.nan
    return numbers


def layout_of(path: Path, attributes: dict[str, str], shape: tuple[int, int]) -> Layout:
    """Where the pixels lie: X_FIRST and Y_FIRST are the outer corner of the first one."""
    try:
        x, across, y, down = (float(attributes[name]) for name in ("X_FIRST", "X_STEP", "Y_FIRST", "Y_STEP"))
    except KeyError:
        raise QexpError(f"{path} is in radar coordinates; geocode it first (MintPy: geocode.py)") from None
    except ValueError as error:
        raise QexpError(f"{path}: its X_FIRST, X_STEP, Y_FIRST and Y_STEP are no numbers: {error}") from None
    return Layout((int(shape[0]), int(shape[1])), (across, 0.0, x, 0.0, down, y), _crs(attributes))


def _crs(attributes: dict[str, str]) -> str | None:
    if code := attributes.get("EPSG"):
        return f"EPSG:{int(float(code))}"
    if zone := attributes.get("UTM_ZONE"):
        number, hemisphere = zone[:-1], zone[-1:].upper()
        return f"EPSG:{(327 if hemisphere == 'S' else 326)}{int(number):02d}"
    return "EPSG:4326" if attributes.get("X_UNIT", "degrees").lower().startswith("deg") else None
