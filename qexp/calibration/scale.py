"""The scale on which an output's errors are compared and its intervals are symmetrical."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    def scores(self, estimate: ArrayLike, truth: ArrayLike) -> Array:
        """The absolute errors of estimates on this scale, (row,); infinite without an estimate."""
        true = np.asarray(truth, dtype=np.float64)
        near = np.asarray(nearest(estimate, true, self.period), dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.abs(self.forward(near) - self.forward(true))
        return np.where(np.isnan(errors), np.inf, errors)

    def ends(self, low: Array, high: Array) -> tuple[Array, Array]:
        """An interval on this scale in the output's own unit, within its limits; of a decreasing scale turned round."""
        with np.errstate(over="ignore", invalid="ignore"):
            one, other = self.inverse(low), self.inverse(high)
        made = np.minimum(one, other), np.maximum(one, other)
        if self.low is None and self.high is None:
            return made
        return np.clip(made[0], self.low, self.high), np.clip(made[1], self.low, self.high)

    def around(self, estimate: ArrayLike, radius: Array) -> tuple[Array, Array]:
        """The intervals of estimates, (row,), with these radii on this scale."""
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = self.forward(np.asarray(estimate, dtype=np.float64))
        return self.ends(centre - radius, centre + radius)
