"""The HDF5 files of MintPy: datasets in the root over one grid, all else in attributes that are texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.observations.grids.hdf5 import as_text, difference, opened
from qexp.observations.grids.raster import Array, Layout, Raster, Window
from qexp.observations.grids.swath import Swath

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


def open_difference(path: Path, epochs: Sequence[str]) -> Raster:
    """The displacement between two days of a time series, written as in the file: 20200131. Raises QexpError."""
    attributes = attributes_of(path)
    with opened(path) as file:
        if "timeseries" not in file or "date" not in file:
            raise QexpError(f"{path} has no datasets 'timeseries' and 'date', as time series of MintPy have")
        layout = layout_of(path, attributes, file["timeseries"].shape[1:])
    return difference(
        path, "timeseries", "date", epochs, layout, attributes.get("UNIT", "m"),
        lambda values: without_data(values, attributes), "NO_DATA_VALUE" in attributes,
    )  # fmt: skip


def number_of(path: Path, attributes: dict[str, str], name: str, missing: str | None = None) -> float:
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


def layout_of(path: Path, attributes: dict[str, str], shape: tuple[int, int]) -> Layout:
    """Where the pixels lie: X_FIRST and Y_FIRST are the outer corner of the first one. Without them nowhere yet."""
    if "X_FIRST" not in attributes and "Y_FIRST" not in attributes:
        return Swath.unplaced((int(shape[0]), int(shape[1])))
    x, across, y, down = (number_of(path, attributes, name) for name in ("X_FIRST", "X_STEP", "Y_FIRST", "Y_STEP"))
    return Layout((int(shape[0]), int(shape[1])), (across, 0.0, x, 0.0, down, y), _crs(attributes))


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


def _crs(attributes: dict[str, str]) -> str | None:
    if code := attributes.get("EPSG"):
        return f"EPSG:{int(float(code))}"
    if zone := attributes.get("UTM_ZONE"):
        number, hemisphere = zone[:-1], zone[-1:].upper()
        return f"EPSG:{(327 if hemisphere == 'S' else 326)}{int(number):02d}"
    return "EPSG:4326" if attributes.get("X_UNIT", "degrees").lower().startswith("deg") else None
