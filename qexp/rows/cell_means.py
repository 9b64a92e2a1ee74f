"""Where the rows of a map lie, and means over cells whose extent is known only after the last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array

Integers = NDArray[np.int64]

MOST_CELLS = 1000
"""Largest number of cells along an axis."""
SPARSE_RATIO = 4
"""Largest ratio of a grid's cells to its rows; with more, rows are scattered points."""


POSITIONS: Sequence[Sequence[tuple[str, ...]]] = (
    (("longitude", "lon", "long"), ("latitude", "lat")),
    (("sample", "column"), ("line", "row")),
)
"""Names of columns with positions: those of x, and those of y."""


def position_columns(names: Sequence[str]) -> tuple[str, str] | None:
    """The columns of a file with the positions of its rows, x first; None if there are none."""
    by_word = {name.lower(): name for name in names}
    for x_words, y_words in POSITIONS:
        x = [by_word[word] for word in x_words if word in by_word]
        y = [by_word[word] for word in y_words if word in by_word]
        if x and y:
            return x[0], y[0]
    return None


class CellMeans:
    """Sums of values over cells, whose size is doubled whenever the rows extend over more than
    `MOST_CELLS` cells.

    A cell is one step of the grid on which the first rows lie, so that each cell inside gets a row;
    for scattered rows it has about the mean area per row.
    """

    def __init__(self, values: int) -> None:
        self.sums = np.zeros((values, 0, 0))
        """(value, y, x)"""
        self.counts = np.zeros((0, 0))
        self._origin = np.zeros(2)
        """Centre of the cell 0, 0 before any doubling."""
        self._unit = np.ones(2)
        """Width and height of a cell before any doubling."""
        self._doubled = np.zeros(2, dtype=np.int64)
        self._first = np.zeros(2, dtype=np.int64)
        """Numbers of the first column and row in the sums."""

    def add(self, x: Array, y: Array, values: Array) -> None:
        """Add rows at positions, (row,), with values, (row, value), except where not finite."""
        finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(values).all(axis=1)
        points = np.stack([x[finite], y[finite]])
        values = values[finite]
        if not len(values):
            return
        if not self.counts.size:
            self._unit = steps(points)
            self._origin = points.min(axis=1)
        steps_from_origin = (points - self._origin[:, None]) / self._unit[:, None]
        cells = np.floor(steps_from_origin + 0.5).astype(np.int64) >> self._doubled[:, None]
        columns = self._placed(cells[0], 0)
        rows = self._placed(cells[1], 1)
        height, width = self.counts.shape
        flat = rows * width + columns
        self.counts += np.bincount(flat, minlength=height * width).reshape(height, width)
        for sums, weights in zip(self.sums, values.T, strict=True):
            sums += np.bincount(flat, weights, height * width).reshape(height, width)

    def means(self) -> Array:
        """The means, (value, y, x), NaN in cells without rows."""
        empty = np.full_like(self.sums, np.nan)
        return np.divide(self.sums, self.counts, out=empty, where=self.counts > 0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper edge of the map."""
        cell = self._unit * 2.0**self._doubled
        low = self._origin - self._unit / 2 + self._first * cell
        high = low + np.array(self.counts.shape[::-1]) * cell
        left, lower = low.tolist()
        right, upper = high.tolist()
        return left, right, lower, upper

    def _placed(self, cells: Integers, axis: int) -> Integers:
        """The places of cells along x (0) or y (1) in the sums, which get room for them.

        Pairs of neighbouring cells, an even one and the odd one after it, are added up until all
        are few enough.
        """
        dimension = -1 - axis
        own = self._first[axis] + np.arange(self.counts.shape[dimension])
        while np.ptp(np.append(own, cells)) >= MOST_CELLS:
            self._doubled[axis] += 1
            cells, (own, pairs) = cells >> 1, np.unique(own >> 1, return_index=True)
            self.counts = np.add.reduceat(self.counts, pairs, dimension)
            self.sums = np.add.reduceat(self.sums, pairs, dimension)
        every = np.append(own, cells)
        low = int(every.min())
        high = int(every.max())
        room = [(0, 0)] * 3  # of (value, y, x)
        room[dimension] = (0, high - low + 1)
        if len(own):
            room[dimension] = (int(own[0]) - low, high - int(own[-1]))
        if any(room[dimension]):
            self.counts = np.pad(self.counts, room[1:])
            self.sums = np.pad(self.sums, room)
        self._first[axis] = low
        return np.asarray(cells - low)


def fill_a_grid(different: Sequence[Array], points: int) -> bool:
    """Whether so many points lie on a grid, and are not scattered.

    different  the values of x, and of y, each once
    """
    x, y = different
    return len(x) * len(y) <= SPARSE_RATIO * points


def steps(points: Array) -> Array:
    """The steps along x and y of the grid of points, (2, point), or of one equally dense."""
    different = [np.unique(line) for line in points]
    if fill_a_grid(different, points.shape[1]):
        step = np.array([_step(line) for line in different])
    else:
        width, height = np.ptp(points, axis=1)
        step = np.full(2, 1.5 * np.sqrt(width * height / points.shape[1]))
    positive = step[step > 0]
    return np.where(step > 0, step, positive.max() if len(positive) else 1.0)


def _step(ascending: Array) -> float:
    """The step between sorted values, averaged if even, which rounds less; 0 for a single one."""
    if len(ascending) < 2:
        return 0.0
    gaps = np.diff(ascending)
    median = float(np.median(gaps))
    return float(gaps.mean()) if gaps.max() < 1.5 * median else median
