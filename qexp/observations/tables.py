"""Tables of points and of GNSS stations in text and CSV files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.errors import QexpError, some, suggestion
from qexp.observations.observation import COMPONENTS, Track
from qexp.observations.reading import (
    ASSUMED_ERROR,
    METRES,
    Columns,
    Reading,
    ReadOptions,
    codes_among,
    direction_toward,
    elevations,
    in_metres,
    masked_where_missing,
    require_degrees,
    require_heading_in_degrees,
    suspicions,
)
from qexp.observations.text_files import HEAD_LINES, TextTable, is_text, read_text_table
from qexp.physics.instruments import GNSS, RADAR
from qexp.rows.table import codes, is_number

VECTOR = ("los_east", "los_north", "los_up")


def read_points(path: Path, options: ReadOptions) -> Reading:
    """Read displacements along the line of sight at scattered points. Raises QexpError."""
    return points_of(read_text_table(path, names_of(POINTS)), options)


def points_of(table: TextTable, options: ReadOptions) -> Reading:
    """The points of a table, such as `read_points` reads."""
    columns = columns_of(table, options.columns, POINTS, ORDER_OF_POINTS)
    table = replace(table, nodata=options.nodata, roles=columns)
    axes, crs = position_columns(table, ["los"])
    require_one_unit(table, ["los", "error"], options)
    if "error" not in columns and options.error is None and not options.error_follows:
        raise QexpError(
            f"{table.path} has no column of errors; give the standard deviation of its"
            " displacements, such as `error=0.005` (in metres, or in the unit of `unit`), or say which column"
            " holds it: `columns={'error': 'NAME'}`"
        )
    track, unit = _track(table, RADAR, axes, {"los": "error"}, _direction(table, options), options)
    counted = np.flatnonzero(track.observed)
    rows = np.column_stack([track.x, track.y, track.displacement, track.direction])[counted]
    repeated = np.delete(counted, np.unique(rows, axis=0, return_index=True)[1])
    track.observed[repeated] = False
    points = track.where_observed()
    doubts = [*_doubts(table, points, ("los", "error", "elevation"), options)]
    if len(repeated):
        doubts.append(
            f"{len(repeated):,} of {table.count:,} points repeat another's place, displacement"
            " and line of sight; each counts once"
        )
    extent = max(np.ptp(points.x), np.ptp(points.y)) if points.size else 0.0
    degrees = (np.abs(points.x) <= 360).all() and (np.abs(points.y) <= 90).all()
    # Kilometres may be taken for metres; degrees are refused elsewhere, once the system is known.
    if crs is None and not degrees and 0 < extent < 100:
        doubts.append(
            f"the points lie within {extent:.3g} m; if their coordinates are in km, write them in"
            " metres"
        )
    look = None if columns.keys() & {*VECTOR} else options.look or "right"
    return Reading((track,), crs, tuple(doubts), error_unit=unit, look=look)


def _track(
    table: TextTable,
    kind: str,
    axes: Sequence[str],
    measured: Mapping[str, str],
    direction: Array,
    options: ReadOptions,
) -> tuple[Track, str | None]:
    """The rows of a table that lack no number, as points; and the unit of `error` if that is used.

    measured   columns of displacements, each a point of its own → those of their errors
    direction  (point, 3)
    """
    width = len(measured)
    columns = [role if role in table.roles else "error" for role in measured.values()]
    same = ASSUMED_ERROR if options.error is None else options.error * options.metres
    errors = [np.full(table.count, same)] * width
    for index, column in enumerate(columns):
        if column in table.roles:
            errors[index] = lengths(table, column, options)
    x, y = (np.repeat(table.numbers(axis), width) for axis in axes)
    moved = [lengths(table, role, options) for role in measured]
    elevation = station = None
    if "elevation" in table.roles:
        elevation = np.repeat(elevations(known_numbers(table, "elevation")), width)
    if "station" in table.roles:
        station = np.repeat(table.texts("station"), width)
    track = Track(
        options.name or table.path.stem,
        kind,
        x,
        y,
        np.stack(moved, axis=1).ravel(),
        np.stack(errors, axis=1).ravel(),
        direction,
        np.ones(len(x), bool),
        elevation,
        station=station,
    )
    unit = None if {*columns} <= table.roles.keys() else options.error_unit
    return masked_where_missing(track), unit


def _require_one_epoch(path: Path, stations: NDArray[np.str_]) -> None:
    """Raises QexpError for stations with many rows each."""
    names, counts = np.unique(stations, return_counts=True)
    if (most := int(counts.max(initial=0))) > MOST_ROWS_OF_STATION:
        raise QexpError(
            f"{path}: station {names[counts.argmax()]} has {most:,} rows, as in a time series; give"
            " one row for each station: its displacement between two times, such as the difference"
            " of the means before and after"
        )


def _direction(table: TextTable, options: ReadOptions) -> Array:
    """Lines of sight from columns of the vector, or from incidence and heading, which are columns
    or numbers.
    """
    if table.roles.keys() & {*VECTOR}:
        require_columns(table, VECTOR)
        for name in ("incidence", "heading", "look"):
            if getattr(options, name) is not None:
                raise QexpError(
                    f"{table.path} has the line of sight in columns; leave `{name}` out"
                )
        return np.stack([table.numbers(name) for name in VECTOR], axis=1)
    angles = {}
    for name in ("incidence", "heading"):
        value = getattr(options, name)
        if name in table.roles and value is not None:
            raise QexpError(f"{table.path} has a column of {name}; leave `{name}` out")
        if name in table.roles:
            angles[name] = table.numbers(name)
            if name == "heading":
                source = f"{table.path}, {table.titled(name)}"
                require_heading_in_degrees(angles[name], source)
        elif value is None:
            alike = {}
            for word, named in product(("incidence", "heading"), table.names):
                if word not in table.roles and word in named.lower():
                    alike[word] = named
            known = f", or say which columns hold them: `columns={alike}`" if alike else ""
            raise QexpError(
                f"{table.path}: nothing says where the satellite is; give `incidence` and `heading`"
                f" in degrees{known}, or columns with the unit vector from the ground to it:"
                " `columns={'los_east': 'E', 'los_north': 'N', 'los_up': 'U'}`"
            )
        elif isinstance(value, Path):
            raise QexpError(
                f"`{name}={value}`: points need a number of degrees, for several files one for"
                f" each, `{name}=[39, 34]`, or a column: `columns={ {name: 'NAME'} }`"
            )
        else:
            angles[name] = np.full(table.count, value)
            if name == "heading":
                require_heading_in_degrees(np.array([value]), "`heading`")
    require_degrees(np.unique(angles["incidence"]), str(table.path))
    return direction_toward(angles["incidence"], angles["heading"], options.look or "right")


MOST_ROWS_OF_STATION = 2
"""Rows of one station in a table; more are a series."""


def is_gnss(path: Path) -> bool:
    """Whether a text file has a header with components of displacements, or a name before its
    numbers.
    """
    if not is_text(path):
        return False
    try:
        table = _head(path, STATIONS)
    except QexpError:
        return False
    if not table.names:
        return not is_number(str(table.parts[0].columns[0][0]))
    columns = _columns(table, None)
    names = {plain_name(name)[0] for name in table.names}
    positions = {"east", "north"} <= columns.keys() or {"longitude", "latitude"} <= columns.keys()
    components = {"displacement_east", "displacement_north"} <= columns.keys()
    return positions and components and names.isdisjoint({"los", *POINTS["los"]})


def read_gnss(path: Path, options: ReadOptions) -> Reading:
    """Read the components of stations: one entry of the track per station and component. Raises
    QexpError.

    Without a header: name, east, north, displacements east, north and up, and their three errors.
    The component up may be missing.
    """
    table = read_text_table(path, names_of(STATIONS))
    columns = _columns(table, options.columns)
    table = replace(table, nodata=options.nodata, roles=columns)
    axes, crs = position_columns(table, ["displacement_east", "displacement_north"])
    components = [name for name in COMPONENTS if f"displacement_{name}" in columns]
    measured = {f"displacement_{name}": f"error_{name}" for name in components}
    roles = [*measured, *measured.values(), "error"]
    require_one_unit(table, roles, options)
    lacking = [role for role in measured.values() if role not in columns]
    if lacking and "error" not in columns and options.error is None:
        raise QexpError(
            f"{path} has no errors of the component {lacking[0].removeprefix('error_')}; say"
            f" which columns hold them, `columns={dict.fromkeys(lacking, 'NAME')}`, or give one"
            f" number in the unit of `gnss_unit`, {options.unit or 'm'}:"
            f" `error={0.003 / options.metres:g}`"
        )
    if "station" in columns:
        stations = table.texts("station")
        if not table.names and options.columns is None:
            _require_no_decimals(path, stations)
        _require_one_epoch(path, stations)
    axis_of_each = np.tile([COMPONENTS.index(name) for name in components], table.count)
    track, unit = _track(table, GNSS, axes, measured, np.eye(3)[axis_of_each], options)
    points = track.where_observed()
    doubts = (*_doubts(table, points, (*roles, "elevation"), options), *_unread(table))
    return Reading((track,), crs, doubts, error_unit=unit)


def _require_no_decimals(path: Path, stations: Iterable[object]) -> None:
    """Raise QexpError if the names of stations are numbers with decimals, such as longitudes."""
    for name in map(str, stations):
        if "." in name and is_number(name):
            raise QexpError(
                f"{path}: without a header the columns are {', '.join(ORDER_OF_STATIONS)}, but the"
                f" first holds numbers, such as {float(name):g}; say which is which:"
                f" `columns={ {'longitude': '1', 'latitude': '2'} }` and so on"
            )


def _unread(table: TextTable) -> Iterator[str]:
    """Columns that may hold the vertical displacement, where none is read."""
    numbers = set(range(len(table.names))) - {*table.roles.values()}
    unread = [f"'{table.names[number]}'" for number in sorted(numbers)]
    if "displacement_up" not in table.roles and unread:
        known = "`columns={'displacement_up': 'NAME'}`"
        yield (
            f"no vertical displacement is read; if one of the columns {', '.join(unread)} holds it,"
            f" say so: {known}"
        )


def _columns(table: TextTable, requested: Columns) -> dict[str, int]:
    """What columns hold; beside longitude, latitude and `up`, those named east and north are
    displacements.
    """
    columns = columns_of(table, requested, STATIONS, ORDER_OF_STATIONS)
    if {"longitude", "latitude", "east", "north", "displacement_up"} <= columns.keys() and not (
        {"displacement_east", "displacement_north"} & columns.keys()
    ):
        columns |= {f"displacement_{name}": columns.pop(name) for name in ("east", "north")}
    return columns


# Which column of a table holds what: by the names on the command line, by well-known names, or by
# the usual order.

Roles = Mapping[str, Sequence[str]]
"""What a column holds → the names by which it is known, in lower case, besides that of the role,
which is the first one unless it is named.
"""

POSITIONS: Roles = {
    "east": ("easting", "utm_east", "utme", "x_utm", "east", "x"),
    "north": ("northing", "utm_north", "utmn", "y_utm", "north", "y"),
    "longitude": ("lon", "long"),
    "latitude": ("lat",),
    "elevation": ("height", "altitude", "elev", "dem", "z"),
}
POINTS: Roles = {
    **POSITIONS,
    "los": ("displacement", "disp", "los_displacement", "d_los", "dlos", "ulos"),
    "error": ("sigma", "std", "stdev", "standard_deviation", "uncertainty", "err"),
    "los_east": ("los_e", "e_los", "ue", "unit_east", "e"),
    "los_north": ("los_n", "n_los", "un", "unit_north", "n"),
    "los_up": ("los_u", "los_z", "u_los", "uu", "unit_up", "u"),
    "incidence": ("inc", "incidence_angle"),
    "heading": ("heading_angle",),
}
STATIONS: Roles = {
    **POSITIONS,
    "station": ("name", "site", "stat", "sta", "id"),
    "displacement_east": ("e", "de", "ue", "ve", "disp_e", "east_displacement", "d_east", "east"),
    "displacement_north": (
        "n", "dn", "un", "vn", "disp_n", "north_displacement", "d_north", "north",
    ),
    "displacement_up": (
        "u", "du", "uu", "uz", "dz", "v", "uv", "vu", "disp_u", "up_displacement", "d_up", "up",
    ),
    "error": (),
    "error_east": ("se", "sigma_e", "sigma_east", "err_e", "std_e", "east_error"),
    "error_north": ("sn", "sigma_n", "sigma_north", "err_n", "std_n", "north_error"),
    "error_up": ("su", "sz", "sv", "sigma_u", "sigma_up", "err_u", "std_u", "up_error"),
}  # fmt: skip
ORDER_OF_POINTS = ("east", "north", "los", "error", "los_east", "los_north", "los_up")
ORDER_OF_STATIONS = (
    "station", "east", "north", "displacement_east", "displacement_north", "displacement_up",
    "error_east", "error_north", "error_up",
)  # fmt: skip
"""The columns of files without a header, in order."""

UNIT = re.compile(r"^(?P<name>.*?)(?:\s*[\[(]\s*(?P<braced>mm|cm|m)\s*[\])]|_(?P<plain>mm|cm|m))$")


def plain_name(name: str) -> tuple[str, str | None]:
    """`LOS (mm)` → `los` and its unit `mm`; None where the name has no unit."""
    words, unit = name, None
    if match := UNIT.match(name.strip()):
        words = match["name"]
        unit = match["braced"] or match["plain"]
    return words.strip().lower().replace(" ", "_"), unit


OTHER_INSTRUMENT = re.compile(r"tilt|strain|[µμunm](icro|ano)?_?rad(ians?)?\b", re.IGNORECASE)
"""In the names of columns that hold no displacement."""


def _require_displacements(table: TextTable, columns: Iterable[str]) -> None:
    """Raises QexpError for columns of tilt or strain, which would be read as metres."""
    others = [f"'{column}'" for column in columns if OTHER_INSTRUMENT.search(column)]
    if others:
        what = "column holds" if len(others) == 1 else "columns hold"
        raise QexpError(
            f"{table.path}: the {what} tilt or strain, not displacement: {some(others)}; qexp reads"
            " displacements along the line of sight, and those of GNSS stations, only"
        )


def names_of(roles: Roles) -> set[str]:
    return set(roles) | set(chain.from_iterable(roles.values()))


def _head(path: Path, roles: Roles) -> TextTable:
    """The first rows of a table, by which it is recognised."""
    return read_text_table(path, names_of(roles), HEAD_LINES)


def columns_of(
    table: TextTable, requested: Columns, roles: Roles, order: Sequence[str]
) -> dict[str, int]:
    """What columns hold → their index. Raises QexpError for unknown names, and another width."""
    if requested is not None and not isinstance(requested, Mapping):
        if len(requested) > len(order):
            raise QexpError(
                f"`columns`: {len(requested)} positions, but only {len(order)} are known:"
                f" {', '.join(order)}"
            )
        pairs = zip(order, requested, strict=False)
        return {role: _position(table, str(position), role) for role, position in pairs}
    widths = {3, 4, len(order)} if order[0] == "east" else {len(order), len(order) - 3}
    known = order[: table.width] if table.width in widths else ()
    usual = {role: index for index, role in enumerate(known)}
    if requested:
        return _as_asked(table, requested, roles, usual)
    recognised = _by_name(table, roles) if table.names else usual
    if not recognised and not table.names:
        raise QexpError(
            f"{table.path}: {table.width} columns without a header; without one they are"
            f" {', '.join(order)} ({' or '.join(map(str, sorted(widths)))} of them). Otherwise say"
            f" which is which, such as `columns={ {order[0]: '1', order[1]: '2', order[2]: '5'} }`"
        )
    return recognised


def has_los(path: Path, requested: Columns) -> bool:
    """Whether the command line names a column of a table as the displacement along the line of
    sight.
    """
    asked = requested if isinstance(requested, Mapping) else {}
    named = [column for word, column in asked.items() if word.lower() in ("los", *POINTS["los"])]
    return bool(named) and (named[0].isdecimal() or named[0] in _head(path, POINTS).names)


def sight_in_columns(path: Path, requested: Columns) -> Collection[str]:
    """What a table tells of the line of sight in columns, by their names or those of the command
    line.

    A unit vector is all of it: incidence, heading and look.
    """
    table = _head(path, POINTS)
    if isinstance(requested, Mapping):
        there = [
            word for word, name in requested.items() if name in table.names or name.isdecimal()
        ]
        requested = {word: requested[word] for word in there}
    try:
        known = columns_of(table, requested, POINTS, ORDER_OF_POINTS).keys()
    except QexpError:  # which is raised again as it is read
        return ()
    if known & {*VECTOR}:
        return ("incidence", "heading", "look")
    return known & {"incidence", "heading"}


def asked_of_each(
    tables: Mapping[Path, Roles], columns: Mapping[str, str]
) -> dict[Path, dict[str, str]]:
    """The columns of the command line that each table has, or else each grid.

    What none has is left to those that know what it would hold, or else to all, to be refused as
    they are read.
    """
    names = {path: _head(path, roles).names for path, roles in tables.items() if is_text(path)}
    shares: dict[Path, dict[str, str]] = {path: {} for path in tables}
    for word, column in columns.items():
        knowing = [path for path, roles in tables.items() if word.lower() in names_of(roles)]
        grids = [path for path in knowing if path not in names]
        having = [path for path in knowing if path not in grids]
        if not column.isdecimal():
            having = [path for path in having if column in names[path]]
        for path in having or grids or knowing or tables:
            shares[path][word] = column
    return shares


def _by_name(table: TextTable, roles: Roles, taken: Collection[int] = ()) -> dict[str, int]:
    plain = [plain_name(name)[0] for name in table.names]
    free = ["" if index in taken else name for index, name in enumerate(plain)]
    columns: dict[str, int] = {}
    for role, words in roles.items():
        known = words if role in words else (role, *words)
        # A name that two columns have tells nothing.
        found = [free.index(word) for word in known if word in free and plain.count(word) == 1]
        if found and found[0] not in columns.values():
            columns[role] = found[0]
    return columns


def _as_asked(
    table: TextTable, requested: Mapping[str, str], roles: Roles, usual: dict[str, int]
) -> dict[str, int]:
    """The columns of the command line, with those that are known by name besides."""
    columns: dict[str, int] = {}
    for word, column in requested.items():
        role = next((role for role, words in roles.items() if word.lower() in (role, *words)), None)
        if role is None:
            raise QexpError(
                f"`columns[{word}]`: no column holds '{word}'; {suggestion(word, roles)}"
            )
        if (shared := table.names.count(column)) > 1:
            numbers = [place for place, name in enumerate(table.names, 1) if name == column]
            places = [f"`columns={ {word: str(place)} }`" for place in numbers]
            raise QexpError(
                f"{table.path}: {shared} columns are called '{column}'; write {' or '.join(places)}"
            )
        if column in table.names:
            _require_displacements(table, [column])
            columns[role] = table.names.index(column)
        elif column.isdecimal():
            columns[role] = _position(table, column, role)
        elif table.names:
            raise QexpError(
                f"{table.path} has no column '{column}'; {suggestion(column, table.names)}"
            )
        else:
            raise QexpError(
                f"{table.path} has no header with '{column}'; give its position, such as"
                f" `columns={ {word: '1'} }`"
            )
    plane = {"east", "north"}
    sphere = {"longitude", "latitude"}
    unwanted = plane if sphere & columns.keys() else set()
    unwanted = sphere if plane & columns.keys() else unwanted
    recognised = _by_name(table, roles, columns.values()) if table.names else usual
    others = {}
    for role, index in recognised.items():
        if role not in unwanted and index not in columns.values():
            others[role] = index
    return {**others, **columns}


def _position(table: TextTable, text: str, role: str) -> int:
    if not 1 <= int(text) <= table.width:
        raise QexpError(
            f"`columns`: {role} is column {text}, but {table.path} has {table.width} columns"
        )
    return int(text) - 1


def require_columns(table: TextTable, roles: Sequence[str]) -> None:
    if missing := [role for role in roles if role not in table.roles]:
        _require_displacements(table, table.names)
        names = f"; its columns are {', '.join(table.names)}" if table.names else ""
        free = _unknown_columns(table)
        example = {role: next(free, "NAME") for role in missing}
        for role in missing:
            if place := _first_of_several(table, role):
                example[role] = str(place)
        words = ", ".join(missing)
        if missing[:2] == ["east", "north"]:
            words = words.replace("east, north", "east, north (or longitude, latitude)")
        raise QexpError(
            f"{table.path}: no column is known to hold {words}{names}; say which "
            f"{'one does' if len(missing) == 1 else 'ones do'}, such as `columns={example}`"
        )


def _first_of_several(table: TextTable, role: str) -> int | None:
    """The position of the first of several columns of one name that is known to hold a role."""
    words = {role, *POINTS.get(role, ()), *STATIONS.get(role, ())}
    plain = [plain_name(name)[0] for name in table.names]
    several = [name in words and plain.count(name) > 1 for name in plain]
    return several.index(True) + 1 if any(several) else None


def _unknown_columns(table: TextTable) -> Iterator[str]:
    """The columns of numbers that are known as nothing yet, by their names either, as they are
    named in `columns`: by position where one has no name, or shares it.
    """
    known = names_of(POINTS) | names_of(STATIONS)
    for index, cells in enumerate(table.parts[0].columns):
        name = table.names[index] if table.names else ""
        is_known = index in table.roles.values() or plain_name(name)[0] in known
        if not is_known and any(map(is_number, map(str, cells[:HEAD_LINES]))):
            yield name if table.names.count(name) == 1 else str(index + 1)


def position_columns(table: TextTable, others: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The columns of x and y, and their system if they are longitude and latitude.

    others  what other columns must hold; all that is missing is named at once
    """
    # Projected ones count where a table has both.
    projected = {"east", "north"} <= table.roles.keys()
    if not projected and {"longitude", "latitude"} <= table.roles.keys():
        names, crs = ("longitude", "latitude"), "EPSG:4326"
    else:
        names, crs = ("east", "north"), None
    require_columns(table, (*names, *others))
    return names, crs


