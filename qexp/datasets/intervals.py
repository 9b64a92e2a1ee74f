"""Quantile intervals: which quantiles of a variable belong to training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

INTERVALS_PER_UNIT = 800.0
"""Mean number of extra sub-intervals per part in a gap as wide as the whole axis (VDI: 8 x 100)."""

SIZE_SPREAD = 0.1
"""Standard deviation of the logarithm of the sub-intervals' relative sizes (VDI)."""

ROUNDING = 1e-9
"""Shares that differ from 1 by no more than this add up to 1."""

Interval = tuple[float, float]


def gaps(test: Sequence[Interval]) -> list[Interval]:
    """The gaps that the ordered, disjoint test intervals leave in [0, 1], without empty ones."""
    edges = [0.0, *(edge for interval in test for edge in interval), 1.0]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if high > low]


def divide(test: Sequence[Interval], shares: Sequence[float], random: np.random.Generator) -> list[list[Interval]]:
    """Divide the gaps between test intervals among the parts (training, validation), as VDI does.

    In every gap each part gets 1 + Poisson(8 · width · 100) sub-intervals with log-normal(0, 0.1) relative sizes that
    add up to the part's share of the gap; all of them then fill the gap in random order.

    shares   fractions of the parts; what they leave of 1 belongs to no part
    returns  for each part its intervals, in increasing order
    """
    rest = 1 - sum(shares)
    every = [*shares, rest] if rest > ROUNDING else shares
    parts: list[list[Interval]] = [[] for _ in every]
    for low, high in gaps(test):
        sizes: list[float] = []
        owners: list[int] = []
        for part, share in enumerate(every):
            count = 1 + int(random.poisson(INTERVALS_PER_UNIT * (high - low)))
            relative = random.lognormal(0.0, SIZE_SPREAD, count)
            sizes.extend(relative / relative.sum() * (high - low) * share)
            owners.extend([part] * count)
        order = random.permutation(len(sizes))
        edges = low + np.concatenate([[0.0], np.cumsum(np.asarray(sizes)[order])])
        edges[-1] = high
        for position, index in enumerate(order):
            parts[owners[index]].append((float(edges[position]), float(edges[position + 1])))
    return parts[: len(shares)]


def sample(intervals: Sequence[Interval], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles in the intervals: an interval with probability proportional to its width, then uniform in it.

    uniform  values in (0, 1), one for each quantile: positions along all intervals laid end to end, which choose
             both the interval and the quantile in it
    """
    bounds = np.asarray(intervals, dtype=np.float64)
    ends = np.cumsum(bounds[:, 1] - bounds[:, 0])
    along = uniform * ends[-1]
    index = np.minimum(np.searchsorted(ends, along, side="right"), len(ends) - 1)
    quantiles: NDArray[np.float64] = np.clip(bounds[index, 1] - (ends[index] - along), *bounds[index].T)
    return quantiles
