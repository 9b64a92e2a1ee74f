"""An observation: displacements of points along directions, by one or several tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.base.arrays import Array
from qexp.errors import DamagedError, QexpError, some, suggestion
from qexp.physics.instruments import INSTRUMENTS, Instrument

if TYPE_CHECKING:
    import pyproj
    import xarray

Look = Literal["right", "left"]

UNIT_TOLERANCE = 1e-2
"""Largest deviation from 1 of the length of a line of sight; files often have four digits."""

LARGEST = 1e5
"""Displacements beyond these metres are none."""


@dataclass(frozen=True)
class CorrelatedNoise:
    """The part of a track's noise that is correlated in space: covariance `sill` f(distance /
    range).

    type      a function of `qexp.physics.random_fields`: "exponential" or "gaussian"
    sill      covariance of points that are infinitely close [m²]
    range     distance at which the covariance is 1/e of it [m]
    nugget    variance of the part that is independent from point to point, as estimated with the
              others [m²]; what counts in an inversion are the errors of the points
    estimated  whether these numbers are estimates from the same track, with their errors
    """

    type: str
    sill: float
    range: float
    nugget: float = 0.0
    estimated: bool = field(default=False, compare=False)

    @property
    def words(self) -> str:
        return (
            f"{self.type}, sill {self.sill:.3g} m², range {self.range / 1000:.3g} km, nugget"
            f" {self.nugget:.3g} m²"
        )


@dataclass(frozen=True, repr=False)
class Track:
    """The points of one satellite track, or the components of GNSS stations.

    kind          name of the instrument
    x, y          (point,)    position east and north in the observation's system [m]
    displacement  (point,)    along the direction, positive toward it [m]; not finite without one
    error         (point,)    standard deviation of the noise that is independent from point to
                              point [m]
    direction     (point, 3)  unit vector along x, along y and up: from the ground toward the
                              satellite, or a component of a GNSS station
    observed      (point,)    whether the point counts
    elevation     (point,)    above the level from which depths count [m], or None
    noise                     the correlated part of the noise, or None
    station       (point,)    names of GNSS stations, or None
    count         (point,)    of how many pixels or points each is the mean; None if they are none
    spread        (point, 2)  standard deviation of their positions east and north [m], or None
    look                      side of its flight to which the satellite looks, without which lines
                              of sight do not tell the heading; None: not known
    """

    name: str
    kind: str
    x: Array
    y: Array
    displacement: Array
    error: Array
    direction: Array
    observed: NDArray[np.bool_]
    elevation: Array | None = None
    noise: CorrelatedNoise | None = None
    station: NDArray[np.str_] | None = None
    count: Array | None = None
    spread: Array | None = None
    look: Look | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} track {self.name}: {self.size:,} points>"

    @property
    def instrument(self) -> Instrument:
        return INSTRUMENTS[self.kind]

    @property
    def places(self) -> Array:
        """Positions, (point, 2) [m]."""
        return np.stack([self.x, self.y], axis=1)

    @property
    def has_estimated_noise(self) -> bool:
        return self.noise is not None and self.noise.estimated

    @property
    def size(self) -> int:
        """Number of points that count."""
        return int(self.observed.sum())

    def select(self, points: NDArray[np.bool_] | NDArray[np.int64]) -> Track:
        """The track with these points only, in their order."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        some = {}
        for name, values in arrays.items():
            if values is not None:
                some[name] = values[points]
        return replace(self, **some)

    def thinned(self, most: int, random: np.random.Generator) -> Track:
        """The track with at most `most` of its points, drawn at random."""
        if len(self.x) <= most:
            return self
        return self.select(np.sort(random.choice(len(self.x), most, replace=False)))

    def where_observed(self) -> Track:
        """The track with the points that count."""
        return self.select(self.observed)


ARRAYS = (
    "x", "y", "displacement", "error", "direction", "observed", "elevation", "station", "count",
    "spread",
)  # fmt: skip


def where_known(tracks: Sequence[Track], name: str, otherwise: float | str) -> NDArray[Any] | None:
    """A property of all points that not all tracks have; None if none has it.

    otherwise  of the points of those that do not
    """
    properties = [getattr(track, name) for track in tracks]
    example = next((values for values in properties if values is not None), None)
    if example is None:
        return None
    known = [
        np.full((len(track.x), *example.shape[1:]), otherwise) if values is None else values
        for track, values in zip(tracks, properties, strict=True)
    ]
    return np.concatenate(known)


