"""Means over the cells of a map whose extent is known only after the last row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array

MOST_CELLS = 1000
"""Largest number of cells along an axis."""
SPARSE_RATIO = 4
"""Largest ratio of a grid's cells to its rows; with more cells the rows are treated as scattered points."""


class CellMeans:
    """Sums of values over cells, whose size is doubled whenever the rows extend over more than `MOST_CELLS` cells.

    A cell is one step of the grid on which the first rows lie, so that each cell inside gets a row; for scattered rows
    it has about the mean area per row.
    """

    def __init__(self, values: int) -> None:
        self.sums = np.zeros((values, 0, 0))
        """(value, y, x)"""
        self.counts = np.zeros((0, 0))
        self.step: Array | None = None
        """Width and height of a cell."""
        self._origin = np.zeros(2)
        """Centre of the cell 0, 0 before any doubling."""
        self._unit = np.ones(2)
        self._doubled = np.zeros(2, dtype=np.int64)
        self._first = np.zeros(2, dtype=np.int64)
        """Numbers of the first column and row in the sums."""

    def add(self, x: Array, y: Array, values: Array) -> None:
        """Add rows at positions, (row,), with values, (row, value); rows with NaN or infinity are left out."""
        finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(values).all(axis=1)
        points, values = np.stack([x[finite], y[finite]]), values[finite]
        if not len(values):
            return
        if self.step is None:
            self._unit = self.step = steps(points)
            self._origin = points.min(axis=1)
        cells = np.floor((points - self._origin[:, None]) / self._unit[:, None] + 0.5).astype(np.int64)
        cells >>= self._doubled[:, None]
        for axis in (0, 1):
            while self._reach(cells[axis], axis) > MOST_CELLS:
                self._double(axis)
                cells[axis] >>= 1
        self._make_room(cells)
        columns, rows = cells - self._first[:, None]
        height, width = self.counts.shape
        flat = rows * width + columns
        self.counts += np.bincount(flat, minlength=height * width).reshape(height, width)
        for index in range(len(self.sums)):
            added = np.bincount(flat, weights=values[:, index], minlength=height * width)
            self.sums[index] += added.reshape(height, width)

    def means(self) -> NDArray[np.float64]:
        """The means, (value, y, x), NaN in cells without rows."""
        return np.divide(self.sums, self.counts, out=np.full_like(self.sums, np.nan), where=self.counts > 0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper edge of the map."""
        cell = self._unit * 2.0**self._doubled
        low = self._origin - self._unit / 2 + self._first * cell
        (left, bottom), (right, top) = low.tolist(), (low + np.array(self.counts.shape[::-1]) * cell).tolist()
        return left, right, bottom, top

    def _reach(self, cells: NDArray[np.int64], axis: int) -> int:
        low, high = int(cells.min()), int(cells.max())
        if count := self.counts.shape[1 - axis]:
            low, high = min(low, int(self._first[axis])), max(high, int(self._first[axis]) + count - 1)
        return high - low + 1

    def _double(self, axis: int) -> None:
        """Add up pairs of neighbouring cells, an even one and the odd one after it."""
        along = 1 - axis  # of (y, x)
        self._doubled[axis] += 1
        count, odd = self.counts.shape[along], int(self._first[axis]) & 1
        self._first[axis] >>= 1
        if not count:
            return
        more = (count + odd) & 1

        def joined(array: Array, dimension: int) -> Array:
            room = [(0, 0)] * array.ndim
            room[dimension] = (odd, more)
            return np.add.reduceat(np.pad(array, room), range(0, count + odd + more, 2), axis=dimension)

        self.counts, self.sums = joined(self.counts, along), joined(self.sums, along + 1)

    def _make_room(self, cells: NDArray[np.int64]) -> None:
        low, high = cells.min(axis=1), cells.max(axis=1) + 1
        height, width = self.counts.shape
        if height:
            low = np.minimum(low, self._first)
            high = np.maximum(high, self._first + np.array([width, height]))
        (left, below), (columns, rows) = (self._first - low) * bool(height), high - low
        if (rows, columns) != (height, width):
            room = ((below, rows - height - below), (left, columns - width - left))
            self.counts, self.sums = np.pad(self.counts, room), np.pad(self.sums, ((0, 0), *room))
        self._first = low


def steps(points: Array) -> Array:
    """The steps along x and y of the grid on which points, (2, point), lie; or of a grid of the same density."""
    different = [np.unique(line) for line in points]
    if len(different[0]) * len(different[1]) <= SPARSE_RATIO * points.shape[1]:
        step = np.array([_step(line) for line in different])
    else:
        width, height = np.ptp(points, axis=1)
        step = np.full(2, 1.5 * np.sqrt(width * height / points.shape[1]))
    positive = step[step > 0]
    return np.where(step > 0, step, positive.max() if len(positive) else 1.0)


def _step(ascending: Array) -> float:
    """The step between sorted values; 0 for a single value. Even steps are averaged, which reduces rounding errors."""
    if len(ascending) < 2:
        return 0.0
    gaps = np.diff(ascending)
    median = float(np.median(gaps))
    return float(gaps.mean()) if gaps.max() < 1.5 * median else median
