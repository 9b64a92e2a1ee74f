"""Readers of observations: those of LiCSAR, LiCSBAS and MintPy, and which one knows a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qexp.errors import NotFoundError, QexpError
from qexp.observations.observation import is_observation, read_observation
from qexp.observations.raster_files import (
    HDF5,
    RADAR,
    VELOCITY,
    attributes_of,
    beside,
    datasets_of,
    is_binary,
    is_series,
    mintpy_number_of,
    number_of,
    open_binary,
    open_coherence,
    open_cumulative,
    open_dataset,
    open_difference,
    open_geotiff,
    open_mintpy,
    opened,
    placed,
    unit_of,
    values_of,
)
from qexp.observations.rasters import Array, Raster, Swath, Window
from qexp.observations.reading import Reading, ReadOptions
from qexp.observations.scenes import (
    SPEED_OF_LIGHT,
    Direction,
    direction_of,
    from_angles,
    from_components,
    in_crs,
    in_one_year,
    is_given,
    is_grid,
    read_grid,
    reading_of,
    scene_of,
    wavelength_of,
)
from qexp.observations.tables import is_gnss, is_text, read_gnss, read_points

LICSAR_PHASE, LICSAR_COHERENCE = ".geo.unw.tif", ".geo.cc.tif"
LICSAR_COMPONENTS = ("E", "N", "U")
BESIDE = (".", "..", "metadata", "../metadata", "../../metadata")
"""Where the components lie, from the folder of an interferogram."""


def is_licsar(path: Path) -> bool:
    return bool(_interferograms(path)) if path.is_dir() else path.is_file() and path.name.endswith(LICSAR_PHASE)


def _interferograms(folder: Path) -> list[Path]:
    return sorted(path for depth in ("", "*/", "interferograms/*/") for path in folder.glob(f"{depth}*{LICSAR_PHASE}"))


def read_licsar(path: Path, asked: ReadOptions) -> Reading:
    """Read an interferogram of Sentinel-1, or the only one of a folder: phase [rad] that grows away from the satellite.

    The components east, north and up of the unit vector to the satellite are in files beside it, *.geo.E.tif and so on,
    and the coherence in *.geo.cc.tif, as bytes up to 255.
    """
    found = _interferograms(path) if path.is_dir() else [path]
    if len(found) > 1:
        named = ", ".join(one.name for one in found[:4]) + (", …" if len(found) > 4 else "")
        raise QexpError(f"{path} has {len(found)} interferograms: {named}; name the file of one")
    (file,) = found
    name = file.name.removesuffix(LICSAR_PHASE)
    field = in_crs(replace(open_geotiff(file, asked.band), unit="rad"), asked)
    direction = direction_of(field, asked) if is_given(asked) else from_components(field, *_licsar_components(file))
    beside = file.with_name(f"{name}{LICSAR_COHERENCE}")
    wanted = asked.least_coherence is not None and asked.coherence is None and beside.is_file()
    scene = scene_of(
        asked.name or name,
        field,
        direction,
        asked,
        wavelength_of("sentinel-1"),
        coherence=open_coherence(beside) if wanted else None,
    )
    return reading_of(scene, asked)


def _licsar_components(file: Path) -> list[Raster]:
    """Rasters of the components of the vector to the satellite."""
    for folder in BESIDE:
        sets = [sorted((file.parent / folder).glob(f"*.geo.{one}.tif")) for one in LICSAR_COMPONENTS]
        if all(len(one) == 1 for one in sets):
            return [open_geotiff(one) for (one,) in sets]
        if any(len(one) > 1 for one in sets):
            raise QexpError(
                f"{(file.parent / folder).resolve()} has the line of sight of several frames; name that of {file.name} "
                "with `direction=EAST,NORTH,UP`"
            )
    raise QexpError(
        f"{file}: there are no *.geo.E.tif, *.geo.N.tif and *.geo.U.tif beside it or in the folder 'metadata'; give "
        "`direction=EAST,NORTH,UP`, or `incidence` and `heading` in degrees"
    )


# Velocities and displacements of LiCSBAS, with the line of sight and masks of its other files.

COMPONENTS = ("E.geo", "N.geo", "U.geo")
ERROR, MASK, COHERENCE = "vstd", "mask", "coh_avg"


def is_licsbas(path: Path) -> bool:
    """Whether a file is a time series of LiCSBAS, or a binary, by its size or its name."""
    named = path.is_file() and bool(unit_of(path)) and not is_text(path)
    return named or is_binary(path) or is_series(path)


def read_licsbas(path: Path, asked: ReadOptions) -> Reading:
    """Read a velocity, which counts as the displacement of one year, a displacement, or the phase of an interferogram.

    Displacements are toward the satellite, in mm; pixels that are 0 have none. A velocity has its standard deviation as
    error, unless one is given. The unit vector to the satellite and masks are read from the file, or beside it.
    """
    return _series(path, asked) if is_series(path) else _binary(path, asked)


def _series(path: Path, asked: ReadOptions) -> Reading:
    """`cum.h5` and `cum_filt.h5`."""
    known = datasets_of(path)
    if asked.geometry is not None:
        raise QexpError(f"`geometry` has no effect on {path}, which holds its grid; leave it out")
    if (asked.epochs is None) == (asked.variable is None):
        raise QexpError(
            f"{path} is a time series; name either the days before and after, `epochs=20200131,20200212`, or its "
            f"velocity, `variable={VELOCITY}`"
        )
    error = None
    if asked.epochs is not None:
        field = open_cumulative(path, asked.epochs)
    else:
        field = open_dataset(path, asked.variable or VELOCITY)
        _require_displacement(field, asked)
        error = open_dataset(path, ERROR) if field.unit and ERROR in known else None
    masks = [open_dataset(path, MASK)] if MASK in known else []

    def components() -> list[Raster]:
        return [open_dataset(path, name) for name in COMPONENTS if name in known] or _components(path)

    def coherence() -> Raster | None:
        return open_dataset(path, COHERENCE) if COHERENCE in known else None

    return _reading(path, field, asked, components, error, masks, coherence)


def _binary(path: Path, asked: ReadOptions) -> Reading:
    """`results/vel` and what belongs to it, `*.cum` of LiCSBAS_cum2flt.py, `*.unw`."""
    for name in ("epochs", "variable"):
        if getattr(asked, name) is not None:
            raise QexpError(f"`{name}` has no effect on {path}, which holds one field; leave it out")
    field = open_binary(path, asked.geometry)
    _require_displacement(field, asked)
    deviation = path.with_name(ERROR)
    error = None
    if field.unit == "mm/yr" and deviation.is_file():
        error = open_binary(deviation, asked.geometry)

    def coherence() -> Raster | None:
        found = path.with_suffix(".cc") if path.suffix == ".unw" else path.with_name(COHERENCE)
        return open_coherence(found) if found.is_file() else None

    return _reading(path, field, asked, lambda: _components(path, asked.geometry), error, [], coherence)


def _require_displacement(field: Raster, asked: ReadOptions) -> None:
    if not field.unit and asked.unit is None and not asked.phase:
        raise QexpError(
            f"{field.source} does not have the name that LiCSBAS gives to velocities ({VELOCITY}), displacements "
            "(*.cum) or phase (*.unw); if it holds displacements, give their unit: `unit=mm`"
        )


def _components(path: Path, parameters: Path | None = None) -> list[Raster]:
    """Rasters of the vector to the satellite, from beside a file; none if they are not there."""
    found = [beside(path, name) for name in COMPONENTS]
    return [open_binary(one, parameters) for one in found if one is not None]


def _reading(
    path: Path,
    field: Raster,
    asked: ReadOptions,
    components: Callable[[], list[Raster]],
    error: Raster | None,
    masks: list[Raster],
    coherence: Callable[[], Raster | None],
) -> Reading:
    field, warnings = in_one_year(field)
    if asked.least_coherence is not None and asked.coherence is None and (found := coherence()) is not None:
        masks = [*masks, found]
    scene = scene_of(
        asked.name or path.name.split(".")[0],
        field,
        _direction(path, field, components, asked),
        asked,
        _wavelength(path) if field.unit == "rad" else None,
        error,
        coherence=_least_of(masks) if masks else None,
    )
    reading = reading_of(scene, asked)
    return replace(reading, warnings=(*reading.warnings, *warnings))


def _direction(path: Path, field: Raster, components: Callable[[], list[Raster]], asked: ReadOptions) -> Direction:
    if is_given(asked):
        return direction_of(field, asked)
    known = components()
    if len(known) < len(COMPONENTS):
        raise QexpError(
            f"{path}: the line of sight is not known: there are no {', '.join(COMPONENTS)} in or beside it, or in its "
            "folder GEOCml*; give `direction` E.geo,N.geo,U.geo, or `incidence` and `heading` in degrees"
        )
    return from_components(field, *known)


def _least_of(rasters: list[Raster]) -> Raster:
    """At each pixel the least of several values: a mask of 0 and 1, and coherence."""
    first, *rest = rasters
    for other in rest:
        first.require_same_grid(other)

    def read(window: Window) -> Array:
        return np.asarray(np.min([one.read(window) for one in rasters], axis=0), np.float64)

    return replace(first, read=read)


def _wavelength(path: Path) -> float | None:
    """Of the radar [m], from the parameters of its images; None if they are not there."""
    found = beside(path, RADAR)
    return None if found is None else SPEED_OF_LIGHT / number_of(found, values_of(found), "radar_frequency")


# Velocities and time series of MintPy, with the angles of its file of geometry.

GEOCODED = (
    "geometryGeo.h5", "geo_geometryRadar.h5", "inputs/geometryGeo.h5", "../inputs/geometryGeo.h5",
    "geo/geo_geometryRadar.h5",
)  # fmt: skip
MINTPY_RADAR = ("geometryRadar.h5", "inputs/geometryRadar.h5", "../inputs/geometryRadar.h5")
"""Where MintPy puts its file of geometry, from the folder of a result; the latter of results in radar coordinates."""


def is_mintpy(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in HDF5


def read_mintpy(path: Path, asked: ReadOptions) -> Reading:
    """Read a velocity, which counts as the displacement of one year, or the difference of two epochs.

    Displacements are toward the satellite [m]. A velocity has its standard deviation as error, unless one is given.
    """
    attributes = attributes_of(path)
    kind, error = attributes.get("FILE_TYPE", ""), None
    if kind == "timeseries":
        if asked.epochs is None:
            raise QexpError(f"{path} is a time series; name the days before and after: `epochs=20200131,20200212`")
        field = open_difference(path, asked.epochs)
    elif asked.epochs is not None:
        raise QexpError(f"{path} holds '{kind}', not a time series; leave `epochs` out")
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
                "name MintPy's with `geometry=geometryRadar.h5`, or geocode it first (MintPy: geocode.py)"
            )
        field = placed(field, geometry)
    scene = scene_of(
        asked.name or path.stem,
        in_crs(field, asked),
        _mintpy_direction(path, field, geometry, attributes, asked),
        asked,
        mintpy_number_of(path, attributes, "WAVELENGTH") if "WAVELENGTH" in attributes else None,
        error,
    )
    reading = reading_of(scene, asked)
    return replace(reading, warnings=(*reading.warnings, *warnings))


def _deviation(path: Path, name: str) -> Raster | None:
    with opened(path) as file:
        known = f"{name}Std" in file
    return open_mintpy(path, f"{name}Std") if known else None


def _geometry(path: Path, field: Raster, asked: ReadOptions) -> Path | None:
    """The file of geometry that is given, or that is where MintPy puts it."""
    usual = MINTPY_RADAR if isinstance(field.layout, Swath) else GEOCODED
    return asked.geometry or next((path.parent / name for name in usual if (path.parent / name).is_file()), None)


def _mintpy_direction(
    path: Path, field: Raster, geometry: Path | None, attributes: dict[str, str], asked: ReadOptions
) -> Direction:
    """By the command line; else by the angles of the file of geometry.

    There the azimuth is that of the vector to the satellite, counter-clockwise from north.
    """
    if asked.direction is not None or asked.incidence is not None:
        if asked.direction is None and asked.heading is None and "HEADING" in attributes:
            heading = mintpy_number_of(path, attributes, "HEADING")
            asked = replace(asked, heading=heading, look=asked.look or _side(path, attributes))
        return direction_of(field, asked)
    if geometry is None:
        raise QexpError(
            f"{path}: no file of geometry beside it; name MintPy's with `geometry=geometryGeo.h5`, or give `incidence` "
            "and `heading` in degrees"
        )
    incidence = open_mintpy(geometry, "incidenceAngle")
    with opened(geometry) as file:
        known = "azimuthAngle" in file
    if not known and "HEADING" not in attributes:
        raise QexpError(f"{geometry} has no azimuthAngle; give `incidence` and `heading` in degrees")
    if not known:
        heading = mintpy_number_of(path, attributes, "HEADING")
        return from_angles(field, incidence, heading, _side(path, attributes))
    azimuth = open_mintpy(geometry, "azimuthAngle")
    return from_angles(field, incidence, replace(azimuth, read=lambda window: 90 - azimuth.read(window)))


def _side(path: Path, attributes: dict[str, str]) -> str:
    return "left" if mintpy_number_of(path, attributes, "ANTENNA_SIDE", "-1") > 0 else "right"


# Readers of observations: which one knows a file, and what it takes from the command line.


@dataclass(frozen=True)
class Reader:
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Reading]
    takes: Collection[str]
    """The fields of `ReadOptions` that have an effect on such a file; those that have none are refused."""
    help: str


UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of texts of that encoding, which some programs write without being asked."""

