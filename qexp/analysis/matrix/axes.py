"""The axes of a matrix: its grid of true values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError

BLOCK = 512
"""Number of cells that are simulated at a time."""

LARGEST = 50_000_000
"""Largest number of cells of a matrix; more are assumed to be a mistake."""


@dataclass(frozen=True)
class MatrixAxis:
    """Cells of equal width from `low` to `high`; the true values are their centres."""

    variable: str
    low: float
    high: float
    cells: int

    @property
    def centres(self) -> NDArray[np.float64]:
        return self.low + (np.arange(self.cells) + 0.5) * (self.high - self.low) / self.cells


def checked(one: MatrixAxis, source: str) -> MatrixAxis:
    if not (np.isfinite(one.low) and np.isfinite(one.high)) or not one.low < one.high:
        raise QexpError(f"{source}: the axis must rise, but goes from {one.low:g} to {one.high:g}")
    if one.cells < 1:
        raise QexpError(f"{source}: an axis needs at least one cell")
    if one.cells > LARGEST:
        raise QexpError(f"{source}: {one.cells:,} cells are too many; the limit is {LARGEST:,}")
    return one


def blocks(cells: int) -> Iterator[NDArray[np.intp]]:
    """The numbers of the cells in each block."""
    return (np.arange(start, min(start + BLOCK, cells)) for start in range(0, cells, BLOCK))


def values_at(grid: Sequence[MatrixAxis], cells: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """The true values of the axes in some cells, (cell,) each; the last axis is the fastest."""
    indices = np.unravel_index(cells, tuple(one.cells for one in grid))
    return {one.variable: one.centres[index] for one, index in zip(grid, indices, strict=True)}
