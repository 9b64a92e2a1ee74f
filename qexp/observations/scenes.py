"""Scenes: what a radar saw on a grid of pixels, with its line of sight, as tracks of points."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base.arrays import Array
from qexp.base.quantities import UNITS
from qexp.errors import QexpError, suggestion
from qexp.observations.observation import UNIT_TOLERANCE, Look, Track, joined
from qexp.observations.raster_files import GEOTIFF, open_coherence, open_elevation, open_raster
from qexp.observations.rasters import Raster, Window
from qexp.observations.reading import (
    ASSUMED_ERROR,
    METRES,
    Reading,
    ReadOptions,
    codes_among,
    direction_toward,
    masked_where_missing,
    require_degrees,
    require_heading_in_degrees,
    suspicions,
    without_codes,
)
from qexp.observations.reduction import Flags, Pixels, reduced
from qexp.physics.instruments import RADAR
from qexp.rows.table import usual_codes

MOST_PIXELS = 4_000_000_000
"""Of a grid that is read, a part at a time; more take hours, and are a mistake."""
SAMPLED_PIXELS = 50_000
"""Pixels from which the noise of a grid is estimated that becomes means of cells."""


def read_grid(path: Path, options: ReadOptions) -> Reading:
    """Read one field of displacement or phase over a grid. Raises QexpError."""
    field = open_raster(path, options.band, _variable(path, options))
    return read_field(path.stem, field, options, partial(direction_of, options=options))


def _variable(path: Path, options: ReadOptions) -> str | None:
    """The variable of a grid that the command line names, as such or as the column `los`."""
    if options.columns is None:
        return options.variable
    if (
        path.suffix.lower() in GEOTIFF
        or not isinstance(options.columns, Mapping)
        or {*options.columns} != {"los"}
    ):
        raise QexpError(
            f"{path} is a grid, of which `columns={{'los': 'VARIABLE'}}` names the displacement in"
            " NetCDF; leave the rest out"
        )
    if options.variable is not None:
        raise QexpError("`variable` and `columns` both name the displacement; leave one out")
    return options.columns["los"]


def _in_crs(field: Raster, crs: str | None) -> Raster:
    """The field in the coordinate reference system of the command line, if its file names none."""
    if field.layout.crs is not None:
        return field
    if crs is None:
        raise QexpError(
            f"{field.source} does not say in which coordinate reference system it is; name it, such"
            f" as `crs` EPSG:32633, or EPSG:4326 for longitude and latitude (it has {field.layout})"
        )
    return replace(field, layout=replace(field.layout, crs=crs))


def read_field(
    name: str,
    field: Raster,
    options: ReadOptions,
    sight: Callable[[Raster], Direction],
    look: Look | None = None,
    *,
    wavelength: float | None = None,
    error: float | Raster | None = None,
    coherence: Raster | None = None,
) -> Reading:
    """The track of a field with what the command line adds to it, or has in place of what the file
    tells: its name, its lines of sight, by their field, and all that follows.
    """
    field = _in_crs(field, options.crs)
    direction = direction_of(field, options) if options.gives_sight else sight(field)
    metres, phase = displacement_of(field, options, wavelength)
    if options.nodata:
        stored = field.read
        field = replace(
            field, read=lambda window: without_codes(stored(window), options.nodata), gaps=True
        )
    if options.error is not None:
        error = options.error * (1.0 if phase else options.metres)
    if error is None and options.error_follows:
        error = ASSUMED_ERROR
    if error is None:
        raise QexpError(
            f"{field.source} has no errors; give the standard deviation of its displacements, such"
            " as `error=0.005` (in metres, or in the unit of `unit`)"
        )
    if isinstance(error, float) and not error > 0:
        raise QexpError(f"`error={error:g}`: a standard deviation is positive")
    least = options.least_coherence
    if least is not None and not 0 < least <= 1:
        raise QexpError(f"`least_coherence={least:g}`: coherence lies between 0 and 1")
    if options.coherence is not None:
        coherence = open_coherence(options.coherence)
    if least is not None and coherence is None:
        raise QexpError("`least_coherence` needs a raster of coherence: `coherence=FILE`")
    elevation = None if options.dem is None else open_elevation(options.dem, field.layout)
    window = field.layout.whole
    if options.bounds is not None:
        window = field.layout.window(options.bounds, field.source)
    masks = None if coherence is None else (coherence, least or 0.3)
    data = field, metres, phase, error, direction, masks, elevation, window
    return _reading_of(Scene(options.name or name, *data), options, look)


PER_YEAR = re.compile(r"(\s*/\s*|\s+per\s+)(year|yr|y|a)$|[\s.*]+(year|yr|y|a)\s*(\^|\*\*)?-1$")
NO_UNIT = ("", "1", "-", "none", "unknown")
"""What files say that name no unit."""


def unit_of(field: Raster) -> tuple[str, bool]:
    """The unit of displacement that a file gives its field, as it is written here; and whether it
    is that per year.
    """
    given = field.unit.strip().lower()
    unit = PER_YEAR.sub("", given)
    return next((short for short in METRES if UNITS.get(unit) == UNITS[short]), unit), unit != given


def displacement_of(
    field: Raster, options: ReadOptions, wavelength: float | None
) -> tuple[float, bool]:
    """The displacement toward the satellite of one unit of a field [m], and whether the field is
    phase.
    """
    unit, _ = unit_of(field)
    has_wavelength = options.wavelength is not None or options.sensor is not None
    if options.phase or has_wavelength or unit in ("rad", "radian", "radians"):
        if options.unit is not None:
            raise QexpError(f"{field.source}: phase is in radians; leave `unit={options.unit}` out")
        if unit in METRES:
            raise QexpError(
                f"{field.source} is in {unit}, so it is not phase; leave `phase`, `wavelength` and"
                " `sensor` out"
            )
        return metres_of_phase(field.source, options, wavelength), True
    if unit not in (*NO_UNIT, *METRES) and options.unit is None:
        raise QexpError(
            f"{field.source} is in '{field.unit}', which is no unit of displacements here; convert"
            f" it to m, cm or mm, or say in which of them it is, such as {options.with_unit('m')}"
        )
    if unit in METRES and options.unit is not None and unit != options.unit:
        raise QexpError(f"{field.source} gives its unit as {unit}, but `unit` says {options.unit}")
    return METRES.get(unit) or options.metres, False


def _reading_of(scene: Scene, options: ReadOptions, look: Look | None) -> Reading:
    """The points of a scene, or the means of its cells where a reduction is asked for.

    look  as the file tells
    """
    if scene.window.size > MOST_PIXELS:
        raise QexpError(
            f"{scene.field.source}: {scene.window.size:,} pixels are too many; name a part of it"
            " with `bounds`"
        )
    said = list[str]()
    content = scene.content()
    while content.codes:
        for code, count in content.codes.items():
            are, they = ("s are", "they count") if count > 1 else (" is", "it counts")
            said.append(
                f"{count:,} pixel{are} exactly {code:g}, far from all others; {they} as without"
                " data"
            )
        field = replace(scene.field, gaps=True)
        scene = replace(scene, codes=(*scene.codes, *content.codes), field=field)
        content = scene.content()
    if content.zeros:
        said.append(
            f"{content.zeros:,} pixels are exactly 0, as are others beside them; they count as "
            "without data, although the file names another value for these"
        )
    if content.largest is None:
        raise QexpError(
            f"{scene.field.source}: none of its {scene.window.size:,} pixels is observed; all are"
            " missing, or 0"
        )
    plan = options.reduction
    unit = "m" if scene.phase and options.error is not None else options.error_unit
    crs = scene.field.layout.crs
    if options.gives_sight and options.direction is None:
        look = options.look or "right"
    warnings = (*said, *scene.warnings(content, options))
    about: dict[str, Any] = {"crs": crs, "warnings": warnings, "error_unit": unit, "look": look}
    if plan is None:
        if scene.window.size > MOST_POINTS:
            height, width = scene.window.shape
            raise QexpError(
                f"{scene.field.source} has {height:,} × {width:,} pixels, of which at most"
                f" {MOST_POINTS:,} can become points; reduce them with `reduce=quadtree:0.005`, or"
                " take a part with `bounds=WEST,EAST,SOUTH,NORTH`"
            )
        return Reading((scene.track(scene.window),), **about)
    metres = scene.field.layout.metres
    means = reduced(scene.blocks, scene.window.shape, metres, plan.in_system(crs))
    points = partial(_some_points, scene)
    return Reading((means,), **about, points=points, size=scene.window.size)


def _some_points(scene: Scene) -> Track:
    """Observed pixels, drawn at random with a fixed seed: some SAMPLED_PIXELS where all are
    observed.
    """
    random = np.random.default_rng(0)
    share = min(SAMPLED_PIXELS / scene.window.size, 1.0)
    parts = []
    for piece in scene.window.pieces(PIECE_SIDE):
        track = scene.track(piece)
        parts.append(track.select(track.observed & (random.random(len(track.x)) < share)))
    return joined(parts)


MOST_POINTS = 4_000_000
"""The largest number of pixels that become points one by one."""
PIECE_SIDE = 2048
"""Side of the squares in which larger scenes are read, in pixels."""
WRAPPED_PHASE_SPANS, JUMP_OF_WRAPPED_PHASE = (0.9, 1.02), 0.9
"""Shares of 2π that nearly all wrapped phase spans; and of a step of neighbours that is a jump."""


@dataclass(frozen=True)
class Content:
    """What the values of a field tell of themselves.

    largest  absolute value of those that are measured; None if none is
    codes    values without data, as it seems, each with the number of its pixels
    zeros    number of pixels that are 0, as are some beside them, where gaps have another value
    wrapped  whether it is phase that is wrapped
    """

    largest: float | None
    codes: Mapping[float, int]
    zeros: int
    wrapped: bool


@dataclass(frozen=True)
class Scene:
    """One field of displacement or phase with its geometry, all over one grid.

    scale      displacement toward the satellite of one unit of the field [m]
    phase      whether the field is phase
    error      standard deviation of displacements [m], or a raster in the unit of the field
    coherence  raster, and the least coherence of pixels that count
    elevation  raster of elevations [m]
    window     the part of the grid that was asked for
    codes      values without data, besides those that the file names
    """

    name: str
    field: Raster
    scale: float
    phase: bool
    error: float | Raster
    direction: Direction
    coherence: tuple[Raster, float] | None
    elevation: Raster | None
    window: Window
    codes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for other in (self.error, self.elevation, self.coherence[0] if self.coherence else None):
            if isinstance(other, Raster):
                self.field.require_same_grid(other)

    def track(self, window: Window) -> Track:
        """The pixels of a window, row by row, as points; x and y in the coordinates of the grid.

        A pixel is masked without data, see `_measured`, or if its coherence is too low.
        """
        field, measured, _ = self._measured(window)
        values = field.ravel()
        observed = measured.ravel()
        if self.coherence is not None:
            raster, least = self.coherence
            observed &= raster.read(window).ravel() >= least
        if isinstance(self.error, Raster):
            error = self.error.read(window).ravel() * abs(self.scale)
        else:
            error = np.full(window.size, self.error)
        elevation = None if self.elevation is None else self.elevation.read(window).ravel()
        displacement = np.where(observed, values * self.scale, np.nan)
        x, y = self.field.layout.positions(window)
        observed &= error > 0
        direction = self.direction(window)
        data = x, y, displacement, error, direction, observed, elevation
        return masked_where_missing(Track(self.name, RADAR, *data))

    def _measured(self, window: Window) -> tuple[Array, Flags, Flags]:
        """Values of a window, (row, column), which of them are measured, and which zeros are not.

        Codes are not; nor are zeros where the file does not name another value for gaps, and those
        of measured, not whole numbers that touch another zero: no measurement is exactly 0 twice.
        """
        height, width = self.field.layout.shape
        top = max(window.top - 1, 0)
        left = max(window.left - 1, 0)
        wider = Window(top, min(window.bottom + 1, height), left, min(window.right + 1, width))
        values = self.field.read(wider)
        zeros = values == 0
        if self.field.gaps:
            padded = np.pad(zeros, 1)
            vertical = padded[:-2, 1:-1] | padded[2:, 1:-1]
            neighbours = vertical | padded[1:-1, :-2] | padded[1:-1, 2:]
            zeros &= neighbours & self.field.type.startswith("float")
        measured = np.isfinite(values) & ~zeros & ~np.isin(values, self.codes)
        rows = slice(window.top - top, window.bottom - top)
        columns = slice(window.left - left, window.right - left)
        return values[rows, columns], measured[rows, columns], zeros[rows, columns]

    def content(self) -> Content:
        """What its values tell of themselves, from all of them."""
        # of each piece what tells whether there is a code
        extremes = list[float]()
        count = Counter[float]()
        zeros = 0
        jumps = 0
        ends = [math.inf, -math.inf]
        for piece in self.window.pieces(PIECE_SIDE):
            values, measured, gaps = self._measured(piece)
            zeros += int(gaps.sum())
            if not measured.any():
                continue
            known = values[measured]
            usual = usual_codes(known)
            regular = known if usual.all() else known[~usual]
            extreme = regular[np.abs(regular).argmax()]
            others = regular[regular != extreme]
            count.update(known[usual].tolist())
            count[float(extreme)] += len(regular) - len(others)
            extremes += [*np.unique(known[usual]), *[extreme] * min(count[float(extreme)], 2)]
            extremes += [others.min(), others.max()] if len(others) else []
            if self.phase:
                jumps += int((np.abs(np.diff(values)) > JUMP_OF_WRAPPED_PHASE * 2 * np.pi).sum())
                low, high = np.percentile(known, [0.5, 99.5])
                ends = [min(ends[0], low), max(ends[1], high)]
        if not extremes:
            return Content(None, {}, zeros, False)
        found = codes_among(np.array(extremes))
        largest = float(np.abs(extremes).max())
        least, most = WRAPPED_PHASE_SPANS
        wrapped = jumps > 0 and least < (ends[1] - ends[0]) / (2 * np.pi) < most
        codes = {code: count[code] for code in found}
        return Content(largest, codes, zeros if self.field.gaps else 0, wrapped)

    def blocks(self, side: int) -> Iterator[Pixels]:
        """All pixels, in squares whose corners are multiples of `side` from the upper left one."""
        for piece in self.window.pieces(side):
            numbers = np.mgrid[piece.top : piece.bottom, piece.left : piece.right]
            row, column = numbers.reshape(2, -1)
            yield Pixels(self.track(piece), row - self.window.top, column - self.window.left)

    def warnings(self, content: Content, options: ReadOptions) -> tuple[str, ...]:
        """What makes a field of this content suspicious, and that velocities count as
        displacements.
        """
        unit, per_year = unit_of(self.field)
        doubts = list[str]()
        if content.wrapped:
            doubts.append(
                "nearly all phase lies within 2π and jumps by that, as wrapped phase does; unwrap"
                " it first"
            )
        elif not self.phase:
            assert content.largest is not None
            largest = content.largest * self.scale
            hint = ", or for phase `wavelength` or `sensor`"
            doubts += suspicions(largest, unit in METRES, options, hint)
        if options.epochs is not None and options.epochs[0] > options.epochs[-1]:
            first, last = options.epochs
            doubts.append(
                f"{first} is subtracted from {last}, the earlier day: uplift comes out as"
                " subsidence"
            )
        if per_year:
            doubts.append("velocities are read as the displacements of one year")
        return tuple(doubts)


# Lines of sight over a grid: from angles or components, as numbers or rasters.

Direction = Callable[[Window], Array]
"""Unit vectors from the ground to the satellite in a window, (pixel, 3); NaN where unknown."""


def direction_of(field: Raster, options: ReadOptions) -> Direction:
    """The lines of sight that the command line gives.

    Raises QexpError if it gives none or two, or rasters of other grids.
    """
    names = ("incidence", "heading", "look")
    angles = [name for name in names if getattr(options, name) is not None]
    if options.direction is not None:
        if angles:
            raise QexpError(f"`direction` gives the whole line of sight; leave `{angles[0]}` out")
        return from_components(field, [open_raster(path) for path in options.direction])
    for name in ("incidence", "heading"):
        if name not in angles:
            raise QexpError(
                f"{field.source}: the line of sight is unknown, as `{name}` is missing; give"
                " `incidence` and `heading`, in degrees or as rasters of the same grid, or rasters"
                " of the unit vector to the satellite: `direction=EAST,NORTH,UP`"
            )
    incidence = _number_or_raster(options.incidence)
    heading = _number_or_raster(options.heading)
    return from_angles(field, incidence, heading, options.look or "right")


def _number_or_raster(value: float | Path | None) -> float | Raster:
    assert value is not None
    return open_raster(value) if isinstance(value, Path) else value


def from_angles(
    field: Raster, incidence: float | Raster, heading: float | Raster, look: str = "right"
) -> Direction:
    """Lines of sight from incidence and heading [degrees]."""
    for angle in (incidence, heading):
        if isinstance(angle, Raster):
            field.require_same_grid(angle)
    if not isinstance(incidence, Raster):
        require_degrees(np.array([incidence]), "`incidence`")
    if not isinstance(heading, Raster):
        require_heading_in_degrees(np.array([heading]), "`heading`")

    def known(angle: float | Raster, window: Window) -> Array:
        if not isinstance(angle, Raster):
            return np.full(window.size, angle)
        angles = angle.read(window).ravel()
        return np.where(usual_codes(angles), np.nan, angles)

    def direction(window: Window) -> Array:
        steep = known(incidence, window)
        flight = known(heading, window)
        if isinstance(incidence, Raster):
            steep[steep == 0] = np.nan  # no radar looks straight down
            require_degrees(steep, incidence.source)
        if isinstance(heading, Raster):
            require_heading_in_degrees(flight, heading.source)
        return direction_toward(steep, flight, look)

    return direction


def from_components(field: Raster, components: Sequence[Raster]) -> Direction:
    """Lines of sight from rasters of their components east, north and up; pixels where all are 0
    have none.
    """
    for component in components:
        field.require_same_grid(component)

    def direction(window: Window) -> Array:
        east, north, vertical = (component.read(window).ravel() for component in components)
        length = np.sqrt(east * east + north * north + vertical * vertical)
        length[length == 0] = np.nan
        if (np.abs(length - 1) > UNIT_TOLERANCE).any():
            raise QexpError(
                f"{', '.join(component.source for component in components)} are not the components"
                f" of unit vectors: lengths are {np.nanmin(length):g} to {np.nanmax(length):g}, but"
                " must be 1"
            )
        return np.stack([east, north, vertical], axis=-1)

    return direction


# Wavelengths of radar satellites, and displacement from phase.

SPEED_OF_LIGHT = 299_792_458.0
"""[m/s]"""

FREQUENCIES: Mapping[str, float] = {
    "alos": 1.270e9,
    "alos-2": 1.2575e9,
    "cosmo-skymed": 9.60e9,
    "envisat": 5.331e9,
    "ers": 5.300e9,
    "iceye": 9.65e9,
    "jers-1": 1.275e9,
    "nisar": 1.2575e9,
    "nisar-s": 3.2e9,
    "paz": 9.65e9,
    "radarsat-1": 5.300e9,
    "radarsat-2": 5.405e9,
    "radarsat-constellation": 5.405e9,
    "saocom": 1.27414e9,
    "sentinel-1": 5.405e9,
    "tandem-x": 9.65e9,
    "terrasar-x": 9.65e9,
    "uavsar": 1.2575e9,
}
"""Satellite → carrier frequency [Hz], as its operator publishes it. ALOS-2 has three, by mode and
swath: 1.2365, 1.2575 and 1.2785 GHz; here is the one of its finest images. NISAR's is that of its
radar in the L band.
"""


def wavelength_of(sensor: str) -> float:
    """The wavelength of a satellite's radar [m]. Raises QexpError for one that is not known."""
    name = sensor.lower().replace("_", "-").replace(" ", "-")
    if name not in FREQUENCIES:
        raise QexpError(
            f"no satellite '{sensor}'; {suggestion(name, FREQUENCIES)}; or give `wavelength` in m"
        )
    return SPEED_OF_LIGHT / FREQUENCIES[name]


def metres_of_phase(source: str, options: ReadOptions, stored: float | None) -> float:
    """The displacement of one radian of phase [m], by the wavelength that the command line gives,
    or the one that is stored.
    """
    if options.wavelength is not None and options.sensor is not None:
        raise QexpError("`wavelength` and `sensor` both give the wavelength; leave one out")
    length = options.wavelength if options.sensor is None else wavelength_of(options.sensor)
    length = stored if length is None else length
    if length is None:
        raise QexpError(
            f"{source} is phase, which needs the radar's wavelength to become displacement; give it"
            " in m, such as `wavelength=0.0555`, or name the satellite: `sensor=sentinel-1`"
        )
    return metres_per_radian(length)


def metres_per_radian(wavelength: float) -> float:
    """The displacement toward the satellite of one radian of unwrapped phase: −λ/4π [m]; phase
    grows with range.

    Raises QexpError for a wavelength that no radar satellite has.
    """
    if not 0.01 <= wavelength <= 1.0:
        raise QexpError(
            f"a wavelength of {wavelength:g} m is not that of a radar; give it in m, such as 0.0555"
            " for Sentinel-1"
        )
    return -wavelength / (4 * math.pi)
