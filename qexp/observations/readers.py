"""Readers of LiCSAR, LiCSBAS and MintPy, and the table of all, by which a file finds its own.

A new one is a module with a function that reads its files, and a line in `READERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from qexp.base.arrays import Array
from qexp.base.tables import OpenTable
from qexp.errors import NotFoundError, QexpError
from qexp.observations import gbis, kite, raster_files, tables
from qexp.observations.observation import Look, is_observation, read_observation
from qexp.observations.rasters import Raster, Window
from qexp.observations.reading import Columns, Reading, ReadOptions
from qexp.observations.scenes import (
    Direction,
    from_angles,
    from_components,
    read_field,
    read_grid,
    wavelength_of,
)
from qexp.observations.text_files import is_text

LICSAR_PHASE, LICSAR_COHERENCE = ".geo.unw.tif", ".geo.cc.tif"
LICSAR_COMPONENTS = ("E", "N", "U")
BESIDE = (".", "..", "metadata", "../metadata", "../../metadata")
"""Where the components lie, from the folder of an interferogram."""


def is_licsar(path: Path) -> bool:
    if path.is_dir():
        return bool(_interferograms(path))
    return path.is_file() and path.name.endswith(LICSAR_PHASE)


def _interferograms(folder: Path) -> list[Path]:
    patterns = [f"{depth}*{LICSAR_PHASE}" for depth in ("", "*/", "interferograms/*/")]
    return sorted(chain.from_iterable(map(folder.glob, patterns)))


def read_licsar(path: Path, options: ReadOptions) -> Reading:
    """Read an interferogram of Sentinel-1, or the only one of a folder: phase [rad] that grows away
    from the satellite.

    The components east, north and up of the unit vector to the satellite are in files beside it,
    *.geo.E.tif and so on, and the coherence in *.geo.cc.tif, as bytes up to 255.
    """
    files = _interferograms(path) if path.is_dir() else [path]
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:4]) + (", …" if len(files) > 4 else "")
        raise QexpError(f"{path} has {len(files)} interferograms: {names}; name the file of one")
    (file,) = files
    name = file.name.removesuffix(LICSAR_PHASE)
    field = replace(raster_files.open_geotiff(file, options.band), unit="rad")
    look: Look | None = None if options.gives_sight else "right"  # as Sentinel-1 does
    own = file.with_name(f"{name}{LICSAR_COHERENCE}")
    wanted = options.least_coherence is not None and options.coherence is None and own.is_file()
    coherence = raster_files.open_coherence(own) if wanted else None
    wavelength = wavelength_of("sentinel-1")
    sight = partial(_licsar_sight, file)
    return read_field(name, field, options, sight, look, wavelength=wavelength, coherence=coherence)


def _licsar_sight(file: Path, field: Raster) -> Direction:
    """By rasters of the components of the vector to the satellite."""
    for folder in BESIDE:
        files = [
            sorted((file.parent / folder).glob(f"*.geo.{name}.tif")) for name in LICSAR_COMPONENTS
        ]
        if all(len(component) == 1 for component in files):
            return from_components(
                field, [raster_files.open_geotiff(component) for (component,) in files]
            )
        if any(len(component) > 1 for component in files):
            raise QexpError(
                f"{(file.parent / folder).resolve()} has the line of sight of several frames; name"
                f" that of {file.name} with `direction=EAST,NORTH,UP`"
            )
    raise QexpError(
        f"{file}: there are no *.geo.E.tif, *.geo.N.tif and *.geo.U.tif beside it or in the folder"
        " 'metadata'; give `direction=EAST,NORTH,UP`, or `incidence` and `heading` in degrees"
    )


# Velocities and time series of LiCSBAS, `cum.h5` and `cum_filt.h5`.

COMPONENTS = ("E.geo", "N.geo", "U.geo")


def read_licsbas(path: Path, options: ReadOptions) -> Reading:
    """Read a velocity, which counts as the displacement of one year, or the difference of two days.

    Displacements are toward the satellite, in mm; pixels that are 0 have none. A velocity has its
    standard deviation as error, unless one is given. The unit vector to the satellite and masks are
    those of the file.
    """
    if (options.epochs is None) == (options.variable is None):
        raise QexpError(
            f"{path} is a time series; name either the days before and after, `epochs=('20200131',"
            f" '20200212')`, or its velocity, `variable={raster_files.VELOCITY}`"
        )
    fields = raster_files.fields_of(path)
    error = None
    if options.epochs is not None:
        field = raster_files.open_licsbas_difference(path, options.epochs)
    else:
        field = raster_files.open_licsbas(path, options.variable or raster_files.VELOCITY)
        if not field.unit and options.unit is None:
            raise QexpError(
                f"{field.source} does not have the name that LiCSBAS gives to velocities"
                f" ({raster_files.VELOCITY}); if it holds displacements, give their unit: `unit=mm`"
            )
        error = (
            raster_files.open_licsbas(path, raster_files.ERROR)
            if field.unit and raster_files.ERROR in fields
            else None
        )

    def sight(field: Raster) -> Direction:
        if not {*COMPONENTS} <= {*fields}:
            raise QexpError(
                f"{path}: the line of sight is not known: there are no {', '.join(COMPONENTS)} in"
                " it; give GeoTIFFs of them (LiCSBAS_flt2geotiff.py), `direction=EAST,NORTH,UP`, or"
                " `incidence` and `heading` in degrees"
            )
        return from_components(
            field, [raster_files.open_licsbas(path, name) for name in COMPONENTS]
        )

    coherent = options.least_coherence is not None and options.coherence is None
    masks = [
        raster_files.open_licsbas(path, name)
        for name in ("mask", "coh_avg")[: 1 + coherent]
        if name in fields
    ]

    def least(window: Window) -> Array:
        """Of a mask of 0 and 1, and coherence."""
        return np.asarray(np.min([mask.read(window) for mask in masks], axis=0), np.float64)

    coherence = replace(masks[0], read=least) if masks else None
    name = path.name.split(".")[0]
    return read_field(name, field, options, sight, error=error, coherence=coherence)


# Velocities and time series of MintPy, with the angles of its file of geometry.

GEOMETRY = (
    "geometryGeo.h5", "geo_geometryRadar.h5", "inputs/geometryGeo.h5", "../inputs/geometryGeo.h5",
    "geo/geo_geometryRadar.h5",
)  # fmt: skip
"""Where MintPy puts its file of geometry, from the folder of a result."""


def read_mintpy(path: Path, options: ReadOptions) -> Reading:
    """Read a velocity, which counts as the displacement of one year, or the difference of two
    epochs.

    Displacements are toward the satellite [m]. A velocity has its standard deviation as error,
    unless one is given.
    """
    attributes = raster_files.attributes_of(path)
    kind = attributes.get("FILE_TYPE", "")
    error = None
    if kind == "timeseries":
        if options.epochs is None:
            raise QexpError(
                f"{path} is a time series; name the days before and after: `epochs=('20200131',"
                " '20200212')`"
            )
        field = raster_files.open_mintpy_difference(path, options.epochs)
    elif options.epochs is not None:
        raise QexpError(f"{path} holds '{kind}', not a time series; leave `epochs` out")
    elif kind in ("ifgramStack", "geometry", "HDFEOS", ""):
        words = f"has MintPy's type '{kind}'"
        words = words if kind else "has no attribute FILE_TYPE, as MintPy's files do"
        raise QexpError(
            f"{path} {_product(path) or words}; only MintPy's velocities and time series can be"
            " read; write others as GeoTIFF"
        )
    else:
        field = raster_files.open_mintpy(path, options.variable)
        deviation = f"{options.variable or kind}Std"
        error = (
            raster_files.open_mintpy(path, deviation)
            if deviation in raster_files.fields_of(path)
            else None
        )
    numbers = {}
    for name in ("WAVELENGTH", raster_files.SIDE):
        if name in attributes:
            numbers[name] = raster_files.attribute(path, attributes, name)
    look: Look | None = None
    if raster_files.SIDE in numbers:
        look = "left" if numbers[raster_files.SIDE] > 0 else "right"
    if options.gives_sight and options.direction is None:
        heading = options.heading
        if heading is None and "HEADING" in attributes:
            heading = raster_files.attribute(path, attributes, "HEADING")
        options = replace(options, look=options.look or look, heading=heading)

    def sight(field: Raster) -> Direction:
        return _mintpy_sight(path, field, options.geometry, attributes, look)

    wavelength = numbers.get("WAVELENGTH")
    return read_field(path.stem, field, options, sight, look, wavelength=wavelength, error=error)


def _product(path: Path) -> str:
    """What a file of NISAR is, and how its phase is read; empty for others."""
    with raster_files.open_hdf5(path) as file:
        known = ("GUNW", "GOFF", "RUNW", "RIFG", "GCOV")
        products = [name for name in file.get("science/LSAR", ()) if name in known]
        phases: list[str] = []
        file.visit(lambda name: phases.append(name) if name.endswith("/unwrappedPhase") else None)
    if not products:
        return ""
    how = ", without unwrapped phase"
    if phases:
        how = (
            f"; write its phase (radians) as GeoTIFF, `gdal_translate NETCDF:{path}:/{phases[0]}"
            " phase.tif`, read it with `sensor=nisar` (its wavelength), `incidence`, `heading` and"
            " `look=left`"
        )
    return f"is a product of NISAR, {products[0]}{how}"


def _mintpy_sight(
    path: Path,
    field: Raster,
    geometry: Path | None,
    attributes: dict[str, str],
    look: Look | None,
) -> Direction:
    """By the angles of the file of geometry.

    There the azimuth is that of the vector to the satellite, counter-clockwise from north.
    """
    usual = (path.parent / name for name in GEOMETRY)
    geometry = geometry or next((file for file in usual if file.is_file()), None)
    if geometry is None:
        raise QexpError(
            f"{path}: no file of geometry beside it; name MintPy's with `geometry=geometryGeo.h5`,"
            " or give `incidence` and `heading` in degrees"
        )
    incidence = raster_files.open_mintpy(geometry, "incidenceAngle")
    if "azimuthAngle" in raster_files.fields_of(geometry):
        azimuth = raster_files.open_mintpy(geometry, "azimuthAngle")
        return from_angles(
            field, incidence, replace(azimuth, read=lambda window: 90 - azimuth.read(window))
        )
    if "HEADING" not in attributes:
        raise QexpError(
            f"{geometry} has no azimuthAngle; give `incidence` and `heading` in degrees"
        )
    heading = raster_files.attribute(path, attributes, "HEADING")
    return from_angles(field, incidence, heading, look or "right")


def sight_of_vectors(path: Path, requested: Columns) -> Collection[str]:
    """A look; incidence and heading of the command line replace the vectors of a file."""
    return ("look",)


@dataclass(frozen=True)
class Reader:
    """Reads the files of a format.

    takes     the fields of `ReadOptions` that have an effect on such a file; others are refused
    help      what the files are, for `qexp observe --help`, errors and the reference
    stations  whether they hold components of GNSS stations, so that `gnss` takes them, too
    columns   what `columns` can name in them; None: nothing
    sight     which of incidence, heading and look a file has itself, by path and asked columns
    """

    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Reading]
    takes: Collection[str]
    help: str
    stations: bool = False
    columns: tables.Roles | None = None
    sight: Callable[[Path, Columns], Collection[str]] = lambda path, requested: ()


UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of texts of that encoding, which some programs write without being asked."""