def lengths(table: TextTable, role: str, options: ReadOptions) -> Array:
    """A column of displacements or errors [m]. Raises QexpError if the header and --unit name
    different units.
    """
    unit = unit_of(table, role)
    if unit is not None and options.unit is not None and unit != options.unit:
        raise QexpError(
            f"{table.path}: {table.titled(role)} is in {unit}, but `{options.of_unit}`"
            f" says {options.unit}"
        )
    metres = in_metres(unit or options.unit or "m", options.of_unit)
    return known_numbers(table, role) * metres


def known_numbers(table: TextTable, role: str) -> Array:
    """The numbers of a column, NaN where one is a code for no data."""
    numbers = table.numbers(role)
    numbers[np.isin(numbers, codes_of(numbers, role))] = np.nan
    return numbers


MOST_ZEROS = 10
"""Times as often as any other number zero may be a displacement; more often it is a code."""


def codes_of(numbers: Array, role: str) -> list[float]:
    """The codes for no data among the numbers of a column."""
    numbers = numbers[np.isfinite(numbers)]
    if not role.startswith("displacement") and role != "los":
        return codes(numbers)
    others = numbers[numbers != 0]
    zeros = (numbers == 0).sum()
    most = np.unique(others, return_counts=True)[1].max(initial=0)
    return [*codes_among(others), *([0.0] if 0 < MOST_ZEROS * most < zeros else [])]


