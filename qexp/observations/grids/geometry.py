"""Lines of sight over a grid: from angles or components, as numbers or rasters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.open import open_raster
from qexp.observations.grids.raster import Array, Raster, Window
from qexp.observations.observation import UNIT_TOLERANCE
from qexp.observations.reading import Asked, direction_toward, require_degrees

Direction = Callable[[Window], Array]
"""Unit vectors from the ground to the satellite at the pixels of a window, (pixel, 3); NaN where they are not known."""


def is_given(asked: Asked) -> bool:
    """Whether the command line gives a line of sight."""
    return any(one is not None for one in (asked.direction, asked.incidence, asked.heading))


def direction_of(field: Raster, asked: Asked) -> Direction:
    """The lines of sight that the command line gives.

    Raises QexpError if it gives none or two, or rasters of other grids.
    """
    angles = [name for name in ("incidence", "heading", "look") if getattr(asked, name) is not None]
    if asked.direction is not None:
        if angles:
            raise QexpError(f"--direction gives the whole line of sight; leave --{angles[0]} out")
        return from_components(field, *(open_raster(path) for path in asked.direction))
    for name in ("incidence", "heading"):
        if name not in angles:
            raise QexpError(
                f"{field.source}: the line of sight is unknown, as --{name} is missing; give --incidence and "
                "--heading, in degrees or as rasters of the same grid, or rasters of the unit vector to the satellite: "
                "--direction EAST,NORTH,UP"
            )
    incidence, heading = (_angle(getattr(asked, name)) for name in ("incidence", "heading"))
    return from_angles(field, incidence, heading, asked.look or "right")


def _angle(value: float | Path) -> float | Raster:
    return open_raster(value) if isinstance(value, Path) else value


def from_angles(field: Raster, incidence: float | Raster, heading: float | Raster, look: str = "right") -> Direction:
    """Lines of sight from incidence and heading [degrees]."""
    for one in (incidence, heading):
        if isinstance(one, Raster):
            field.require_same_grid(one)
    if not isinstance(incidence, Raster):
        require_degrees(np.array([incidence]), "--incidence")
    if not isinstance(heading, Raster) and not -360 <= heading <= 360:
        raise QexpError(f"--heading {heading:g}: a heading is an angle from north, in degrees from -360 to 360")

    def direction(window: Window) -> Array:
        steep, along = (_over(one, window) for one in (incidence, heading))
        if isinstance(incidence, Raster):
            require_degrees(steep, incidence.source)
        return direction_toward(steep, along, look)

    return direction


def _over(value: float | Raster, window: Window) -> Array:
    return value.read(window).ravel() if isinstance(value, Raster) else np.full(window.size, value)


def from_components(field: Raster, *components: Raster) -> Direction:
    """Lines of sight from rasters of their components east, north and up; pixels where all are 0 have none."""
    for one in components:
        field.require_same_grid(one)

    def direction(window: Window) -> Array:
        east, north, up = (one.read(window).ravel() for one in components)
        length = np.sqrt(east * east + north * north + up * up)
        length[length == 0] = np.nan
        if (np.abs(length - 1) > UNIT_TOLERANCE).any():
            raise QexpError(
                f"{', '.join(one.source for one in components)} are not the components of unit vectors: lengths are "
                f"{np.nanmin(length):g} to {np.nanmax(length):g}, but must be 1"
            )
        return np.stack([east, north, up], axis=-1)

    return direction
