"""Tables of points and of GNSS stations in text and CSV files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base import files
from qexp.base.arrays import Array
from qexp.errors import QexpError, suggestion
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
    without,
)
from qexp.rows.table import SHOWN, TableError, as_number, codes, explained, is_number

GEOGRAPHIC = "EPSG:4326"
VECTOR = ("los_east", "los_north", "los_up")


def read_points(path: Path, options: ReadOptions) -> Reading:
    """Read displacements along the line of sight at scattered points. Raises QexpError."""
    table = replace(read_text_table(path, names_of(RADAR)), nodata=options.nodata)
    columns = columns_of(table, options.columns, RADAR, OF_RADAR)
    (x, y), geographic = position_columns(table, columns, ["los"])
    require_one_unit(table, columns, ["los", "error"], options)
    if "error" not in columns and options.error is None and not options.error_follows:
        raise QexpError(
            f"{path} has no column of errors; give the standard deviation of its displacements,"
            " such as `error=0.005` (in metres, or in the unit of `unit`), or say which column"
            " holds it: `columns={'error': 'NAME'}`"
        )
    east = table.numbers(columns[x])
    north = table.numbers(columns[y])
    moved = lengths(table, columns, "los", options)
    error = np.full(
        table.count, ASSUMED_ERROR if options.error is None else options.error * options.metres
    )
    if "error" in columns:
        error = lengths(table, columns, "error", options)
    elevation = (
        elevations(known_numbers(table, columns, "elevation")) if "elevation" in columns else None
    )
    toward = _direction(table, columns, options)
    observed = np.ones(table.count, bool)
    name = options.name or path.stem
    masked = masked_where_missing(
        Track(name, "radar", east, north, moved, error, toward, observed, elevation)
    )
    counted = np.flatnonzero(masked.observed)
    rows = np.column_stack([east, north, moved, toward])[counted]
    repeated = np.delete(counted, np.unique(rows, axis=0, return_index=True)[1])
    masked.observed[repeated] = False
    points = masked.where_observed()
    named = unit_of(table, columns, "los") is not None
    doubts = suspicions(float(np.abs(points.displacement).max(initial=0)), named, options)
    doubts += (*codes_said(table, columns, ("los", "error", "elevation")),)
    if len(repeated):
        doubts += (
            (
                f"{len(repeated):,} of {table.count:,} points repeat another's place, displacement"
                " and line of sight; each counts once"
            ),
        )
    extent = float(max(np.ptp(points.x), np.ptp(points.y))) if points.size else 0.0
    degrees = bool((np.abs(points.x) <= 360).all() and (np.abs(points.y) <= 90).all())
    # Kilometres may be taken for metres; degrees are refused elsewhere, once the system is known.
    if not geographic and not degrees and 0 < extent < 100:
        doubts += (
            (
                f"the points lie within {extent:.3g} m; if their coordinates are in km, write them"
                " in metres"
            ),
        )
    unit = None if "error" in columns else options.error_unit
    look = None if columns.keys() & {*VECTOR} else options.look or "right"
    return Reading(
        (masked,), GEOGRAPHIC if geographic else None, doubts, error_unit=unit, look=look
    )


def _require_one_epoch(path: Path, stations: NDArray[np.str_]) -> None:
    """Raises QexpError for stations with many rows each."""
    names, counts = np.unique(stations, return_counts=True)
    if (most := int(counts.max(initial=0))) > MOST_ROWS_OF_STATION:
        raise QexpError(
            f"{path}: station {names[counts.argmax()]} has {most:,} rows, as in a time series; give"
            " one row for each station: its displacement between two times, such as the difference"
            " of the means before and after"
        )


def _direction(table: TextTable, columns: Mapping[str, int], options: ReadOptions) -> Array:
    """Lines of sight from columns of the vector, or from incidence and heading, which are columns
    or numbers.
    """
    of_vector = [name for name in VECTOR if name in columns]
    angles_given = [
        name for name in ("incidence", "heading", "look") if getattr(options, name) is not None
    ]
    if of_vector:
        require_columns(table, columns, VECTOR)
        if angles_given:
            raise QexpError(
                f"{table.path} has the line of sight in columns; leave `{angles_given[0]}` out"
            )
        return np.stack([table.numbers(columns[name]) for name in VECTOR], axis=1)
    angles = {}
    for name in ("incidence", "heading"):
        value = getattr(options, name)
        if name in columns and value is not None:
            raise QexpError(f"{table.path} has a column of {name}; leave `{name}` out")
        if name in columns:
            angles[name] = table.numbers(columns[name])
            if name == "heading":
                require_heading_in_degrees(
                    angles[name], f"{table.path}, {table.titled(columns[name])}"
                )
        elif value is None:
            alike = {
                word: named
                for word in ("incidence", "heading")
                for named in table.names
                if word not in columns and word in named.lower()
            }
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


# Displacements of GNSS stations in a text or CSV file.

MOST_ROWS_OF_STATION = 2
"""Rows of one station in a table; more are a series."""


def is_gnss(path: Path) -> bool:
    """Whether a text file has a header with components of displacements, or a name before its
    numbers.
    """
    if not is_text(path):
        return False
    try:
        table = _head(path, GNSS)
    except QexpError:
        return False
    if not table.names:
        return not is_number(str(table.parts[0].columns[0][0]))
    columns, along = _columns(table, None), {"los", *RADAR["los"]}
    positions = {"east", "north"} <= columns.keys() or {"longitude", "latitude"} <= columns.keys()
    components = {"displacement_east", "displacement_north"} <= columns.keys()
    return (
        positions and components and not any(plain_name(name)[0] in along for name in table.names)
    )


def read_gnss(path: Path, options: ReadOptions) -> Reading:
    """Read the components of stations: one entry of the track per station and component. Raises
    QexpError.

    Without a header: name, east, north, displacements east, north and up, and their three errors.
    The component up may be missing.
    """
    table = replace(read_text_table(path, names_of(GNSS)), nodata=options.nodata)
    columns = _columns(table, options.columns)
    (x, y), geographic = position_columns(
        table, columns, ["displacement_east", "displacement_north"]
    )
    components = [name for name in COMPONENTS if f"displacement_{name}" in columns]
    roles = [f"{what}_{name}" for what in ("displacement", "error") for name in components]
    require_one_unit(table, columns, [*roles, "error"], options)
    count, errors, used = table.count, [], False
    for name in components:
        role = next((role for role in (f"error_{name}", "error") if role in columns), None)
        if role is None and options.error is None:
            lacking = [f"error_{one}" for one in components if f"error_{one}" not in columns]
            raise QexpError(
                f"{path} has no errors of the component {name}; say which columns hold them,"
                f" `columns={dict.fromkeys(lacking, 'NAME')}`, or give one number in the unit of"
                f" `gnss_unit`, {options.unit or 'm'}: `error={0.003 / options.metres:g}`"
            )
        of_all = np.full(count, (options.error or 0) * options.metres)
        errors.append(of_all if role is None else lengths(table, columns, role, options))
        used = used or role is None
    width = len(components)
    stations = table.texts(columns["station"]) if "station" in columns else None
    if stations is not None:
        if not table.names and options.columns is None:
            _require_no_decimals(path, stations)
        _require_one_epoch(path, stations)
    track = Track(
        options.name or path.stem,
        "gnss",
        np.repeat(table.numbers(columns[x]), width),
        np.repeat(table.numbers(columns[y]), width),
        np.stack(
            [lengths(table, columns, f"displacement_{name}", options) for name in components],
            axis=1,
        ).ravel(),
        np.stack(errors, axis=1).ravel(),
        np.tile(np.eye(3)[[COMPONENTS.index(name) for name in components]], (count, 1)),
        np.ones(count * width, bool),
        (
            np.repeat(elevations(known_numbers(table, columns, "elevation")), width)
            if "elevation" in columns
            else None
        ),
        station=None if stations is None else np.repeat(stations, width),
    )
    masked = masked_where_missing(track)
    largest = np.abs(masked.where_observed().displacement).max(initial=0)
    named = unit_of(table, columns, "displacement_east") is not None
    doubts = (
        *suspicions(float(largest), named, options),
        *codes_said(table, columns, (*roles, "error", "elevation")),
        *_unread(table, columns),
    )
    unit = options.error_unit if used else None
    return Reading((masked,), GEOGRAPHIC if geographic else None, doubts, error_unit=unit)


def _require_no_decimals(path: Path, stations: Iterable[object]) -> None:
    """Raise QexpError if the names of stations are numbers with decimals, such as longitudes."""
    if number := next(
        (name for name in map(str, stations) if "." in name and is_number(name)), None
    ):
        raise QexpError(
            f"{path}: without a header the columns are {', '.join(OF_GNSS)}, but the first holds"
            f" numbers, such as {float(number):g}; say which is which:"
            f" `columns={ {'longitude': '1', 'latitude': '2'} }` and so on"
        )


def _unread(table: TextTable, columns: Mapping[str, int]) -> Iterator[str]:
    """Columns that may hold the vertical displacement, where none is read."""
    unread = [
        f"'{name}'"
        for number, name in enumerate(table.names or ())
        if number not in columns.values()
    ]
    if "displacement_up" not in columns and unread:
        known = "`columns={'displacement_up': 'NAME'}`"
        yield (
            f"no vertical displacement is read; if one of the columns {', '.join(unread)} holds it,"
            f" say so: {known}"
        )


def _columns(table: TextTable, requested: Columns) -> dict[str, int]:
    """What columns hold; beside longitude, latitude and `up`, those named east and north are
    displacements.
    """
    columns = columns_of(table, requested, GNSS, OF_GNSS)
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
RADAR: Roles = {
    **POSITIONS,
    "los": ("displacement", "disp", "los_displacement", "d_los", "dlos", "ulos"),
    "error": ("sigma", "std", "stdev", "standard_deviation", "uncertainty", "err"),
    "los_east": ("los_e", "e_los", "ue", "unit_east", "e"),
    "los_north": ("los_n", "n_los", "un", "unit_north", "n"),
    "los_up": ("los_u", "los_z", "u_los", "uu", "unit_up", "u"),
    "incidence": ("inc", "incidence_angle"),
    "heading": ("heading_angle",),
}
GNSS: Roles = {
    **POSITIONS,
    "station": ("name", "site", "stat", "sta", "id"),
    "displacement_east": ("e", "de", "ue", "ve", "disp_e", "east_displacement", "d_east", "east"),
    "displacement_north": (
        "n",
        "dn",
        "un",
        "vn",
        "disp_n",
        "north_displacement",
        "d_north",
        "north",
    ),
    "displacement_up": (
        "u",
        "du",
        "uu",
        "uz",
        "dz",
        "v",
        "uv",
        "vu",
        "disp_u",
        "up_displacement",
        "d_up",
        "up",
    ),
    "error": (),
    "error_east": ("se", "sigma_e", "sigma_east", "err_e", "std_e", "east_error"),
    "error_north": ("sn", "sigma_n", "sigma_north", "err_n", "std_n", "north_error"),
    "error_up": ("su", "sz", "sv", "sigma_u", "sigma_up", "err_u", "std_u", "up_error"),
}
OF_RADAR = ("east", "north", "los", "error", "los_east", "los_north", "los_up")
OF_GNSS = (
    "station", "east", "north", "displacement_east", "displacement_north", "displacement_up",
    "error_east", "error_north", "error_up",
)  # fmt: skip
"""The columns of files without a header, in order."""

UNIT = re.compile(r"^(?P<name>.*?)(?:\s*[\[(]\s*(?P<braced>mm|cm|m)\s*[\])]|_(?P<plain>mm|cm|m))$")


def plain_name(name: str) -> tuple[str, str | None]:
    """`LOS (mm)` → `los` and its unit `mm`; None where the name has no unit."""
    match = UNIT.match(name.strip())
    words, unit = (
        (name, None) if match is None else (match["name"], match["braced"] or match["plain"])
    )
    return words.strip().lower().replace(" ", "_"), unit


def names_of(roles: Roles) -> set[str]:
    return set(roles) | set(chain.from_iterable(roles.values()))


def columns_of(
    table: TextTable, requested: Columns, roles: Roles, order: Sequence[str]
) -> dict[str, int]:
    """What columns hold → their index. Raises QexpError for unknown names and for a file of another
    width.
    """
    if requested is not None and not isinstance(requested, Mapping):
        if len(requested) > len(order):
            raise QexpError(
                f"`columns`: {len(requested)} positions, but only {len(order)} are known:"
                f" {', '.join(order)}"
            )
        return {
            role: _position(table, str(position), role)
            for role, position in zip(order, requested, strict=False)
        }
    widths = {3, 4, len(order)} if order[0] == "east" else {len(order), len(order) - 3}
    usual = (
        {role: index for index, role in enumerate(order[: table.width])}
        if table.width in widths
        else {}
    )
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
    named = [column for word, column in asked.items() if word.lower() in ("los", *RADAR["los"])]
    return bool(named) and (named[0].isdecimal() or named[0] in _head(path, RADAR).names)


def sight_in_columns(path: Path, requested: Columns) -> Collection[str]:
    """What a table tells of the line of sight in columns, by their names or those of the command
    line.

    A unit vector is all of it: incidence, heading and look.
    """
    table = _head(path, RADAR)
    if isinstance(requested, Mapping):
        requested = {
            word: name
            for word, name in requested.items()
            if name in table.names or name.isdecimal()
        }
    try:
        known = columns_of(table, requested, RADAR, OF_RADAR).keys()
    except QexpError:  # which is raised again as it is read
        return ()
    return (
        ("incidence", "heading", "look") if known & {*VECTOR} else known & {"incidence", "heading"}
    )


def asked_of_each(
    tables: Mapping[Path, Roles], columns: Mapping[str, str]
) -> dict[Path, dict[str, str]]:
    """Those columns of the command line that each table has, or else each grid.

    What none has is left to those that know what it would hold, or else to all, to be refused as
    they are read.
    """
    names = {path: _head(path, roles).names for path, roles in tables.items() if is_text(path)}
    shares: dict[Path, dict[str, str]] = {path: {} for path in tables}
    for word, column in columns.items():
        knowing = [path for path, roles in tables.items() if word.lower() in names_of(roles)]
        having = [
            path
            for path in knowing
            if path in names and (column in names[path] or column.isdecimal())
        ]
        for path in having or [path for path in knowing if path not in names] or knowing or tables:
            shares[path][word] = column
    return shares


def _by_name(table: TextTable, roles: Roles, taken: Collection[int] = ()) -> dict[str, int]:
    plain = [plain_name(name)[0] for name in table.names]
    free = ["" if index in taken else name for index, name in enumerate(plain)]
    columns: dict[str, int] = {}
    for role, words in roles.items():
        # A name that two columns have tells nothing.
        known = words if role in words else (role, *words)
        index = next(
            (free.index(word) for word in known if word in free and plain.count(word) == 1), None
        )
        if index is not None and index not in columns.values():
            columns[role] = index
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
            places = [
                f"`columns={ {word: str(place)} }`"
                for place, name in enumerate(table.names, 1)
                if name == column
            ]
            raise QexpError(
                f"{table.path}: {shared} columns are called '{column}'; write {' or '.join(places)}"
            )
        if column in table.names:
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
    plane, sphere = {"east", "north"}, {"longitude", "latitude"}
    unwanted = next(
        (
            instead
            for asked, instead in ((plane, sphere), (sphere, plane))
            if asked & columns.keys()
        ),
        set(),
    )
    recognised = _by_name(table, roles, columns.values()) if table.names else usual
    others = {
        role: index
        for role, index in recognised.items()
        if role not in unwanted and index not in columns.values()
    }
    return {**others, **columns}


def _position(table: TextTable, text: str, role: str) -> int:
    if not 1 <= int(text) <= table.width:
        raise QexpError(
            f"`columns`: {role} is column {text}, but {table.path} has {table.width} columns"
        )
    return int(text) - 1


def require_columns(table: TextTable, columns: Mapping[str, int], roles: Sequence[str]) -> None:
    if missing := [role for role in roles if role not in columns]:
        names = f"; its columns are {', '.join(table.names)}" if table.names else ""
        free = [_unique_name(table, index) for index in _unknown_columns(table, columns)]
        example = {
            role: free[index] if index < len(free) else "NAME" for index, role in enumerate(missing)
        }
        example |= {
            role: str(place) for role in missing if (place := _first_of_several(table, role))
        }
        words = ", ".join(missing)
        if missing[:2] == ["east", "north"]:
            words = words.replace("east, north", "east, north (or longitude, latitude)")
        raise QexpError(
            f"{table.path}: no column is known to hold {words}{names}; say which "
            f"{'one does' if len(missing) == 1 else 'ones do'}, such as `columns={example}`"
        )


def _first_of_several(table: TextTable, role: str) -> int | None:
    """The position of the first of several columns of one name that is known to hold a role."""
    words = {role, *RADAR.get(role, ()), *GNSS.get(role, ())}
    plain = [plain_name(name)[0] for name in table.names]
    return next(
        (place for place, name in enumerate(plain, 1) if name in words and plain.count(name) > 1),
        None,
    )


def _unique_name(table: TextTable, index: int) -> str:
    """How a column is named in `columns`: by its position where it has no name, or shares it."""
    unique = table.names and table.names.count(table.names[index]) == 1
    return table.names[index] if unique else str(index + 1)


def _unknown_columns(table: TextTable, columns: Mapping[str, int]) -> Iterator[int]:
    """The columns of numbers that are known as nothing yet, by their names either."""
    known = names_of(RADAR) | names_of(GNSS)
    for index, cells in enumerate(table.parts[0].columns):
        named = table.names and plain_name(table.names[index])[0] in known
        if (
            index not in columns.values()
            and not named
            and any(map(is_number, map(str, cells[:HEAD_LINES])))
        ):
            yield index


def position_columns(
    table: TextTable, columns: Mapping[str, int], besides: Sequence[str]
) -> tuple[tuple[str, str], bool]:
    """The columns of x and y, and whether they are longitude and latitude.

    besides  what other columns must hold; all that is missing is named at once
    """
    # Projected ones count where a table has both.
    geographic = {"longitude", "latitude"} <= columns.keys() and not {
        "east",
        "north",
    } <= columns.keys()
    names = ("longitude", "latitude") if geographic else ("east", "north")
    require_columns(table, columns, (*names, *besides))
    return names, geographic


def lengths(table: TextTable, columns: Mapping[str, int], role: str, options: ReadOptions) -> Array:
    """A column of displacements or errors [m]. Raises QexpError if the header and --unit name
    different units.
    """
    unit = unit_of(table, columns, role)
    if unit is not None and options.unit is not None and unit != options.unit:
        raise QexpError(
            f"{table.path}: {table.titled(columns[role])} is in {unit}, but `{options.of_unit}`"
            f" says {options.unit}"
        )
    return known_numbers(table, columns, role) * in_metres(
        unit or options.unit or "m", options.of_unit
    )


def known_numbers(table: TextTable, columns: Mapping[str, int], role: str) -> Array:
    """The numbers of a column, NaN where one is a code for no data."""
    numbers = table.numbers(columns[role])
    numbers[np.isin(numbers, codes_of(numbers, role))] = np.nan
    return numbers


MOST_ZEROS = 10
"""Times as often as any other number zero may be there as a displacement; more often it is a
code.
"""


def codes_of(numbers: Array, role: str) -> list[float]:
    """The codes for no data among the numbers of a column."""
    numbers = numbers[np.isfinite(numbers)]
    if not role.startswith("displacement") and role != "los":
        return codes(numbers)
    others, zeros = numbers[numbers != 0], (numbers == 0).sum()
    most = np.unique(others, return_counts=True)[1].max(initial=0)
    return [*codes_among(others), *([0.0] if 0 < MOST_ZEROS * most < zeros else [])]


def codes_said(table: TextTable, columns: Mapping[str, int], roles: Sequence[str]) -> Iterator[str]:
    """Which numbers of those columns that there are count as without data."""
    for role in (role for role in roles if role in columns):
        numbers, where = table.numbers(columns[role]), table.titled(columns[role])
        for code in codes_of(numbers, role):
            why = (
                "far from all others" if code else f"over {MOST_ZEROS} times as often as any other"
            )
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


def unit_of(table: TextTable, columns: Mapping[str, int], role: str) -> str | None:
    return plain_name(table.names[columns[role]])[1] if table.names else None


def require_one_unit(
    table: TextTable, columns: Mapping[str, int], roles: Sequence[str], options: ReadOptions
) -> None:
    """Raises QexpError if the header names the unit of some of these columns but not of others."""
    if not table.names or options.unit is not None:
        return
    unit_by_role = {role: unit_of(table, columns, role) for role in roles if role in columns}
    named = {unit for unit in unit_by_role.values() if unit is not None}
    silent = [role for role, unit in unit_by_role.items() if unit is None]
    if silent and named - {"m"}:
        raise QexpError(
            f"{table.path}: the header names the unit {', '.join(sorted(named))} of some columns,"
            f" but none of {', '.join(table.titled(columns[role]) for role in silent)}; write it"
            f" behind each name, such as '{table.names[columns[silent[0]]]} (mm)'; units are"
            f" {', '.join(METRES)}"
        )


# Tables in text files: cells separated by spaces, tabs, commas or semicolons, comments and rulers,
# maybe a header.

SEPARATORS = ("\t", ";", ",", "|")
"""Looked for in this order; without them cells are separated by spaces."""
SEPARATED_BY = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", None: "spaces"}

COMMENTS = "#%>!"
"""With which comments begin: those of Matlab's files with %, segments of GMT with >. One with # may
follow cells.
"""

RULER = re.compile(r"([*=_~-])\1{2,}[\s*=_~+|-]*")
"""A line below a header, such as of asterisks."""

ROWS_AT_A_TIME = 1 << 16
"""Rows whose cells are in memory as text."""

HEAD_LINES = 1000
"""Lines from which a table is recognised."""

ENDINGS = (
    "",
    ".txt",
    ".csv",
    ".dat",
    ".tsv",
    ".xy",
    ".xyz",
    ".xyd",
    ".lld",
    ".asc",
    ".gnss",
    ".gps",
    ".obs",
    ".llde",
    ".tenv3",
    ".enu",
    ".neu",
    ".gmt",
    ".vel",
)
"""Of the names of text files."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: their lines, counted from 1, and their columns, as numbers where all
    cells are numbers.
    """

    lines: Sequence[int]
    columns: Sequence[Array | Sequence[str]]


@dataclass(frozen=True)
class TextTable:
    """The cells of a text file.

    names  of the columns, empty where there is no header
    width  number of columns
    parts  all rows
    nodata  numbers that mean no data
    """

    path: Path
    names: Sequence[str]
    width: int
    parts: Sequence[Rows]
    nodata: Sequence[float] = ()

    @property
    def count(self) -> int:
        return sum(len(part.lines) for part in self.parts)

    def numbers(self, column: int) -> Array:
        """The numbers of a column, NaN where one is missing. Raises TableError that names lines."""
        values, wrong = [], []
        for part in self.parts:
            cells = part.columns[column]
            if isinstance(cells, np.ndarray):
                values.append(cells)
                continue
            numbers = np.empty(len(cells))
            for index, (line, cell) in enumerate(zip(part.lines, cells, strict=True)):
                try:
                    numbers[index] = as_number(cell)
                except ValueError as error:
                    wrong.append(
                        f"{self.path}: line {line}, {self.titled(column)}: '{cell[:40]}' {error}"
                    )
            values.append(numbers)
        if wrong:
            raise TableError(
                "\n".join(
                    wrong[:SHOWN] + ([f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN))
                )
            )
        return without(np.concatenate(values), self.nodata)

    def texts(self, column: int) -> NDArray[np.str_]:
        """The texts of a column; numbers as short as they can be written."""
        cells = chain.from_iterable(part.columns[column] for part in self.parts)
        return np.array(
            [cell if isinstance(cell, str) else f"{cell:.17g}" for cell in cells], dtype=np.str_
        )

    def titled(self, column: int) -> str:
        return f"column '{self.names[column]}'" if self.names else f"column {column + 1}"


def is_text(path: Path) -> bool:
    """Whether a file may hold a table in text, by its name and its first bytes."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