def joined(tracks: Sequence[Track]) -> Track:
    """The points of tracks one after the other; NaN, or an empty name, where one has no such
    property. All else is the first one's.
    """
    arrays = dict[str, Any]()
    for name in ARRAYS:
        arrays[name] = where_known(tracks, name, "" if name == "station" else np.nan)
    return replace(tracks[0], **arrays)


@dataclass(frozen=True, repr=False)
class Observation:
    """One or several tracks in one coordinate reference system.

    crs  as the Open Geospatial Consortium's well-known text, or None for plain metres
    """

    tracks: tuple[Track, ...]
    crs: str | None = None

    def __repr__(self) -> str:
        tracks = ", ".join(f"{track.name}: {track.size:,} points" for track in self.tracks)
        return f"<observation of {tracks}>"

    @property
    def size(self) -> int:
        """Number of points that count."""
        return sum(track.size for track in self.tracks)

    def track(self, name: str) -> Track:
        return next(track for track in self.tracks if track.name == name)


def require_sound(observation: Observation, source: str) -> Observation:
    """The observation itself. Raises QexpError that lists all that is wrong with it, `source` ahead
    of each line.
    """
    counts = Counter(track.name for track in observation.tracks)
    wrong = [] if counts else ["it has no tracks"]
    for name, count in sorted(counts.items()):
        if count > 1:
            wrong.append(f"{count} tracks are named '{name}'; each needs a name of its own")
    for track in observation.tracks:
        wrong += [f"track '{track.name}': {problem}" for problem in _problems_of(track)]
    if wrong:
        raise QexpError("\n".join(f"{source}: {problem}" for problem in wrong))
    return observation


def _problems_of(track: Track) -> Iterator[str]:
    if track.kind not in INSTRUMENTS:
        yield f"no instrument '{track.kind}'; {suggestion(track.kind, INSTRUMENTS)}"
        return
    if track.size == 0:
        yield f"none of its {len(track.x):,} points is observed; all are masked or missing"
        return
    points = track.where_observed()
    for name in ("x", "y", "displacement", "error"):
        if missing := int((~np.isfinite(getattr(points, name))).sum()):
            yield (
                f"'{name}' is missing or infinite at {missing:,} of {points.size:,} points; mask"
                " them"
            )
    if (largest := np.abs(points.displacement).max(initial=0.0)) > LARGEST:
        yield (
            f"displacements of up to {largest:.3g} m are impossible; name the gaps of the file, or"
            " its unit"
        )
    exact = points.select(points.error <= 0)
    if exact.size:
        places = [
            f"{east:.0f} east, {north:.0f} north"
            for east, north in zip(exact.x, exact.y, strict=True)
        ]
        names = list(dict.fromkeys(places if exact.station is None else exact.station.tolist()))
        yield (
            f"the error of {exact.size:,} points is not positive ({some(names)}); give each a"
            " standard deviation in m, or leave them out, such as a reference station, whose"
            " displacement is 0 by definition"
        )
    length = np.linalg.norm(points.direction, axis=1)
    if bad := int((~(np.abs(length - 1) <= UNIT_TOLERANCE)).sum()):
        yield (
            f"the line of sight is not a unit vector at {bad:,} points: lengths are"
            f" {np.nanmin(length):g} to {np.nanmax(length):g}, but must be 1; check the order of"
            " the columns"
        )
    elif track.instrument.line_of_sight and (points.direction[:, 2] <= 0).any():
        bad = int((points.direction[:, 2] <= 0).sum())
        yield (
            f"the line of sight points down at {bad:,} points, but must lead from the ground to the"
            " satellite; reverse its sign, and that of the displacements if they are positive away"
            " from the satellite"
        )


Box = tuple[float, float, float, float]
"""Least and greatest x, then y [m]."""


def require_overlap(observation: Observation) -> None:
    """Raise QexpError if some images share no area with the others, not even by way of others."""
    seen = [track.where_observed() for track in observation.tracks if track.instrument.imaging]
    boxes = {
        track.name: (track.x.min(), track.x.max(), track.y.min(), track.y.max()) for track in seen
    }
    if not boxes:
        return
    first, *apart = boxes
    together = [first]
    for name in together:  # it grows meanwhile
        together += [other for other in apart if _meet(boxes[name], boxes[other])]
        apart = [other for other in apart if other not in together]
    if apart:
        here = _extent(boxes[apart[0]])
        there = _extent(boxes[first])
        raise QexpError(
            f"track '{apart[0]}' ({here}) does not overlap with '{first}' ({there}), so that they"
            " did not see the same event; make an observation of each, or check the coordinate"
            " reference systems of the files"
        )


