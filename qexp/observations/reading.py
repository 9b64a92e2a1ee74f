"""What is asked of a reader of observations, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.observations.observation import Look, Track
from qexp.observations.reduction import Reduction, reduction
from qexp.rows.table import codes, usual_codes

METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
"""Unit of displacements → metres."""

ASSUMED_ERROR = 0.01
"""Of displacements [m] until the noise gives theirs; the same for all, which then count alike."""

Columns = Mapping[str, str] | Sequence[int] | None
"""What columns hold → their names or positions; or positions in the usual order."""


@dataclass(frozen=True)
class ReadOptions:
    """How one file is read: the options of `qexp observe` for it alone; None: nothing is said.

    incidence, heading, look, direction  a line of sight for a file without, by angles or rasters
    unit           in which displacements and errors of the file count
    unit_option    how the unit of this file alone is given, with {} for it, such as "`unit=['m',
                   '{}']`", for messages
    error          of a file that has none
    error_follows  whether the noise will give the errors, so that none need be given
    nodata         values that mean no data, besides those that the file names
    """

    incidence: float | Path | None = None
    heading: float | Path | None = None
    look: Look | None = None
    direction: Sequence[Path] | None = None
    unit: str | None = None
    unit_option: str | None = None
    error: float | None = None
    error_follows: bool = False
    nodata: Sequence[float] = ()
    name: str | None = None
    crs: str | None = None
    north: str | None = None
    columns: Columns = None
    phase: bool | None = None
    wavelength: float | None = None
    sensor: str | None = None
    band: int | None = None
    variable: str | None = None
    epochs: Sequence[str] | None = None
    bounds: Sequence[float] | None = None
    geometry: Path | None = None
    coherence: Path | None = None
    least_coherence: float | None = None
    dem: Path | None = None
    reduce: str | None = None
    smallest_cell: int | None = None
    largest_cell: int | None = None
    least_share: float | None = None

    @property
    def gives_sight(self) -> bool:
        """Whether there is a line of sight, or a part of one."""
        parts = (self.direction, self.incidence, self.heading, self.look)
        return any(value is not None for value in parts)

    @property
    def metres(self) -> float:
        """The unit of displacements and errors in metres. Raises QexpError for an unknown one."""
        return in_metres(self.unit or "m", self.of_unit)

    @property
    def of_unit(self) -> str:
        """The name of the option that gives the unit of this file."""
        return "gnss_unit" if (self.unit_option or "").startswith("`gnss_unit") else "unit"

    def with_unit(self, unit: str) -> str:
        """How another unit of this file alone is given, for messages."""
        return (self.unit_option or "`unit={}`").replace("{}", unit)

    @property
    def error_unit(self) -> str | None:
        """The unit in which `error` counts; None without one."""
        return None if self.error is None else self.unit or "m"

    @property
    def reduction(self) -> Reduction | None:
        """How points become fewer; None if they stay. Raises QexpError for a criterion that is not
        known.
        """
        sizes = (self.smallest_cell, self.largest_cell, self.least_share)
        if self.reduce is not None:
            return reduction(self.reduce, *sizes)
        if any(size is not None for size in sizes):
            raise QexpError(
                "`smallest_cell`, `largest_cell` and `least_share` need a criterion:"
                " `reduce=quadtree:0.005`"
            )
        return None


def in_metres(unit: str, option: str = "unit") -> float:
    """Raises QexpError for a unit that displacements do not have."""
    if unit not in METRES:
        raise QexpError(
            f"`{option}={unit}`: no unit of displacements; choose from {', '.join(METRES)}"
        )
    return METRES[unit]


@dataclass(frozen=True)
class Reading:
    """The tracks of a file.

    crs       of their x and y, as any text that pyproj takes; if it is geographic, x and y are
              longitude and latitude [degrees] still; None if the file does not say
    warnings  sentences about what the user should look at
    north     to which north their directions refer: true or grid, that of x and y; for longitude
              and latitude it is the same
    points    of tracks of means of cells: draws some points as they were before, for the noise
    size      how many pixels were read where the track holds means of them
    error_unit  in which the number of `error` counted; None if it was not used
    look      side to which the satellite looks; None: not known, or tracks say it themselves
    """

    tracks: tuple[Track, ...]
    crs: str | None = None
    warnings: tuple[str, ...] = ()
    north: str = "grid"
    points: Callable[[], Track] | None = None
    size: int | None = None
    error_unit: str | None = None
    look: Look | None = None


def without_codes(values: Array, nodata: Sequence[float]) -> Array:
    """The values with NaN where they are one of those that mean no data, which files may hold in
    single precision.
    """
    for code in nodata:
        values = np.where(np.isclose(values, code, rtol=1e-6, atol=0.0), np.nan, values)
    return values


def masked_where_missing(track: Track) -> Track:
    """The track without its points at which a number is missing or infinite."""
    complete = np.isfinite(track.direction).all(axis=1) & track.observed
    for values in (track.x, track.y, track.displacement, track.error, track.elevation):
        if values is not None:
            complete &= np.isfinite(values)
    return replace(track, observed=complete)