def read_text_table(
    path: Path, header_words: Collection[str], most: int | None = None
) -> TextTable:
    """Read the cells of a text file.

    header_words  words, in lower case, by which a comment above the first row is known as a header
    most          lines to read; None: all
    Raises NotFoundError, and TableError for a file that is no table.
    """
    files.require_file(path)
    with explained(path), path.open(encoding="utf-8-sig") as file:
        lines = enumerate(islice(file, most), 1)
        first = list(islice(lines, HEAD_LINES))
        texts = [(number, text) for number, line in first if (text := _without_comment(line))]
        if not texts:
            raise TableError(f"{path} has no rows" if first else f"{path} is empty")
        separator = _separator([text for _, text in texts])
        number, cells = texts[0][0], _cells(texts[0][1], separator)
        above, names = first[number - 2][1] if number > 1 else "", list[str]()
        further = ((row, words) for row, line in lines if (words := _without_comment(line)))
        rows = ((row, _cells(words, separator)) for row, words in chain(texts, further))
        if not any(map(is_number, cells[1:])) and not (len(cells) == 1 and is_number(cells[0])):
            next(rows)
            names = cells
        widths = Counter(len(_cells(text, separator)) for _, text in texts[bool(names) :])
        width = widths.most_common(1)[0][0] if widths else len(cells)
        if not names:
            names = _header_in_comment(above, separator, width, header_words)
        if len(names) == width + 1 and not names[-1]:  # a separator at the end of the header alone
            names = names[:-1]
        if names and len(names) != width:
            raise _not_a_table(path, separator, width, [(number, len(names))], texts)
        parts = list[Rows]()
        while some := list(islice(rows, ROWS_AT_A_TIME)):
            if ragged := [(line, len(words)) for line, words in some if len(words) != width]:
                raise _not_a_table(path, separator, width, ragged, texts)
            columns = zip(*(words for _, words in some), strict=True)
            parts.append(
                Rows([line for line, _ in some], [_as_numbers(column) for column in columns])
            )
    if not parts:
        raise TableError(f"{path} has a header, but no rows")
    return TextTable(path, [name.strip() for name in names], width, parts)