REDUCING = ("reduce", "smallest_cell", "largest_cell", "least_share")
OF_TABLES = ("name", "crs", "columns", "unit", "error", "north")
OF_SIGHT = ("incidence", "heading", "look")
OF_GRIDS = (
    "name", "crs", "error", "unit", "north", "wavelength", "sensor", *OF_SIGHT, "direction", "coherence",
    "least_coherence", "dem", "bounds", *REDUCING,
)  # fmt: skip


def _read_again(path: Path, asked: ReadOptions) -> Reading:
    observation = read_observation(path)
    return Reading(observation.tracks, observation.crs)


READERS: dict[str, Reader] = {
    "observation": Reader(
        is_observation, _read_again, ("crs", *REDUCING), "observation files, to be joined or changed"
    ),
    "licsbas": Reader(
        is_licsbas,
        read_licsbas,
        (*OF_GRIDS, "phase", "variable", "epochs", "geometry"),
        "velocities, displacements and time series of LiCSBAS",
    ),
    "gnss": Reader(is_gnss, read_gnss, OF_TABLES, "tables of GNSS stations"),
    "points": Reader(
        is_text, read_points, (*OF_TABLES, *OF_SIGHT, *REDUCING), "text and CSV files of points of a track"
    ),
    "licsar": Reader(is_licsar, read_licsar, (*OF_GRIDS, "band"), "interferograms of LiCSAR, or a folder with one"),
    "mintpy": Reader(
        is_mintpy, read_mintpy, (*OF_GRIDS, "variable", "epochs", "geometry"), "velocities and time series of MintPy"
    ),
    "grid": Reader(is_grid, read_grid, (*OF_GRIDS, "phase", "band", "variable"), "GeoTIFF, NetCDF and GMT grids"),
}
"""Name → reader; the first that recognises a file reads it."""


def reader_of(path: Path) -> Reader:
    """The reader of a file or folder. Raises NotFoundError, or QexpError if none knows it."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file")
    found = next((reader for reader in READERS.values() if reader.recognises(path)), None)
    if found is None and path.is_file() and _begins_with(path, UTF_16):
        raise QexpError(f"{path} is text in UTF-16; save it as UTF-8")
    if found is None and path.is_dir():
        raise QexpError(f"{path} is a folder without interferograms of LiCSAR (*.geo.unw.tif); name the file to read")
    if found is None:
        known = "; ".join(reader.help for reader in READERS.values())
        raise QexpError(f"{path} is of no kind that can be read; known are {known}")
    return found


def _begins_with(path: Path, marks: Sequence[bytes]) -> bool:
    with path.open("rb") as file:
        return file.read(2) in marks
