"""Means and medians of angles, and of other values that repeat after a period."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def circular_moments(values: Array, weights: Array, period: float) -> tuple[float, float, float]:
    """Mean, median and standard deviation of a distribution on a circle; mean and median from 0 up to the period.

    values   (value,) in any order and any turn
    weights  (value,) but for a factor

    The mean has the least mean squared difference from all values by the shorter way round, the median the least mean
    absolute one. Cut between two neighbours, the circle is a line; the least of all cuts is that of the circle (Hotz
    and Huckemann 2015, Ann. Inst. Stat. Math. 67, 177-193). The standard deviation is about the mean.
    """
    turned = values % period
    order = np.argsort(turned, kind="stable")
    count, share = len(order), weights[order] / weights.sum()
    line, of_line = np.concatenate([turned[order], turned[order] + period]), np.tile(share, 2)
    below, first, second = (np.concatenate([[0.0], np.cumsum(of_line * line**power)]) for power in (0, 1, 2))
    cuts = np.arange(count)
    means = first[cuts + count] - first[cuts]
    variances = second[cuts + count] - second[cuts] - means**2
    middle = np.clip(np.searchsorted(below, below[cuts] + 0.5) - 1, cuts, cuts + count - 1)
    from_median = (first[cuts + count] - 2 * first[middle] + first[cuts]) - line[middle] * (
        below[cuts + count] - 2 * below[middle] + below[cuts]
    )
    of_mean, of_median = int(np.argmin(variances)), int(np.argmin(from_median))
    inside = slice(of_median, of_median + count)
    halves = np.cumsum(of_line[inside]) - of_line[inside] / 2
    median = float(np.interp(0.5, halves, line[inside]))
    around = slice(of_mean, of_mean + count)
    deviation = np.sqrt(of_line[around] @ np.square(line[around] - means[of_mean]))
    return float(means[of_mean]) % period, median % period, float(deviation)