def _meet(first: Box, second: Box) -> bool:
    return all(first[low] <= second[low + 1] and second[low] <= first[low + 1] for low in (0, 2))


def _extent(box: Box) -> str:
    west, east, south, north = (side / 1000 for side in box)
    return f"{west:.1f} to {east:.1f} km east, {south:.1f} to {north:.1f} km north"


ONE_POINT_DISTANCE, ONE_STATION_DISTANCE = 1.0, 100.0
"""Distance [m] up to which points are one; and up to which stations of one name are."""
SAME_DISPLACEMENT = 1e-6
"""Difference of displacements [m] up to which they are the same data."""


def stations_twice(observation: Observation) -> Iterator[str]:
    """The stations that are there twice, with other displacements. Raises QexpError for the same
    data twice.
    """
    tracks = [track.where_observed() for track in observation.tracks]
    for first, second in combinations([track for track in tracks if track.instrument.imaging], 2):
        if first.size == second.size and _alike(first, second):
            raise QexpError(
                f"the tracks '{first.name}' and '{second.name}' hold the same {first.size:,}"
                " points, which would count twice; leave one out"
            )
    stations = [track for track in tracks if not track.instrument.imaging]
    pairs = list[tuple[str, str, bool]]()
    for kind in dict.fromkeys(track.kind for track in stations):
        pairs += _pairs_of_entries([track for track in stations if track.kind == kind])
    alike = Counter((where, name) for where, name, same in pairs if same)
    of_all = Counter((where, name) for where, name, _ in pairs)
    for where in dict.fromkeys(where for where, _ in of_all):
        names = list(dict.fromkeys(name for there, name in of_all if there == where))
        if equal := [name for name in names if alike[where, name] == of_all[where, name]]:
            raise QexpError(
                f"{_named(equal)} {where}, with the same displacements, which would count twice"
            )
        yield (
            f"{_named(names)} {where}, with different displacements, of which all count; is one"
            " to go?"
        )


def _named(names: Sequence[str]) -> str:
    return f"station {names[0]} is" if len(names) == 1 else f"stations {some(names, 8)} are"


def _alike(first: Track, second: Track) -> bool:
    """Whether two tracks of one size have the same points and displacements."""
    apart = np.hypot(first.x - second.x, first.y - second.y) < ONE_POINT_DISTANCE
    views = np.abs(first.direction - second.direction)
    moved = np.abs(first.displacement - second.displacement)
    return bool(apart.all() and (views < 1e-3).all() and (moved < SAME_DISPLACEMENT).all())


def _pairs_of_entries(tracks: Sequence[Track]) -> Iterator[tuple[str, str, bool]]:
    """Two entries for the same component of a station: in which tracks, its name, and whether they
    are equal.
    """
    from scipy.spatial import KDTree

    owners = np.repeat([track.name for track in tracks], [track.size for track in tracks])
    points = joined(tracks)
    names = np.full(len(owners), "") if points.station is None else points.station
    places = points.places
    directions = points.direction
    displacements = points.displacement
    for first, second in sorted(KDTree(places).query_pairs(ONE_STATION_DISTANCE)):
        one_place = np.hypot(*(places[first] - places[second])) < ONE_POINT_DISTANCE
        named = names[first] and names[second]
        same_station = names[first] == names[second] if named else one_place
        if same_station and np.abs(directions[first] - directions[second]).max() < 1e-2:
            place = "at {:.0f} east, {:.0f} north".format(*places[first])
            here = owners[first]
            there = owners[second]
            where = f"twice in '{here}'" if here == there else f"in '{here}' and in '{there}'"
            same = abs(displacements[first] - displacements[second]) < SAME_DISPLACEMENT
            yield where, str(names[first] or names[second] or place), bool(same)


NORTHS = ("true", "grid")
"""To which north the components of a line of sight, or of a station's displacement, may refer."""


