"""Rows of numbers that are copies of other rows: the same in single precision, or but for rounding or noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

NEAR = (1e-2, 1e-3)
"""Rows are nearly the same if none of their columns differs by more than this number of its standard deviations: by the
first one at which copies are told from chance, as rows may lie densely."""

WIDER = 3
"""How many times farther rows are counted, to see how many lie so near by chance."""

NEIGHBOURS = 8
"""The nearest rows that a row is joined with; copies of copies are joined through each other."""

FEW = 10_000
"""One equal row among so many is not worth a word."""

MOST_VALUES = 10**7
"""Numbers in a table above which only rows that are exactly the same are looked for."""


@dataclass(frozen=True)
class Copies:
    """The rows of a table in sets of copies, (row,): numbers of the sets of equal rows, and of nearly equal ones."""

    equal: Numbers
    alike: Numbers

    def among(self, some: Numbers, others: Numbers) -> tuple[Numbers, Numbers]:
        """Those of some rows that are equal to one of the others, and those that are only nearly so."""
        equal, alike = (
            np.bincount(sets[others], minlength=len(sets))[sets[some]] > 0 for sets in (self.equal, self.alike)
        )
        return some[equal], some[alike & ~equal]


def copies(columns: Array) -> Copies:
    """The copies among the rows of a table, (row, column).

    Nearly equal rows are copies if there are more of them than chance explains: in a space that rows fill, at least
    `WIDER` times as many pairs lie within `WIDER` times a distance. For equal rows see `chance`.
    """
    numbers = np.asarray(columns, dtype=np.float64)
    first, equal = _distinct(numbers)
    alike = np.arange(len(first))
    if numbers.size <= MOST_VALUES and len(first) > 1:
        alike = _joined(numbers[first])
    return Copies(equal, alike[equal])


def chance(some: Array, others: Array) -> int:
    """The largest number of some rows that may equal one of the others by chance, as columns have few distinct values.

    Each column of the others is shuffled, which keeps its values and takes the rows apart.
    """
    random = np.random.default_rng(0)
    shuffled = np.stack([random.permutation(column) for column in others.T], axis=1)
    equal = _distinct(np.concatenate([shuffled, some]))[1]
    expected = int(np.isin(equal[len(others) :], equal[: len(others)]).sum())
    return max(int(2 * expected + 3 * expected**0.5), len(some) // FEW)


def _distinct(numbers: Array) -> tuple[Numbers, Numbers]:
    """The first row of each set of rows that are equal in single precision, and the set of each row."""
    single = np.ascontiguousarray(numbers, dtype=np.float32) + np.float32(0)  # -0 is 0
    rows = single.view(np.dtype((np.void, single.dtype.itemsize * single.shape[1])))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first.astype(np.int64), inverse.astype(np.int64).reshape(-1)


def _joined(rows: Array) -> Numbers:
    """The set of nearly equal rows to which each of some distinct rows belongs, (row,)."""
    from scipy.sparse import coo_array  # these take a while to load
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count, scale = len(rows), _scale(rows)
    if not (scale > 0).any():
        return np.arange(count)
    tree = cKDTree(rows[:, scale > 0] / scale[scale > 0])
    distance, index = tree.query(tree.data, min(NEIGHBOURS + 1, count), p=np.inf, distance_upper_bound=WIDER * NEAR[0])
    for within in NEAR:
        crowded = distance[:, -1] <= WIDER * within  # rows that may have more than these neighbours
        near, farther = (
            int((distance[~crowded] <= reach).sum())
            + int(tree.query_ball_point(tree.data[crowded], reach, p=np.inf, return_length=True).sum())
            - count  # a row is its own nearest
            for reach in (within, WIDER * within)
        )
        most = (farther - near) / (WIDER - 1)  # pairs that lie near by chance
        if near - most > near / 4 + 4 * most**0.5:
            row, place = np.nonzero(distance <= within)
            pairs = coo_array((np.ones(len(row), dtype=bool), (row, index[row, place])), shape=(count, count))
            return np.asarray(connected_components(pairs, directed=False)[1], dtype=np.int64)
    return np.arange(count)


def _scale(rows: Array) -> Array:
    """The standard deviation of each column; where a few values are far off, as of the half of the values between."""
    quarter, three_quarters = np.quantile(rows, [0.25, 0.75], axis=0)
    of_half = (three_quarters - quarter) / 1.349
    deviation = rows.std(axis=0)
    return np.asarray(np.where(of_half > 0, np.minimum(deviation, of_half), deviation), dtype=np.float64)
