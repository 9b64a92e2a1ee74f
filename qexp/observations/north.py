"""Geographic north and the north of a grid: by how much one is turned against the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qexp.observations.observation import Array

if TYPE_CHECKING:
    import pyproj

NORTHS = ("true", "grid")
"""To which north the components of a line of sight, or of a station's displacement, may refer."""


def convergence(crs: pyproj.CRS | None, x: Array, y: Array) -> Array:
    """The meridian convergence at points: the angle by which true north lies to the left of grid north [rad].

    crs      projected; in any other one, and without one, both norths are the same
    x, y     (point,)  in this system
    returns  (point,)  0 where a point is not finite
    """
    import pyproj

    if crs is None or not crs.is_projected:
        return np.zeros(len(x))
    projection = pyproj.Proj(crs)
    longitude, latitude = projection(x, y, inverse=True)
    angle = np.radians(projection.get_factors(longitude, latitude).meridian_convergence)
    return np.where(np.isfinite(angle), angle, 0.0)


def turned(direction: Array, angle: Array) -> Array:
    """Vectors turned to the left, counter-clockwise from above.

    By the convergence, components along true east and north become components along the axes of the grid.

    direction  (point, 3)  east, north, up
    angle      (point,)    [rad]
    returns    (point, 3)
    """
    east, north, up = direction.T
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([east * cosine - north * sine, east * sine + north * cosine, up], axis=-1)
