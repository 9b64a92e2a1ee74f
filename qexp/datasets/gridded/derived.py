"""Fields computed from other fields: slopes of a surface, coordinates as fields, and resampled fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SURFACE = "usurf"
SLOPES = {"slopsurfx": -1, "slopsurfy": -2}
"""Slope → the axis along which it is computed."""

POSITIONS = {"X": -1, "Y": -2}
"""Field of the coordinates of its cells → the axis along which they change, as in 2Dto2D-DLE."""


def slope(surface: Array, spacing: float, axis: int) -> Array:
    """Central differences of a surface, (time, y, x) [m], along one axis; one-sided at the frame, as DLE takes them."""
    return np.asarray(np.gradient(surface.astype(np.float64), spacing, axis=axis), dtype=np.float32)


def positions(coordinates: NDArray[np.float64], shape: tuple[int, int, int], axis: int) -> Array:
    """The coordinates of the cells along one axis as a field, (time, y, x)."""
    along = coordinates if axis == -1 else coordinates[:, None]
    return np.broadcast_to(along.astype(np.float32), shape)


def resampled(fields: Array, factor: float) -> Array:
    """Fields, (time, y, x), on cells `factor` times as wide: block means for 2, 3, …, cubic splines below 1.

    An incomplete block at the end of an axis is left out.
    """
    if factor == 1:
        return fields
    if factor > 1:
        block = round(factor)
        height, width = (side // block for side in fields.shape[1:])
        whole = fields[:, : height * block, : width * block]
        blocks = whole.reshape(-1, height, block, width, block)
        return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64), dtype=np.float32)
    from scipy.interpolate import RectBivariateSpline

    height, width = fields.shape[1:]
    rows, columns = finer(height, factor), finer(width, factor)
    degrees = {"kx": min(3, height - 1), "ky": min(3, width - 1)}
    frames = [
        RectBivariateSpline(np.arange(height), np.arange(width), frame, **degrees)(rows, columns) for frame in fields
    ]
    return np.asarray(np.stack(frames), dtype=np.float32)


def resampled_axis(values: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Coordinates of the cells of resampled fields."""
    if factor == 1:
        return values
    if factor > 1:
        block = round(factor)
        return np.asarray(values[: len(values) // block * block].reshape(-1, block).mean(axis=1))
    return np.asarray(np.interp(finer(len(values), factor), np.arange(len(values)), values))


def finer(count: int, factor: float) -> NDArray[np.float64]:
    """Positions between 0 and count − 1 in steps of `factor`."""
    positions = np.arange(int(count / factor)) * factor
    return np.asarray(positions[positions <= count - 1])
