"""Which column of a table holds what: by the names on the command line, by well-known names, or by the usual order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.observations.observation import Array
from qexp.observations.reading import METRES, Asked, in_metres
from qexp.observations.text_table import TextTable

Roles = Mapping[str, Sequence[str]]
"""What a column holds → the names by which it is known, in lower case, besides that of the role."""

POSITIONS: Roles = {
    "east": ("easting", "x", "utm_east", "utme", "x_utm"),
    "north": ("northing", "y", "utm_north", "utmn", "y_utm"),
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
    "station": ("name", "site", "stat", "id"),
    "displacement_east": ("e", "de", "ue", "disp_e", "east_displacement", "d_east"),
    "displacement_north": ("n", "dn", "un", "disp_n", "north_displacement", "d_north"),
    "displacement_up": ("u", "du", "uu", "dz", "v", "disp_u", "up_displacement", "d_up", "up"),
    "error": (),
    "error_east": ("se", "sigma_e", "sigma_east", "err_e", "std_e", "east_error"),
    "error_north": ("sn", "sigma_n", "sigma_north", "err_n", "std_n", "north_error"),
    "error_up": ("su", "sigma_u", "sigma_up", "err_u", "std_u", "up_error"),
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
    words, unit = (name, None) if match is None else (match["name"], match["braced"] or match["plain"])
    return words.strip().lower().replace(" ", "_"), unit


def names_of(roles: Roles) -> set[str]:
    return set(roles) | set(chain.from_iterable(roles.values()))


def columns_of(table: TextTable, asked: Asked, roles: Roles, order: Sequence[str]) -> dict[str, int]:
    """What columns hold → their index. Raises QexpError for unknown names and for a file of another width."""
    given = asked.columns
    if given is not None and not isinstance(given, Mapping):
        return _in_order(table, given, order)
    widths = {3, 4, len(order)} if order[0] == "east" else {len(order), len(order) - 3}
    usual = {role: index for index, role in enumerate(order[: table.width])} if table.width in widths else {}
    found = _by_name(table, roles) if table.names else usual
    if given:
        return _as_asked(table, given, roles, found)
    if not found and not table.names:
        raise QexpError(
            f"{table.path}: {table.width} columns without a header; without one they are {', '.join(order)} "
            f"({' or '.join(map(str, sorted(widths)))} of them). Otherwise say which is which, such as "
            f"--columns {order[0]}=1,{order[1]}=2,{order[2]}=5"
        )
    return found


def _in_order(table: TextTable, positions: Sequence[int], order: Sequence[str]) -> dict[str, int]:
    if len(positions) > len(order):
        raise QexpError(f"--columns: {len(positions)} positions, but only {len(order)} are known: {', '.join(order)}")
    return {role: _position(table, str(one), role) for role, one in zip(order, positions, strict=False)}


def _by_name(table: TextTable, roles: Roles) -> dict[str, int]:
    plain = [plain_name(name)[0] for name in table.names]
    found: dict[str, int] = {}
    for role, words in roles.items():
        # A name that two columns have tells nothing.
        index = next((plain.index(word) for word in (role, *words) if plain.count(word) == 1), None)
        if index is not None and index not in found.values():
            found[role] = index
    return found


def _as_asked(table: TextTable, given: Mapping[str, str], roles: Roles, found: dict[str, int]) -> dict[str, int]:
    """The columns of the command line, with those that are known by name besides."""
    asked: dict[str, int] = {}
    for word, column in given.items():
        role = next((role for role, words in roles.items() if word.lower() in (role, *words)), None)
        if role is None:
            raise QexpError(f"--columns {word}={column}: no column holds '{word}'; {suggestion(word, roles)}")
        if column in table.names:
            asked[role] = table.names.index(column)
        elif column.isdecimal():
            asked[role] = _position(table, column, role)
        elif table.names:
            raise QexpError(f"{table.path} has no column '{column}'; {suggestion(column, table.names)}")
        else:
            raise QexpError(f"{table.path} has no header with '{column}'; give its position, such as {word}=1")
    plane, sphere = {"east", "north"}, {"longitude", "latitude"}
    unwanted = sphere if plane & asked.keys() else plane if sphere & asked.keys() else set()
    kept = {role: index for role, index in found.items() if role not in unwanted and index not in asked.values()}
    return {**kept, **asked}


def _position(table: TextTable, text: str, role: str) -> int:
    if not 1 <= int(text) <= table.width:
        raise QexpError(f"--columns: {role} is column {text}, but {table.path} has {table.width} columns")
    return int(text) - 1


def require_columns(table: TextTable, columns: Mapping[str, int], roles: Sequence[str], hint: str = "") -> None:
    missing = [role for role in roles if role not in columns]
    if missing:
        known = f"; its columns are {', '.join(table.names)}" if table.names else ""
        free = next((index for index in range(table.width) if index not in columns.values()), table.width - 1)
        named = table.names and table.names.count(table.names[free]) == 1
        raise QexpError(
            f"{table.path}: no column is known to hold {' or '.join(missing)}{known}; say which one does, such as "
            f"--columns {missing[0]}={table.names[free] if named else free + 1}{hint}"
        )


def position_columns(table: TextTable, columns: Mapping[str, int]) -> tuple[tuple[str, str], bool]:
    """The columns of x and y, and whether they are longitude and latitude."""
    geographic = {"longitude", "latitude"} <= columns.keys()
    if geographic and {"east", "north"} <= columns.keys():
        geographic = False  # the projected ones are there already
    names = ("longitude", "latitude") if geographic else ("east", "north")
    require_columns(table, columns, names, " (or longitude and latitude)")
    return names, geographic


def lengths(table: TextTable, columns: Mapping[str, int], role: str, asked: Asked) -> Array:
    """A column of displacements or errors [m]. Raises QexpError if the header and --unit name different units."""
    unit = unit_of(table, columns, role)
    if unit is not None and asked.unit is not None and unit != asked.unit:
        raise QexpError(f"{table.path}: {table.titled(columns[role])} is in {unit}, but --unit says {asked.unit}")
    return table.numbers(columns[role]) * in_metres(unit or asked.unit or "m")


def unit_of(table: TextTable, columns: Mapping[str, int], role: str) -> str | None:
    return plain_name(table.names[columns[role]])[1] if table.names else None


def require_one_unit(table: TextTable, columns: Mapping[str, int], roles: Sequence[str], asked: Asked) -> None:
    """Raises QexpError if the header names the unit of some of these columns but not of others."""
    if not table.names or asked.unit is not None:
        return
    units = {role: unit_of(table, columns, role) for role in roles if role in columns}
    named = {unit for unit in units.values() if unit is not None}
    silent = [role for role, unit in units.items() if unit is None]
    if silent and named - {"m"}:
        raise QexpError(
            f"{table.path}: the header names the unit {', '.join(sorted(named))} of some columns, but none of "
            f"{', '.join(table.titled(columns[role]) for role in silent)}; write it behind each name, such as "
            f"'{table.names[columns[silent[0]]]} (mm)'; units are {', '.join(METRES)}"
        )
