"""Draws from a density that is known at the points of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def drawn(axes: Sequence[Array], mass: Array, last: Array, count: int, random: np.random.Generator) -> Array:
    """Draws, (draw, coordinate), spread evenly over the cells of the grid's points.

    axes     coordinates of the points along all axes but the last
    mass     of each cell, (..., point of the last axis), but for a factor
    last     coordinates of the last axis, of equal distances, which may lie differently for each point of the others;
             between these points they follow the slope of their mean
    """
    share = np.cumsum(mass.ravel())
    chosen = np.minimum(np.searchsorted(share, random.random(count) * share[-1], side="right"), mass.size - 1)
    *places, along = np.unravel_index(chosen, mass.shape)
    cell = tuple(places)
    steps = [(axis[1] - axis[0]) * random.uniform(-0.5, 0.5, count) for axis in axes]
    found = [axis[place] + step for axis, place, step in zip(axes, cell, steps, strict=True)]
    widths = last[..., 1] - last[..., 0] if last.shape[-1] > 1 else np.zeros(last.shape[:-1])
    end = last[(*cell, along)] + widths[cell] * random.uniform(-0.5, 0.5, count)
    centre = last.mean(axis=-1)
    for index, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        end = end + np.gradient(centre, axis, axis=index)[cell] * step
    return np.stack([*found, end], axis=1)
