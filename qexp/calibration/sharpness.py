"""How wide intervals are beside those that are known to be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLED = 1000


@dataclass(frozen=True)
class RelativeWidth:
    """The median ratio of the widths of intervals, with its 95 % interval over observations by bootstrap."""

    count: int
    median: float
    interval: tuple[float, float]


def relative_width(widths: Array, known: Array, random: np.random.Generator) -> RelativeWidth:
    """Compare widths of intervals, (observation,), with those of the exact posteriors of the same observations."""
    ratios = widths / known
    chosen = random.integers(len(ratios), size=(RESAMPLED, len(ratios)))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), (0.025, 0.975))
    return RelativeWidth(len(ratios), float(np.median(ratios)), (float(low), float(high)))


def widths(draws: Array, probability: float) -> Array:
    """Widths of central intervals, from draws (observation, draw)."""
    low, high = np.quantile(draws, ((1 - probability) / 2, (1 + probability) / 2), axis=1)
    return np.asarray(high - low)