def _separator(texts: Sequence[str]) -> str | None:
    """What separates the cells of most lines; None: spaces, also where only names of stations have
    a tab behind.
    """
    for mark in SEPARATORS:
        if sum(mark in text for text in texts) > len(texts) / 2:
            cells = texts[-1].split(mark)
            alone = all(
                len(cell.split()) < 2 or not all(map(is_number, cell.split())) for cell in cells
            )
            return mark if alone else None
    return None


def _head(path: Path, roles: Roles) -> TextTable:
    """The first rows of a table, by which it is recognised."""
    return read_text_table(path, names_of(roles), HEAD_LINES)


def _without_comment(line: str) -> str:
    """A line without its comment; empty for a comment, such as a segment header of GMT, and for a
    ruler.
    """
    text = line.split("#")[0]
    if not text.strip() or text.lstrip()[0] in COMMENTS or RULER.fullmatch(text.strip()):
        return ""
    return text.strip(" \r\n")


def _not_a_table(
    path: Path,
    separator: str | None,
    width: int,
    ragged: Sequence[tuple[int, int]],
    texts: Sequence[tuple[int, str]],
) -> TableError:
    """That lines have another number of cells, with the first lines of the file and how they were
    read.
    """
    lines = "; ".join(f"line {line} has {count} cells" for line, count in ragged[:SHOWN])
    more = f"; and {len(ragged) - SHOWN} more" if len(ragged) > SHOWN else ""
    shown = "\n".join(f"  line {line}: {text[:80]}" for line, text in texts[:3])
    has_both = separator is None and any("\t" in text for _, text in texts)
    mixed = "tabs and spaces are mixed, so that blank cells are lost: keep one of them; " * has_both
    return TableError(
        f"{path}: {lines}{more}, but there are {width} columns in most lines, separated by"
        f" {SEPARATED_BY[separator]}; {mixed}comments begin with #{', '.join(['', *COMMENTS[1:]])}."
        f" The first lines are\n{shown}"
    )


def _as_numbers(cells: Sequence[str]) -> Array | Sequence[str]:
    """Numbers, unless zeros ahead of some tell that they are names, such as of the stations 0022
    and 22.
    """
    if not any(cell[:1] == "0" and cell.isdecimal() and len(cell) > 1 for cell in cells):
        with suppress(ValueError):
            return np.array(cells, dtype=np.float64)
    return cells


def _cells(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return text.split()
    if '"' in text:
        return [
            cell.strip()
            for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True))
        ]
    return [cell.strip() for cell in text.split(separator)]


def _header_in_comment(
    line: str, separator: str | None, width: int, header_words: Collection[str]
) -> list[str]:
    """The names in a comment right above the first row, if at least two of them are known words."""
    if line.lstrip()[:1] not in {*COMMENTS}:
        return []
    words = line.lstrip().lstrip(COMMENTS).strip()
    cells = _cells(words, separator if separator is not None and separator in words else None)
    return (
        cells
        if len(cells) == width and len({cell.lower() for cell in cells} & set(header_words)) >= 2
        else []
    )
