"""Velocities and time series of MintPy, with the angles of its file of geometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qexp.errors import QexpError
from qexp.observations.grids.geometry import Direction, direction_of, from_angles
from qexp.observations.grids.hdf5 import HDF5, opened
from qexp.observations.grids.mintpy_file import attributes_of, number_of, open_difference, open_mintpy, placed
from qexp.observations.grids.raster import Raster
from qexp.observations.grids.reading import in_crs, in_one_year, reading_of, scene_of
from qexp.observations.grids.swath import Swath
from qexp.observations.reading import Asked, Reading

GEOCODED = (
    "geometryGeo.h5", "geo_geometryRadar.h5", "inputs/geometryGeo.h5", "../inputs/geometryGeo.h5",
    "geo/geo_geometryRadar.h5",
)  # fmt: skip
RADAR = ("geometryRadar.h5", "inputs/geometryRadar.h5", "../inputs/geometryRadar.h5")
"""Where MintPy puts its file of geometry, from the folder of a result; the latter of results in radar coordinates."""


def is_mintpy(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in HDF5


def read_mintpy(path: Path, asked: Asked) -> Reading:
    """Read a velocity, which counts as the displacement of one year, or the difference of two epochs.

    Displacements are toward the satellite [m]. A velocity has its standard deviation as error, unless one is given.
    """
    attributes = attributes_of(path)
    kind, error = attributes.get("FILE_TYPE", ""), None
    if kind == "timeseries":
        if asked.epochs is None:
            raise QexpError(f"{path} is a time series; name the days before and after: --epochs 20200131,20200212")
        field = open_difference(path, asked.epochs)
    elif asked.epochs is not None:
        raise QexpError(f"{path} holds '{kind}', not a time series; leave --epochs out")
    elif kind in ("ifgramStack", "geometry", "HDFEOS", ""):
        raise QexpError(f"{path} has MintPy's type '{kind}'; only velocities and time series can be read")
    else:
        field = open_mintpy(path, asked.variable)
        error = _deviation(path, asked.variable or kind)
    field, warnings = in_one_year(field)
    geometry = _geometry(path, field, asked)
    if isinstance(field.layout, Swath):
        if geometry is None:
            raise QexpError(
                f"{path} is in radar coordinates, and no file of geometry with longitude and latitude is beside it; "
                "name MintPy's with --geometry geometryRadar.h5, or geocode it first (MintPy: geocode.py)"
            )
        field = placed(field, geometry)
    scene = scene_of(
        asked.name or path.stem,
        in_crs(field, asked),
        _direction(path, field, geometry, attributes, asked),
        asked,
        number_of(path, attributes, "WAVELENGTH") if "WAVELENGTH" in attributes else None,
        error,
    )
    reading = reading_of(scene, asked)
    return replace(reading, warnings=(*reading.warnings, *warnings))


def _deviation(path: Path, name: str) -> Raster | None:
    with opened(path) as file:
        known = f"{name}Std" in file
    return open_mintpy(path, f"{name}Std") if known else None


def _geometry(path: Path, field: Raster, asked: Asked) -> Path | None:
    """The file of geometry that is given, or that is where MintPy puts it."""
    usual = RADAR if isinstance(field.layout, Swath) else GEOCODED
    return asked.geometry or next((path.parent / name for name in usual if (path.parent / name).is_file()), None)


def _direction(path: Path, field: Raster, geometry: Path | None, attributes: dict[str, str], asked: Asked) -> Direction:
    """By the command line; else by the angles of the file of geometry.

    There the azimuth is that of the vector to the satellite, counter-clockwise from north.
    """
    if asked.direction is not None or asked.incidence is not None:
        if asked.direction is None and asked.heading is None and "HEADING" in attributes:
            heading = number_of(path, attributes, "HEADING")
            asked = replace(asked, heading=heading, look=asked.look or _side(path, attributes))
        return direction_of(field, asked)
    if geometry is None:
        raise QexpError(
            f"{path}: no file of geometry beside it; name MintPy's with --geometry geometryGeo.h5, or give --incidence "
            "and --heading in degrees"
        )
    incidence = open_mintpy(geometry, "incidenceAngle")
    with opened(geometry) as file:
        known = "azimuthAngle" in file
    if not known and "HEADING" not in attributes:
        raise QexpError(f"{geometry} has no azimuthAngle; give --incidence and --heading in degrees")
    if not known:
        heading = number_of(path, attributes, "HEADING")
        return from_angles(field, incidence, heading, _side(path, attributes))
    azimuth = open_mintpy(geometry, "azimuthAngle")
    return from_angles(field, incidence, replace(azimuth, read=lambda window: 90 - azimuth.read(window)))


def _side(path: Path, attributes: dict[str, str]) -> str:
    return "left" if number_of(path, attributes, "ANTENNA_SIDE", "-1") > 0 else "right"