REDUCING = ("reduce", "smallest_cell", "largest_cell", "least_share")
OF_POINTS = ("name", "crs", "error", "nodata", "north")
OF_TABLES = (*OF_POINTS, "columns", "unit")
OF_SIGHT = ("incidence", "heading", "look")
OF_GRIDS = (
    "name", "crs", "error", "unit", "nodata", "north", "wavelength", "sensor", *OF_SIGHT,
    "direction", "coherence", "least_coherence", "dem", "bounds", *REDUCING,
)  # fmt: skip
OF_SERIES = (*OF_GRIDS, "variable", "epochs")


def read_again(path: Path, options: ReadOptions) -> Reading:
    observation = read_observation(path)
    return Reading(observation.tracks, observation.crs)


READERS: OpenTable[Reader] = OpenTable(
    "readers",
    {
        "observation": Reader(
            is_observation,
            read_again,
            ("crs", *REDUCING),
            "observation files, to be joined or changed",
        ),
        "licsbas": Reader(
            raster_files.is_series,
            read_licsbas,
            OF_SERIES,
            "velocities and time series of LiCSBAS",
            sight=sight_of_vectors,
        ),
        "gnss": Reader(
            tables.is_gnss,
            tables.read_gnss,
            OF_TABLES,
            "tables of GNSS stations",
            stations=True,
            columns=tables.STATIONS,
        ),
        "points": Reader(
            is_text,
            tables.read_points,
            (*OF_TABLES, *OF_SIGHT, *REDUCING),
            "text and CSV files of points of a track",
            columns=tables.POINTS,
            sight=tables.sight_in_columns,
        ),
        "licsar": Reader(
            is_licsar,
            read_licsar,
            (*OF_GRIDS, "band"),
            "interferograms of LiCSAR, or a folder with one",
            sight=sight_of_vectors,
        ),
        "mintpy": Reader(
            lambda path: path.is_file() and path.suffix.lower() in raster_files.HDF5,
            read_mintpy,
            (*OF_SERIES, "geometry"),
            "velocities and time series of MintPy",
            sight=sight_of_vectors,
        ),
        "gbis": Reader(
            lambda path: path.is_file() and path.suffix.lower() == ".mat",
            gbis.read_gbis,
            (*OF_POINTS, "wavelength", "sensor", *OF_SIGHT, *REDUCING),
            "points in Matlab's files, for GBIS",
            sight=lambda path, requested: ("incidence", "heading"),
        ),
        "kite": Reader(
            lambda path: path.is_file() and path.suffix in kite.FILES,
            kite.read_kite,
            [name for name in OF_GRIDS if name not in ("unit", "wavelength", "sensor")],
            "scenes of Kite",
            sight=sight_of_vectors,
        ),
        "grid": Reader(
            lambda path: (
                path.is_file()
                and path.suffix.lower() in (*raster_files.GEOTIFF, *raster_files.NETCDF)
            ),
            read_grid,
            (*OF_GRIDS, "columns", "phase", "band", "variable"),
            "GeoTIFF, NetCDF and GMT grids",
            columns={"los": ()},
        ),
    },
    lambda entry: None if isinstance(entry, Reader) else "is no qexp.extend.Reader",
)
"""Name → reader."""