def convergence(crs: pyproj.CRS | None, x: Array, y: Array) -> Array:
    """The meridian convergence at points: the angle by which true north lies to the left of grid
    north [rad].

    crs      projected; in any other one, and without one, both norths are the same
    x, y     (point,)  in this system
    returns  (point,)  0 where a point is not finite
    """
    if crs is None or not crs.is_projected:
        return np.zeros(len(x))
    import pyproj

    projection = pyproj.Proj(crs)
    longitude, latitude = projection(x, y, inverse=True)
    angle = np.radians(projection.get_factors(longitude, latitude).meridian_convergence)
    return np.where(np.isfinite(angle), angle, 0.0)


def turned(direction: Array, angle: Array) -> Array:
    """Vectors turned to the left, counter-clockwise from above.

    By the convergence, components along true east and north become components along the axes of the
    grid.

    direction  (point, 3)  east, north, up
    angle      (point,)    [rad]
    returns    (point, 3)
    """
    east, north, vertical = direction.T
    cosine = np.cos(angle)
    sine = np.sin(angle)
    turned = [east * cosine - north * sine, east * sine + north * cosine, vertical]
    return np.stack(turned, axis=-1)


# The observation file: NetCDF by the CF conventions, all points of all tracks one after the other.

FORMAT = "qexp observation 1"
"""Value of the attribute `qexp_format`, by which a file is known."""

COMPONENTS = ("east", "north", "up")

VARIABLES: Mapping[str, tuple[str, str]] = {
    "x": ("m", "easting"),
    "y": ("m", "northing"),
    "displacement": ("", "displacement along the direction, positive toward it"),
    "error": ("", "standard deviation of the noise that is independent from point to point"),
    "direction": (
        "1",
        "unit vector along x, y and up: from the ground to the satellite, or a station's component",
    ),
    "elevation": ("m", "elevation above the level from which depths count"),
    "count": ("1", "number of pixels or points of which the point is the mean"),
    "spread": ("m", "standard deviation of their positions, east and north"),
}
"""Their units, without one that of the instruments, and words."""
REQUIRED = ("x", "y", "displacement", "error", "direction")
DIMENSIONS = {"direction": "component", "spread": "horizontal"}
"""Besides that of points."""
NOISE_UNITS = {"sill": "m2", "range": "m", "nugget": "m2"}
NO_NOISE = CorrelatedNoise("", np.nan, np.nan, np.nan)
"""Of tracks without any, beside others."""


def write_observation(
    observation: Observation, path: Path, history: str = "", comment: str = ""
) -> None:
    """Write an observation as NetCDF, whole or not at all.

    history  how it was made, for the attribute of that name
    comment  what was left out and what is doubtful, likewise
    """
    require_sound(observation, str(path))
    table = as_table(observation)
    about = {"history": history, "comment": comment}
    table.attrs |= {name: text for name, text in about.items() if text}
    files.write_bytes(path, encoded(table))


def encoded(table: xarray.Dataset) -> bytes:
    """The content of a NetCDF file with numbers along `point` compressed, by which damage is found,
    too.
    """
    encoding = {}
    for name, values in table.variables.items():
        if values.dims[:1] == ("point",) and values.dtype.kind != "O":
            encoding[str(name)] = {"zlib": True}
    return bytes(table.to_netcdf(engine="h5netcdf", encoding=encoding))


