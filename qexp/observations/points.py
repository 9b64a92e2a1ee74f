"""Points of a satellite track in a text or CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.observations.columns import (
    OF_RADAR,
    RADAR,
    columns_of,
    lengths,
    names_of,
    position_columns,
    require_columns,
    require_one_unit,
)
from qexp.observations.observation import Array, Track
from qexp.observations.reading import (
    Asked,
    Reading,
    direction_toward,
    masked_where_missing,
    require_degrees,
    suspicions,
)
from qexp.observations.text_table import TextTable, read_text_table

GEOGRAPHIC = "EPSG:4326"
VECTOR = ("los_east", "los_north", "los_up")

NARROW = 100.0
"""Extent of points [m] below which their coordinates are likely in km."""


def read_points(path: Path, asked: Asked) -> Reading:
    """Read displacements along the line of sight at scattered points. Raises QexpError."""
    table = read_text_table(path, names_of(RADAR))
    columns = columns_of(table, asked, RADAR, OF_RADAR)
    (x, y), geographic = position_columns(table, columns)
    require_columns(table, columns, ["los"])
    require_one_unit(table, columns, ["los", "error"], asked)
    if "error" in columns and asked.error is not None:
        raise QexpError(f"{path} has errors in {table.titled(columns['error'])}; leave --error out")
    if "error" not in columns and asked.error is None:
        raise QexpError(
            f"{path} has no column of errors; give the standard deviation of its displacements, such as --error 0.005 "
            "(in metres, or in the unit of --unit), or say which column holds it: --columns error=NAME"
        )
    count = table.count
    error = np.full(count, (asked.error or 0.0) * asked.metres)
    track = Track(
        asked.name or path.stem,
        "radar",
        table.numbers(columns[x]),
        table.numbers(columns[y]),
        lengths(table, columns, "los", asked),
        lengths(table, columns, "error", asked) if "error" in columns else error,
        _direction(table, columns, asked),
        np.ones(count, bool),
        table.numbers(columns["elevation"]) if "elevation" in columns else None,
    )
    masked = masked_where_missing(track)
    largest = np.abs(masked.seen().displacement).max(initial=0)
    doubts = suspicions(float(largest)) + (() if geographic else _suspicious_extent(masked))
    return Reading((masked,), GEOGRAPHIC if geographic else None, doubts)


def _suspicious_extent(track: Track) -> tuple[str, ...]:
    """What makes coordinates look like kilometres; degrees are refused elsewhere, once the system is known."""
    seen = track.seen()
    if len(seen.x) < 2:
        return ()
    extent = float(max(np.ptp(seen.x), np.ptp(seen.y)))
    degrees = bool((np.abs(seen.x) <= 360).all() and (np.abs(seen.y) <= 90).all())
    if degrees or not 0 < extent < NARROW:
        return ()
    return (f"the points lie within {extent:.3g} m; if their coordinates are in km, write them in metres",)


def _direction(table: TextTable, columns: Mapping[str, int], asked: Asked) -> Array:
    """Lines of sight from columns of the vector, or from incidence and heading, which are columns or numbers."""
    of_vector = [name for name in VECTOR if name in columns]
    asked_angles = [name for name in ("incidence", "heading", "look") if getattr(asked, name) is not None]
    if of_vector:
        require_columns(table, columns, VECTOR)
        if asked_angles:
            raise QexpError(f"{table.path} has the line of sight in columns; leave --{asked_angles[0]} out")
        return np.stack([table.numbers(columns[name]) for name in VECTOR], axis=1)
    angles = {}
    for name in ("incidence", "heading"):
        value = getattr(asked, name)
        if name in columns and value is not None:
            raise QexpError(f"{table.path} has a column of {name}; leave --{name} out")
        if name in columns:
            angles[name] = table.numbers(columns[name])
        elif value is None:
            raise QexpError(
                f"{table.path}: nothing says where the satellite is; give --incidence and --heading in degrees, or "
                "columns with the unit vector from the ground to it: --columns los_east=E,los_north=N,los_up=U"
            )
        elif isinstance(value, Path):
            raise QexpError(f"--{name} {value}: points need a number of degrees, or a column: --columns {name}=NAME")
        else:
            angles[name] = np.full(table.count, value)
    require_degrees(angles["incidence"], str(table.path))
    return direction_toward(angles["incidence"], angles["heading"], asked.look or "right")
