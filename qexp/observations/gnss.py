"""Displacements of GNSS stations in a text or CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.observations.columns import (
    GNSS,
    OF_GNSS,
    OF_RADAR,
    RADAR,
    columns_of,
    lengths,
    names_of,
    position_columns,
    require_columns,
    require_one_unit,
)
from qexp.observations.observation import Track
from qexp.observations.points import GEOGRAPHIC
from qexp.observations.reading import Asked, Reading, masked_where_missing, suspicions
from qexp.observations.text_table import TextTable, is_text, read_text_table
from qexp.rows.values import is_number

COMPONENTS = ("east", "north", "up")

HEAD = 1000
"""Lines from which a table is recognised."""


def is_gnss(path: Path) -> bool:
    """Whether a text file has a header with components of displacements, or a name before its numbers."""
    if not is_text(path):
        return False
    try:
        table = read_text_table(path, names_of(GNSS), HEAD)
    except QexpError:
        return False
    if not table.names:
        return not is_number(table.first[0])
    found, along = _columns(table, Asked()), columns_of(table, Asked(), RADAR, OF_RADAR)
    placed = {"east", "north"} <= found.keys() or {"longitude", "latitude"} <= found.keys()
    return placed and {"displacement_east", "displacement_north"} <= found.keys() and "los" not in along


def read_gnss(path: Path, asked: Asked) -> Reading:
    """Read the components of stations: one entry of the track per station and component. Raises QexpError.

    Without a header: name, east, north, displacements east, north and up, and their three errors. The component up
    may be missing.
    """
    table = read_text_table(path, names_of(GNSS))
    columns = _columns(table, asked)
    (x, y), geographic = position_columns(table, columns)
    require_columns(table, columns, ["displacement_east", "displacement_north"])
    components = [name for name in COMPONENTS if f"displacement_{name}" in columns]
    roles = [f"{what}_{name}" for what in ("displacement", "error") for name in components]
    require_one_unit(table, columns, [*roles, "error"], asked)
    count = table.count
    errors = []
    for name in components:
        role = next((one for one in (f"error_{name}", "error") if one in columns), None)
        if role is None and asked.error is None:
            raise QexpError(
                f"{path} has no errors of the component {name}; say which column holds them: --columns "
                f"error_{name}=NAME, or give one number: --error 0.003 (in metres, or in the unit of --unit)"
            )
        of_all = np.full(count, (asked.error or 0) * asked.metres)
        errors.append(of_all if role is None else lengths(table, columns, role, asked))
    width = len(components)
    track = Track(
        asked.name or path.stem,
        "gnss",
        np.repeat(table.numbers(columns[x]), width),
        np.repeat(table.numbers(columns[y]), width),
        np.stack([lengths(table, columns, f"displacement_{name}", asked) for name in components], axis=1).ravel(),
        np.stack(errors, axis=1).ravel(),
        np.tile(np.eye(3)[[COMPONENTS.index(name) for name in components]], (count, 1)),
        np.ones(count * width, bool),
        np.repeat(table.numbers(columns["elevation"]), width) if "elevation" in columns else None,
        station=np.repeat(table.texts(columns["station"]), width) if "station" in columns else None,
    )
    masked = masked_where_missing(track)
    largest = np.abs(masked.seen().displacement).max(initial=0)
    return Reading((masked,), GEOGRAPHIC if geographic else None, suspicions(float(largest)))


def _columns(table: TextTable, asked: Asked) -> dict[str, int]:
    """What columns hold; beside longitude, latitude and `up`, those named east and north are displacements."""
    columns = columns_of(table, asked, GNSS, OF_GNSS)
    if {"longitude", "latitude", "east", "north", "displacement_up"} <= columns.keys() and not (
        {"displacement_east", "displacement_north"} & columns.keys()
    ):
        columns |= {f"displacement_{name}": columns.pop(name) for name in ("east", "north")}
    return columns