def as_table(observation: Observation) -> xarray.Dataset:
    """An observation in xarray: variables along `point`, properties of tracks along `track`."""
    import xarray

    tracks = observation.tracks
    points = dict[str, Any]()
    measured = " or ".join(dict.fromkeys(track.instrument.unit for track in tracks))
    together = joined(tracks)
    for name, (unit, words) in VARIABLES.items():
        if (values := getattr(together, name)) is not None:
            dimensions = ("point", DIMENSIONS[name]) if name in DIMENSIONS else ("point",)
            points[name] = (dimensions, values, {"units": unit or measured, "long_name": words})
    if together.station is not None:
        about_names = {"long_name": "name of the GNSS station"}
        points["station"] = ("point", together.station.astype(object), about_names)
    flags: dict[str, Any] = {
        "flag_values": np.array([0, 1], np.int8),
        "flag_meanings": "masked observed",
    }
    flags["long_name"] = "whether the point counts"
    points["mask"] = ("point", together.observed.astype(np.int8), flags)
    owners = np.repeat(np.arange(len(tracks), dtype=np.int32), [len(track.x) for track in tracks])
    points["track"] = ("point", owners, {"long_name": "track"})
    noises = [track.noise or NO_NOISE for track in tracks]
    texts = {
        "track_name": [track.name for track in tracks],
        "track_kind": [track.kind for track in tracks],
        "track_look": [track.look or "" for track in tracks],
        "noise_type": [noise.type for noise in noises],
    }
    for name, of_tracks in texts.items():
        points[name] = ("track", np.array(of_tracks, dtype=object), {})
    points["track_look"][2]["long_name"] = (
        "side of its flight to which the satellite looks; empty where it is not known"
    )
    if all(track.noise is None for track in tracks):
        noises = []
        del points["noise_type"]
    for name, unit in NOISE_UNITS.items() if noises else ():
        values = [getattr(noise, name) for noise in noises]
        about = {"units": unit, "long_name": f"{name} of the correlated noise"}
        points[f"noise_{name}"] = ("track", values, about)
    if noises:
        words = "1 where the noise was estimated from the track itself, 0 where it was declared"
        estimated = np.array([noise.estimated for noise in noises], dtype=np.int8)
        points["noise_estimated"] = ("track", estimated, {"long_name": words})
    if observation.crs is not None:
        points["crs"] = ((), np.int32(0), {"crs_wkt": observation.crs})
        for name in ("displacement", "error"):
            points[name][2]["grid_mapping"] = "crs"
    coordinates = {name: points.pop(name) for name in ("x", "y")}
    coordinates["component"] = ("component", np.array(COMPONENTS, dtype=object))
    about = {"Conventions": "CF-1.10", "title": "observed displacements", "qexp_format": FORMAT}
    return xarray.Dataset(points, coordinates, about)


def is_observation(path: Path) -> bool:
    """Whether a file is an observation file, whatever its state."""
    import h5py

    if path.suffix.lower() in (".nc", ".nc4"):
        with suppress(*formats.BROKEN_NETCDF), h5py.File(path) as file:
            return bool(file.attrs.get("qexp_format") == FORMAT)
    return False


def read_observation(path: Path) -> Observation:
    """Read an observation file. Raises NotFoundError, and QexpError for any other file or one that
    is not sound.
    """
    files.require_file(path)
    try:
        table = formats.read_netcdf(path)
    except DamagedError as error:
        raise QexpError(
            f"{path} is not an observation file, or is damaged: {error}; make one with: qexp"
            " observe FILE --to OBS.nc"
        ) from None
    if table.attrs.get("qexp_format") != FORMAT:
        raise QexpError(
            f"{path} is not an observation file; make one with: qexp observe {path} --to OBS.nc"
        )
    try:
        observation = _observation(table)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise QexpError(f"{path} is a damaged observation file: {error}") from None
    return require_sound(observation, str(path))


def _observation(table: xarray.Dataset) -> Observation:
    tracks = []
    named = zip(table["track_name"].values, table["track_kind"].values, strict=True)
    for index, (name, kind) in enumerate(named):
        rows = table["track"].values == index
        arrays = {}
        for variable in VARIABLES:
            required = variable in REQUIRED
            if required or variable in table:
                values = table[variable].values[rows].astype(np.float64)
                if required or not np.isnan(values).all():
                    arrays[variable] = values
        observed = table["mask"].values[rows] == 1
        named_points = table["station"].values[rows] if "station" in table else np.zeros(0)
        station = named_points.astype(np.str_)
        # no file of older versions has it
        text = table["track_look"].values[index] if "track_look" in table else ""
        look = next((side for side in get_args(Look) if side == text), None)
        tracks.append(
            Track(
                str(name),
                kind,
                **arrays,
                observed=observed,
                noise=_noise_of(table, index),
                station=station if (station != "").any() else None,
                look=look,
            )
        )
    return Observation(tuple(tracks), table["crs"].attrs["crs_wkt"] if "crs" in table else None)


def _noise_of(table: xarray.Dataset, index: int) -> CorrelatedNoise | None:
    kind = table["noise_type"].values[index] if "noise_type" in table else ""
    if not kind:
        return None
    values = {name: float(table[f"noise_{name}"].values[index]) for name in NOISE_UNITS}
    estimated = "noise_estimated" in table and bool(table["noise_estimated"].values[index])
    return CorrelatedNoise(str(kind), **values, estimated=estimated)


def spacing(x: Array, y: Array) -> float:
    """Distance to the nearest other point, of three quarters of the points [m]."""
    from scipy.spatial import cKDTree

    points = np.unique(np.stack([x, y], axis=1), axis=0)
    if len(points) < 2:
        return 1.0
    return float(np.percentile(cKDTree(points).query(points, k=2)[0][:, 1], 75))
