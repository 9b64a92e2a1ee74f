"""Whether residuals are those of the declared noise: tests of whitened residuals, each exact for Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc  # scipy.stats, which has it, too, takes half a second to load

Array = NDArray[np.float64]

BLOCKS = 8
"""Blocks along each side of the area in which points lie."""

FEWEST = 4
"""Points of a block whose residuals are tested by themselves."""

ALMOST_ONE = 1 - 1e-16


@dataclass(frozen=True)
class Misfit:
    """p-values of the hypothesis that residuals are nothing but the declared noise, (observation,) each.

    total   sum of squares of all points: noise that is stronger than declared
    smooth  sum of squares of the blocks' means: what varies over distances as long as a block, as another source does
    local   largest sum of squares of a block: a fault in one place, such as an unwrapping error
    """

    total: Array
    smooth: Array
    local: Array

    @property
    def p_value(self) -> Array:
        """The smallest of the three, times their number (Bonferroni), at most 1."""
        every = np.stack([self.total, self.smooth, self.local])
        return np.asarray(np.minimum(1.0, len(every) * every.min(axis=0)))


def misfit(whitened: Array, blocks: NDArray[np.intp], unknowns: int) -> Misfit:
    """Tests of residuals, (observation, point), in units of the noise and independent of each other.

    blocks    (point,)  number of the block that each point lies in, from 0 on; see `blocks_of`
    unknowns  values that were fitted to each observation, among them offsets

    Sums of squares of n independent standard normal numbers follow χ² with n degrees of freedom. Fitting takes away
    from them: `total` counts the unknowns; the two others do not, and are conservative by that.
    """
    squares = np.square(whitened)
    total = chdtrc(max(whitened.shape[1] - unknowns, 1), squares.sum(axis=1))
    counts = np.bincount(blocks)
    used = np.flatnonzero(counts >= FEWEST)
    if not len(used):
        return Misfit(total, np.ones(len(whitened)), np.ones(len(whitened)))
    membership, sizes = (blocks[:, None] == used).astype(np.float64), counts[used].astype(np.float64)
    means, within = whitened @ membership / np.sqrt(sizes), squares @ membership
    beyond = chdtrc(sizes, within).min(axis=1)
    return Misfit(
        total=total,
        smooth=chdtrc(len(used), np.square(means).sum(axis=1)),
        local=-np.expm1(len(used) * np.log1p(-np.minimum(beyond, ALMOST_ONE))),
    )


def blocks_of(x: Array, y: Array) -> NDArray[np.intp]:
    """The block of each point, (point,), of BLOCKS x BLOCKS over the area in which they lie."""
    places = []
    for along in (x, y):
        low, high = float(along.min()), float(along.max())
        share = (along - low) / (high - low or 1.0)
        places.append(np.minimum((share * BLOCKS).astype(np.intp), BLOCKS - 1))
    return places[0] * BLOCKS + places[1]