RASTERS = (
    ".img", ".hdr", ".dim", ".bil", ".bip", ".bsq", ".unw", ".geo", ".int", ".rsc", ".xml", ".kmz",
)  # fmt: skip
OTHERS = {
    ".npy": "holds one array of NumPy without a place; write it as GeoTIFF or NetCDF",
    **dict.fromkeys(
        RASTERS,
        "is a raster of ENVI, SNAP, ISCE or the like; write it as GeoTIFF: gdal_translate {path}"
        " {path.stem}.tif",
    ),
}
"""Ending of files of other programs → what they are, and how they are converted."""


def in_turn() -> list[Reader]:
    """The first that recognises a file reads it. Those of packages are asked before all others."""
    return [READERS[name] for name in sorted(READERS, key=READERS.own.__contains__)]


def reader_of(path: Path, requested: Columns) -> Reader:
    """The reader of a file or folder, which holds no stations if `columns` names a displacement
    along a line of sight.

    Raises NotFoundError, or QexpError if none knows it.
    """
    if not path.exists():
        a_number = re.fullmatch(r"-?[0-9.]+", str(path))
        hint = (
            f"; write an option of several values once for each, such as --incidence {path}"
            if a_number
            else ""
        )
        raise NotFoundError(f"{path}: there is no such file{hint}")
    for reader in in_turn():
        if reader.recognises(path) and not (reader.stations and tables.has_los(path, requested)):
            return reader
    if path.is_dir():
        raise QexpError(
            f"{path} is a folder without interferograms of LiCSAR (*.geo.unw.tif); name the file to"
            " read"
        )
    if path.is_file():
        with path.open("rb") as file:
            if file.read(2) in UTF_16:
                raise QexpError(f"{path} is text in UTF-16; save it as UTF-8")
    if words := OTHERS.get(path.suffix.lower()):
        raise QexpError(f"{path} {words.format(path=path)}")
    kinds = "; ".join(reader.help for reader in in_turn())
    raise QexpError(
        f"{path} is of no kind that can be read; known are {kinds}; {raster_files.CONVERSION}"
    )


def reader_of_stations(path: Path) -> Reader:
    """The reader of a file of GNSS stations; that of any table, whose columns the user names, if
    none recognises it.
    """
    of_stations = (reader for reader in in_turn() if reader.stations)
    return next((reader for reader in of_stations if reader.recognises(path)), READERS["gnss"])
