"""The scale on which an output's errors are compared and its intervals are symmetrical."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.calibration.conformal import uncrossed
from qexp.metrics.periodic import nearest

Array = NDArray[np.float64]


def unchanged(values: Array) -> Array:
    return values


@dataclass(frozen=True)
class Scale:
    """A monotonic function of an output and its inverse, such as a logarithm: intervals of factors, not of sums.

    low, high  limits of the output in its own unit; None: no limit on that side
    period     after which its values repeat, if they do
    """

    forward: Callable[[Array], Array] = unchanged
    inverse: Callable[[Array], Array] = unchanged
    low: float | None = None
    high: float | None = None
    period: float | None = None

    def scores(self, low: ArrayLike, high: ArrayLike, truth: ArrayLike) -> Array:
        """How far true values lie outside of intervals on this scale, (row,); negative inside, infinite without one.

        The ends of both sides are the estimate for an absolute error.
        """
        true = np.asarray(truth, dtype=np.float64)
        lower, upper = self.forwarded(nearest(low, true, self.period), nearest(high, true, self.period))
        with np.errstate(invalid="ignore", divide="ignore"):
            own = self.forward(true)
            outside = np.maximum(lower - own, own - upper)
        return np.where(np.isnan(outside), np.inf, outside)

    def forwarded(self, low: ArrayLike, high: ArrayLike) -> tuple[Array, Array]:
        """The ends of intervals in the output's own unit on this scale, the lower one first."""
        with np.errstate(invalid="ignore", divide="ignore"):
            one, other = (self.forward(np.asarray(end, dtype=np.float64)) for end in (low, high))
        return np.minimum(one, other), np.maximum(one, other)

    def ends(self, low: Array, high: Array) -> tuple[Array, Array]:
        """An interval on this scale in the output's own unit, within its limits; of a decreasing scale turned round."""
        with np.errstate(over="ignore", invalid="ignore"):
            one, other = self.inverse(low), self.inverse(high)
        made = np.minimum(one, other), np.maximum(one, other)
        if self.low is None and self.high is None:
            return made
        return np.clip(made[0], self.low, self.high), np.clip(made[1], self.low, self.high)

    def around(self, low: ArrayLike, high: ArrayLike, radius: Array) -> tuple[Array, Array]:
        """Intervals that are moved outwards by radii on this scale, (row,); inwards by negative ones."""
        lower, upper = self.forwarded(low, high)
        return self.ends(*uncrossed(lower - radius, upper + radius))
