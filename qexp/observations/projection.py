"""Coordinate reference systems: degrees become metres, and all tracks lie in one system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from qexp.base.arrays import Array, Pair
from qexp.errors import QexpError, extra
from qexp.observations.observation import NORTHS, Observation, Track, convergence, turned
from qexp.observations.reading import Reading

if TYPE_CHECKING:
    import pyproj

LARGEST_IN_DEGREES = 100.0
"""Extent [degrees, or m] up to which points are taken for degrees passed off as metres."""

MOST_STRETCHED = 0.02
"""By how much a projected system may make lengths longer or shorter, as a share; national systems
and zones of UTM do by less than 0.002 where they are used.
"""


def crs_of(text: str, source: str | None = None) -> pyproj.CRS:
    """Raises QexpError for a text that names no horizontal coordinate reference system.

    source  the file that names it; None if the user did
    """
    with extra("geo"):
        import pyproj

    source_text = f"`crs={text}`" if source is None else f"{source} {text}"

    try:
        crs = pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError:
        raise QexpError(
            f"{source_text}: not a coordinate reference system; write one such as EPSG:32633"
        ) from None
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    if not (crs.is_geographic or crs.is_projected or crs.is_engineering) or crs.is_geocentric:
        raise QexpError(
            f"{source_text}: '{crs.name}' has no east and north; use one such as EPSG:32633"
        )
    return crs


def geographic(crs: str | None) -> pyproj.Transformer | None:
    """From x and y to longitude and latitude in WGS 84 [degrees]; None for plain metres, for a
    system that has no place on the Earth, and without pyproj.
    """
    if crs is None or find_spec("pyproj") is None:
        return None
    import pyproj

    system = crs_of(crs)
    return (
        pyproj.Transformer.from_crs(system, 4326, always_xy=True) if system.geodetic_crs else None
    )


def in_one_system(readings: Mapping[str, Reading], requested: str | None) -> Observation:
    """All tracks in one system with metres.

    readings   file → what was read from it
    requested  the system to use; also that of coordinates whose file names none, which may be a
               geographic one
    Without it: the first file's that is projected. Geographic coordinates go to the UTM zone of
    their centre, and so do those in a system that makes lengths longer or shorter there by more
    than MOST_STRETCHED. Files that name no system and none requested: plain metres.
    Directions refer to the north of their own coordinates in what was read, unless it says
    otherwise, and to that of x and y in what is returned.
    Raises QexpError.
    """
    chosen = None if requested is None else crs_of(requested)
    systems = {
        source: chosen if reading.crs is None else crs_of(reading.crs, f"{source}:")
        for source, reading in readings.items()
    }
    if chosen is None and len({crs is None for crs in systems.values()}) > 1:
        lacking = ", ".join(source for source, crs in systems.items() if crs is None)
        named = (crs for crs in systems.values() if crs is not None and crs.is_projected)
        code = next((crs.to_epsg() for crs in named), None) or "…"
        known = "names no coordinate reference system, but other files do"
        raise QexpError(
            f"{lacking}: {known}; say in which its coordinates are, such as `crs=EPSG:{code}`"
        )
    for source, reading in readings.items():
        _require_plausible(source, reading.tracks, systems[source])
    target = _target(chosen, readings, systems)
    moved: list[Track] = []
    for source, reading in readings.items():
        moved += _moved(source, reading, systems[source], target)
    return Observation(tuple(moved), None if target is None else target.to_wkt())


def by_north(reading: Reading, north: str | None, crs: str | None) -> Reading:
    """A reading whose directions refer to the north that was asked for; None: to that of its
    coordinates.

    crs  of coordinates that name none themselves
    """
    if north is not None:
        if north not in NORTHS:
            raise QexpError(f"`north={north}`: directions refer to {' or '.join(NORTHS)} north")
        return replace(reading, north=north)
    system = reading.crs or crs
    if system is None:
        return reading
    angles = [convergence(crs_of(system), track.x, track.y) for track in reading.tracks]
    turns = [np.degrees(np.abs(angle)).max() for angle in angles]
    if max(turns) < 1.0:  # degrees, from which on it matters to which north directions refer
        return reading
    doubt = (
        "lines of sight are assumed to refer to grid north, which differs from true north by up to"
        f" {max(turns):.1f}° here; say which with `north=grid` or `north=true`"
    )
    return replace(reading, warnings=(*reading.warnings, doubt))


def _target(
    chosen: pyproj.CRS | None,
    readings: Mapping[str, Reading],
    systems: Mapping[str, pyproj.CRS | None],
) -> pyproj.CRS | None:
    named = {source: crs for source, crs in systems.items() if crs is not None}
    if not named:
        return None
    wanted = chosen if chosen is not None and not chosen.is_geographic else None
    first = wanted or next((crs for crs in named.values() if not crs.is_geographic), None)
    if first is not None:
        units = {axis.unit_name for axis in first.axis_info[:2]}
        if units - {"metre", "meter", "m"}:
            raise QexpError(
                f"the coordinate reference system '{first.name}' has the unit"
                f" {', '.join(sorted(units))}; choose one in metres, such as `crs=EPSG:32633`"
            )
        if not first.is_projected:
            return first
    placed: list[tuple[Track, pyproj.CRS]] = []
    for source, crs in named.items():
        placed += ((track, crs) for track in readings[source].tracks)
    centre = _centre(placed, named)
    return first if first is not None and _keeps_lengths(first, *centre) else utm_zone(*centre)


def _centre(tracks: Sequence[tuple[Track, pyproj.CRS]], files: Iterable[str]) -> Pair:
    """Longitude and latitude of the middle of the observed points of tracks in their systems
    [degrees].

    files  from which they were read
    """
    import pyproj

    moved = []
    for track, crs in tracks:
        points = track.where_observed()
        transformer = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
        moved.append(transformer.transform(points.x, points.y))
    x, y = (np.concatenate(values) for values in zip(*moved, strict=True))
    x, y = (values[np.isfinite(x) & np.isfinite(y)] for values in (x, y))
    if not len(x):
        raise QexpError(
            f"{', '.join(files)}: none of the points is observed; all are masked, missing, or"
            " outside the area of their coordinate reference system"
        )
    angles = np.radians(x)
    # also across 180°
    longitude = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean()))
    return float(longitude), float(y.min() + y.max()) / 2


def _keeps_lengths(crs: pyproj.CRS, longitude: float, latitude: float) -> bool:
    """Whether a projected system is true to scale at a place, as Web Mercator is not but at the
    equator.

    Raises QexpError if it is not, and not meant for the place either.
    """
    import pyproj

    factors = pyproj.Proj(crs).get_factors(longitude, latitude)
    scales = factors.meridional_scale, factors.parallel_scale
    if all(abs(scale - 1) <= MOST_STRETCHED for scale in scales):
        return True
    if (area := crs.area_of_use) is not None:
        wide = (area.east - area.west) % 360 or 360.0
        if not (area.south <= latitude <= area.north and (longitude - area.west) % 360 <= wide):
            raise QexpError(
                f"with the coordinate reference system '{crs.name}' the points lie around"
                f" {longitude:.4g}° east, {latitude:.4g}° north, outside its area of use; check"
                " `crs`"
            )
    return False


def utm_zone(longitude: float, latitude: float) -> pyproj.CRS:
    """The zone of a place [degrees]."""
    import pyproj

    if abs(latitude) > 84:
        raise QexpError(
            f"no UTM zone at the latitude {latitude:g}°; choose a system with `crs`, such as"
            " EPSG:3413"
        )
    zone = int((longitude + 180) // 6) % 60 + 1
    return pyproj.CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def _moved(
    source: str, reading: Reading, crs: pyproj.CRS | None, target: pyproj.CRS | None
) -> Iterator[Track]:
    """The tracks of a file in a system, with directions that refer to the north of its grid.

    crs  of the file
    """
    transformer = None
    if crs is not None and target is not None and not crs.equals(target, ignore_axis_order=True):
        import pyproj

        transformer = pyproj.Transformer.from_crs(crs, target, always_xy=True)
    north = crs if reading.north == "grid" else None
    for track in reading.tracks:
        there = track
        if transformer is not None:
            x, y = transformer.transform(track.x, track.y)
            lost = track.observed & ~(np.isfinite(x) & np.isfinite(y))
            if crs is not None and lost.any():
                raise QexpError(
                    f"{source}: {lost.sum():,} points of '{track.name}' cannot be projected; are"
                    f" they in another system than '{crs.name}'?"
                )
            there = replace(track, x=x, y=y)
        if transformer is not None or north is None:
            angle = convergence(target, there.x, there.y) - convergence(north, track.x, track.y)
            if angle.any():
                there = replace(there, direction=turned(track.direction, angle))
        yield there


def _require_plausible(source: str, tracks: Sequence[Track], crs: pyproj.CRS | None) -> None:
    """Raises QexpError for degrees passed off as metres, and for metres passed off as degrees."""
    for track in tracks:
        x = track.x[track.observed]
        y = track.y[track.observed]
        if not len(x):
            continue
        degrees = (np.abs(x) <= 360).all() and (np.abs(y) <= 90).all()
        if crs is not None and crs.is_geographic:
            if not degrees:
                raise QexpError(
                    f"{source}: x {_range(x)}, y {_range(y)} are not longitude and latitude in"
                    " degrees; in metres, give their own system, such as `crs=EPSG:32633`, or swap"
                    " the columns"
                )
        elif degrees and max(np.ptp(x), np.ptp(y)) < LARGEST_IN_DEGREES:
            raise QexpError(
                f"{source}: x {_range(x)}, y {_range(y)} look like longitude and latitude, not like"
                " metres; if so, give `crs=EPSG:4326`; coordinates in km must be written in metres"
            )


def _range(values: Array) -> str:
    return f"{values.min():.6g} to {values.max():.6g}"