def _doubts(
    table: TextTable, points: Track, roles: Sequence[str], options: ReadOptions
) -> Iterator[str]:
    """What makes the displacements of points suspicious, and which numbers of those columns that
    there are count as without data.

    roles  the first is that of a displacement
    """
    largest = float(np.abs(points.displacement).max(initial=0))
    yield from suspicions(largest, unit_of(table, roles[0]) is not None, options)
    for role in (role for role in roles if role in table.roles):
        numbers = table.numbers(role)
        where = table.titled(role)
        for code in codes_of(numbers, role):
            often = f"over {MOST_ZEROS} times as often as any other"
            why = "far from all others" if code else often
            count = int((numbers == code).sum())
            yield (
                f"{count:,} values of {where} are exactly {code:g}, {why}; they count as without"
                " data"
            )
        if role.startswith("displacement") and len(numbers) > 1 and not numbers.any():
            yield (
                f"all values of {where} are 0; if this component was not measured, leave the"
                " column out"
            )


def unit_of(table: TextTable, role: str) -> str | None:
    return plain_name(table.names[table.roles[role]])[1] if table.names else None


def require_one_unit(table: TextTable, roles: Sequence[str], options: ReadOptions) -> None:
    """Raises QexpError if the header names the unit of some of these columns but not of others."""
    if not table.names or options.unit is not None:
        return
    unit_by_role = {role: unit_of(table, role) for role in roles if role in table.roles}
    named = {unit for unit in unit_by_role.values() if unit is not None}
    silent = [role for role, unit in unit_by_role.items() if unit is None]
    if silent and named - {"m"}:
        raise QexpError(
            f"{table.path}: the header names the unit {', '.join(sorted(named))} of some columns,"
            f" but none of {', '.join(table.titled(role) for role in silent)}; write it"
            f" behind each name, such as '{table.names[table.roles[silent[0]]]} (mm)'; units are"
            f" {', '.join(METRES)}"
        )