def direction_toward(incidence: Array, heading: Array, look: str = "right") -> Array:
    """Unit vectors from the ground to the satellite, (−cos h sin i, sin h sin i, cos i) for a
    right-looking one.

    incidence  (point,)    from the vertical [degrees]
    heading    (point,)    of the flight, clockwise from north [degrees]
    look       right or left of the flight
    returns    (point, 3)  east, north, up
    """
    side = {"right": 1.0, "left": -1.0}
    if look not in side:
        raise QexpError(f"`look={look}`: a satellite looks right or left of its flight")
    steep = np.radians(incidence)
    flight = np.radians(heading)
    sideways = side[look] * np.sin(steep)
    components = -np.cos(flight) * sideways, np.sin(flight) * sideways, np.cos(steep)
    return np.stack(np.broadcast_arrays(*components), axis=-1)


def angles_of(direction: Array, look: Look | None = None) -> tuple[Array, Array]:
    """Incidence and heading of a satellite, (point,) each [degrees]; heading from −180 to 180.

    look  right or left of the flight; None, not known: that of a right-looking one
    """
    incidence = np.degrees(
        np.arccos(np.clip(direction[:, 2] / np.linalg.norm(direction, axis=1), -1, 1))
    )
    side = -1 if look == "left" else 1
    return incidence, np.degrees(np.arctan2(side * direction[:, 1], -side * direction[:, 0]))


LARGE_DISPLACEMENT = 20.0
"""Displacements beyond these metres are suspected to be in another unit."""
UNUSUAL_DISPLACEMENT = 1.0
"""The same where nothing names their unit: centimetres may be taken for metres."""


def suspicions(
    largest: float, named: bool, options: ReadOptions, hint: str = ""
) -> tuple[str, ...]:
    """What makes displacements of this largest absolute value [m] suspicious.

    named  whether the file names their unit
    """
    known = named or options.unit is not None
    if not largest > (LARGE_DISPLACEMENT if known else UNUSUAL_DISPLACEMENT):
        return ()
    unit = "mm" if largest > LARGE_DISPLACEMENT else "cm"
    option = options.with_unit(unit)
    if options.unit is None and "[" in option:  # of several files
        option = (
            f"`{options.of_unit}={unit}` if all files are in it, or {option} if only this one is"
        )
    doubt = f"displacements of up to {largest:,.4g} m; if they are not in metres, give their unit:"
    return (f"{doubt} {option}{hint}",)


RADIANS = (
    "radians, multiply them by 180/π; of the angles of a look vector (HyP3's lv_theta from the"
    " horizontal, lv_phi from east) make its components cos(theta) cos(phi), cos(theta) sin(phi),"
    " sin(theta), for `direction=EAST,NORTH,UP`"
)


def require_degrees(incidence: Array, source: str) -> None:
    """Raises QexpError for an incidence that is not in degrees, or beyond the horizon."""
    angles = incidence[np.isfinite(incidence)]
    if len(angles) and not (angles.min() >= 0 and angles.max() < 90):
        raise QexpError(
            f"{source}: the incidence lies between {angles.min():g} and {angles.max():g}; it is an"
            " angle from the vertical, from 0 to 90 degrees"
        )
    if len(angles) and 0 < angles.max() < 2:  # no satellite looks down more steeply
        raise QexpError(
            f"{source}: an incidence of up to {angles.max():g} degrees is not possible for a"
            " satellite; if it is in " + _in_degrees(incidence)
        )


def require_heading_in_degrees(heading: Array, source: str) -> None:
    """Raises QexpError for one of more than a full turn, and for headings that are all within ±π:
    no radar satellite flies so close to north or south.
    """
    angles = heading[np.isfinite(heading)]
    if heading.size == 1 and not np.abs(heading).max() <= 360:
        raise QexpError(f"{source}: a heading is an angle from north, in degrees from -360 to 360")
    if 0 < np.abs(angles).max(initial=0.0) <= np.pi:
        raise QexpError(
            f"{source}: headings of {angles.min():.3g} to {angles.max():.3g} degrees are those of"
            f" no satellite; if they are in {_in_degrees(heading)}"
        )


def _in_degrees(angles: Array) -> str:
    """How angles in radians are given."""
    return f"radians, write {np.degrees(angles.flat[0]):.4g}" if angles.size == 1 else RADIANS


CODE_RATIO = 10.0
"""Ratio to the largest other value from which on an exactly repeated one is a code for no data."""


def codes_among(values: NDArray[np.floating], factor: float = 1.0) -> list[float]:
    """The values that stand for no data: usual codes, and one that is repeated exactly, far from
    others in any unit.

    factor  by which the values were multiplied
    """
    if not values.size:
        return []
    ends = np.array([values.min(), values.max()])  # NaN if one of the values is
    known = values.reshape(-1) if np.isfinite(ends).all() else values[np.isfinite(values)]
    found = list[float]()
    if len(known) < values.size or usual_codes(ends, factor).any():
        found = [*codes(known, factor)]
        known = known[~np.isin(known, found)]
    if not len(known):
        return found
    extreme = float(max(known.min(), known.max(), key=abs))
    repeated = np.count_nonzero(known == extreme)
    if repeated < 2:
        return found
    far = np.abs(known) >= abs(extreme) / CODE_RATIO
    is_code = np.count_nonzero(far) == repeated and bool(known[~far].any())
    return [*found, extreme] if is_code else found


LOWEST_ELEVATION, HIGHEST_ELEVATION = -11_000.0, 9_000.0
"""[m]; there is no ground beyond."""


def elevations(values: Array, metres: float = 1.0) -> Array:
    """Elevations [m], NaN where there is no ground or the usual code for no data.

    metres  of one unit of the values
    """
    heights = values * metres
    is_ground = (heights >= LOWEST_ELEVATION) & (heights <= HIGHEST_ELEVATION) & (values != -9999)
    return np.where(is_ground, heights, np.nan)
